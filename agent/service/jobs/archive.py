"""Verify the archive a little at a time, and send what is new to the lab's object storage."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from agent.backup import maintenance
from agent.backup.maintenance import compute_statements_start
from agent.errors import StoreError
from agent.objects import ObjectsUnavailableError, PruneRecords, open_mirror
from agent.store import StoreFaultError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.archive import Archive
    from agent.service.health.problems import Problems
    from agent.settings import Settings
    from agent.store import Store


log = structlog.get_logger()

JOB = "verify"
EVERY_S = 900.0
SLICE_S = 20.0  # of reading in each quarter of an hour: a fiftieth of a disk's time
MOST = 100  # faults that are kept by name; more of them are one fault of the disk


class Verifier(threading.Thread):
    """The thread that verifies the archive.

    Args:
        store: Names what is archived, and stores the progress.
        archive: Holds it.
        now: Returns the time, aware UTC.
        problems: Where losses are reported.
    """

    def __init__(
        self, store: Store, archive: Archive, *, now: Callable[[], datetime], problems: Problems
    ) -> None:
        super().__init__(name="verify", daemon=True)
        self._store, self._archive, self._now, self._problems = store, archive, now, problems
        self._stopping = threading.Event()

    def run(self) -> None:
        """Verify a part, rest, and verify the next, until stopped."""
        self._say_again()
        while not self._stopping.wait(EVERY_S):
            self.look()

    def stop(self) -> None:
        """Request that it stops, after the current micrograph."""
        self._stopping.set()

    def look(self, *, slice_s: float = SLICE_S) -> None:
        """Verify one part; a loss is reported until a whole round does not find it any more."""
        ends_s = time.monotonic() + slice_s
        try:
            round_ = _Round.of(self._store.jobs.find_last_facts(JOB))
            job = self._store.jobs.begin(JOB, at=self._now())
            try:
                after, faults = maintenance.verify_some(
                    self._store,
                    self._archive,
                    after=round_.after,
                    is_enough=lambda: self._stopping.is_set() or time.monotonic() > ends_s,
                )
            except ObjectsUnavailableError:  # the same part is verified when the storage answers
                self._store.jobs.end(job, "unavailable", at=self._now(), facts=asdict(round_))
                return
            for fault in faults:
                if fault not in round_.all:
                    log.error("archive.damaged", fault=fault)
                    at = self._now()
                    self._store.audit_log.add(
                        at=at, actor="agent", act="pixels.damaged", subject=fault
                    )
            round_ = round_.and_then(after, faults)
            outcome = "faults" if round_.all else "sound"
            self._store.jobs.end(job, outcome, at=self._now(), facts=asdict(round_))
        except (StoreFaultError, StoreError):
            return  # others say so; the next part is read when the store is back
        self._say(round_)

    def _say_again(self) -> None:
        try:
            self._say(_Round.of(self._store.jobs.find_last_facts(JOB)))
        except (StoreFaultError, StoreError):
            return

    def _say(self, round_: _Round) -> None:
        more = len(round_.all) - 1
        and_more = f" (and {more} more; agent verify names them all)" if more > 0 else ""
        self._problems.say("archive", f"archive: {round_.all[0]}{and_more}" if round_.all else "")


@dataclass(frozen=True, slots=True)
class _Round:
    """Progress of a round, its faults, and those of the whole round before."""

    after: int = 0
    found: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> _Round:
        return cls(facts.get("after", 0), facts.get("found", []), facts.get("before", []))

    @property
    def all(self) -> list[str]:
        return list(dict.fromkeys([*self.found, *self.before]))

    def and_then(self, after: int, faults: list[str]) -> _Round:
        now = [*self.found, *faults][:MOST]
        return _Round(after, now, self.before) if after else _Round(0, [], now)


OBJECTS_EVERY_S = 60.0
GB = 10**9


class ObjectKeeper:
    """Periodic job: sends, fetches and deletes what is due, and keeps the cache to its size.

    Args:
        settings: Of the lab.
        store: Names what other PCs pruned.
        now: Clock, aware UTC.
        should_stop: True ends a round after the current file.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._cache_bytes = round(settings.store.objects_cache_gb * GB)
        self._should_stop = should_stop
        self._mirror = open_mirror(settings.store)
        self._is_first = True

    def tend(self) -> str:
        """Do one round; return a problem for the operator, "" for none."""
        if self._mirror is None:
            return ""
        try:
            if self._is_first:  # clocks of shares may hide a change: compare all once per start
                self._mirror.index.forget_folders()
                self._is_first = False
            done = self._mirror.run_round(
                cache_bytes=self._cache_bytes,
                is_enough=self._should_stop,
                records=build_records(self._settings, self._store, now=self._now()),
            )
        except ObjectsUnavailableError as error:
            return (
                f"object storage: {error}. New files stay on this disk and are sent when it "
                "answers again."
            )
        if done.sent or done.fetched or done.removed or done.pruned:
            log.info(
                "objects.sent",
                files=done.sent,
                size_bytes=done.size_bytes,
                fetched=done.fetched,
                removed=done.removed,
                pruned=done.pruned,
            )
        return ""


def build_records(settings: Settings, store: Store, *, now: datetime) -> PruneRecords:
    """Return what the database knows of pruned pixels.

    Args:
        settings: Of the lab.
        store: Its database.
        now: Aware UTC.
    """
    since = compute_statements_start(settings.retention.statements_years, now=now)
    return PruneRecords(store.retention, since)
