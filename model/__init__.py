"""Martensight's model: arrays in, numbers out. Reads no file but a bundle and given weights.

The front door. Its names are fetched when first used, so that asking for an error class or a
taxonomy does not wait for PyTorch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from model.errors import BundleError, ModelError, TaxonomyError, TrainingError, WeightsError
from model.labels import Size, Subtype, Taxonomy, default_taxonomy, load_taxonomy, taxonomy_from
from model.size_order import Numbers, parse_numbers

if TYPE_CHECKING:
    from model.bundle import Manifest, read_manifest, taught_codes, verify_bundle
    from model.checks import Rules
    from model.choosing import diverse
    from model.classify import Classifier, Prediction
    from model.comparison import Comparison, Finding, compare
    from model.conformal import alarm_rate_in_words, alarm_rate_warnings
    from model.converting import convert
    from model.curve import Curve, curve_of
    from model.dataset import Example, Split, fingerprint, folds, split
    from model.doubt import Doubt, doubts, out_of_sample, two_subtypes
    from model.duel import Duel, Matter, duelling
    from model.frame import Field
    from model.inspection import Inspected, inspecting
    from model.intervals import Estimate, agreement_interval, at_most, bootstrap, wilson
    from model.leakage import joined, twins
    from model.leave_out import leave_out
    from model.metrics import NOT_TAUGHT, Evaluation, evaluate, not_taught, size_kappa
    from model.plan import Plan, quick_plan
    from model.runtime import choose_engine
    from model.strangeness import Strangeness
    from model.training import Progress, train
    from model.weights import fetch_weights, weights_at_hand
    from model.world import ALONE, World, together

# Threads that wait for each other give the core back instead of spinning: on a PC that does other
# things too, two spinning threads took four times the processor time and wall time (measured). It
# counts only before PyTorch is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_WHERE = {
    "ALONE": "world",
    "NOT_TAUGHT": "metrics",
    "Classifier": "classify",
    "Comparison": "comparison",
    "Curve": "curve",
    "Doubt": "doubt",
    "Duel": "duel",
    "Estimate": "intervals",
    "Evaluation": "metrics",
    "Example": "dataset",
    "Field": "frame",
    "Finding": "comparison",
    "Inspected": "inspection",
    "Manifest": "bundle",
    "Matter": "duel",
    "Plan": "plan",
    "Prediction": "classify",
    "Progress": "training",
    "Rules": "checks",
    "Split": "dataset",
    "Strangeness": "strangeness",
    "World": "world",
    "agreement_interval": "intervals",
    "alarm_rate_in_words": "conformal",
    "alarm_rate_warnings": "conformal",
    "at_most": "intervals",
    "bootstrap": "intervals",
    "choose_engine": "runtime",
    "compare": "comparison",
    "convert": "converting",
    "curve_of": "curve",
    "diverse": "choosing",
    "doubts": "doubt",
    "duelling": "duel",
    "evaluate": "metrics",
    "fetch_weights": "weights",
    "fingerprint": "dataset",
    "folds": "dataset",
    "inspecting": "inspection",
    "joined": "leakage",
    "leave_out": "leave_out",
    "not_taught": "metrics",
    "out_of_sample": "doubt",
    "size_kappa": "metrics",
    "quick_plan": "plan",
    "read_manifest": "bundle",
    "split": "dataset",
    "taught_codes": "bundle",
    "together": "world",
    "train": "training",
    "twins": "leakage",
    "two_subtypes": "doubt",
    "verify_bundle": "bundle",
    "weights_at_hand": "weights",
    "wilson": "intervals",
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
