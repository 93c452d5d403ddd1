"""Needle lengths in µm: a network, and the measurement with its reasons.

A trial: trained on drawn fields, compared with no steel.
"""
