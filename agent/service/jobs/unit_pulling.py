"""Pull work units while this PC is idle, in a child of low priority; pause, resume and end jobs."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import structlog

from agent.archive import Archive
from agent.bundle_registry import has_bundle
from agent.retrain import Again, UnitWorker, build_judge
from agent.service.composition import build_policy, collect_thresholds, load_bundle, open_store
from agent.service.data_folder import clock
from agent.service.database_clock import DatabaseClock
from agent.service.idleness import IdleCheck
from agent.service.jobs.child_process import run_in_child
from agent.store import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from agent.retrain import Role
    from agent.retrain.unit_worker import Judge
    from agent.settings import Settings
    from agent.store import Store, WorkJob

log = structlog.get_logger()

PULL_EVERY_S = 30.0
LOOK_EVERY_S = 2.0


def request_job(
    store: Store,
    *,
    bundle: str,
    role: Role,
    days: int | None,
    by: str,
    now: Callable[[], datetime],
) -> WorkJob:
    """Return the unfinished job of a bundle, role and number of days, or make one."""
    at = now()
    since = at - timedelta(days=days) if days is not None else None
    return store.work_jobs.open(bundle, role, days=days, since=since, by=by, at=at)


def build_worker(
    settings: Settings, store: Store, *, may_work: Callable[[], bool] = lambda: True
) -> UnitWorker:
    """Return a worker of the lab's units; it loads each bundle once.

    Args:
        settings: Of the lab.
        store: Open.
        may_work: Asked before each batch; on False the unit is released.
    """
    archive = Archive.open(settings.store)

    @lru_cache(maxsize=1)  # a bundle is hundreds of MB
    def open_judge(name: str) -> Judge:
        classifier = load_bundle(settings, name)
        return build_judge(
            archive,
            classifier,
            policy=build_policy(settings, classifier),
            thresholds=collect_thresholds(settings),
        )

    return UnitWorker(
        store,
        has_bundle=partial(has_bundle, settings.store.folder),
        open_judge=open_judge,
        has_crop=archive.has_crop,
        now=DatabaseClock(store, now=clock),
        may_work=may_work,
        unit=settings.work.unit,
    )


def pull_units(settings: Settings) -> Iterator[str]:
    """Judge units while this PC is idle: the work of the child."""
    with open_store(settings) as store:
        worker = build_worker(settings, store, may_work=IdleCheck(settings, store, now=clock))
        for end in worker.pull():
            yield str(end or "")
        end_done_jobs(store, now=clock)


def end_done_jobs(store: Store, *, now: Callable[[], datetime]) -> None:
    """End the jobs whose units are all at their end, and record each in the audit log."""
    for job in store.work_jobs.list_unfinished():
        if not store.work_jobs.close_when_done(job.id, at=now()):
            continue
        again = Again.from_progress(store.work_jobs.get_progress(job.id, at=now()))
        number = store.jobs.begin(job.role, at=job.created_at, facts={"by": job.by})
        facts = {"by": job.by, **describe_end(again, job.bundle, job.days)}
        store.jobs.end(number, again.state, at=now(), facts=facts)
        note_end(store, again, job, by=job.by, now=now)


def note_end(
    store: Store, again: Again, job: WorkJob, *, by: str, now: Callable[[], datetime]
) -> None:
    """Record the end of a job in the audit log."""
    facts = describe_end(again, job.bundle, job.days)
    store.audit_log.add(
        at=now(), actor=by, act=f"model.{job.role}ed", subject=job.bundle, facts=facts
    )


def describe_end(again: Again, bundle: str, days: int | None) -> dict[str, Any]:
    """Return the facts that are stored of a job at its end."""
    flips = sum(again.flips.values())
    return {"bundle": bundle, "days": days, "judged": again.judged, "flips": flips}


class UnitPuller:
    """Start a child that pulls units, whenever there are some and this PC is idle.

    Args:
        settings: Of the lab.
        store: Open.
        now: Returns the time, aware UTC.
        should_stop: Asked every few seconds; on True the child ends, and its unit is released
            when its lease ends.
        idle: Whether this PC is idle.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        should_stop: Callable[[], bool],
        idle: IdleCheck | None = None,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._should_stop = should_stop
        self._idle = idle or IdleCheck(settings, store, now=now)

    def tend(self) -> str:
        """Pull units until there are none, or this PC is no longer idle."""
        if not self._settings.work.pull or not self.has_work() or self._idle.find_reason():
            return ""
        began_s, units = time.monotonic(), 0
        with closing(
            run_in_child(pull_units, self._settings, look_every_s=LOOK_EVERY_S)
        ) as messages:
            for news in messages:
                if self._should_stop():
                    break
                units += news == "done"
        if units:
            log.info("units.pulled", units=units, seconds=round(time.monotonic() - began_s))
        return ""

    def has_work(self) -> bool:
        """Return whether there is an open job whose bundle is here, with units for this PC."""
        jobs = [
            job
            for job in self._store.work_jobs.list_unfinished()
            if job.state is JobState.OPEN and has_bundle(self._settings.store.folder, job.bundle)
        ]
        if any(not job.is_divided for job in jobs):
            return True
        end_done_jobs(self._store, now=self._now)
        numbers = [job.id for job in jobs]
        worker = build_worker(self._settings, self._store)
        return bool(numbers) and self._store.work_units.is_any_ahead(
            numbers, worker.find_homes(numbers)
        )
