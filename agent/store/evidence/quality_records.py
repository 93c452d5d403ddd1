"""Quality records: validations, control checks, studies; appended, and in the audit log too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from agent.store.engine import AgentIdentity, Repository, reading, writing
from agent.store.evidence import audit_log
from agent.store.tables import AgentRow, Record

SPECIFICATIONS = "specifications"
"""Kind of the records of each state of the file of specifications; the subject is the PC."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record that is to be appended together with others.

    Args:
        kind: As in `Record`.
        subject: As in `Record`.
        facts: The rest, as JSON has it.
        logged: Facts for the audit log where they differ, such as a hash of what is long; None: the
            facts.
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
    """Append a record within a transaction; return its number. `logged`: see `NewRecord`."""
    row = Record(site_id=site_id, kind=kind, subject=subject, by=by, at=at, facts=dict(facts))
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
            **({} if logged is None else {audit_log.FACTS_SHA256: audit_log.sha256_of(row.facts)}),
        },
    )
    return row.id


def every(session: Session, site_id: int, kind: str, subject: str | None = None) -> list[Record]:
    """Return the records of a kind within a transaction, oldest first."""
    query = select(Record).where(Record.site_id == site_id, Record.kind == kind)
    if subject is not None:
        query = query.where(Record.subject == subject)
    return list(session.exec(query.order_by(col(Record.id))))


def find_newest_id(session: Session, site_id: int) -> int:
    """Return the number of a site's newest record, 0 where there is none."""
    wanted = (
        select(Record.id).where(Record.site_id == site_id).order_by(col(Record.id).desc()).limit(1)
    )
    return session.exec(wanted).first() or 0


def has_state(session: Session, whose: AgentIdentity, kind: str, facts: Mapping[str, Any]) -> bool:
    """Return whether this PC recorded this state of its file last."""
    pc = session.get_one(AgentRow, whose.agent_id).name
    last = _find_newest(session, whose, kind, pc)
    return last is not None and last.facts == facts


def append_state(
    session: Session,
    whose: AgentIdentity,
    kind: str,
    *,
    by: str,
    at: datetime,
    facts: Mapping[str, Any],
    reason: str = "",
) -> None:
    """Append the state of a file of this PC, unless this PC recorded it last and none signed it.

    The last state of another PC does not matter: PCs with different files would append theirs in
    turns, without end.
    """
    audit_log.lock(session)
    if reason or not has_state(session, whose, kind, facts):
        pc = session.get_one(AgentRow, whose.agent_id).name
        logged = {**facts, "reason": reason} if reason else None
        append(session, whose.site_id, kind, pc, by=by, at=at, facts=facts, logged=logged)


def _find_newest(session: Session, whose: AgentIdentity, kind: str, subject: str) -> Record | None:
    query = (
        select(Record)
        .where(
            Record.site_id == whose.site_id,
            Record.kind == kind,
            Record.subject == subject,
        )
        .order_by(col(Record.id).desc())
        .limit(1)
    )
    return session.exec(query).first()


class Records(Repository):
    """Repository of quality records."""

    def add(
        self, kind: str, subject: str, *, by: str, at: datetime, facts: Mapping[str, Any]
    ) -> int:
        """Append a record; return its number."""
        with writing(self._engine) as session:
            site_id = self._whose.site_id
            return append(session, site_id, kind, subject, by=by, at=at, facts=facts)

    def add_once(
        self,
        kind: str,
        subject: str,
        *,
        by: str,
        at: datetime,
        facts: Mapping[str, Any],
        after: str,
    ) -> int:
        """Append a record unless its author has appended the same since a record of another kind.

        Args:
            kind: As in `Record`.
            subject: As in `Record`.
            by: Author.
            at: Now, aware UTC.
            facts: The rest, as JSON has it.
            after: Kind of the records on this subject after which the same counts again.

        Returns:
            The number of the record, also of the one that was there.
        """
        site_id = self._whose.site_id
        with writing(self._engine) as session:
            audit_log.lock(session)
            begin = max(
                (record.id for record in every(session, site_id, after, subject)), default=0
            )
            for record in every(session, site_id, kind, subject):
                if record.id > begin and (record.by, record.facts) == (by, dict(facts)):
                    return record.id
            return append(session, site_id, kind, subject, by=by, at=at, facts=facts)

    def has_state(self, kind: str, facts: Mapping[str, Any]) -> bool:
        """Return whether this PC recorded this state of its file last."""
        with reading(self._engine) as session:
            return has_state(session, self._whose, kind, facts)

    def add_state(self, kind: str, *, by: str, at: datetime, facts: Mapping[str, Any]) -> None:
        """Append the state of a file of this PC, unless this PC recorded it last."""
        if self.has_state(kind, facts):
            return
        with writing(self._engine) as session:
            append_state(session, self._whose, kind, by=by, at=at, facts=facts)

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
        newest = select(func.max(Record.id)).where(
            Record.site_id == self._whose.site_id,
            Record.kind == first.kind,
            Record.subject == first.subject,
        )
        with writing(self._engine) as session:
            audit_log.lock(session)
            if (session.exec(newest).one() or 0) != follows:
                return []
            return [
                append(
                    session,
                    self._whose.site_id,
                    record.kind,
                    record.subject,
                    by=by,
                    at=at,
                    facts=record.facts,
                    logged=record.logged,
                )
                for record in new
            ]

    def newest(self, kind: str) -> dict[str, Record]:
        """Return subject → its newest record of a kind."""
        site_id = self._whose.site_id
        last = (
            select(func.max(Record.id))
            .where(Record.site_id == site_id, Record.kind == kind)
            .group_by(Record.subject)
        )
        query = select(Record).where(col(Record.id).in_(last))
        with reading(self._engine) as session:
            rows = session.exec(query).all()
        return {row.subject: row for row in rows}

    def all(self, kind: str, subject: str | None = None) -> list[Record]:
        """Return the records of a kind, oldest first."""
        with reading(self._engine) as session:
            return every(session, self._whose.site_id, kind, subject)

    def list_after(self, kind: str, number: int) -> list[Record]:
        """Return the records of a kind with a larger number, oldest first."""
        wanted = (
            select(Record)
            .where(
                Record.site_id == self._whose.site_id,
                Record.kind == kind,
                col(Record.id) > number,
            )
            .order_by(col(Record.id))
        )
        with reading(self._engine) as session:
            return list(session.exec(wanted))

    def latest(self, kind: str, subject: str) -> Record | None:
        """Return the newest record of a kind on a subject, or None."""
        records = self.all(kind, subject)
        return records[-1] if records else None
