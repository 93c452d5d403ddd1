"""Inference: images to structure codes with evidence maps."""
