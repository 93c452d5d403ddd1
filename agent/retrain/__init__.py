"""Train on reviewers' labels: labelled crops become a candidate, and a gate states the result.

Nothing here promotes. The names are imported on first use: `agent models list`, and an agent
without a bundle, must not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.retrain.again import Again, Role, reprocess
    from agent.retrain.bundles import (
        BACK_FROM,
        delete_leftovers,
        get_bundle,
        get_bundles_folder,
        get_record_folder,
        list_bundles,
        list_previous_bundles,
    )
    from agent.retrain.card import estimate, save_card
    from agent.retrain.cases import Collected, collect
    from agent.retrain.hygiene import Cleaned, clean_labels, send_back
    from agent.retrain.impact import Impact, compute_impact
    from agent.retrain.judging import Demands, Gate, Outcome, evaluate_candidate, load_outcome
    from agent.retrain.pages import format_headline, list_sentences, save_impact
    from agent.retrain.progress import Step
    from agent.retrain.pseudo import PseudoLabelled, select_pseudo_labels
    from agent.retrain.record import save_record, write_figures
    from agent.retrain.suggesting import Suggestion, suggest
    from agent.retrain.teaching import get_training_config, retrain

_WHERE = {
    "BACK_FROM": "bundles",
    "Again": "again",
    "Cleaned": "hygiene",
    "Collected": "cases",
    "Demands": "judging",
    "Gate": "judging",
    "Impact": "impact",
    "Outcome": "judging",
    "PseudoLabelled": "pseudo",
    "Role": "again",
    "Step": "progress",
    "Suggestion": "suggesting",
    "list_previous_bundles": "bundles",
    "get_bundle": "bundles",
    "get_bundles_folder": "bundles",
    "clean_labels": "hygiene",
    "collect": "cases",
    "estimate": "card",
    "list_bundles": "bundles",
    "format_headline": "pages",
    "evaluate_candidate": "judging",
    "compute_impact": "impact",
    "save_card": "card",
    "save_impact": "pages",
    "save_record": "record",
    "load_outcome": "judging",
    "get_training_config": "teaching",
    "select_pseudo_labels": "pseudo",
    "get_record_folder": "bundles",
    "reprocess": "again",
    "retrain": "teaching",
    "send_back": "hygiene",
    "list_sentences": "pages",
    "suggest": "suggesting",
    "delete_leftovers": "bundles",
    "write_figures": "record",
}

__all__ = [
    "BACK_FROM",
    "Again",
    "Cleaned",
    "Collected",
    "Demands",
    "Gate",
    "Impact",
    "Outcome",
    "PseudoLabelled",
    "Role",
    "Step",
    "Suggestion",
    "clean_labels",
    "collect",
    "compute_impact",
    "delete_leftovers",
    "estimate",
    "evaluate_candidate",
    "format_headline",
    "get_bundle",
    "get_bundles_folder",
    "get_record_folder",
    "get_training_config",
    "list_bundles",
    "list_previous_bundles",
    "list_sentences",
    "load_outcome",
    "reprocess",
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
