"""Public names of `model`, which reads no files except bundles, taxonomies and weights.

Names are imported on first use, so that importing an error class or a taxonomy does not load
PyTorch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from model.class_names import join_code
from model.errors import BundleError, ModelError, TaxonomyError, TrainingError, WeightsError
from model.size_order import Numbers, parse_numbers
from model.taxonomy import Size, Subtype, Taxonomy, default_taxonomy, load_taxonomy, taxonomy_from
from model.taxonomy_draft import SubtypeDraft, TaxonomyDraft, draft_from_taxonomy, propose_draft
from model.taxonomy_toml import format_taxonomy

if TYPE_CHECKING:
    from model.bundle import Manifest, read_manifest, read_training_labels, verify_bundle
    from model.data.dataset import Example, fingerprint
    from model.data.diverse_sampling import select_diverse
    from model.data.feature_cache import FeatureCache
    from model.data.near_duplicates import find_near_duplicates, merge_groups
    from model.data.splits import Split, folds, split
    from model.evaluation.check_result import GateThresholds
    from model.evaluation.comparison import Comparison, ComparisonOutcome, compare_bundles
    from model.evaluation.evaluate import evaluate, group_untrained
    from model.evaluation.evaluation import UNTRAINED_PREFIX, Evaluation
    from model.evaluation.int8_conversion import convert
    from model.evaluation.label_errors import (
        InspectedImage,
        LabelIssue,
        find_label_issues,
        find_mixed_specimens,
        inspect_labels,
        predict_out_of_sample,
    )
    from model.evaluation.learning_curve import LearningCurve, fit_learning_curve
    from model.evaluation.leave_one_class_out import leave_out
    from model.evaluation.metrics import size_kappa
    from model.evaluation.paired import PairedEvaluation, PairedTestSet, evaluate_pair
    from model.framing import Field
    from model.inference.classifier import Classifier
    from model.inference.prediction import Prediction
    from model.networks.pretrained import fetch_weights, has_weights
    from model.ood.conformal import alarm_rate_in_words, alarm_rate_warnings
    from model.ood.ood_result import OodResult
    from model.runtime.conversion import converting_apart
    from model.runtime.engines import choose_engine, release_memory
    from model.runtime.threads import use_network_threads
    from model.statistics import Estimate, agreement_interval, bootstrap, upper_bound, wilson
    from model.training.config import TrainingConfig, quick_config
    from model.training.distributed import SINGLE_PROCESS, ProcessGroup, init_process_group
    from model.training.train import train

# OpenMP threads that wait for each other yield the core instead of spinning. MEASURED on a PC under
# other load: two spinning threads took four times the CPU time and wall time. The variable has an
# effect only before PyTorch is loaded, therefore it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_WHERE = {
    "SINGLE_PROCESS": "training.distributed",
    "UNTRAINED_PREFIX": "evaluation.evaluation",
    "Classifier": "inference.classifier",
    "Comparison": "evaluation.comparison",
    "LearningCurve": "evaluation.learning_curve",
    "LabelIssue": "evaluation.label_errors",
    "PairedEvaluation": "evaluation.paired",
    "Estimate": "statistics",
    "Evaluation": "evaluation.evaluation",
    "Example": "data.dataset",
    "FeatureCache": "data.feature_cache",
    "Field": "framing",
    "ComparisonOutcome": "evaluation.comparison",
    "InspectedImage": "evaluation.label_errors",
    "Manifest": "bundle",
    "PairedTestSet": "evaluation.paired",
    "TrainingConfig": "training.config",
    "Prediction": "inference.prediction",
    "Progress": "progress",
    "GateThresholds": "evaluation.check_result",
    "Split": "data.splits",
    "OodResult": "ood.ood_result",
    "ProcessGroup": "training.distributed",
    "agreement_interval": "statistics",
    "alarm_rate_in_words": "ood.conformal",
    "alarm_rate_warnings": "ood.conformal",
    "upper_bound": "statistics",
    "bootstrap": "statistics",
    "choose_engine": "runtime.engines",
    "compare_bundles": "evaluation.comparison",
    "converting_apart": "runtime.conversion",
    "convert": "evaluation.int8_conversion",
    "fit_learning_curve": "evaluation.learning_curve",
    "select_diverse": "data.diverse_sampling",
    "find_label_issues": "evaluation.label_errors",
    "evaluate_pair": "evaluation.paired",
    "evaluate": "evaluation.evaluate",
    "fetch_weights": "networks.pretrained",
    "fingerprint": "data.dataset",
    "folds": "data.splits",
    "inspect_labels": "evaluation.label_errors",
    "merge_groups": "data.near_duplicates",
    "leave_out": "evaluation.leave_one_class_out",
    "group_untrained": "evaluation.evaluate",
    "predict_out_of_sample": "evaluation.label_errors",
    "size_kappa": "evaluation.metrics",
    "quick_config": "training.config",
    "read_manifest": "bundle",
    "release_memory": "runtime.engines",
    "split": "data.splits",
    "read_training_labels": "bundle",
    "init_process_group": "training.distributed",
    "train": "training.train",
    "use_network_threads": "runtime.threads",
    "find_near_duplicates": "data.near_duplicates",
    "find_mixed_specimens": "evaluation.label_errors",
    "verify_bundle": "bundle",
    "has_weights": "networks.pretrained",
    "wilson": "statistics",
}

__all__ = [
    "SINGLE_PROCESS",
    "UNTRAINED_PREFIX",
    "BundleError",
    "Classifier",
    "Comparison",
    "ComparisonOutcome",
    "Estimate",
    "Evaluation",
    "Example",
    "FeatureCache",
    "Field",
    "GateThresholds",
    "InspectedImage",
    "LabelIssue",
    "LearningCurve",
    "Manifest",
    "ModelError",
    "Numbers",
    "OodResult",
    "PairedEvaluation",
    "PairedTestSet",
    "Prediction",
    "ProcessGroup",
    "Progress",
    "Size",
    "Split",
    "Subtype",
    "SubtypeDraft",
    "Taxonomy",
    "TaxonomyDraft",
    "TaxonomyError",
    "TrainingConfig",
    "TrainingError",
    "WeightsError",
    "agreement_interval",
    "alarm_rate_in_words",
    "alarm_rate_warnings",
    "bootstrap",
    "choose_engine",
    "compare_bundles",
    "convert",
    "converting_apart",
    "default_taxonomy",
    "draft_from_taxonomy",
    "evaluate",
    "evaluate_pair",
    "fetch_weights",
    "find_label_issues",
    "find_mixed_specimens",
    "find_near_duplicates",
    "fingerprint",
    "fit_learning_curve",
    "folds",
    "format_taxonomy",
    "group_untrained",
    "has_weights",
    "init_process_group",
    "inspect_labels",
    "join_code",
    "leave_out",
    "load_taxonomy",
    "merge_groups",
    "parse_numbers",
    "predict_out_of_sample",
    "propose_draft",
    "quick_config",
    "read_manifest",
    "read_training_labels",
    "release_memory",
    "select_diverse",
    "size_kappa",
    "split",
    "taxonomy_from",
    "train",
    "upper_bound",
    "use_network_threads",
    "verify_bundle",
    "wilson",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'model' has no attribute {name!r}")
    value = getattr(import_module(f"model.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
