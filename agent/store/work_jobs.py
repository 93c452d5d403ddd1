"""Requests to judge archived micrographs with another bundle; agents do them in units.

A job is divided into units (`work_units`), and any agent of the site does them. There is no other
book of what is done: the results themselves are unique per micrograph, bundle and recipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, update
from sqlmodel import col, func, select

from agent.errors import WrongUse
from agent.store import audit_log
from agent.store.engine import reading, writing
from agent.store.file_states import AT_ONCE
from agent.store.repository import Repository
from agent.store.tables import WorkJobRow, WorkUnitRow
from agent.store.work_progress import (
    COUNTS,
    FLIPS,
    JobState,
    UnitState,
    WorkJob,
    WorkProgress,
    join_flip,
    measure,
    to_job,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity


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
            return to_job(row)

    def find(self, job_id: int) -> WorkJob | None:
        """Return a job by its number, or None."""
        with reading(self._engine) as session:
            row = _find(session, self._whose, job_id)
            return to_job(row) if row else None

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
            return [to_job(row) for row in session.exec(query)]

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
            from agent.store import work_division  # noqa: PLC0415 - it makes the tables of micrographs

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
            return [measure(session, self._whose, row, at) for row in session.exec(query).all()]

    def get_progress(self, job_id: int, *, at: datetime) -> WorkProgress:
        """Return how far a job is. Raises `WrongUse` where there is none of this number."""
        with reading(self._engine) as session:
            row = _find(session, self._whose, job_id)
            if row is None:
                raise WrongUse("There is no such job of work units. See agent reprocess --list.")
            return measure(session, self._whose, row, at)

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


def _delete_units(session: Session, whose: AgentIdentity, job: WorkJobRow, at: datetime) -> None:
    """Keep the counts of a job's units and delete them, except those that were set aside.

    A claim of a deleted unit is not valid any more. The table stays as small as the open jobs.
    """
    progress = measure(session, whose, job, at)
    ended = [unit for unit in UnitState if unit is not UnitState.SET_ASIDE]
    left = select(*(func.sum(getattr(WorkUnitRow, name)) for name in COUNTS)).where(
        WorkUnitRow.site_id == whose.site_id,
        WorkUnitRow.job_id == job.id,
        WorkUnitRow.state == UnitState.SET_ASIDE,
    )
    stay = dict(zip(COUNTS, session.execute(left).one(), strict=True))
    flips = {join_flip(before, after): n for (before, after), n in progress.flips.items()}
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
