"""Evaluate raters and model: round robins, and the analysis of the measuring system.

`coefficients`, `components`, `panel` and `capability` compute and know neither store nor clock.
"""
