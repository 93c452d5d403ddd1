"""Report a night: its rows become frozen facts, and the facts one page, whole or not at all."""

from __future__ import annotations

from agent.night.cards import Gallery, card_of, decision_of, percent, said_of
from agent.night.facts import NightFacts, NightSettings, Said, Seen, Summary, seen_of
from agent.night.gallery import ALARM_LIMIT, limit_of, note_of, palette_of, place_of
from agent.night.lab import (
    night_settings,
    read_taxonomy,
    review_url,
    taxonomy_in_force,
    words_of,
)
from agent.night.period import end_of, local, local_full, night_of, period_of
from agent.night.rollup import reports_folder, sites_page
from agent.night.write import Written, missing_nights, write_index, write_report

__all__ = [
    "ALARM_LIMIT",
    "Gallery",
    "NightFacts",
    "NightSettings",
    "Said",
    "Seen",
    "Summary",
    "Written",
    "card_of",
    "decision_of",
    "end_of",
    "limit_of",
    "local",
    "local_full",
    "missing_nights",
    "night_of",
    "night_settings",
    "note_of",
    "palette_of",
    "percent",
    "period_of",
    "place_of",
    "read_taxonomy",
    "reports_folder",
    "review_url",
    "said_of",
    "seen_of",
    "sites_page",
    "taxonomy_in_force",
    "words_of",
    "write_index",
    "write_report",
]
