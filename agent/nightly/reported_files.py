"""Build the reported facts of files that are no micrograph, and of their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.nightly.snapshot import Failed, Folder, Twin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from agent.store import FileFate, MicrographView, SourceHealth, Store

UNUSABLE_STATES = ("set_aside", "failed")


def is_reported(fate: FileFate, after: datetime, until: datetime) -> bool:
    """Return whether a file that could not be used is named in this night."""
    # A file that is still tried again has no end yet: it is named every night until it has.
    if fate.state == "failed":
        return fate.first_seen_at <= until
    return fate.state in UNUSABLE_STATES and is_within(fate.done_at, after, until)


def is_twin(fate: FileFate, after: datetime, until: datetime) -> bool:
    """Return whether a duplicate was found in this night."""
    return fate.state == "duplicate" and is_within(fate.done_at, after, until)


def is_within(instant: datetime | None, after: datetime, until: datetime) -> bool:
    """Return whether an instant is in (after, until]."""
    return instant is not None and after < instant <= until


def build_failed(fate: FileFate, until: datetime) -> Failed:
    """Build the reported facts of a file that could not be used."""
    return Failed(
        path=fate.path,
        source=fate.source,
        at=fate.done_at or min(fate.first_seen_at, until),
        state=fate.state,
        code=fate.code or "crashed",
        sentence=fate.reason or "",
        attempts=fate.attempts,
        next_try_at=fate.next_try_at,
        sha256=fate.sha256,
    )


def build_twin(fate: FileFate) -> Twin:
    """Build the reported facts of a duplicate."""
    return Twin(
        path=fate.path,
        source=fate.source,
        at=fate.done_at or fate.first_seen_at,
        known_as=fate.duplicate_of or "",
    )


def is_watched(health: SourceHealth) -> bool:
    """Return whether a source is a watched folder."""
    # A folder that was imported once is a source too, but no night's.
    return health.last_scan_at is not None or not health.online or bool(health.mode)


def build_folder(health: SourceHealth, last: Mapping[str, datetime]) -> Folder:
    """Build the reported facts of a source."""
    return Folder(
        name=health.name,
        folder=health.folder,
        mode=health.mode,
        online=health.online,
        offline_since=health.offline_since,
        last_scan_at=health.last_scan_at,
        last_file_at=last.get(health.name),
        problem=health.problem,
    )


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
