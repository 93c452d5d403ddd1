"""Put a night into a few lines of text, for a mail or a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import reports
from agent.nightly.page.alarm_lines import alarm_lines
from agent.nightly.page.headline import micrographs
from agent.nightly.page.summary import order_lines
from agent.site_time import format_night_title
from reports import gettext as _
from reports import ngettext

if TYPE_CHECKING:
    from agent.nightly.facts.snapshot import NightFacts

SUMMED_UP = 4
"""Reasons of the order line that are named."""


def build_digest(facts: NightFacts, place: str) -> tuple[str, ...]:
    """Return site and night, verdict, alarms, orders, files, and where the report is.

    Args:
        facts: Of the night; the lines are in its language.
        place: Address or path of the report.
    """
    with reports.speaking(facts.language):
        return (
            _("{site}, night of {night}").format(
                site=facts.site, night=format_night_title(facts.night)
            ),
            facts.summary.headline,
            *(_("Alarm: {what}").format(what=f"{a.count} {a.text}") for a in alarm_lines(facts)),
            _("Orders: {what}").format(what=_sum_up_orders(facts)),
            _sum_up_files(facts),
            _("Report: {place}").format(place=place),
        )


def _sum_up_orders(facts: NightFacts) -> str:
    lines = [f"{line.count} {line.text}" for line in order_lines(facts)]
    return "; ".join(lines[:SUMMED_UP]) or _("none open")


def _sum_up_files(facts: NightFacts) -> str:
    waiting = sum(micrograph.is_undecided for micrograph in facts.micrographs)
    parts = [
        micrographs(len(facts.micrographs)),
        ngettext("{n} to review", "{n} to review", waiting).format(n=waiting),
        ngettext("{n} file failed", "{n} files failed", len(facts.unusable)).format(
            n=len(facts.unusable)
        ),
    ]
    return ", ".join(parts)
