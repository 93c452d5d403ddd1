"""Report a night: its rows become frozen facts, and the facts one page, whole or not at all."""

from __future__ import annotations

from agent.nightly.facts.collect import night_settings
from agent.nightly.facts.snapshot import NightFacts, NightSettings
from agent.nightly.page.embedded_images import describe_map, get_palette
from agent.nightly.page.micrograph_cards import build_card
from agent.nightly.page.micrograph_rows import add_needles
from agent.nightly.page.verdict import build_digest
from agent.nightly.period_report import missing_periods, parse_period, write_period
from agent.nightly.write import Written, missing_nights, write_index, write_report

__all__ = [
    "NightFacts",
    "NightSettings",
    "Written",
    "add_needles",
    "build_card",
    "build_digest",
    "describe_map",
    "get_palette",
    "missing_nights",
    "missing_periods",
    "night_settings",
    "parse_period",
    "write_index",
    "write_period",
    "write_report",
]
