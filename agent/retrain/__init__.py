"""Train on reviewers' labels: labelled crops become a candidate, and a gate states the result.

Nothing here promotes. The names are imported on first use: `agent models list`, and an agent
without a bundle, must not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.retrain.active_learning import Suggestion, suggest
    from agent.retrain.candidate import get_training_config, retrain
    from agent.retrain.card_metrics import estimate
    from agent.retrain.feature_filling import Filled, fill_features
    from agent.retrain.feature_rescoring import Rescoring, rescore
    from agent.retrain.gate import Demands, Gate, Outcome, evaluate_candidate, load_outcome
    from agent.retrain.impact import Impact, compute_impact
    from agent.retrain.impact_page import format_headline, list_sentences, save_impact
    from agent.retrain.label_cleaning import Cleaned, clean_labels, send_back
    from agent.retrain.model_card import save_card
    from agent.retrain.progress import Step
    from agent.retrain.pseudo_labels import PseudoLabelled, select_pseudo_labels
    from agent.retrain.reprocessing import Again, Role, attend, build_judge, reprocess
    from agent.retrain.training_record import save_record, write_figures
    from agent.retrain.training_set import Collected, collect, list_gaps
    from agent.retrain.unit_worker import UnitWorker

_WHERE = {
    "Again": "reprocessing",
    "Cleaned": "label_cleaning",
    "Collected": "training_set",
    "Demands": "gate",
    "Filled": "feature_filling",
    "Rescoring": "feature_rescoring",
    "Gate": "gate",
    "Impact": "impact",
    "Outcome": "gate",
    "PseudoLabelled": "pseudo_labels",
    "Role": "reprocessing",
    "Step": "progress",
    "Suggestion": "active_learning",
    "UnitWorker": "unit_worker",
    "attend": "reprocessing",
    "build_judge": "reprocessing",
    "clean_labels": "label_cleaning",
    "collect": "training_set",
    "list_gaps": "training_set",
    "estimate": "card_metrics",
    "format_headline": "impact_page",
    "evaluate_candidate": "gate",
    "compute_impact": "impact",
    "save_card": "model_card",
    "save_impact": "impact_page",
    "save_record": "training_record",
    "load_outcome": "gate",
    "get_training_config": "candidate",
    "select_pseudo_labels": "pseudo_labels",
    "fill_features": "feature_filling",
    "rescore": "feature_rescoring",
    "reprocess": "reprocessing",
    "retrain": "candidate",
    "send_back": "label_cleaning",
    "list_sentences": "impact_page",
    "suggest": "active_learning",
    "write_figures": "training_record",
}

__all__ = [
    "Again",
    "Cleaned",
    "Collected",
    "Demands",
    "Filled",
    "Gate",
    "Impact",
    "Outcome",
    "PseudoLabelled",
    "Rescoring",
    "Role",
    "Step",
    "Suggestion",
    "UnitWorker",
    "attend",
    "build_judge",
    "clean_labels",
    "collect",
    "compute_impact",
    "estimate",
    "evaluate_candidate",
    "fill_features",
    "format_headline",
    "get_training_config",
    "list_gaps",
    "list_sentences",
    "load_outcome",
    "reprocess",
    "rescore",
    "retrain",
    "save_card",
    "save_impact",
    "save_record",
    "select_pseudo_labels",
    "send_back",
    "suggest",
    "write_figures",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agent.retrain' has no attribute {name!r}")
    value = getattr(import_module(f"agent.retrain.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
