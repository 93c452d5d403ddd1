"""Metrics, comparison of two bundles, suspect labels, learning curves."""
