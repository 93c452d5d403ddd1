"""Orders that a micrograph was named for and does not belong to.

A claim keeps the order undecided until a lead settles it, whatever happens to the micrograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.store.evidence.acts import append_act
from agent.store.tables import MicrographRow, OrderClaimRow, OrderRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from sqlmodel import Session

    from agent.store.repository import AgentIdentity


CLAIMED = "order.claimed"
"""Act of the audit log: something names an order for a field that does not belong to it."""


@dataclass(frozen=True, slots=True)
class ClaimedPlace:
    """An order and specimen that a path, note, sender or copy names for a micrograph.

    Attributes:
        order: As named.
        specimen: As named.
        origin: What names them: "path", "note", "sender", "copy" or "moved".
        file: The file whose path, note or content it is, "" where none.
    """

    order: str
    specimen: str
    origin: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """A claim on an order.

    Attributes:
        id: Public id of the micrograph.
        specimen, origin, file: As in `ClaimedPlace`.
        order: Number of the order it belongs to now, "" for none.
        settled_by, settled_reason: Of the lead, "" where it is open.
    """

    id: str
    specimen: str
    origin: str
    file: str
    order: str
    settled_by: str
    settled_reason: str


def add(
    session: Session,
    whose: AgentIdentity,
    micrograph: MicrographRow,
    claims: Iterable[ClaimedPlace],
    *,
    at: datetime,
) -> None:
    """Write the orders that a micrograph is named for; known claims stay as they are."""
    from agent.store.orders.specimens import order_row  # noqa: PLC0415 - it writes claims too

    for claim in claims:
        if not claim.order:
            continue
        order = order_row(session, whose, claim.order, at=at)
        known = select(OrderClaimRow.id).where(
            OrderClaimRow.micrograph_id == micrograph.id,
            OrderClaimRow.order_id == order.id,
            OrderClaimRow.specimen == claim.specimen,
        )
        if session.exec(known).first():
            continue
        row = OrderClaimRow(
            site_id=whose.site_id,
            micrograph_id=micrograph.id or 0,
            order_id=order.id or 0,
            specimen=claim.specimen,
            origin=claim.origin,
            file=claim.file,
            at=at,
        )
        names = {"micrograph_id": micrograph.public_id, "order_id": order.number}
        append_act(session, CLAIMED, row, names=names)


def list_claims(session: Session, order: OrderRow) -> tuple[OrderClaim, ...]:
    """Return the claims on an order, oldest first."""
    wanted = (
        select(OrderClaimRow, MicrographRow)
        .join(MicrographRow, col(MicrographRow.id) == col(OrderClaimRow.micrograph_id))
        .where(OrderClaimRow.order_id == order.id)
        .order_by(col(OrderClaimRow.id))
    )
    return tuple(
        OrderClaim(
            id=micrograph.public_id,
            specimen=row.specimen,
            origin=row.origin,
            file=row.file,
            order=micrograph.order if micrograph.specimen_id else "",
            settled_by=row.settled_by,
            settled_reason=row.settled_reason,
        )
        for row, micrograph in session.exec(wanted)
    )


def claimed_orders(session: Session, micrograph_id: int) -> list[tuple[int, str]]:
    """Return the order rows and specimens that a micrograph is or was named for."""
    wanted = select(OrderClaimRow.order_id, OrderClaimRow.specimen).where(
        OrderClaimRow.micrograph_id == micrograph_id
    )
    return list(session.exec(wanted))


def settle(
    session: Session, micrograph_ids: Sequence[int], *, by: str, reason: str, at: datetime
) -> None:
    """Settle all open claims of micrographs: a lead has decided where they belong."""
    wanted = select(OrderClaimRow).where(
        col(OrderClaimRow.micrograph_id).in_(micrograph_ids), OrderClaimRow.settled_by == ""
    )
    for row in session.exec(wanted):
        row.settled_by, row.settled_reason, row.settled_at = by, reason, at
        session.add(row)


def is_settled_by(session: Session, micrograph: MicrographRow, by: str, at: datetime) -> bool:
    """Return whether an assignment settled claims of a micrograph, which is for good."""
    wanted = select(OrderClaimRow.id).where(
        OrderClaimRow.micrograph_id == micrograph.id,
        OrderClaimRow.settled_by == by,
        OrderClaimRow.settled_at == at,
    )
    return session.exec(wanted).first() is not None
