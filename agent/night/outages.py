"""Say when a source could not be reached during a night, and which nights are free by plan.

In:  records of outages, the plant's calendar. Out: `Outage`s, yes or no. Next: `facts`.
An empty night is read either as "nothing was exported" or as "something is broken", so it has to
say which: the share was away from then to then, or nothing came, or nothing was to come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from agent.night.period import local
from agent.settings import WEEKDAYS
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.store import Record, SourceHealth


@dataclass(frozen=True, slots=True)
class Outage:
    """One source could not be reached.

    Args:
        source: Its name. since: aware UTC. until: likewise, None while it lasts.
    """

    source: str
    since: datetime
    until: datetime | None

    def said(self, zone: str) -> str:
        """Say it as a person reads it."""
        if self.until is None:
            return _("not reachable since {at}").format(at=local(self.since, zone))
        return _("not reachable from {since} to {until}").format(
            since=local(self.since, zone), until=local(self.until, zone)
        )


def outages(
    past: Iterable[Record], sources: Iterable[SourceHealth], after: datetime, until: datetime
) -> tuple[Outage, ...]:
    """Say which outages reached into (after, until], the first one first.

    Args:
        past: Records of outages that are over.
        sources: As they are now; one that is away has an outage that lasts.
        after: Begin, not included, aware.
        until: End, included, aware.
    """
    found = [
        Outage(
            one.subject,
            datetime.fromisoformat(one.facts["since"]),
            datetime.fromisoformat(one.facts["until"]),
        )
        for one in past
    ]
    found += [
        Outage(one.name, one.offline_since, None)
        for one in sources
        if not one.online and one.offline_since is not None
    ]
    inside = [one for one in found if one.since <= until and (one.until or until) > after]
    return tuple(sorted(inside, key=lambda one: (one.since, one.source)))


def is_free(night: date, free_days: Iterable[str]) -> bool:
    """Say whether nothing is to be expected: a weekday by its name, or a date."""
    return not {WEEKDAYS[night.weekday()], night.isoformat()}.isdisjoint(free_days)
