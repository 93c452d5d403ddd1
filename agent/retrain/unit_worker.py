"""Judge work units: claim one, answer its micrographs in batches, and renew its lease in a thread.

Every agent of a site pulls from the same units. A worker that was paused, killed or cut off from
the database for longer than its lease loses the unit, and what it writes later is refused.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from agent.errors import AgentError
from agent.objects import ObjectsUnavailable
from agent.store import JobState, StoreFault
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from datetime import datetime

    from agent.store import MicrographView, Store, UnitAnswer, UnitClaim, WorkJob

    Judge = Callable[[Sequence[MicrographView]], list[UnitAnswer]]

log = structlog.get_logger()
T = TypeVar("T")

TOGETHER = 8
"""Micrographs per batch, which is one transaction."""
LEASE_S = 90.0
"""Longer than a batch on a slow PC, since a thread renews it; shorter than an operator waits."""
UNIT = 500
AWAY_S = 20.0
"""Pause after the object storage did not answer."""
AGAIN_S = (0.5, 1.0, 2.0, 5.0)
"""Pauses after the database did not answer; the last one repeats."""


class UnitEnd(StrEnum):
    """How the work on a unit ended."""

    DONE = "done"
    RELEASED = "released"
    LOST = "lost"
    FAILED = "failed"


class LeaseThread(threading.Thread):
    """Thread that renews the lease of a unit until it is stopped.

    Args:
        store: Open.
        claim: The unit.
        now: Returns the time by the clock of the database, aware UTC.
        lease_s: Length of the lease in seconds; it is renewed three times in it.
    """

    def __init__(
        self, store: Store, claim: UnitClaim, *, now: Callable[[], datetime], lease_s: float
    ) -> None:
        super().__init__(name=f"lease {claim.unit_id}", daemon=True)
        self._store, self._claim, self._now, self._lease_s = store, claim, now, lease_s
        self._stopping, self._lost = threading.Event(), threading.Event()

    @property
    def is_lost(self) -> bool:
        """Whether another worker has the unit, or its job was cancelled."""
        return self._lost.is_set()

    def run(self) -> None:
        """Renew the lease; an unavailable database costs a renewal, not the unit."""
        while not self._stopping.wait(self._lease_s / 3):
            try:
                is_valid = self._store.work_units.renew(
                    self._claim, at=self._now(), lease_s=self._lease_s
                )
            except (StoreFault, AgentError) as fault:
                log.warning("lease.unrenewed", unit=self._claim.unit_id, reason=str(fault))
                continue
            if not is_valid:
                self._lost.set()
                return

    def stop(self) -> None:
        """Request that it stops."""
        self._stopping.set()


@dataclass(slots=True)
class UnitWorker:
    """A worker that pulls units until there are none for it.

    Args:
        store: Open.
        has_bundle: Returns whether this PC has a bundle of a name.
        open_judge: Returns what judges with a bundle; called before a unit is claimed, and each
            time, so it keeps what it loaded.
        has_crop: Returns whether the archive here has the crop of a file's hash and page.
        now: Returns the time by the clock of the database, aware UTC.
        may_work: Asked before each batch; on False the unit is released.
        unit: Micrographs of a unit, where this worker divides a job.
        lease_s: Length of a lease in seconds.
        pause: Waits for some seconds.
    """

    store: Store
    has_bundle: Callable[[str], bool]
    open_judge: Callable[[str], Judge]
    has_crop: Callable[[str, int], bool]
    now: Callable[[], datetime]
    may_work: Callable[[], bool] = lambda: True
    unit: int = UNIT
    lease_s: float = LEASE_S
    pause: Callable[[float], None] = time.sleep
    homes: tuple[int | None, ...] = field(default=(), init=False)
    """Other agents whose archive this PC can read, as of the last claim."""

    def pull(self, job_ids: Sequence[int] | None = None) -> Iterator[UnitEnd | None]:
        """Judge units until none is left for this worker, or it may work no longer.

        Args:
            job_ids: The jobs; None: every open one.

        Yields:
            None after each batch, and how each unit ended.
        """
        while self.may_work():
            jobs = self._patiently(lambda: self._list_jobs(job_ids))
            claim = next(filter(None, map(self._claim, jobs)), None)
            if claim is None:
                return
            yield (yield from self.judge(claim))

    def judge(self, claim: UnitClaim) -> Generator[None, None, UnitEnd]:
        """Judge one unit; yield after each batch and return how it ended."""
        lease = LeaseThread(self.store, claim, now=self.now, lease_s=self.lease_s)
        lease.start()
        is_ended = False
        try:
            end = yield from self._judge_batches(claim, lease)
            is_ended = True
        except (StoreFault, ObjectsUnavailable) as fault:
            log.warning("unit.released", unit=claim.unit_id, reason=str(fault))
            end = UnitEnd.RELEASED
            if isinstance(fault, ObjectsUnavailable):
                self.pause(AWAY_S)
        except Exception as error:  # noqa: BLE001 - uncounted, a unit that crashes is tried for ever
            end, is_ended = self._fail(claim, error), True
        finally:
            lease.stop()
            if not is_ended:
                self._release(claim)
        log.info("unit.ended", unit=claim.unit_id, attempt=claim.attempt, end=str(end))
        return end

    def find_homes(self, job_ids: Sequence[int]) -> tuple[int | None, ...]:
        """Return the other agents whose archive this PC can read."""
        samples = self.store.work_units.list_waiting_homes(job_ids)
        is_one_folder = self.store.kind == "sqlite"  # the database is in the data folder of all
        self.homes = tuple(
            sample.agent_id
            for sample in samples
            if is_one_folder or (sample.sha256 and self.has_crop(sample.sha256, sample.page))
        )
        return self.homes

    def _judge_batches(
        self, claim: UnitClaim, lease: LeaseThread
    ) -> Generator[None, None, UnitEnd]:
        judge = self.open_judge(claim.bundle)
        for start in range(0, len(claim.left), TOGETHER):
            if lease.is_lost:
                return UnitEnd.LOST
            if not self.may_work():
                self._release(claim)
                return UnitEnd.RELEASED
            numbers = claim.left[start : start + TOGETHER]
            views = self._patiently(partial(self.store.work_units.list_views, numbers))
            state = self._patiently(partial(self._record, claim, judge(views)))
            if state is None:
                return UnitEnd.LOST
            yield None
            if state != JobState.OPEN:
                self._release(claim)
                return UnitEnd.RELEASED
        is_valid = self._patiently(lambda: self.store.work_units.finish(claim, at=self.now()))
        return UnitEnd.DONE if is_valid else UnitEnd.LOST

    def _record(self, claim: UnitClaim, answers: Sequence[UnitAnswer]) -> JobState | None:
        return self.store.work_units.record(claim, answers, at=self.now(), lease_s=self.lease_s)

    def _list_jobs(self, job_ids: Sequence[int] | None) -> list[WorkJob]:
        """Return the open jobs that this worker can do, each with its next units made."""
        jobs = [
            job
            for job in self.store.work_jobs.list_unfinished()
            if job.state is JobState.OPEN
            and (job_ids is None or job.id in job_ids)
            and self.has_bundle(job.bundle)
        ]
        for job in jobs:
            if not job.is_divided:
                self.store.work_jobs.divide(job.id, unit=self.unit, at=self.now())
        return jobs

    def _claim(self, job: WorkJob) -> UnitClaim | None:
        """Claim a unit of a job; those whose crops were archived here come first."""
        if not self._patiently(lambda: self._is_any_ahead(job)):
            return None
        self.open_judge(job.bundle)  # a bundle that cannot be loaded costs no unit an attempt
        return self._patiently(
            lambda: self.store.work_units.claim(
                [job.id], at=self.now(), lease_s=self.lease_s, homes=self.homes
            )
        )

    def _is_any_ahead(self, job: WorkJob) -> bool:
        return self.store.work_units.is_any_ahead([job.id], self.find_homes([job.id]))

    def _fail(self, claim: UnitClaim, error: Exception) -> UnitEnd:
        reason = str(error) if isinstance(error, AgentError | ModelError) else ""
        reason = reason or f"{type(error).__name__}: {error}"
        log.warning("unit.failed", unit=claim.unit_id, attempt=claim.attempt, reason=reason)
        with suppress(StoreFault):  # its lease ends by itself
            self.store.work_units.fail(claim, reason, at=self.now())
        return UnitEnd.FAILED

    def _release(self, claim: UnitClaim) -> None:
        with suppress(StoreFault):  # its lease ends by itself
            self.store.work_units.release(claim)

    def _patiently(self, act: Callable[[], T]) -> T:
        """Return what an act returns; wait and repeat it while the database does not answer."""
        failures = 0
        while True:
            try:
                return act()
            except StoreFault as fault:
                if not failures:
                    log.warning("store.unreachable", reason=str(fault))
                if not self.may_work():
                    raise
                self.pause(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
                failures += 1
