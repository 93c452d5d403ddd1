"""What can go wrong in the model; every message says what to do."""

from __future__ import annotations


class ModelError(Exception):
    """The base of everything `model` raises on purpose."""


class BundleError(ModelError):
    """A bundle is missing, incomplete, or not what its manifest says."""


class TrainingError(ModelError):
    """These examples cannot be trained on as they are."""


class WeightsError(ModelError):
    """A file given as `--weights` does not fit the network."""


class GpuError(ModelError):
    """A GPU does not answer, or has no room; what it was asked can be asked of the CPU."""


class TaxonomyError(ModelError):
    """A taxonomy, or a structure code outside it."""
