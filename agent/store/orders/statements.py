"""Statements of conformity, frozen at each change of an order, each under the hash of its own text.

A statement is appended with its row of the audit log in one transaction and is never changed or
deleted. Each names the hash of the one before it, so that a missing one is detected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_
from sqlmodel import col, select

from agent.store.engine import Repository, reading, writing
from agent.store.evidence import audit_log
from agent.store.evidence.acts import append_act
from agent.store.orders import specimens
from agent.store.tables import OrderRow, StatementFile, StatementRow, TrailRow
from agent.store.work.file_states import chunks

FROZEN, FILED = "statement.frozen", "statement.filed"
"""Acts of the audit log: a statement, and a file made from it."""
AFTER = "after"
"""Key of the facts of a statement: whose acts it follows; the agent itself makes it."""


def to_canonical(document: Mapping[str, Any]) -> str:
    """Return a document as the text that is hashed: keys sorted, no spaces, no NaN.

    Raises:
        ValueError: It contains a number that JSON does not have.
    """
    return json.dumps(
        document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


def recompute_statement(text: str) -> str:
    """Return the hash of a statement's text: 64 hex digits of SHA-256 over its UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StatementHead:
    """What a statement says of itself, without its text.

    Attributes:
        order: Number of the order.
        number: Of the statement, from 1 per order.
        previous: Hash of the one before it, "" for the first.
        conformity: Conformity of the order.
        state: Hash of the stated facts.
        final: It or an earlier one conforms or does not.
    """

    order: str
    number: int
    previous: str
    conformity: str
    state: str
    final: bool


@dataclass(frozen=True, slots=True)
class NewStatement(StatementHead):
    """A statement that is to be frozen.

    Attributes:
        document: The whole document.
        after: Who acted since the statement before → names of the acts.
    """

    document: Mapping[str, Any]
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrozenStatement(StatementHead):
    """A statement without its text; `id`, `sha256` and `at` are those of `StatementRow`."""

    id: int
    sha256: str
    at: datetime


