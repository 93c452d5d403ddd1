"""Long-running jobs: start, progress and outcome.

A job that stopped without an outcome stays open; the process that starts the next one ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from agent.site_time import compute_age
from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.tables import Job

CANCELLED_BY, SEEN_AT = "cancelled_by", "seen_at"
"""Facts of an open job: who cancelled it, and the time of its last report."""
NO_FACTS: Mapping[str, Any] = MappingProxyType({})
SILENT_AFTER = timedelta(seconds=60)
REQUESTED = " requested"
"""Ending of the name of a row that requests a job."""
REQUEST_VALID = timedelta(minutes=10)
"""A request that no agent took within this time is void: its author does not expect it any more."""


class Jobs(Repository):
    """Repository of long-running jobs."""

    def begin(
        self,
        name: str,
        *,
        at: datetime,
        due_at: datetime | None = None,
        facts: Mapping[str, Any] = NO_FACTS,
    ) -> int:
        """Record the start of a job; return its number."""
        with writing(self._engine) as session:
            row = Job(
                site_id=self._whose.site_id,
                agent_id=self._whose.agent_id,
                name=name,
                due_at=due_at,
                started_at=at,
                facts={**facts, SEEN_AT: at.isoformat()},
            )
            session.add(row)
            session.flush()
            return row.id

    def report(self, job_id: int, facts: Mapping[str, Any], *, at: datetime) -> str:
        """Record the progress of a job; return who has cancelled it, "" for no one."""
        with writing(self._engine) as session:
            row = session.get_one(Job, job_id)
            cancelled_by = str(row.facts.get(CANCELLED_BY, ""))
            row.facts = {**row.facts, **facts, SEEN_AT: at.isoformat()}
            session.add(row)
            return cancelled_by

    def cancel(self, name: str, *, by: str, at: datetime) -> int:
        """Request all running jobs of a name to end, and drop requests; return their number."""
        with writing(self._engine) as session:
            rows = _open(session, self._whose)
            running = [row for row in rows if row.name == name and _is_alive(row, at)]
            requested = [row for row in rows if _is_requested(row, name, at)]
            for row in (*running, *requested):
                row.facts = {**row.facts, CANCELLED_BY: by}
                session.add(row)
            for row in requested:
                row.ended_at, row.outcome = at, "cancelled"
            return len(running) + len(requested)

    def request(
        self, name: str, *, by: str, at: datetime, facts: Mapping[str, Any] = NO_FACTS
    ) -> bool:
        """Request that a running agent starts a job.

        Args:
            name: Kind of job.
            by: Who requests it.
            at: Now, aware UTC.
            facts: What the agent needs to know for it.

        Returns:
            False where it runs or is requested already; then nothing was written.
        """
        with writing(self._engine) as session:
            running = (
                row.name == name and _is_alive(row, at) for row in _open(session, self._whose)
            )
            if any(running) or _is_awaited(session, self._whose, name, at):
                return False
            session.add(
                Job(
                    site_id=self._whose.site_id,
                    agent_id=self._whose.agent_id,
                    name=name + REQUESTED,
                    started_at=at,
                    facts={**facts, "by": by, SEEN_AT: at.isoformat()},
                )
            )
            return True

    def take_request(self, name: str, *, at: datetime) -> Job | None:
        """Return the request of a job and end it, so that one agent alone starts the job."""
        with writing(self._engine) as session:
            rows = [row for row in _open(session, self._whose) if row.name == name + REQUESTED]
            for row in rows:
                is_valid = _is_requested(row, name, at)
                taken = session.execute(
                    update(Job)
                    .where(
                        col(Job.id) == row.id,
                        col(Job.site_id) == self._whose.site_id,
                        col(Job.ended_at).is_(None),
                    )
                    .values(ended_at=at, outcome="taken" if is_valid else "expired")
                )
                if is_valid and taken.rowcount == 1:  # type: ignore[attr-defined]
                    return row
            return None

    def is_requested(self, name: str, *, at: datetime) -> bool:
        """Return whether a job is requested, or was taken and has reported no progress yet."""
        with reading(self._engine) as session:
            return _is_awaited(session, self._whose, name, at)

    def end(
        self, job_id: int, outcome: str, *, at: datetime, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Record the outcome of a job."""
        with writing(self._engine) as session:
            row = session.get_one(Job, job_id)
            row.ended_at, row.outcome, row.facts = at, outcome, dict(facts or {})
            session.add(row)

    def end_lost(self, name: str, *, at: datetime) -> None:
        """Record that open jobs of a name have ended: no process works on them any more."""
        with writing(self._engine) as session:
            for row in _open(session, self._whose):
                if row.name == name:
                    row.ended_at, row.outcome = at, "interrupted"
                    session.add(row)

    def list_running(self, *, at: datetime) -> list[Job]:
        """Return the running jobs that have reported progress, oldest first."""
        with reading(self._engine) as session:
            return [
                row
                for row in _open(session, self._whose)
                if row.facts.get("stage") and _is_alive(row, at)
            ]

    def list_ended(self, name: str) -> list[Job]:
        """Return the jobs of a name that have ended, oldest first."""
        with reading(self._engine) as session:
            return list(session.exec(_ended(self._whose, name).order_by(col(Job.id))))

    def find_last_facts(self, name: str) -> dict[str, Any]:
        """Return the facts of the last job of this name that ended; empty if there is none."""
        with reading(self._engine) as session:
            row = session.exec(
                _ended(self._whose, name).order_by(col(Job.id).desc()).limit(1)
            ).first()
            return dict(row.facts) if row else {}


def _ended(whose: AgentIdentity, name: str) -> SelectOfScalar[Job]:
    return select(Job).where(
        Job.site_id == whose.site_id, Job.name == name, col(Job.ended_at).is_not(None)
    )


def _open(session: Session, whose: AgentIdentity) -> list[Job]:
    query = (
        select(Job)
        .where(Job.site_id == whose.site_id, col(Job.ended_at).is_(None))
        .order_by(col(Job.id))
    )
    return list(session.exec(query))


def _is_alive(row: Job, at: datetime) -> bool:
    reported = row.facts.get(SEEN_AT)
    return _is_younger(reported, SILENT_AFTER, at)


def _is_awaited(session: Session, whose: AgentIdentity, name: str, at: datetime) -> bool:
    if any(_is_requested(row, name, at) for row in _open(session, whose)):
        return True
    named = col(Job.name).in_((name, name + REQUESTED))
    query = select(Job).where(Job.site_id == whose.site_id, named).order_by(col(Job.id).desc())
    row = session.exec(query.limit(1)).first()
    if row is None or row.facts.get("stage"):
        return False
    if row.name == name:
        return row.ended_at is None and _is_alive(row, at)
    taken_at = row.ended_at if row.outcome == "taken" else None
    age = compute_age(taken_at, at) if taken_at else None
    return age is not None and age < SILENT_AFTER


def _is_requested(row: Job, name: str, at: datetime) -> bool:
    asked = row.facts.get(SEEN_AT)
    return row.name == name + REQUESTED and _is_younger(asked, REQUEST_VALID, at)


def _is_younger(reported: str | None, limit: timedelta, at: datetime) -> bool:
    age = compute_age(type(at).fromisoformat(reported), at) if reported else None
    return age is not None and age < limit
