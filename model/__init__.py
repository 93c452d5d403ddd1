"""Martensight's model: arrays in, numbers out. Reads no file but a bundle and given weights.

The front door. Its names are fetched when first used, so that asking for an error class or a
taxonomy does not wait for PyTorch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from model.errors import BundleError, ModelError, TaxonomyError, TrainingError, WeightsError
from model.size_order import Numbers, parse_numbers
from model.taxonomy import Size, Subtype, Taxonomy, default_taxonomy, load_taxonomy, taxonomy_from

if TYPE_CHECKING:
    from model.bundle import Manifest, read_manifest, taught_codes, verify_bundle
    from model.data.dataset import Example, fingerprint
    from model.data.diverse_sampling import diverse
    from model.data.near_duplicates import joined, twins
    from model.data.splits import Split, folds, split
    from model.evaluation.comparison import Comparison, Finding, compare
    from model.evaluation.evaluate import NOT_TAUGHT, Evaluation, evaluate, not_taught
    from model.evaluation.int8_conversion import convert
    from model.evaluation.label_errors import (
        Doubt,
        Inspected,
        doubts,
        inspecting,
        out_of_sample,
        two_subtypes,
    )
    from model.evaluation.learning_curve import Curve, curve_of
    from model.evaluation.leave_one_class_out import leave_out
    from model.evaluation.metrics import size_kappa
    from model.evaluation.paired import Duel, Matter, duelling
    from model.evaluation.promotion_checks import Rules
    from model.framing import Field
    from model.inference.classifier import Classifier, Prediction
    from model.networks.pretrained import fetch_weights, weights_at_hand
    from model.ood.conformal import alarm_rate_in_words, alarm_rate_warnings
    from model.ood.detector import Strangeness
    from model.runtime.engines import choose_engine
    from model.statistics import Estimate, agreement_interval, at_most, bootstrap, wilson
    from model.training.config import Plan, quick_plan
    from model.training.distributed import ALONE, World, together
    from model.training.train import Progress, train

# Threads that wait for each other give the core back instead of spinning: on a PC that does other
# things too, two spinning threads took four times the processor time and wall time (measured). It
# counts only before PyTorch is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_WHERE = {
    "ALONE": "training.distributed",
    "NOT_TAUGHT": "evaluation.evaluate",
    "Classifier": "inference.classifier",
    "Comparison": "evaluation.comparison",
    "Curve": "evaluation.learning_curve",
    "Doubt": "evaluation.label_errors",
    "Duel": "evaluation.paired",
    "Estimate": "statistics",
    "Evaluation": "evaluation.evaluate",
    "Example": "data.dataset",
    "Field": "framing",
    "Finding": "evaluation.comparison",
    "Inspected": "evaluation.label_errors",
    "Manifest": "bundle",
    "Matter": "evaluation.paired",
    "Plan": "training.config",
    "Prediction": "inference.classifier",
    "Progress": "training.train",
    "Rules": "evaluation.promotion_checks",
    "Split": "data.splits",
    "Strangeness": "ood.detector",
    "World": "training.distributed",
    "agreement_interval": "statistics",
    "alarm_rate_in_words": "ood.conformal",
    "alarm_rate_warnings": "ood.conformal",
    "at_most": "statistics",
    "bootstrap": "statistics",
    "choose_engine": "runtime.engines",
    "compare": "evaluation.comparison",
    "convert": "evaluation.int8_conversion",
    "curve_of": "evaluation.learning_curve",
    "diverse": "data.diverse_sampling",
    "doubts": "evaluation.label_errors",
    "duelling": "evaluation.paired",
    "evaluate": "evaluation.evaluate",
    "fetch_weights": "networks.pretrained",
    "fingerprint": "data.dataset",
    "folds": "data.splits",
    "inspecting": "evaluation.label_errors",
    "joined": "data.near_duplicates",
    "leave_out": "evaluation.leave_one_class_out",
    "not_taught": "evaluation.evaluate",
    "out_of_sample": "evaluation.label_errors",
    "size_kappa": "evaluation.metrics",
    "quick_plan": "training.config",
    "read_manifest": "bundle",
    "split": "data.splits",
    "taught_codes": "bundle",
    "together": "training.distributed",
    "train": "training.train",
    "twins": "data.near_duplicates",
    "two_subtypes": "evaluation.label_errors",
    "verify_bundle": "bundle",
    "weights_at_hand": "networks.pretrained",
    "wilson": "statistics",
}

__all__ = [
    "ALONE",
    "NOT_TAUGHT",
    "BundleError",
    "Classifier",
    "Comparison",
    "Curve",
    "Doubt",
    "Duel",
    "Estimate",
    "Evaluation",
    "Example",
    "Field",
    "Finding",
    "Inspected",
    "Manifest",
    "Matter",
    "ModelError",
    "Numbers",
    "Plan",
    "Prediction",
    "Progress",
    "Rules",
    "Size",
    "Split",
    "Strangeness",
    "Subtype",
    "Taxonomy",
    "TaxonomyError",
    "TrainingError",
    "WeightsError",
    "World",
    "agreement_interval",
    "alarm_rate_in_words",
    "alarm_rate_warnings",
    "at_most",
    "bootstrap",
    "choose_engine",
    "compare",
    "convert",
    "curve_of",
    "default_taxonomy",
    "diverse",
    "doubts",
    "duelling",
    "evaluate",
    "fetch_weights",
    "fingerprint",
    "folds",
    "inspecting",
    "joined",
    "leave_out",
    "load_taxonomy",
    "not_taught",
    "out_of_sample",
    "parse_numbers",
    "quick_plan",
    "read_manifest",
    "size_kappa",
    "split",
    "taught_codes",
    "taxonomy_from",
    "together",
    "train",
    "twins",
    "two_subtypes",
    "verify_bundle",
    "weights_at_hand",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    found = getattr(import_module(f"model.{_WHERE[name]}"), name)
    globals()[name] = found
    return found
