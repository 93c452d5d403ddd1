"""Martensight's model: arrays in, numbers out. Reads no file but a bundle and given weights."""

from __future__ import annotations

from model.classify import Prediction
from model.dataset import Example
from model.errors import BundleError, ModelError, TaxonomyError, TrainingError, WeightsError
from model.frame import Field
from model.labels import Size, Subtype, Taxonomy, default_taxonomy, load_taxonomy, taxonomy_from
from model.strangeness import Strangeness

__all__ = [
    "BundleError",
    "Example",
    "Field",
    "ModelError",
    "Prediction",
    "Size",
    "Strangeness",
    "Subtype",
    "Taxonomy",
    "TaxonomyError",
    "TrainingError",
    "WeightsError",
    "default_taxonomy",
    "load_taxonomy",
    "taxonomy_from",
]
