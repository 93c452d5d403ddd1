"""What files name of orders: copies under another name, and micrographs named twice or wrongly.

A claim keeps the order undecided until a lead settles it, whatever happens to the micrograph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity, writing
from agent.store.evidence import quality_records
from agent.store.evidence.acts import append_act
from agent.store.orders import specimens
from agent.store.orders.specimens import OrderRepository
from agent.store.tables import MicrographRow, OrderClaimRow, OrderRow

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
            micrograph_id=micrograph.id,
            order_id=order.id,
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


COPY = "copy_named"
"""Kind of the record of what a copy names whose first file is still being read; by its hash."""


class OrderNaming(OrderRepository):
    """Repository of what files name."""

    def claim_again(
        self,
        content_id: int,
        claims: Sequence[ClaimedPlace],
        name: str,
        *,
        at: datetime,
        only_new: bool = False,
    ) -> list[str]:
        """Record that a known content was received again, under the name of another specimen.

        From now on it belongs to no specimen, and each order that it was named for is undecided
        until a lead has decided.

        Args:
            content_id: The content that was there first.
            claims: Orders and specimens that the new file names.
            name: Name of the new file.
            at: Now.
            only_new: Leave out orders that a micrograph was named for or left before.

        Returns:
            Public ids of the micrographs that belonged to a specimen until now.
        """
        with writing(self._engine) as session:
            return self._claim(session, content_id, claims, name, at=at, only_new=only_new)

    def claim_copy(
        self,
        session: Session,
        content_id: int,
        sha256: str,
        claims: Sequence[ClaimedPlace],
        name: str,
        *,
        at: datetime,
    ) -> list[str]:
        """Record what a copy names, in the transaction that identifies it as one; as `claim_again`.

        The first of two files that were received together may not be finished: then what the copy
        names is stored until its micrographs are written.
        """
        wanted = select(MicrographRow.id).where(MicrographRow.content_id == content_id).limit(1)
        if session.exec(wanted).first() is not None:
            return self._claim(session, content_id, claims, name, at=at)
        facts = {"name": name, "claims": [asdict(claim) for claim in claims]}
        quality_records.append(
            session, self._whose.site_id, COPY, sha256, by="agent", at=at, facts=facts
        )
        return []

    def settle_copies(
        self, session: Session, content_id: int, sha256: str, *, at: datetime
    ) -> None:
        """Write what copies named that were known before the micrographs of a content were."""
        for record in quality_records.every(session, self._whose.site_id, COPY, sha256):
            claims = [ClaimedPlace(**claim) for claim in record.facts["claims"]]
            self._claim(session, content_id, claims, record.facts["name"], at=at)

    def _claim(
        self,
        session: Session,
        content_id: int,
        claims: Sequence[ClaimedPlace],
        name: str,
        *,
        at: datetime,
        only_new: bool = False,
    ) -> list[str]:
        named = [claim for claim in claims if claim.order]
        torn = []
        wanted = select(MicrographRow).where(MicrographRow.content_id == content_id)
        for row in session.exec(wanted).all() if named else ():
            known = {order for order, _ in claimed_orders(session, row.id)} if only_new else set()
            others = [
                claim
                for claim in named
                if not self._is_there(row, claim)
                and not (known and self._find_order_id(session, claim) in known)
            ]
            if not others:
                continue
            if row.specimen_id is not None:
                torn.append(row.public_id)
                self._detach(session, row, others[0], name, at=at)
            add(session, self._whose, row, others, at=at)
        return torn

    def _find_order_id(self, session: Session, claim: ClaimedPlace) -> int | None:
        order = specimens.find_order(session, self._whose, claim.order)
        return order.id if order else None

    def _is_there(self, row: MicrographRow, claim: ClaimedPlace) -> bool:
        key = self._whose.key
        if row.origin == "import" or key(row.order) != key(claim.order):
            return False
        return not claim.specimen or key(row.specimen) == key(claim.specimen)

    def _detach(
        self,
        session: Session,
        row: MicrographRow,
        claim: ClaimedPlace,
        name: str,
        *,
        at: datetime,
    ) -> None:
        had = ClaimedPlace(row.order, row.specimen, "path", row.relative)
        add(session, self._whose, row, [had], at=at)
        reason = (
            f"it claims two specimens: {row.order}/{row.specimen}, and as {name} "
            f"{claim.order}/{claim.specimen}"
        )
        row.specimen_id = row.preparation_id = None
        self._note_unassigned(session, row, reason, at=at)

    def expect_import(self, session: Session, content_id: int, *, at: datetime) -> None:
        """Record that imported micrographs lack a specimen: their file came to a folder as well."""
        wanted = select(MicrographRow).where(
            MicrographRow.content_id == content_id,
            MicrographRow.origin == "import",
            MicrographRow.unassigned == "",
            col(MicrographRow.specimen_id).is_(None),
        )
        for row in session.exec(wanted).all():
            lacking = specimens.describe_lacking(row) or "it came with an import"
            self._note_unassigned(session, row, lacking, at=at)

    def _note_unassigned(
        self, session: Session, row: MicrographRow, reason: str, *, at: datetime
    ) -> None:
        row.unassigned = reason
        session.add(row)
        self._remember(
            session,
            actor="agent",
            at=at,
            act="field.unassigned",
            subject=row.public_id,
            facts={"reason": row.unassigned},
        )
