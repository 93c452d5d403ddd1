"""The demonstration: a simulated laboratory with drawn micrographs and a simulated microscope.

All pictures are drawn: no accuracy measured on them applies to steel.
"""
