"""Specimen: tell steel from mount, bleeding and stains."""
