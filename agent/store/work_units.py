"""Units of archived micrographs: claims with leases, answers, and the outcome of each attempt.

Each claim has a higher attempt number than the one before. Everything a worker writes names its
attempt and is refused where a later one exists, so the late answer of a worker that lost its lease
counts nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_
from sqlalchemy.orm import load_only
from sqlmodel import col, select

from agent.store import results, work_division
from agent.store.engine import reading, write_retrying, writing
from agent.store.file_states import AT_ONCE
from agent.store.micrograph_views import MicrographView, of_micrographs
from agent.store.repository import Repository
from agent.store.tables import AgentRow, MicrographRow, SourceRow, WorkJobRow, WorkUnitRow
from agent.store.work_progress import JobState, UnitState, join_flip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity
    from agent.store.results import MicrographResult

LONGEST_REASON = 1000
MAX_FAILURES = 3
"""Failures of a unit without a micrograph between them, after which it is set aside."""
RETRY_AFTER = (timedelta(minutes=1), timedelta(minutes=5))
AHEAD_AT_MOST = timedelta(minutes=30)
"""No lease and no pause ends later than this; a later one was written before the clock was set
back."""


@dataclass(frozen=True, slots=True)
class UnitClaim:
    """A unit in the hands of one worker.

    Args:
        unit_id: Number of the unit.
        job_id: Number of its job.
        attempt: Fencing token: a later claim has a higher one.
        bundle: Bundle to judge with.
        role: Of the answers.
        source: Name of the source.
        home: Name of the agent that archived the crops, "" where unknown.
        n: Micrographs of the unit.
        left: Numbers of the micrographs that are not finished, oldest first.
    """

    unit_id: int
    job_id: int
    attempt: int
    bundle: str
    role: str
    source: str
    home: str
    n: int
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UnitAnswer:
    """What became of a micrograph of a unit.

    Args:
        view: The micrograph.
        finding: The bundle's answer, or None.
        fault: Why its crop cannot be read; "" without a finding: it is no longer in the archive.
    """

    view: MicrographView
    finding: MicrographResult | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class WaitingHome:
    """An agent that archived crops of waiting units, and one of these crops.

    Args:
        agent_id: Number of the agent, None where unknown.
        sha256: Hash of the file of the crop, "" where all of them were deleted.
        page: Page of the file.
    """

    agent_id: int | None
    sha256: str = ""
    page: int = 0


class WorkUnits(Repository):
    """Repository of work units and their claims."""

    def claim(
        self,
        job_ids: Sequence[int],
        *,
        at: datetime,
        lease_s: float,
        homes: Sequence[int | None] = (),
    ) -> UnitClaim | None:
        """Claim the next unit, those whose crops this agent archived first.

        Args:
            job_ids: Jobs whose bundle this agent has, by preference.
            at: Now, by the clock of the database.
            lease_s: After this time in seconds without `renew` another agent may claim it.
            homes: Other agents whose archive this agent can read.

        Returns:
            None: there is nothing to do.
        """
        with writing(self._engine) as session:
            for job in _list_open(session, self._whose, job_ids):
                unit = self._find_unit(session, job, at=at, homes=homes)
                if unit is not None:
                    unit.state, unit.agent_id = UnitState.WORKING, self._whose.agent_id
                    unit.attempt += 1
                    unit.due_at = at + timedelta(seconds=lease_s)
                    session.add(unit)
                    return self._make_claim(session, job, unit)
            return None

    def _find_unit(
        self, session: Session, job: WorkJobRow, *, at: datetime, homes: Sequence[int | None]
    ) -> WorkUnitRow | None:
        own = self._whose.agent_id
        while unit := _find_expired(session, self._whose, job, (own, *homes), at=at):
            unit.failures += 1
            if unit.failures <= MAX_FAILURES:
                return unit
            reason = unit.reason or f"its agent ended {unit.failures} times while it worked on it"
            _set_aside(session, unit, reason, at=at)
        for home in (own, *homes):
            if unit := _find_waiting(session, self._whose, job, home, at=at):
                return unit
        return None

    def _make_claim(self, session: Session, job: WorkJobRow, unit: WorkUnitRow) -> UnitClaim:
        names = select(SourceRow.name).where(
            SourceRow.site_id == self._whose.site_id, SourceRow.id == unit.source_id
        )
        home = select(AgentRow.name).where(
            AgentRow.site_id == self._whose.site_id, AgentRow.id == unit.home_id
        )
        return UnitClaim(
            unit_id=unit.id or 0,
            job_id=unit.job_id,
            attempt=unit.attempt,
            bundle=job.bundle,
            role=job.role,
            source=session.exec(names).one(),
            home=session.exec(home).first() or "",
            n=unit.n,
            left=tuple(work_division.list_left(session, self._whose, job, unit)),
        )

    def renew(self, claim: UnitClaim, *, at: datetime, lease_s: float) -> bool:
        """Extend the lease of a claim; False where it is no longer valid."""
        with writing(self._engine) as session:
            unit = _find_claimed(session, self._whose, claim)
            if unit is None:
                return False
            unit.due_at = at + timedelta(seconds=lease_s)
            session.add(unit)
            return True

    def list_views(self, numbers: Sequence[int]) -> list[MicrographView]:
        """Return micrographs of a claim by their numbers, in this sequence."""
        with reading(self._engine) as session:
            views = {view.number: view for _, view in of_micrographs(session, numbers)}
        return [views[number] for number in numbers if number in views]

    def record(
        self, claim: UnitClaim, answers: Sequence[UnitAnswer], *, at: datetime, lease_s: float
    ) -> JobState | None:
        """Write answers of a unit and its progress in one transaction, and extend the lease.

        Args:
            claim: The claim.
            answers: About its next micrographs, in their sequence.
            at: Now.
            lease_s: Length of the lease from now on, in seconds.

        Returns:
            The state of the job; None where the claim is no longer valid: nothing was written.
        """
        return write_retrying(
            self._engine,
            lambda session: _record(session, self._whose, claim, answers, at=at, lease_s=lease_s),
        )

    def finish(self, claim: UnitClaim, *, at: datetime) -> bool:
        """End a unit; False where the claim is no longer valid."""
        with writing(self._engine) as session:
            unit = _find_claimed(session, self._whose, claim)
            if unit is None:
                return False
            unit.state, unit.ended_at = UnitState.DONE, at
            unit.known = max(unit.n - unit.judged - unit.lost - unit.unreadable, 0)
            session.add(unit)
            return True

    def release(self, claim: UnitClaim) -> bool:
        """Release a unit that is not finished; its failures do not change."""
        with writing(self._engine) as session:
            unit = _find_claimed(session, self._whose, claim)
            if unit is None:
                return False
            unit.state, unit.agent_id, unit.due_at = UnitState.WAITING, None, AT_ONCE
            session.add(unit)
            return True

    def fail(self, claim: UnitClaim, reason: str, *, at: datetime) -> bool:
        """Record that a unit failed as a whole; it is tried again, then set aside.

        Returns:
            Whether it was set aside.
        """
        with writing(self._engine) as session:
            unit = _find_claimed(session, self._whose, claim)
            if unit is None:
                return False
            unit.failures += 1
            if unit.failures >= MAX_FAILURES:
                _set_aside(session, unit, reason, at=at)
                return True
            unit.state, unit.agent_id, unit.reason = UnitState.WAITING, None, _clean(reason)
            unit.due_at = at + RETRY_AFTER[min(unit.failures, len(RETRY_AFTER)) - 1]
            session.add(unit)
            return False

    def list_waiting_homes(self, job_ids: Sequence[int]) -> list[WaitingHome]:
        """Return the other agents that archived crops of unfinished units, with one crop each."""
        with reading(self._engine) as session:
            query = (
                select(WorkUnitRow.home_id)
                .where(
                    *_is_unfinished(self._whose, job_ids),
                    col(WorkUnitRow.home_id).is_distinct_from(self._whose.agent_id),
                )
                .distinct()
            )
            homes = session.exec(query).all()
            return [_find_sample(session, self._whose, job_ids, home) for home in homes]

    def is_any_ahead(self, job_ids: Sequence[int], homes: Sequence[int | None]) -> bool:
        """Return whether any agent works on a unit, or one waits that this agent can read.

        Args:
            job_ids: The jobs.
            homes: Other agents whose archive this agent can read.
        """
        own = [self._whose.agent_id, *(home for home in homes if home is not None)]
        unknown = [col(WorkUnitRow.home_id).is_(None)] if None in homes else []
        with reading(self._engine) as session:
            query = select(WorkUnitRow.id).where(
                *_is_unfinished(self._whose, job_ids),
                or_(
                    col(WorkUnitRow.state) == UnitState.WORKING,
                    col(WorkUnitRow.home_id).in_(own),
                    *unknown,
                ),
            )
            return session.exec(query.limit(1)).first() is not None


def _is_unfinished(whose: AgentIdentity, job_ids: Sequence[int]) -> tuple[Any, ...]:
    return (
        WorkUnitRow.site_id == whose.site_id,
        col(WorkUnitRow.job_id).in_(job_ids),
        col(WorkUnitRow.state).in_([UnitState.WAITING, UnitState.WORKING]),
    )


def _list_open(session: Session, whose: AgentIdentity, job_ids: Sequence[int]) -> list[WorkJobRow]:
    query = (
        select(WorkJobRow)
        .where(
            WorkJobRow.site_id == whose.site_id,
            WorkJobRow.state == JobState.OPEN,
            col(WorkJobRow.id).in_(job_ids),
        )
        .order_by(col(WorkJobRow.id))
    )
    return list(session.exec(query))


def _find_waiting(
    session: Session, whose: AgentIdentity, job: WorkJobRow, home: int | None, *, at: datetime
) -> WorkUnitRow | None:
    query = (
        select(WorkUnitRow)
        .where(
            WorkUnitRow.site_id == whose.site_id,
            WorkUnitRow.job_id == job.id,
            WorkUnitRow.state == UnitState.WAITING,
            col(WorkUnitRow.home_id).is_(None) if home is None else WorkUnitRow.home_id == home,
            _is_due(at),
        )
        .order_by(col(WorkUnitRow.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.exec(query).first()


def _find_expired(
    session: Session,
    whose: AgentIdentity,
    job: WorkJobRow,
    homes: Sequence[int | None],
    *,
    at: datetime,
) -> WorkUnitRow | None:
    numbers = [home for home in homes if home is not None]
    query = (
        select(WorkUnitRow)
        .where(
            WorkUnitRow.site_id == whose.site_id,
            WorkUnitRow.job_id == job.id,
            WorkUnitRow.state == UnitState.WORKING,
            or_(
                col(WorkUnitRow.home_id).in_(numbers),
                *([col(WorkUnitRow.home_id).is_(None)] if None in homes else ()),
            ),
            _is_due(at),
        )
        .order_by(col(WorkUnitRow.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.exec(query).first()


def _is_due(at: datetime) -> Any:
    due_at = col(WorkUnitRow.due_at)
    return or_(due_at <= at, due_at > at + AHEAD_AT_MOST)


def _find_claimed(session: Session, whose: AgentIdentity, claim: UnitClaim) -> WorkUnitRow | None:
    query = (
        select(WorkUnitRow)
        .where(WorkUnitRow.site_id == whose.site_id, WorkUnitRow.id == claim.unit_id)
        .with_for_update()
    )
    unit = session.exec(query).first()
    if unit is None or unit.state != UnitState.WORKING or unit.attempt != claim.attempt:
        return None
    return unit


def _find_sample(
    session: Session, whose: AgentIdentity, job_ids: Sequence[int], home: int | None
) -> WaitingHome:
    query = (
        select(MicrographRow)
        .join(WorkUnitRow, col(WorkUnitRow.last_id) == col(MicrographRow.id))
        .where(
            MicrographRow.site_id == whose.site_id,
            *_is_unfinished(whose, job_ids),
            col(WorkUnitRow.home_id).is_(None) if home is None else WorkUnitRow.home_id == home,
            col(MicrographRow.pruned_at).is_(None),
        )
        .options(load_only(MicrographRow.sha256, MicrographRow.page))  # type: ignore[arg-type]
        .limit(1)
    )
    micrograph = session.exec(query).first()
    if micrograph is None:
        return WaitingHome(home)
    return WaitingHome(home, micrograph.sha256, micrograph.page)


def _clean(reason: str) -> str:
    """Return a reason as every database stores it: PostgreSQL takes no zero byte, none a half."""
    text = reason.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return text[:LONGEST_REASON]


def _set_aside(session: Session, unit: WorkUnitRow, reason: str, *, at: datetime) -> None:
    unit.state, unit.agent_id, unit.reason = UnitState.SET_ASIDE, None, _clean(reason)
    unit.ended_at = at
    session.add(unit)
    session.flush()


def _record(
    session: Session,
    whose: AgentIdentity,
    claim: UnitClaim,
    answers: Sequence[UnitAnswer],
    *,
    at: datetime,
    lease_s: float,
) -> JobState | None:
    unit = _find_claimed(session, whose, claim)
    if unit is None:
        return None
    flips = dict(unit.flips)
    for answer in answers:
        _count(session, whose, unit, flips, answer, role=claim.role, at=at)
        unit.done_to = max(unit.done_to, answer.view.number)
    unit.flips, unit.failures = flips, 0
    unit.due_at = at + timedelta(seconds=lease_s)
    session.add(unit)
    state = select(WorkJobRow.state).where(
        WorkJobRow.site_id == whose.site_id, WorkJobRow.id == unit.job_id
    )
    return JobState(session.exec(state).one())


def _count(
    session: Session,
    whose: AgentIdentity,
    unit: WorkUnitRow,
    flips: dict[str, int],
    answer: UnitAnswer,
    *,
    role: str,
    at: datetime,
) -> None:
    """Write one answer, and add it to the counts of its unit."""
    if answer.finding is None:
        unit.lost += not answer.fault
        unit.unreadable += bool(answer.fault)
        unit.reason = _clean(answer.fault) or unit.reason
        return
    if not results.add_answer(session, whose, answer.view.id, answer.finding, role=role, at=at):
        return  # by another worker, before; it is counted as known at the end
    unit.judged += 1
    prediction = answer.finding.prediction
    if prediction is None:
        return
    unit.flagged += bool(prediction.strangeness.flagged)
    before, after = answer.view.result.structure_code, prediction.structure_code
    if before and before != after:
        pair = join_flip(before, after)
        flips[pair] = flips.get(pair, 0) + 1
