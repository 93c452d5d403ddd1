"""Measure people and model: round robins, and the analysis of the measuring system.

In:  a campaign's ratings, or the runs of a plan. Out: figures with intervals, one HTML page, CSV.
`coefficients` and `components` are numbers over arrays, `panel` and `capability` what they say of
a lab; none of these knows store or clock. `campaign` gathers and writes, `choosing` picks
micrographs, `plan` lays runs out.
"""
