"""Drawn micrographs: steel, optics, anomalies, scale bar."""
