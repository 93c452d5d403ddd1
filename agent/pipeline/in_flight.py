"""Files of one batch: whether they still are what was listed, and what happens where one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from agent.errors import AgentError, FileError
from agent.imaging import Crop
from agent.orders.facts.possible_fields import name_lost
from agent.store import Claim, ClaimedPlace, Store, StoreFaultError
from agent.watch import find_facts


@dataclass(slots=True)
class BatchOutcome:
    """Counts of the files of a batch, by what became of them."""

    stored: int = 0
    duplicates: int = 0
    set_aside: int = 0
    failed: int = 0
    given_back: int = 0

    @property
    def files(self) -> int:
        """Number of files in the batch."""
        return self.stored + self.duplicates + self.set_aside + self.failed + self.given_back


@dataclass(slots=True)
class InFlightFile:
    """A claimed file between the queue and its result.

    Args:
        claim: The lease on it.
        path: Where it is.
        process_data: What the source, its path and its notes say of it.
        um_per_px: Scale from the table of objectives, µm per pixel, or None.
        conflict: Why its specimen is not known, "" where it is.
        claims: The specimens that path, notes and sender name, where they differ.
        is_second_read: Whether it is cropped again with the scale of its own metadata.
        began_s: When its reading began, on the clock of `time.perf_counter`.
        crops: One per page, once it is read.
    """

    claim: Claim
    path: Path
    process_data: dict[str, str]
    um_per_px: float | None
    conflict: str = ""
    claims: tuple[ClaimedPlace, ...] = ()
    is_second_read: bool = False
    began_s: float = 0.0
    crops: list[Crop] = field(default_factory=list)


def has_changed(claim: Claim, *, if_unknown: bool) -> bool:
    """Return whether the bytes that were read may be another content than the one listed.

    Args:
        claim: What was read.
        if_unknown: Returned where the file is gone, or its share is unavailable. What was read
            whole is what was listed; what could not be used may have been cut short.
    """
    try:
        facts = find_facts(claim.folder, claim.relative)
    except OSError:
        return if_unknown
    if facts is None:
        return if_unknown
    return facts != (claim.size_bytes, claim.mtime_ns, claim.ctime_ns)


def is_as_listed(claim: Claim) -> bool:
    """Return whether the file is there and as it was listed; True while its share is silent."""
    try:
        facts = find_facts(claim.folder, claim.relative)
    except OSError:
        return True
    return facts == (claim.size_bytes, claim.mtime_ns, claim.ctime_ns)


def is_gone(claim: Claim) -> bool:
    """Return whether the file is gone while its folder is there and not empty.

    Where a link, a folder or a pipe has its name, it is gone too. An empty or absent folder is
    most often a share that is not mounted.
    """
    try:
        is_there = find_facts(claim.folder, claim.relative) is not None
        return not is_there and any(True for _ in claim.folder.iterdir())
    except OSError:
        return False


# --- handle a file that could not be read, judged or stored, by the cause of the failure ----------


log = structlog.get_logger()

UNREADABLE_RETRY_S = (10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Pause after the first, second, … time that a share did not give a file."""
CHANGED_RETRY_S = 30.0  # by then the watch has listed the change, and holds the file back


class StalledError(AgentError):
    """No file can go on for now, and no file is to blame; the message names what to check."""


class Failures:
    """Record failed files in the database, and remember how often a share refused each.

    Args:
        store: Open.
        now: Returns the time, aware UTC.
        on_fate: Called with source, relative path and what became of a file.
    """

    def __init__(
        self, store: Store, now: Callable[[], datetime], on_fate: Callable[[str, str, str], None]
    ) -> None:
        self._store, self._now, self._on_fate = store, now, on_fate
        self._refusals: dict[int, int] = {}
        self._missed: set[int] = set()
        self._unreleased: list[Claim] = []

    def record(self, file: InFlightFile, error: BaseException, outcome: BatchOutcome) -> None:
        """Record why a file could not be read or cropped."""
        claim, at = file.claim, self._now()
        if isinstance(error, FileError) and has_changed(file.claim, if_unknown=True):
            self.record_change(file, outcome)
        elif isinstance(error, FileError):
            name_lost(self._store, claim.content_id, file.claims, at=at)
            self._store.work_queue.set_aside(claim, error.code, error.message, at=at)
            log.warning(
                "file.set_aside",
                source=claim.source, file=claim.relative, code=str(error.code), reason=str(error),
            )  # fmt: skip
            outcome.set_aside += 1
            self._on_fate(claim.source, claim.relative, "set_aside")
        elif isinstance(error, OSError):
            self.record_unreadable(file, error, outcome)
        else:
            self.record_crash(file, error, outcome)

    def record_change(self, file: InFlightFile, outcome: BatchOutcome) -> None:
        """Release a file that is still being written."""
        claim, at = file.claim, self._now()
        again_at = at + timedelta(seconds=CHANGED_RETRY_S)
        self._store.work_queue.release(
            claim, at=at, retry_at=again_at, sentence="still being written"
        )
        log.info("file.changed", source=claim.source, file=claim.relative)
        outcome.given_back += 1

    def record_unreadable(self, file: InFlightFile, error: OSError, outcome: BatchOutcome) -> None:
        """Release a file that its share did not give; where it is gone for good, record that."""
        claim, at = file.claim, self._now()
        sentence = error.strerror or str(error)
        tries = self._refusals[claim.content_id] = self._refusals.get(claim.content_id, 0) + 1
        pause_s = UNREADABLE_RETRY_S[min(tries, len(UNREADABLE_RETRY_S)) - 1]
        again_at = at + timedelta(seconds=pause_s)
        gone: bool | None = False
        if is_gone(claim):
            if claim.content_id not in self._missed:
                self._missed.add(claim.content_id)
                name_lost(self._store, claim.content_id, file.claims, at=at)
            gone = self._store.work_queue.miss(claim, sentence, at=at, retry_at=again_at)
        else:
            self._store.work_queue.release(claim, at=at, retry_at=again_at, sentence=sentence)
        log.warning(
            "file.vanished" if gone else "file.unreadable",
            source=claim.source, file=claim.relative, reason=sentence,
        )  # fmt: skip
        outcome.given_back += 1

    def record_crash(self, file: InFlightFile, error: BaseException, outcome: BatchOutcome) -> None:
        """Count an attempt that failed in this program, and set when it is tried again."""
        claim = file.claim
        sentence = f"{type(error).__name__}: {error}"
        next_at = self._store.work_queue.fail(claim, sentence, at=self._now())
        log.error(
            "file.crashed",
            source=claim.source, file=claim.relative, attempts=claim.attempts,
            next_try_at=next_at, exc_info=error,
        )  # fmt: skip
        outcome.failed += 1
        self._on_fate(claim.source, claim.relative, "failed")

    def forget(self, claim: Claim) -> None:
        """Start the pauses of a file again: it was read."""
        self._refusals.pop(claim.content_id, None)

    def release(self, claims: Iterable[Claim], sentence: str | None) -> None:
        """Release claims, the attempt not counted; what the database refuses is released later."""
        at = self._now()
        unreleased = list(claims)
        while unreleased:
            try:
                self._store.work_queue.release(
                    unreleased[-1], at=at, retry_at=at, sentence=sentence
                )
            except StoreFaultError:
                self._unreleased += unreleased  # before the next batch; else the lease runs out
                return
            unreleased.pop()

    def release_remaining(self) -> None:
        """Release what the database refused to release before."""
        claims, self._unreleased = self._unreleased, []
        self.release(claims, None)