class Statements(Repository):
    """Repository of statements."""

    # --- statements ---

    def newest(self, numbers: Collection[str] | None = None) -> dict[str, FrozenStatement]:
        """Return order → its newest statement.

        Args:
            numbers: Of these orders, None: of all.
        """
        last = select(func.max(StatementRow.id)).where(StatementRow.site_id == self._whose.site_id)
        query = self._select().where(
            col(StatementRow.id).in_(last.group_by(col(StatementRow.order_id)))
        )
        with reading(self._engine) as session:
            if numbers is None:
                rows = session.exec(query).all()
            else:
                rows = [
                    row
                    for batch in chunks(sorted(numbers))
                    for row in session.exec(query.where(col(OrderRow.number).in_(batch)))
                ]
        return {(frozen := FrozenStatement(**row._asdict())).order: frozen for row in rows}

    def all(self, number: str) -> list[FrozenStatement]:
        """Return the statements of an order, the first one first."""
        with reading(self._engine) as session:
            order = specimens.find_order(session, self._whose, number)
            if order is None:
                return []
            query = self._select().where(StatementRow.order_id == order.id)
            return [FrozenStatement(**row._asdict()) for row in session.exec(query)]

    def every(self) -> list[FrozenStatement]:
        """Return every statement, in the sequence in which they were made."""
        with reading(self._engine) as session:
            rows = session.exec(self._select().order_by(col(StatementRow.id))).all()
        return [FrozenStatement(**row._asdict()) for row in rows]

    def newest_id(self) -> int:
        """Return the row id of the newest statement of the site, 0 where there is none."""
        newest = select(func.max(StatementRow.id)).where(
            StatementRow.site_id == self._whose.site_id
        )
        with reading(self._engine) as session:
            return session.exec(newest).one() or 0

    def find_at(self, number: str, at: datetime) -> FrozenStatement | None:
        """Return the statement valid at a time: the last one made until then, or None."""
        made = [statement for statement in self.all(number) if statement.at <= at]
        return made[-1] if made else None

    def find(self, sha256: str) -> FrozenStatement | None:
        """Return a statement by its hash, or None."""
        with reading(self._engine) as session:
            row = session.exec(self._select().where(StatementRow.sha256 == sha256)).first()
        return FrozenStatement(**row._asdict()) if row else None

    def text(self, sha256: str) -> str:
        """Return the text of a statement byte for byte.

        Raises:
            KeyError: There is none with this hash.
        """
        wanted = select(StatementRow.document).where(StatementRow.sha256 == sha256)
        with reading(self._engine) as session:
            text = session.exec(wanted).first()
        if text is None:
            raise KeyError(sha256)
        return text

    def document(self, sha256: str) -> dict[str, Any]:
        """Return the parsed text of a statement. Raises `KeyError`."""
        document: dict[str, Any] = json.loads(self.text(sha256))
        return document

    def add(self, new: NewStatement, *, at: datetime) -> str:
        """Freeze a statement together with its row of the audit log.

        Returns:
            Its hash, "" where another agent froze a statement of the order just before.
        """
        text = to_canonical(new.document)
        sha256 = recompute_statement(text)
        with writing(self._engine) as session:
            audit_log.lock(session)
            order = specimens.find_order(session, self._whose, new.order)
            if order is None or order.id is None:
                return ""
            newest = (
                select(StatementRow.number, StatementRow.sha256)
                .where(StatementRow.order_id == order.id)
                .order_by(col(StatementRow.number).desc())
                .limit(1)
            )
            # Numbers may leave a gap: those of a database that a back-up was put in the place of.
            number, previous = session.exec(newest).first() or (0, "")
            if previous != new.previous or number >= new.number:
                return ""
            row = StatementRow(
                site_id=self._whose.site_id,
                order_id=order.id,
                number=new.number,
                sha256=sha256,
                previous_sha256=new.previous,
                conformity=new.conformity,
                state=new.state,
                final=new.final,
                at=at,
                document=text,
            )
            more = {AFTER: new.after} if new.after else {}
            append_act(session, FROZEN, row, names={"order_id": order.number}, more=more)
        return sha256

    # --- files ---

    def lacking(self, kind: str, limit: int) -> list[FrozenStatement]:
        """Return the oldest statements, from an order's first final one on, without a file.

        Args:
            kind: Of the file.
            limit: At most so many.
        """
        has = select(StatementFile.statement_id).where(StatementFile.kind == kind)
        query = (
            self._select()
            .where(
                StatementRow.site_id == self._whose.site_id,
                col(StatementRow.final).is_(True),
                col(StatementRow.id).not_in(has),
            )
            .limit(limit)
        )
        with reading(self._engine) as session:
            return [FrozenStatement(**row._asdict()) for row in session.exec(query)]

    def files(self, sha256: str) -> list[StatementFile]:
        """Return the files that were made of a statement."""
        query = (
            select(StatementFile)
            .join(StatementRow, col(StatementRow.id) == col(StatementFile.statement_id))
            .where(StatementRow.sha256 == sha256)
            .order_by(col(StatementFile.id))
        )
        with reading(self._engine) as session:
            return list(session.exec(query))

    def every_file(self) -> Iterator[tuple[str, StatementFile]]:
        """Yield the hash of each statement with each file that was made of it."""
        query = (
            select(StatementRow.sha256, StatementFile)
            .join(StatementRow, col(StatementRow.id) == col(StatementFile.statement_id))
            .order_by(col(StatementFile.id))
        )
        with reading(self._engine) as session:
            rows = session.exec(query).all()
        yield from rows

    def add_files(self, statement: FrozenStatement, files: Sequence[StatementFile]) -> bool:
        """Record the files that were made of a statement; False where another agent has."""
        with writing(self._engine) as session:
            audit_log.lock(session)
            known = select(StatementFile.id).where(StatementFile.statement_id == statement.id)
            if session.exec(known).first() is not None:
                return False
            for file in files:
                names = {"statement_id": statement.sha256}
                append_act(session, FILED, file, names=names, subject=statement.order)
        return True

    # --- audit log ---

    def head(self) -> tuple[int, str]:
        """Return number and hash of the newest row of the audit log, (0, "") where it is empty."""
        wanted = select(TrailRow.id, TrailRow.sha256).order_by(col(TrailRow.id).desc()).limit(1)
        with reading(self._engine) as session:
            row = session.exec(wanted).first()
        return (row[0] or 0, row[1]) if row else (0, "")

    def acts_after(
        self, number: int, *, subjects: Collection[str], acts: Collection[str]
    ) -> list[audit_log.TrailEntry]:
        """Return the acts after a row of the audit log, oldest first.

        Args:
            number: Of the row.
            subjects: Acts on one of them.
            acts: And acts of one of these names, whatever they are on.
        """
        wanted = or_(col(TrailRow.subject).in_(subjects), col(TrailRow.act).in_(acts))
        with reading(self._engine) as session:
            return list(audit_log.entries(session, after=number, where=wanted))

    def problems(self) -> list[str]:
        """Verify each statement against its hash, the one before it and the audit log.

        Returns:
            A sentence for each one that was changed, left out, added or is missing.
        """
        from agent.store.evidence import row_checks  # noqa: PLC0415 - a short command needs it not

        with reading(self._engine) as session:
            return list(row_checks.find_differences(session, ("statement", "statement_file")))

    # --- helpers ---

    def _select(self) -> Any:
        columns: tuple[Any, ...] = (
            col(OrderRow.number).label("order"),
            StatementRow.number,
            col(StatementRow.previous_sha256).label("previous"),
            StatementRow.conformity,
            StatementRow.state,
            StatementRow.final,
            StatementRow.id,
            StatementRow.sha256,
            StatementRow.at,
        )
        return (
            select(*columns)
            .join(OrderRow, col(OrderRow.id) == col(StatementRow.order_id))
            .order_by(col(StatementRow.id))
        )
