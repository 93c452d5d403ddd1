"""Gather the files of a night that have no result, and the sources that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.nightly.facts.outages import outages, rewind_outages, rewind_sources
from agent.store import OUTAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from agent.nightly.facts.outages import Outage
    from agent.store import FileFate, MicrographView, SourceHealth, Store


UNUSABLE_STATES = ("set_aside", "failed")


@dataclass(frozen=True, slots=True)
class NightFiles:
    """Files of the night that have no result."""

    unusable: tuple[FileFate, ...]
    duplicates: tuple[FileFate, ...]


def gather_files(store: Store, after: datetime, until: datetime) -> NightFiles:
    """Gather the files that failed, were set aside or came again in a night."""
    fates = (
        *store.files.iter_status("set_aside", done_after=after),
        *store.files.iter_status("failed"),  # named each night until they are read
        *store.files.iter_status("duplicate", done_after=after),
    )
    return NightFiles(
        tuple(fate for fate in fates if is_reported(fate, after, until)),
        tuple(
            fate
            for fate in fates
            if fate.state == "duplicate" and is_within(fate.done_at, after, until)
        ),
    )


def is_reported(fate: FileFate, after: datetime, until: datetime) -> bool:
    """Return whether a file that could not be used is named in this night."""
    # A file that is still tried again has no end yet: it is named every night until it has.
    if fate.state == "failed":
        return fate.first_seen_at <= until
    return fate.state in UNUSABLE_STATES and is_within(fate.done_at, after, until)


def is_within(instant: datetime | None, after: datetime, until: datetime) -> bool:
    """Return whether an instant is in (after, until]."""
    return instant is not None and after < instant <= until


@dataclass(frozen=True, slots=True)
class NightSources:
    """Sources that are watched or named in the night, and when they were away."""

    sources: tuple[SourceHealth, ...]
    outages: tuple[Outage, ...]
    last_files: Mapping[str, datetime]


def gather_sources(
    store: Store,
    present: Store,
    named_by: tuple[Sequence[MicrographView], NightFiles],
    period: tuple[datetime, datetime],
    *,
    at: datetime,
    is_late: bool,
) -> NightSources:
    """Gather the sources of a night.

    Args:
        store: As of the night's end.
        present: As it is now; it alone knows outages that ended later.
        named_by: The micrographs and the files of the night.
        period: Begin and end of the night.
        at: The instant that the facts are of.
        is_late: The troubles of sources are of another time.
    """
    (reported, files), (after, until) = named_by, period
    last = list_last_files(store, until, reported)
    named = (
        {micrograph.source for micrograph in reported}
        | {failed.source for failed in files.unusable}
        | {duplicate.source for duplicate in files.duplicates}
    )
    past_outages = present.records.all(OUTAGE)
    watched = [
        health
        for health in rewind_sources(present.sources.list_all(), past_outages, at, is_late=is_late)
        if health.name in named or is_watched(health)
    ]
    return NightSources(
        tuple(watched),
        outages(rewind_outages(past_outages, at), watched, after, until),
        last,
    )


def is_watched(health: SourceHealth) -> bool:
    """Return whether a source is a watched folder."""
    # A folder that was imported once is a source too, but no night's.
    return health.last_scan_at is not None or not health.online or bool(health.mode)


def list_last_files(
    store: Store, until: datetime, reported: Iterable[MicrographView]
) -> dict[str, datetime]:
    """Return when each source's newest micrograph was done, up to the night's end."""
    last: dict[str, datetime] = {}
    for micrograph in reported:
        last[micrograph.source] = max(
            micrograph.result.done_at, last.get(micrograph.source, micrograph.result.done_at)
        )
    # The report of an empty night names the last file: only then are all files queried.
    return last or store.files.find_last_done(until)
