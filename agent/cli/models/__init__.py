"""Bundles: imported labels, training, evaluation, promotion, reprocessing."""
