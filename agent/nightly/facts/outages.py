"""List the outages of a night's sources, and decide which nights are free by plan.

A report of an empty night has to distinguish an unavailable source, no export, and a planned free
day.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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


def rewind_outages(past: Iterable[Record], at: datetime) -> tuple[Outage, ...]:
    """Return the recorded outages that had begun by an instant, as they were known at it.

    Args:
        past: Records of outages that are over now.
        at: Aware.
    """
    known = (
        Outage(
            record.subject,
            datetime.fromisoformat(record.facts["since"]),
            datetime.fromisoformat(record.facts["until"]),
        )
        for record in past
    )
    return tuple(
        replace(outage, until=None) if outage.until is None or outage.until > at else outage
        for outage in known
        if outage.since <= at
    )


def rewind_sources(
    sources: Iterable[SourceHealth], past: Iterable[Record], at: datetime, *, is_late: bool
) -> list[SourceHealth]:
    """Return the sources as they were at an instant.

    Args:
        sources: Their present state.
        past: Records of outages that are over now.
        at: Aware.
        is_late: Their present troubles are not those of the instant.
    """
    lasting = {
        outage.source: outage.since for outage in rewind_outages(past, at) if outage.until is None
    }
    return [_rewind_source(source, lasting.get(source.name), at, is_late) for source in sources]


def _rewind_source(
    source: SourceHealth, since: datetime | None, at: datetime, is_late: bool
) -> SourceHealth:
    scanned = source.last_scan_at and min(source.last_scan_at, at)
    then = replace(source, last_scan_at=scanned, problem="" if is_late else source.problem)
    if since is not None:
        return replace(then, online=False, offline_since=since, last_scan_at=min(since, at))
    if not source.online and source.offline_since is not None and source.offline_since > at:
        return replace(then, online=True, offline_since=None)
    return then


def outages(
    past: Iterable[Outage], sources: Iterable[SourceHealth], after: datetime, until: datetime
) -> tuple[Outage, ...]:
    """Return the outages that reached into (after, until], the first one first.

    Args:
        past: Recorded ones; one that lasted then is that of its source.
        sources: Their state; one that is unavailable has an outage that lasts.
        after: Begin, not included, aware.
        until: End, included, aware.
    """
    known = [outage for outage in past if outage.until is not None]
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
