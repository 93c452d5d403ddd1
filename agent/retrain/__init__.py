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
        at_work_before,
        bundle_named,
        bundles_in,
        every_bundle,
        record_of,
        sweep,
    )
    from agent.retrain.card import estimate, keep_card
    from agent.retrain.cases import Collected, collect
    from agent.retrain.hygiene import Cleaned, cleaned, send_back
    from agent.retrain.impact import Impact, impact_of
    from agent.retrain.judging import Demands, Gate, Outcome, held_against, kept
    from agent.retrain.pages import headline_of, keep_impact, sentences_of
    from agent.retrain.progress import Step
    from agent.retrain.pseudo import PseudoLabelled, pseudo_labelled
    from agent.retrain.record import keep_record, write_figures
    from agent.retrain.suggesting import Suggestion, suggest
    from agent.retrain.teaching import plan_of, retrain

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
    "at_work_before": "bundles",
    "bundle_named": "bundles",
    "bundles_in": "bundles",
    "cleaned": "hygiene",
    "collect": "cases",
    "estimate": "card",
    "every_bundle": "bundles",
    "headline_of": "pages",
    "held_against": "judging",
    "impact_of": "impact",
    "keep_card": "card",
    "keep_impact": "pages",
    "keep_record": "record",
    "kept": "judging",
    "plan_of": "teaching",
    "pseudo_labelled": "pseudo",
    "record_of": "bundles",
    "reprocess": "again",
    "retrain": "teaching",
    "send_back": "hygiene",
    "sentences_of": "pages",
    "suggest": "suggesting",
    "sweep": "bundles",
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
    "at_work_before",
    "bundle_named",
    "bundles_in",
    "cleaned",
    "collect",
    "estimate",
    "every_bundle",
    "headline_of",
    "held_against",
    "impact_of",
    "keep_card",
    "keep_impact",
    "keep_record",
    "kept",
    "plan_of",
    "pseudo_labelled",
    "record_of",
    "reprocess",
    "retrain",
    "send_back",
    "sentences_of",
    "suggest",
    "sweep",
    "write_figures",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agent.retrain' has no attribute {name!r}")
    value = getattr(import_module(f"agent.retrain.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
