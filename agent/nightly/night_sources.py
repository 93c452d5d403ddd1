"""Gather the files of a night that have no result, and the sources that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.nightly.outages import outages, rewind_outages, rewind_sources
from agent.nightly.reported_files import (
    build_failed,
    build_folder,
    build_twin,
    is_reported,
    is_twin,
    is_watched,
    list_last_files,
)
from agent.store import OUTAGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.nightly.outages import Outage
    from agent.nightly.snapshot import Failed, Folder, Twin
    from agent.store import MicrographView, Store


@dataclass(frozen=True, slots=True)
class NightFiles:
    """Files of the night that have no result."""

    unusable: tuple[Failed, ...]
    duplicates: tuple[Twin, ...]


def gather_files(store: Store, after: datetime, until: datetime) -> NightFiles:
    """Gather the files that failed, were set aside or came again in a night."""
    fates = (
        *store.files.iter_status("set_aside", done_after=after),
        *store.files.iter_status("failed"),  # named each night until they are read
        *store.files.iter_status("duplicate", done_after=after),
    )
    return NightFiles(
        tuple(build_failed(fate, until) for fate in fates if is_reported(fate, after, until)),
        tuple(build_twin(fate) for fate in fates if is_twin(fate, after, until)),
    )


@dataclass(frozen=True, slots=True)
class NightSources:
    """Sources that are watched or named in the night, and when they were away."""

    folders: tuple[Folder, ...]
    outages: tuple[Outage, ...]
    last_file_at: datetime | None


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
        | {twin.source for twin in files.duplicates}
    )
    past_outages = present.records.all(OUTAGE)
    watched = [
        health
        for health in rewind_sources(present.sources.list_all(), past_outages, at, is_late=is_late)
        if health.name in named or is_watched(health)
    ]
    return NightSources(
        tuple(build_folder(health, last) for health in watched),
        outages(rewind_outages(past_outages, at), watched, after, until),
        max(last.values(), default=None),
    )
