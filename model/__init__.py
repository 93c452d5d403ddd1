"""Martensight's model: arrays in, numbers out. Reads no file but a bundle and given weights.

The front door. Its names are fetched when first used, so that asking for an error class or a
taxonomy does not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from model.errors import BundleError, ModelError, TaxonomyError, TrainingError, WeightsError
from model.labels import Size, Subtype, Taxonomy, default_taxonomy, load_taxonomy, taxonomy_from

if TYPE_CHECKING:
    from model.bundle import Manifest, read_manifest, verify_bundle
    from model.classify import Classifier, Prediction
    from model.dataset import Example, Split, folds, split
    from model.frame import Field
    from model.intervals import at_most
    from model.metrics import Comparison, Evaluation, compare, evaluate
    from model.plan import Plan, quick_plan
    from model.runtime import choose_engine
    from model.strangeness import Strangeness
    from model.training import Progress, train

_WHERE = {
    "Classifier": "classify",
    "Comparison": "metrics",
    "Evaluation": "metrics",
    "Example": "dataset",
    "Field": "frame",
    "Manifest": "bundle",
    "Plan": "plan",
    "Prediction": "classify",
    "Progress": "training",
    "Split": "dataset",
    "Strangeness": "strangeness",
    "at_most": "intervals",
    "choose_engine": "runtime",
    "compare": "metrics",
    "evaluate": "metrics",
    "folds": "dataset",
    "quick_plan": "plan",
    "read_manifest": "bundle",
    "split": "dataset",
    "train": "training",
    "verify_bundle": "bundle",
}

__all__ = [
    "BundleError",
    "Classifier",
    "Comparison",
    "Evaluation",
    "Example",
    "Field",
    "Manifest",
    "ModelError",
    "Plan",
    "Prediction",
    "Progress",
    "Size",
    "Split",
    "Strangeness",
    "Subtype",
    "Taxonomy",
    "TaxonomyError",
    "TrainingError",
    "WeightsError",
    "at_most",
    "choose_engine",
    "compare",
    "default_taxonomy",
    "evaluate",
    "folds",
    "load_taxonomy",
    "quick_plan",
    "read_manifest",
    "split",
    "taxonomy_from",
    "train",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    found = getattr(import_module(f"model.{_WHERE[name]}"), name)
    globals()[name] = found
    return found
