"""Requests to judge archived micrographs with another bundle, with their progress over all agents.

A job is divided into units (`work_units`), and any agent of the site does them. There is no other
book of what is done: the results themselves are unique per micrograph, bundle and recipe.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, update
from sqlmodel import col, func, select

from agent.errors import WrongUse
from agent.store import audit_log, work_division
from agent.store.engine import reading, writing
from agent.store.file_states import AT_ONCE
from agent.store.repository import Repository
from agent.store.tables import AgentRow, WorkJobRow, WorkUnitRow
from agent.store.work_division import UnitState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.sources import AgentIdentity

RECENT = timedelta(minutes=15)
"""The rate of a job is that of the units which ended within this time."""
SHOWN_UNITS = 20


class JobState(StrEnum):
    """State of a job; `open` ones are worked on, `paused` ones wait for a resume."""

    OPEN = "open"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class WorkJob:
    """A request to judge archived micrographs with a bundle.

    Args:
        id: Its number.
        bundle: Name of the bundle.
        role: "reprocess" or "shadow", of its results.
        days: How many days back; None: everything.
        since: Only watched micrographs stored after it, aware UTC; None: everything.
        state: As in `JobState`.
        by: Who requested it.
        acted_by: Who paused, resumed or cancelled it last, "" for no one.
        created_at: Aware UTC.
        ended_at: Aware UTC, or None while it is not at its end.
        is_divided: All of its units exist.
        known: Micrographs that the bundle had answered before.
        total: Micrographs in its units.
    """

    id: int
    bundle: str
    role: str
    days: int | None
    since: datetime | None
    state: JobState
    by: str
    acted_by: str
    created_at: datetime
    ended_at: datetime | None
    is_divided: bool
    known: int
    total: int


@dataclass(frozen=True, slots=True)
class UnitFault:
    """A unit that failed or was set aside: its source, its micrographs, and why."""

    unit_id: int
    source_id: int
    n: int
    state: str
    failures: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkProgress:
    """How far a job is.

    Args:
        job: The job.
        done: Finished micrographs of its units.
        judged: Those with a new answer.
        known: Those the bundle had answered before.
        lost: Those whose crop is no longer in the archive.
        unreadable: Those whose crop cannot be read.
        flagged: Those that are unusual to the bundle.
        flips: Old code → new code → number.
        units: State of the units → number.
        set_aside: Micrographs in units that were set aside.
        rate_per_s: Micrographs per second over the last minutes; None where unknown.
        agents: Names of the agents that work on it now.
        waits_for: Names of the agents that hold the crops of waiting units.
        faults: Units with a reason, those set aside first.
    """

    job: WorkJob
    done: int = 0
    judged: int = 0
    known: int = 0
    lost: int = 0
    unreadable: int = 0
    flagged: int = 0
    flips: Mapping[tuple[str, str], int] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    set_aside: int = 0
    rate_per_s: float | None = None
    agents: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    faults: tuple[UnitFault, ...] = ()

    @property
    def left_s(self) -> float | None:
        """Estimated seconds until it is done; None where unknown or not running."""
        if not self.rate_per_s or self.job.state != JobState.OPEN:
            return None
        return max(self.job.total - self.done - self.set_aside, 0) / self.rate_per_s


class WorkJobs(Repository):
    """Repository of jobs of work units."""

    def open(
        self,
        bundle: str,
        role: str,
        *,
        days: int | None,
        since: datetime | None,
        by: str,
        at: datetime,
    ) -> WorkJob:
        """Return the unfinished job of this bundle, role and number of days, or make one.

        A paused one is resumed.
        """
        with writing(self._engine) as session:
            query = select(WorkJobRow).where(
                WorkJobRow.site_id == self._whose.site_id,
                col(WorkJobRow.state).in_([JobState.OPEN, JobState.PAUSED]),
                WorkJobRow.bundle == bundle,
                WorkJobRow.role == role,
            )
            row = next((row for row in session.exec(query) if row.days == days), None)
            if row is None:
                row = WorkJobRow(
                    site_id=self._whose.site_id, bundle=bundle, role=role, days=days, since=since,
                    state=JobState.OPEN, by=by, created_at=at,
                )  # fmt: skip
                session.add(row)
                session.flush()
                self._note(session, row, "work.requested", by=by, at=at)
            elif row.state == JobState.PAUSED:
                row.state, row.acted_by = JobState.OPEN, by
                session.add(row)
                self._note(session, row, "work.resumed", by=by, at=at)
            return _to_job(row)

    def find(self, job_id: int) -> WorkJob | None:
        """Return a job by its number, or None."""
        with reading(self._engine) as session:
            row = _find(session, self._whose, job_id)
            return _to_job(row) if row else None

    def list_unfinished(self) -> list[WorkJob]:
        """Return the jobs that are open or paused, oldest first."""
        with reading(self._engine) as session:
            query = (
                select(WorkJobRow)
                .where(
                    WorkJobRow.site_id == self._whose.site_id,
                    col(WorkJobRow.state).in_([JobState.OPEN, JobState.PAUSED]),
                )
                .order_by(col(WorkJobRow.id))
            )
            return [_to_job(row) for row in session.exec(query)]

    def divide(self, job_id: int, *, unit: int, at: datetime) -> bool:
        """Make the next units of a job; return whether more are to come.

        Args:
            job_id: Number of the job.
            unit: Micrographs of a unit.
            at: Now.
        """
        with writing(self._engine) as session:
            row = _find(session, self._whose, job_id, lock=True)
            if row is None or row.is_divided or row.ended_at is not None:
                return False
            return work_division.divide(session, self._whose, row, unit=unit, at=at)

    def pause(self, job_id: int, *, by: str, at: datetime) -> bool:
        """Pause a job: its workers release their units after the current batch."""
        return self._act(job_id, (JobState.OPEN,), JobState.PAUSED, "work.paused", by=by, at=at)

    def resume(self, job_id: int, *, by: str, at: datetime) -> bool:
        """Resume a job, and queue its units again that were set aside."""
        with writing(self._engine) as session:
            row = _find(session, self._whose, job_id, lock=True)
            if row is None or row.state == JobState.CANCELLED:
                return False
            again = session.execute(
                update(WorkUnitRow)
                .where(
                    col(WorkUnitRow.site_id) == self._whose.site_id,
                    col(WorkUnitRow.job_id) == job_id,
                    col(WorkUnitRow.state) == UnitState.SET_ASIDE,
                )
                .values(state=UnitState.WAITING, due_at=AT_ONCE, failures=0, ended_at=None)
            )
            queued: int = getattr(again, "rowcount", 0)
            if row.state != JobState.PAUSED and not queued:
                return False
            row.state, row.acted_by, row.ended_at = JobState.OPEN, by, None
            session.add(row)
            self._note(session, row, "work.resumed", by=by, at=at)
            return True

    def cancel(self, job_id: int, *, by: str, at: datetime) -> bool:
        """Cancel a job: answers that are stored stay, what is in work counts no more."""
        with writing(self._engine) as session:
            row = _find(session, self._whose, job_id, lock=True)
            if row is None or row.state not in (JobState.OPEN, JobState.PAUSED):
                return False
            _delete_units(session, self._whose, row, at)
            row.state, row.acted_by, row.ended_at = JobState.CANCELLED, by, at
            session.add(row)
            self._note(session, row, "work.cancelled", by=by, at=at)
            return True

    def close_when_done(self, job_id: int, *, at: datetime) -> bool:
        """End a job whose units are all at their end; True for the one caller that ended it."""
        with writing(self._engine) as session:
            row = _find(session, self._whose, job_id, lock=True)
            if row is None or row.state != JobState.OPEN or not row.is_divided:
                return False
            unfinished = select(WorkUnitRow.id).where(
                WorkUnitRow.site_id == self._whose.site_id,
                WorkUnitRow.job_id == job_id,
                col(WorkUnitRow.state).in_([UnitState.WAITING, UnitState.WORKING]),
            )
            if session.exec(unfinished.limit(1)).first() is not None:
                return False
            _delete_units(session, self._whose, row, at)
            row.state, row.ended_at = JobState.DONE, at
            session.add(row)
            return True

    def list_progress(self, *, at: datetime, limit: int = 20) -> list[WorkProgress]:
        """Return how far the newest jobs are, newest first."""
        with reading(self._engine) as session:
            query = (
                select(WorkJobRow)
                .where(WorkJobRow.site_id == self._whose.site_id)
                .order_by(col(WorkJobRow.id).desc())
                .limit(limit)
            )
            return [_measure(session, self._whose, row, at) for row in session.exec(query).all()]

    def get_progress(self, job_id: int, *, at: datetime) -> WorkProgress:
        """Return how far a job is. Raises `WrongUse` where there is none of this number."""
        with reading(self._engine) as session:
            row = _find(session, self._whose, job_id)
            if row is None:
                raise WrongUse("There is no such job of work units. See agent reprocess --list.")
            return _measure(session, self._whose, row, at)

    def _act(
        self,
        job_id: int,
        before: tuple[JobState, ...],
        after: JobState,
        act: str,
        *,
        by: str,
        at: datetime,
    ) -> bool:
        with writing(self._engine) as session:
            row = _find(session, self._whose, job_id, lock=True)
            if row is None or row.state not in before:
                return False
            row.state, row.acted_by = after, by
            session.add(row)
            self._note(session, row, act, by=by, at=at)
            return True

    def _note(self, session: Session, row: WorkJobRow, act: str, *, by: str, at: datetime) -> None:
        facts = {"job": row.id, "role": row.role, "days": row.days}
        audit_log.append(
            session, self._whose.site_id, at=at, actor=by, act=act, subject=row.bundle, facts=facts
        )


def _find(
    session: Session, whose: AgentIdentity, job_id: int, *, lock: bool = False
) -> WorkJobRow | None:
    query = select(WorkJobRow).where(WorkJobRow.site_id == whose.site_id, WorkJobRow.id == job_id)
    return session.exec(query.with_for_update() if lock else query).first()


def _to_job(row: WorkJobRow) -> WorkJob:
    return WorkJob(
        id=row.id or 0,
        bundle=row.bundle,
        role=row.role,
        days=row.days,
        since=row.since,
        state=JobState(row.state),
        by=row.by,
        acted_by=row.acted_by,
        created_at=row.created_at,
        ended_at=row.ended_at,
        is_divided=row.is_divided,
        known=row.known,
        total=row.total,
    )


# --- progress -------------------------------------------------------------------------------------

COUNTS = ("judged", "known", "lost", "unreadable", "flagged")
FLIPS = "flips"


def _delete_units(session: Session, whose: AgentIdentity, job: WorkJobRow, at: datetime) -> None:
    """Keep the counts of a job's units and delete them, except those that were set aside.

    A claim of a deleted unit is not valid any more. The table stays as small as the open jobs.
    """
    progress = _measure(session, whose, job, at)
    ended = [unit for unit in UnitState if unit is not UnitState.SET_ASIDE]
    left = select(*(func.sum(getattr(WorkUnitRow, name)) for name in COUNTS)).where(
        WorkUnitRow.site_id == whose.site_id,
        WorkUnitRow.job_id == job.id,
        WorkUnitRow.state == UnitState.SET_ASIDE,
    )
    stay = dict(zip(COUNTS, session.execute(left).one(), strict=True))
    flips = {f"{before} {after}": n for (before, after), n in progress.flips.items()}
    job.counts = {
        **{name: getattr(progress, name) - int(stay[name] or 0) for name in COUNTS},
        FLIPS: flips,
    }
    session.execute(
        delete(WorkUnitRow).where(
            col(WorkUnitRow.site_id) == whose.site_id,
            col(WorkUnitRow.job_id) == job.id,
            col(WorkUnitRow.state).in_(ended),
        )
    )
    session.execute(
        update(WorkUnitRow)
        .where(col(WorkUnitRow.site_id) == whose.site_id, col(WorkUnitRow.job_id) == job.id)
        .values(flips={})
    )


def _measure(session: Session, whose: AgentIdentity, job: WorkJobRow, at: datetime) -> WorkProgress:
    of_job = (WorkUnitRow.site_id == whose.site_id, WorkUnitRow.job_id == job.id)
    query = (
        select(
            WorkUnitRow.state,
            func.count(),
            func.sum(WorkUnitRow.n),
            *(func.sum(getattr(WorkUnitRow, name)) for name in COUNTS),
            func.sum(case((col(WorkUnitRow.ended_at) > at - RECENT, WorkUnitRow.n), else_=0)),
        )  # type: ignore[call-overload]
        .where(*of_job)
        .group_by(WorkUnitRow.state)
    )
    units: dict[str, int] = {}
    sums = Counter({name: int(job.counts.get(name, 0)) for name in COUNTS})
    for state, n_units, micrographs, *rest in session.execute(query):
        units[str(state)] = n_units
        sums.update(dict(zip((*COUNTS, "recent"), map(int, rest), strict=True)))
        if state == UnitState.SET_ASIDE:
            sums["set_aside"] += int(micrographs) - sum(map(int, rest[:4]))
    return WorkProgress(
        job=_to_job(job),
        done=sums["judged"] + sums["known"] + sums["lost"] + sums["unreadable"],
        judged=sums["judged"],
        known=sums["known"],
        lost=sums["lost"],
        unreadable=sums["unreadable"],
        flagged=sums["flagged"],
        flips=_add_flips(session, job, of_job),
        units=units,
        set_aside=sums["set_aside"],
        rate_per_s=_compute_rate(job, sums, at),
        agents=_list_agents(session, of_job, UnitState.WORKING, WorkUnitRow.agent_id),
        waits_for=_list_agents(session, of_job, UnitState.WAITING, WorkUnitRow.home_id),
        faults=_list_faults(session, of_job),
    )


def _compute_rate(job: WorkJobRow, sums: Counter[str], at: datetime) -> float | None:
    """Return micrographs per second: of the units that ended lately, else since the start."""
    since_start_s = (at - job.created_at).total_seconds()
    done = sums["recent"] or sums["judged"]
    span_s = min(since_start_s, RECENT.total_seconds()) if sums["recent"] else since_start_s
    return done / span_s if done and span_s > 0 else None


def _add_flips(
    session: Session, job: WorkJobRow, of_job: tuple[Any, ...]
) -> dict[tuple[str, str], int]:
    flips: Counter[tuple[str, str]] = Counter()
    of_units = session.exec(select(WorkUnitRow.flips).where(*of_job)).all()
    for changed in (job.counts.get(FLIPS, {}), *of_units):
        for pair, n in changed.items():
            before, _, after = pair.partition(" ")
            flips[before, after] += n
    return dict(flips)


def _list_agents(
    session: Session, of_job: tuple[Any, ...], state: UnitState, column: Any
) -> tuple[str, ...]:
    query = (
        select(AgentRow.name)
        .join(WorkUnitRow, col(AgentRow.id) == column)
        .where(*of_job, WorkUnitRow.state == state)
        .distinct()
        .order_by(AgentRow.name)
    )
    return tuple(session.exec(query))


def _list_faults(session: Session, of_job: tuple[Any, ...]) -> tuple[UnitFault, ...]:
    query = (
        select(WorkUnitRow)
        .where(*of_job, WorkUnitRow.reason != "")
        .order_by(col(WorkUnitRow.state) != UnitState.SET_ASIDE, col(WorkUnitRow.id))
        .limit(SHOWN_UNITS)
    )
    return tuple(
        UnitFault(row.id or 0, row.source_id, row.n, row.state, row.failures, row.reason)
        for row in session.exec(query)
    )
