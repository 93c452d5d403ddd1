"""Division of a job into units: consecutive micrographs of one source, archived by one agent.

The members of a unit are found again by the same conditions, so no list of them is stored: a
micrograph never changes its source, its number or its first result.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from agent.store.file_states import AT_ONCE
from agent.store.tables import MicrographRow, ResultRow, WorkJobRow, WorkUnitRow
from agent.store.work_progress import UnitState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlmodel import Session

    from agent.store.repository import AgentIdentity

DIVIDED_AT_ONCE = 20_000
"""Micrographs that are divided in one transaction; other writers wait about a second for it."""


def divide(
    session: Session, whose: AgentIdentity, job: WorkJobRow, *, unit: int, at: datetime
) -> bool:
    """Make the next units of a job, the newest micrographs first.

    Args:
        session: A transaction that writes; it holds the row of the job.
        whose: The site.
        job: The job; its counts and its position are advanced.
        unit: Micrographs of a unit; the last of each source has fewer.
        at: Now.

    Returns:
        Whether there are more micrographs to divide.
    """
    query = (
        select(
            MicrographRow.id, MicrographRow.source_id, _get_home(whose), _is_answered(whose, job)
        )
        .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
        .where(
            MicrographRow.site_id == whose.site_id,
            ResultRow.site_id == whose.site_id,
            *_get_conditions(job, at),
        )
        .order_by(col(MicrographRow.id).desc())
        .limit(DIVIDED_AT_ONCE)
    )
    if job.divided_to is not None:
        query = query.where(col(MicrographRow.id) < job.divided_to)
    rows = session.execute(query).all()
    groups: dict[tuple[int, int | None], list[int]] = defaultdict(list)
    for number, source_id, home_id, is_answered in rows:
        job.divided_to = number
        if is_answered:
            job.known += 1
        else:
            groups[source_id, home_id].append(number)
    for (source_id, home_id), numbers in groups.items():
        for start in range(0, len(numbers), unit):
            part = numbers[start : start + unit]
            job.total += len(part)
            session.add(_make_unit(whose, job, source_id, home_id, part))
    job.is_divided = len(rows) < DIVIDED_AT_ONCE
    session.add(job)
    return not job.is_divided


def _make_unit(
    whose: AgentIdentity, job: WorkJobRow, source_id: int, home_id: int | None, part: Sequence[int]
) -> WorkUnitRow:
    return WorkUnitRow(
        site_id=whose.site_id,
        job_id=job.id or 0,
        source_id=source_id,
        home_id=home_id,
        first_id=part[-1],
        last_id=part[0],
        n=len(part),
        state=UnitState.WAITING,
        due_at=AT_ONCE,
    )


def list_left(
    session: Session, whose: AgentIdentity, job: WorkJobRow, unit: WorkUnitRow
) -> list[int]:
    """Return the micrographs of a unit that its workers did not finish yet, oldest first."""
    query = (
        select(MicrographRow.id)
        .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
        .where(
            MicrographRow.site_id == whose.site_id,
            ResultRow.site_id == whose.site_id,
            MicrographRow.source_id == unit.source_id,
            col(MicrographRow.id) >= max(unit.first_id, unit.done_to + 1),
            col(MicrographRow.id) <= unit.last_id,
            _get_home(whose).is_not_distinct_from(unit.home_id),
            *_get_conditions(job, None),
            ~_is_answered(whose, job),
        )
        .order_by(col(MicrographRow.id))
    )
    return [number for number in session.exec(query) if number is not None]


def _get_conditions(job: WorkJobRow, until: datetime | None) -> list[ColumnElement[bool]]:
    """Return which micrographs a job is about, by their current result."""
    conditions = [col(ResultRow.current).is_(True), col(ResultRow.bundle) != job.bundle]
    if job.since is not None:
        conditions += [col(ResultRow.done_at) > job.since, col(ResultRow.origin) == "watch"]
        conditions += [col(ResultRow.done_at) <= until] if until is not None else []
    return conditions


def _is_answered(whose: AgentIdentity, job: WorkJobRow) -> ColumnElement[bool]:
    answer = aliased(ResultRow)
    return exists().where(
        col(answer.site_id) == whose.site_id,
        col(answer.micrograph_id) == col(MicrographRow.id),
        col(answer.bundle) == job.bundle,
    )


def _get_home(whose: AgentIdentity) -> Any:
    """Return the agent that stored the first result of a micrograph, and so its crop."""
    first = aliased(ResultRow)
    return (
        select(first.agent_id)
        .where(first.site_id == whose.site_id, first.micrograph_id == col(MicrographRow.id))
        .order_by(col(first.id))
        .limit(1)
        .scalar_subquery()
    )
