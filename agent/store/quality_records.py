"""Keep what the lab has to be able to show later: validations, control checks, statements.

In:  facts with who and when. Out: `Record`s, newest last. Next: `orders`, and whoever audits.
`Store.records` is this room's own door. A record is appended and stands in the trail too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func
from sqlmodel import col, select

from agent.store import audit_log
from agent.store.engine import reading, writing
from agent.store.tables import RecordRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Engine
    from sqlmodel import Session

    from agent.store.sources import Whose


FACTS_SHA256 = "facts_sha256"
"""Key under which the audit log holds the hash of facts that are too long for it."""
SPECIFICATIONS = "specifications"
"""Kind of the records that keep each state of the file of specifications."""


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


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record that is to be appended together with others.

    Args:
        kind, subject: As in `RecordRow`. facts: the rest, as JSON has it.
        logged: What the audit log holds in place of the facts, such as a hash of what is long;
            None: the facts.
    """

    kind: str
    subject: str
    facts: Mapping[str, Any]
    logged: Mapping[str, Any] | None = None


def append(
    session: Session,
    site_id: int,
    kind: str,
    subject: str,
    *,
    by: str,
    at: datetime,
    facts: Mapping[str, Any],
    logged: Mapping[str, Any] | None = None,
) -> int:
    """Append a record within a transaction; its number comes back. `logged`: see `NewRecord`."""
    row = RecordRow(site_id=site_id, kind=kind, subject=subject, by=by, at=at, facts=dict(facts))
    session.add(row)
    session.flush()
    audit_log.append(
        session,
        site_id,
        at=at,
        actor=by,
        act=f"{kind}.recorded",
        subject=subject,
        facts={
            "record": row.id,
            **(facts if logged is None else logged),
            **({} if logged is None else {FACTS_SHA256: audit_log.sha256_of(row.facts)}),
        },
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


def find_newest_id(session: Session, site_id: int) -> int:
    """Return the number of a site's newest record, 0 where there is none."""
    wanted = (
        select(RecordRow.id)
        .where(RecordRow.site_id == site_id)
        .order_by(col(RecordRow.id).desc())
        .limit(1)
    )
    return session.exec(wanted).first() or 0


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

    def add_together(
        self, new: Sequence[NewRecord], *, by: str, at: datetime, follows: int
    ) -> list[int]:
        """Append several records in one transaction.

        Args:
            new: The records.
            by: Who.
            at: Now, aware UTC.
            follows: Number of the newest record of the first one's kind and subject that the
                caller knows, 0 for none.

        Returns:
            Their numbers, [] where another agent appended such a record before.
        """
        first = new[0]
        newest = select(func.max(RecordRow.id)).where(
            RecordRow.site_id == self._whose.site_id,
            RecordRow.kind == first.kind,
            RecordRow.subject == first.subject,
        )
        with writing(self._engine) as session:
            audit_log.lock(session)
            if (session.exec(newest).one() or 0) != follows:
                return []
            return [
                append(
                    session,
                    self._whose.site_id,
                    one.kind,
                    one.subject,
                    by=by,
                    at=at,
                    facts=one.facts,
                    logged=one.logged,
                )
                for one in new
            ]

    def newest(self, kind: str) -> dict[str, Record]:
        """Return subject → its newest record of a kind."""
        site_id = self._whose.site_id
        last = (
            select(func.max(RecordRow.id))
            .where(RecordRow.site_id == site_id, RecordRow.kind == kind)
            .group_by(RecordRow.subject)
        )
        asked = select(RecordRow).where(col(RecordRow.id).in_(last))
        with reading(self._engine) as session:
            rows = session.exec(asked).all()
        return {row.subject: _record(row) for row in rows}

    def all(self, kind: str, subject: str | None = None) -> list[Record]:
        """Say every record of a kind, oldest first."""
        with reading(self._engine) as session:
            return every(session, self._whose.site_id, kind, subject)

    def list_after(self, kind: str, number: int) -> list[Record]:
        """Return the records of a kind with a larger number, oldest first."""
        wanted = (
            select(RecordRow)
            .where(
                RecordRow.site_id == self._whose.site_id,
                RecordRow.kind == kind,
                col(RecordRow.id) > number,
            )
            .order_by(col(RecordRow.id))
        )
        with reading(self._engine) as session:
            return [_record(row) for row in session.exec(wanted)]

    def latest(self, kind: str, subject: str) -> Record | None:
        """Say the newest record of a kind about a subject, or None."""
        found = self.all(kind, subject)
        return found[-1] if found else None
