"""Describe the alarms of the groups that are watched over the nights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import reports
from agent.nightly.spc.change_alarm import MEASURES, list_open_alarms
from reports import Tone, VerdictLine, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.nightly.facts.snapshot import NightFacts
    from agent.nightly.spc.change_alarm import Group

NAMED = 6
"""Groups that one line names."""


def alarm_lines(facts: NightFacts) -> Iterator[VerdictLine]:
    """Yield a line for each measure with an alarm, until a lead acknowledges it."""
    href = f"{facts.review_url}/trends" if facts.review_url else ""
    for _measure, n, text in describe_alarms(list_open_alarms(facts.charts.groups, {})):
        yield VerdictLine(Tone.ATTENTION, str(n), text, href)


def describe_alarms(alarms: Sequence[Group]) -> Iterator[tuple[str, int, str]]:
    """Yield measure, micrographs since the change and a text, once for all groups of a measure."""
    for measure in MEASURES:
        groups = [group for group in alarms if group.measure == measure]
        if groups:
            n = max(group.begin.micrographs for group in groups if group.begin)
            since = reports.short_day(min(group.begin.since for group in groups if group.begin))
            text = _word(measure, n).format(since=since, where=_name(groups))
            yield measure, n, text


def _word(measure: str, n: int) -> str:
    if measure == "unusual":
        return ngettext(
            "micrograph since {since} is more unusual than those before ({where}). A lead "
            "compares etching, preparation and microscope, and acknowledges the alarm",
            "micrographs since {since} are more unusual than those before ({where}). A lead "
            "compares etching, preparation and microscope, and acknowledges the alarm",
            n,
        )
    return ngettext(
        "blind decision since {since} agrees less often with the model than those before "
        "({where}). A lead checks it, and acknowledges the alarm",
        "blind decisions since {since} agree less often with the model than those before "
        "({where}). A lead checks them, retrains if they are right, and acknowledges the alarm",
        n,
    )


def _name(groups: Sequence[Group]) -> str:
    words = {
        "lab": _("the whole lab"),
        "source": _("source {name}"),
        "furnace": _("furnace {name}"),
        "class": _("code {name}"),
    }
    names = [words[group.kind].format(name=group.name) for group in groups]
    more = len(names) - NAMED
    shown = names[:NAMED] + ([_("and {n} more").format(n=more)] if more > 0 else [])
    return ", ".join(shown)
