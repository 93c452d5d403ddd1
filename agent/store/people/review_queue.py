"""Review queue: micrographs that wait for a reviewer, the most important first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, func, or_
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import audit_log
from agent.store.orders import specimens
from agent.store.people import labels
from agent.store.people.label_decisions import (
    DRAWN,
    ONE_IN,
    RANKS_PER_REASON,
    insert_drawn,
    rank_of,
)
from agent.store.results.micrograph_views import (
    MicrographView,
    is_current,
    select_results,
    to_views,
)
from agent.store.tables import MicrographRow, ResultRow, SourceRow
from agent.store.work.file_status import count_to_review
from agent.triage import Handling, Reason, sort_reasons


def _list(
    session: Session,
    whose: AgentIdentity,
    *,
    reason: str | None,
    source: str | None,
    order: str | None,
    limit: int | None,
) -> list[MicrographView]:
    """Return the micrographs that wait for review, the most important reason first.

    One rank in ten is reserved for random draws (`DRAWN`), whatever else waits.
    """
    query = select_results().where(ResultRow.site_id == whose.site_id)
    if reason == Reason.DOUBTED_LABEL:
        query = query.where(col(ResultRow.micrograph_id).in_(labels.doubted()))
    elif reason:
        query = query.where(cast(col(ResultRow.reasons), Text).contains(f'"{reason}"'))
    if source:
        query = query.where(SourceRow.name == source)
    if order:
        return list(to_views(session, _of_order(session, whose, query, order)[:limit]))
    query = query.where(col(ResultRow.review_rank).is_not(None)).order_by(
        col(ResultRow.review_rank), col(ResultRow.done_at), col(ResultRow.id)
    )
    rows = session.execute(query.limit(limit)).all()
    if reason is None:
        drawn = session.execute(query.where(_is_drawn()).limit(limit and limit // ONE_IN)).all()
        rows = insert_drawn(rows, drawn)[: len(rows)]
    return list(to_views(session, rows))


def _is_drawn() -> Any:
    starts = [list(Reason).index(reason) * RANKS_PER_REASON for reason in DRAWN]
    rank = col(ResultRow.review_rank)
    return or_(*(rank.between(start, start + RANKS_PER_REASON - 1) for start in starts))


def _of_order(session: Session, whose: AgentIdentity, asked: Any, order: str) -> list[Any]:
    # From the order's side, sorted here: a planner would walk through the whole queue.
    its_own = (
        select(MicrographRow.id)
        .where(MicrographRow.site_id == whose.site_id, MicrographRow.order == order)
        .correlate(None)
    )
    rows = session.execute(asked.where(col(ResultRow.micrograph_id).in_(its_own))).all()
    waiting = [row for row in rows if row.r_review_rank is not None]
    return sorted(waiting, key=lambda row: (row.r_review_rank, row.r_done_at, row.r_id))


class ReviewQueue(Repository):
    """Repository of micrographs that wait for review."""

    def list_micrographs(
        self,
        *,
        reason: str | None = None,
        source: str | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> list[MicrographView]:
        """Return the micrographs that wait for review, the most important reason first.

        One rank in ten is reserved for random draws (`DRAWN`), whatever else waits.
        """
        with reading(self._engine) as session:
            return _list(
                session, self._whose, reason=reason, source=source, order=order, limit=limit
            )

    def count(self) -> int:
        """Return the number of micrographs that wait for review."""
        with reading(self._engine) as session:
            return count_to_review(session, self._whose)

    def count_until(self, until: datetime) -> tuple[int, datetime | None]:
        """Return how many micrographs, done up to `until`, wait for review, and since when."""
        with reading(self._engine) as session:
            return count_waiting(session, self._whose, until=until)

    def add(self, public_ids: Sequence[str], reason: Reason, *, by: str, at: datetime) -> None:
        """Add micrographs to the review queue for one more reason."""
        with writing(self._engine) as session:
            add_reason(session, self._whose, public_ids, reason)
            for public_id in public_ids:
                audit_log.append(
                    session,
                    self._whose.site_id,
                    at=at,
                    actor=by,
                    act="micrograph.asked_again",
                    subject=public_id,
                    facts={"reason": reason.value},
                )


def count_waiting(
    session: Session, whose: AgentIdentity, *, until: datetime | None = None
) -> tuple[int, datetime | None]:
    """Return how many micrographs, done up to `until`, wait for review, and since when."""
    query = select(func.count(), func.min(col(ResultRow.done_at))).where(
        ResultRow.site_id == whose.site_id, col(ResultRow.review_rank).is_not(None)
    )
    if until is not None:
        query = query.where(col(ResultRow.done_at) <= until)
    return session.exec(query).one()


def add_reason(
    session: Session, whose: AgentIdentity, public_ids: Sequence[str], reason: Reason
) -> None:
    """Add micrographs to the review queue for one more reason, even with a valid label."""
    for public_id in public_ids:
        micrograph = labels.micrograph_of(session, public_id, alone=True)
        row = session.exec(
            select(ResultRow).where(ResultRow.micrograph_id == micrograph.id, is_current())
        ).first()
        if row is None:
            continue
        reasons = (*(Reason(known) for known in row.reasons), reason)
        row.reasons = [known.value for known in sort_reasons(reasons)]
        row.handling = Handling.REVIEW.value
        urgent = specimens.is_urgent(session, whose.site_id, micrograph.order)
        row.review_rank = rank_of(row, urgent=urgent)
        session.add(row)
