"""Write the ends of the audit log outside the database: to the log and the file of [trail] anchor.

A file on a share that is unavailable gets the end of the next quarter of an hour: each includes all
acts before it.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.evidence import timestamps
from agent.evidence.anchors import Anchor, append
from agent.site_time import night_of

if TYPE_CHECKING:
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

ANCHOR_EVERY_S = 900.0
ANCHOR_FILE = "anchor_file"
"""Kind of the records of the file that a PC wrote its anchors into."""
SEALS_AT_ONCE = 10
"""Each covers up to 2000 results."""


def seal_results(store: Store, *, at: datetime) -> None:
    """Seal what was filed since the last time into the audit log, before its end is kept."""
    for _ in range(SEALS_AT_ONCE):
        if not store.results.seal(at=at):
            break


class Anchoring:
    """Write the end of the audit log wherever it is kept, when there is a new one.

    Args:
        store: Holds the audit log.
        file: The file of [trail] anchor, "" for none.
    """

    def __init__(self, store: Store, file: str) -> None:
        self._store, self._file = store, file
        self._written = 0

    def write(self, *, at: datetime) -> str:
        """Write it; return a sentence where the file could not be written, "" where all is well.

        What was filed since the last time is sealed first, so that the end holds it.
        """
        seal_results(self._store, at=at)
        head = self._store.audit_log.get_head()
        if head.number == self._written:
            return ""
        anchor = Anchor.of(head, at=at)
        log.info("trail.anchored", **anchor.to_json())
        if self._file:
            try:
                self._append(Path(self._file), anchor)
            except OSError as error:
                return (
                    f"[trail] anchor: {self._file} cannot be written ({error.strerror or error}); "
                    "it is tried again by itself."
                )
        self._written = head.number
        return ""

    def _append(self, file: Path, anchor: Anchor) -> None:
        """Append to the file; one that this PC wrote and that is gone is not made again.

        Where a share is not mounted, its mount point is a folder of the system disk.
        """
        facts = {"file": str(file)}
        if self._store.records.has_state(ANCHOR_FILE, facts) and not file.exists():
            raise FileNotFoundError(
                errno.ENOENT,
                "it is gone. Mount its share, or where it was removed make an empty file",
                str(file),
            )
        append(file, anchor)
        self._store.records.add_state(ANCHOR_FILE, by="agent", at=anchor.at, facts=facts)


def stamp_when_due(settings: Settings, store: Store, *, at: datetime) -> str | None:
    """Time-stamp the end of the audit log, once a night; a fault is logged and tried again.

    It runs next to the anchoring, so that an authority that hangs delays nothing.

    Args:
        settings: Of the lab.
        store: Holds the audit log.
        at: Now, aware UTC.

    Returns:
        A sentence where there is no time stamp, "" where one was made, None where none is due.
    """
    url, folder = settings.trail.timestamp_url, settings.store.folder / timestamps.FOLDER
    if not url:
        return None
    ends, zone = settings.night.at, settings.site.time_zone
    last = timestamps.find_newest_at(folder)
    if last and night_of(last, ends, zone) >= night_of(at, ends, zone):
        return None
    head = store.audit_log.get_head()
    if not head.number:
        return None
    certificates = settings.trail.timestamp_certificates
    try:
        file = timestamps.request_timestamp(
            url, Anchor.of(head, at=at), folder, Path(certificates) if certificates else None
        )
        facts = {"number": head.number, "sha256": timestamps.hash_file(file)}
    except (timestamps.TimestampError, OSError) as fault:
        log.warning("timestamp.failed", reason=str(fault))
        return f"[trail] timestamp_url: {fault}"
    store.audit_log.add(
        at=at, actor="agent", act=timestamps.STAMPED, subject=file.name, facts=facts
    )
    log.info("timestamp.made", file=str(file), number=head.number)
    return ""
