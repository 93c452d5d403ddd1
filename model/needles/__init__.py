"""Needle lengths in µm: a network, the measurement with its reasons, and its training.

A trial: trained on drawn fields, compared with no steel.
"""
