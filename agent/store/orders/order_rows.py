"""Base of the repositories of orders, and what several of them do."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from agent.errors import WrongUse
from agent.store.evidence import audit_log
from agent.store.orders import specimens
from agent.store.people.review_rank import with_urgency
from agent.store.repository import Repository
from agent.store.tables import MicrographRow, OrderRow, ResultRow


class OrderRepository(Repository):
    """Rows of orders at one site."""

    def _row(self, session: Session, number: str) -> OrderRow | None:
        return specimens.find_order(session, self._whose, number)

    def _get_known(self, session: Session, number: str) -> OrderRow:
        row = self._row(session, number)
        if row is None:
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        return row

    def _remember(self, session: Session, **said: Any) -> None:
        audit_log.append(session, self._whose.site_id, **said)


def hasten(session: Session, order: OrderRow) -> None:
    """Move micrographs of an order to the front of the review queue, or back."""
    query = (
        select(ResultRow)
        .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
        .where(
            MicrographRow.site_id == order.site_id,
            MicrographRow.order == order.number,
            col(ResultRow.review_rank).is_not(None),
        )
    )
    for row in session.exec(query):
        row.review_rank = with_urgency(row.review_rank or 0, urgent=order.urgent)
        session.add(row)
