"""Keep what the lab has to be able to show later: validations, control checks, statements.

In:  facts with who and when. Out: `Record`s, newest last. Next: `orders`, and whoever audits.
`Store.records` is this room's own door. A record is appended and stands in the trail too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlmodel import col, select

from agent.store import trail
from agent.store.engine import reading, writing
from agent.store.tables import RecordRow

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.sources import Whose


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Args:
        id: Its number. kind, subject: as in `RecordRow`. by: who. at: when, aware UTC.
        facts: The rest, as JSON has it.
    """

    id: int
    kind: str
    subject: str
    by: str
    at: datetime
    facts: dict[str, Any]


def append(
    session: Session,
    site_id: int,
    kind: str,
    subject: str,
    *,
    by: str,
    at: datetime,
    facts: Mapping[str, Any],
) -> int:
    """Append a record within a transaction; its number comes back."""
    row = RecordRow(site_id=site_id, kind=kind, subject=subject, by=by, at=at, facts=dict(facts))
    session.add(row)
    session.flush()
    trail.append(
        session,
        site_id,
        at=at,
        actor=by,
        act=f"{kind}.recorded",
        subject=subject,
        facts={"record": row.id, **facts},
    )
    return row.id or 0


def every(session: Session, site_id: int, kind: str, subject: str | None = None) -> list[Record]:
    """Say every record of a kind within a transaction, oldest first."""
    asked = select(RecordRow).where(RecordRow.site_id == site_id, RecordRow.kind == kind)
    if subject is not None:
        asked = asked.where(RecordRow.subject == subject)
    return [_record(row) for row in session.exec(asked.order_by(col(RecordRow.id)))]


def _record(row: RecordRow) -> Record:
    return Record(row.id or 0, row.kind, row.subject, row.by, row.at, row.facts)


def newest(session: Session, site_id: int, kind: str) -> Record | None:
    """Return the newest record of a kind, or None."""
    wanted = (
        select(RecordRow)
        .where(RecordRow.site_id == site_id, RecordRow.kind == kind)
        .order_by(col(RecordRow.id).desc())
        .limit(1)
    )
    row = session.exec(wanted).first()
    return _record(row) if row else None


class Records:
    """Every question and act about records; each method is one transaction.

    Args:
        engine: At this program's schema.
        whose: The site and the agent that ask.
    """

    def __init__(self, engine: Engine, whose: Whose) -> None:
        self._engine, self._whose = engine, whose

    def add(
        self, kind: str, subject: str, *, by: str, at: datetime, facts: Mapping[str, Any]
    ) -> int:
        """Append a record; its number comes back."""
        with writing(self._engine) as session:
            site_id = self._whose.site_id
            return append(session, site_id, kind, subject, by=by, at=at, facts=facts)

    def all(self, kind: str, subject: str | None = None) -> list[Record]:
        """Say every record of a kind, oldest first."""
        with reading(self._engine) as session:
            return every(session, self._whose.site_id, kind, subject)

    def latest(self, kind: str, subject: str) -> Record | None:
        """Say the newest record of a kind about a subject, or None."""
        found = self.all(kind, subject)
        return found[-1] if found else None
