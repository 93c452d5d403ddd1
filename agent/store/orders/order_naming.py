"""What files name of orders: copies under another name, and micrographs named twice."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.store.engine import writing
from agent.store.evidence import quality_records
from agent.store.orders import order_claims, specimens
from agent.store.orders.order_claims import ClaimedPlace
from agent.store.orders.order_rows import OrderRepository
from agent.store.tables import (
    MicrographRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlmodel import Session


COPY = "copy_named"
"""Kind of the record of what a copy names whose first file is still being read; by its hash."""


class OrderNaming(OrderRepository):
    """Repository of what files name."""

    def claim_again(
        self, content_id: int, claims: Sequence[ClaimedPlace], name: str, *, at: datetime
    ) -> list[str]:
        """Record that a known content was received again, under the name of another specimen.

        From now on it belongs to no specimen, and each order that it was named for is undecided
        until a lead has decided.

        Args:
            content_id: The content that was there first.
            claims: Orders and specimens that the new file names.
            name: Name of the new file.
            at: Now.

        Returns:
            Public ids of the micrographs that belonged to a specimen until now.
        """
        with writing(self._engine) as session:
            return self._claim(session, content_id, claims, name, at=at)

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
    ) -> list[str]:
        named = [claim for claim in claims if claim.order]
        torn = []
        wanted = select(MicrographRow).where(MicrographRow.content_id == content_id)
        for row in session.exec(wanted).all() if named else ():
            others = [claim for claim in named if not self._is_there(row, claim)]
            if not others:
                continue
            if row.specimen_id is not None:
                torn.append(row.public_id)
                self._detach(session, row, others[0], name, at=at)
            order_claims.add(session, self._whose, row, others, at=at)
        return torn

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
        had = order_claims.ClaimedPlace(row.order, row.specimen, "path", row.relative)
        order_claims.add(session, self._whose, row, [had], at=at)
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
