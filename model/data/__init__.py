"""Labelled images: examples, splits, augmentation, near-duplicates."""
