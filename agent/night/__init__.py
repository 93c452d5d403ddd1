"""Report a night: its rows become frozen facts, and the facts one page, whole or not at all."""

from __future__ import annotations

from agent.night.cards import Gallery, build_card, build_decision, format_decision, percent
from agent.night.facts import (
    NightFacts,
    NightSettings,
    ReportedDecision,
    ReportedMicrograph,
    Summary,
    build_reported_micrograph,
)
from agent.night.gallery import (
    ALARM_LIMIT,
    describe_map,
    get_colour_limit,
    get_palette,
    parse_training_key,
)
from agent.night.lab import read_taxonomy, review_url, taxonomy_in_force
from agent.night.period import compute_night_end, compute_night_period, local, local_full, night_of
from agent.night.rollup import build_sites_page, reports_folder
from agent.night.settings import night_settings
from agent.night.write import Written, missing_nights, write_index, write_report

__all__ = [
    "ALARM_LIMIT",
    "Gallery",
    "NightFacts",
    "NightSettings",
    "ReportedDecision",
    "ReportedMicrograph",
    "Summary",
    "Written",
    "build_card",
    "build_decision",
    "build_reported_micrograph",
    "build_sites_page",
    "compute_night_end",
    "compute_night_period",
    "describe_map",
    "format_decision",
    "get_colour_limit",
    "get_palette",
    "local",
    "local_full",
    "missing_nights",
    "night_of",
    "night_settings",
    "parse_training_key",
    "percent",
    "read_taxonomy",
    "reports_folder",
    "review_url",
    "taxonomy_in_force",
    "write_index",
    "write_report",
]
