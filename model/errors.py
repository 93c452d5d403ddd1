"""Exceptions of `model`; every message states the remedy."""

from __future__ import annotations


class ModelError(Exception):
    """Base of all exceptions that `model` raises deliberately."""


class BundleError(ModelError):
    """A bundle is missing, incomplete, or does not match its manifest."""


class TrainingError(ModelError):
    """Training is impossible with these examples or this configuration."""


class WeightsError(ModelError):
    """Pretrained weights are missing, unreadable, or do not fit the network."""


class GpuError(ModelError):
    """A GPU does not respond or has too little memory; the CPU can do the same work."""


class TaxonomyError(ModelError):
    """A taxonomy is invalid, or a structure code is not part of it."""
