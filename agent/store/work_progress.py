"""Jobs of work units as they are read, with their progress over all agents of the site."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import case
from sqlmodel import col, func, select

from agent.store.tables import AgentRow, WorkJobRow, WorkUnitRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity

COUNTS = ("judged", "known", "lost", "unreadable", "flagged")
FLIPS = "flips"


RECENT = timedelta(minutes=15)
"""The rate of a job is that of the units which ended within this time."""
SHOWN_UNITS = 20


class UnitState(StrEnum):
    """State of a unit."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    SET_ASIDE = "set_aside"


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


def join_flip(before: str, after: str) -> str:
    """Return two codes as a key of the flips; a lab's own codes may have spaces, but no tab."""
    return f"{before}\t{after}"


def split_flip(pair: str) -> tuple[str, str]:
    """Return the two codes of a key of the flips; earlier versions joined them by a space."""
    before, _, after = pair.partition("\t" if "\t" in pair else " ")
    return before, after


def to_job(row: WorkJobRow) -> WorkJob:
    """Return a job as it is read."""
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


def measure(session: Session, whose: AgentIdentity, job: WorkJobRow, at: datetime) -> WorkProgress:
    """Return how far a job is."""
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
        job=to_job(job),
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
            flips[split_flip(pair)] += n
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
