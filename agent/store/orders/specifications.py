"""Specification entries as they were noted, each change a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func
from sqlmodel import Session, select

from agent.store.engine import reading, writing
from agent.store.evidence import quality_records
from agent.store.evidence.acts import append_act
from agent.store.orders.specimens import OrderRepository
from agent.store.tables import (
    SpecificationRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


class SpecificationVersions(OrderRepository):
    """Repository of specification entries."""

    def note(
        self,
        entries: Sequence[tuple[str, date, str, str, dict[str, Any]]],
        *,
        zone: str,
        at: datetime,
    ) -> dict[str, int]:
        """Record this PC's specifications if they changed; a changed entry is a new version.

        Args:
            entries: (name, valid from, approved by, sha256, the entry itself).
            zone: Time zone of the site, by which an entry's days begin.
            at: Now.

        Returns:
            sha256 → version.
        """
        state = {"entries": [sha256 for _, _, _, sha256, _ in entries], "zone": zone}
        kind = quality_records.SPECIFICATIONS
        with reading(self._engine) as session:
            known = _versions(session)
            is_same = quality_records.has_state(session, self._whose, kind, state)
        if is_same and all(sha256 in known for sha256 in state["entries"]):
            return known
        with writing(self._engine) as session:
            quality_records.append_state(session, self._whose, kind, by="agent", at=at, facts=state)
            for name, valid_from, approved_by, sha256, entry in entries:
                if sha256 in _versions(session):
                    continue
                newest = select(func.max(SpecificationRow.version)).where(
                    SpecificationRow.name == name
                )
                version = (session.exec(newest).one() or 0) + 1
                row = SpecificationRow(
                    name=name,
                    version=version,
                    valid_from=valid_from,
                    approved_by=approved_by,
                    sha256=sha256,
                    entry=entry,
                    seen_at=at,
                )
                append_act(session, "specification.seen", row)
            return _versions(session)

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return every entry that was ever noted, by its sha256."""
        wanted = select(SpecificationRow.sha256, SpecificationRow.entry)
        with reading(self._engine) as session:
            return {sha256: dict(entry) for sha256, entry in session.exec(wanted)}

    def versions(self) -> dict[str, int]:
        """Return sha256 of an entry → its version."""
        with reading(self._engine) as session:
            return _versions(session)


def _versions(session: Session) -> dict[str, int]:
    return dict(session.exec(select(SpecificationRow.sha256, SpecificationRow.version)).all())
