"""List the outages of a night's sources, and decide which nights are free by plan.

A report of an empty night has to distinguish an unavailable source, no export, and a planned free
day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from agent.settings import WEEKDAYS
from agent.site_time import local
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.store import Record, SourceHealth


@dataclass(frozen=True, slots=True)
class Outage:
    """A period in which one source could not be reached.

    Args:
        source: Its name.
        since: Aware UTC.
        until: Aware UTC; None while it lasts.
    """

    source: str
    since: datetime
    until: datetime | None

    def said(self, zone: str) -> str:
        """Return the outage in words, in the site's time zone."""
        if self.until is None:
            return _("not reachable since {at}").format(at=local(self.since, zone))
        return _("not reachable from {since} to {until}").format(
            since=local(self.since, zone), until=local(self.until, zone)
        )


def outages(
    past: Iterable[Record], sources: Iterable[SourceHealth], after: datetime, until: datetime
) -> tuple[Outage, ...]:
    """Return the outages that reached into (after, until], the first one first.

    Args:
        past: Records of outages that are over.
        sources: Their present state; one that is unavailable has an outage that lasts.
        after: Begin, not included, aware.
        until: End, included, aware.
    """
    known = [
        Outage(
            record.subject,
            datetime.fromisoformat(record.facts["since"]),
            datetime.fromisoformat(record.facts["until"]),
        )
        for record in past
    ]
    known += [
        Outage(source.name, source.offline_since, None)
        for source in sources
        if not source.online and source.offline_since is not None
    ]
    inside = [
        outage for outage in known if outage.since <= until and (outage.until or until) > after
    ]
    return tuple(sorted(inside, key=lambda outage: (outage.since, outage.source)))


def is_free(night: date, free_days: Iterable[str]) -> bool:
    """Return whether no files are expected: a weekday by its name, or an ISO date."""
    return not {WEEKDAYS[night.weekday()], night.isoformat()}.isdisjoint(free_days)
