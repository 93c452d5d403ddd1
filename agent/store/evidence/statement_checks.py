"""Compare statements and their files with their hashes, the one before each, and the audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlmodel import col, select

from agent.store.evidence import audit_log
from agent.store.orders.statements import FILED, FROZEN, recompute_statement
from agent.store.tables import OrderRow, StatementFileRow, StatementRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlmodel import Session


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each one that was changed, left out, added or is missing."""
    logged = {
        entry.facts["sha256"]: entry
        for entry in audit_log.entries(session, act=FROZEN)
        if entry.facts.get("sha256")
    }
    before: dict[int, str] = {}  # row id of the order → hash of its last statement
    query = select(StatementRow, OrderRow.number).join(
        OrderRow, col(OrderRow.id) == col(StatementRow.order_id)
    )
    ordered = query.order_by(col(StatementRow.order_id), col(StatementRow.number))
    for row, order in session.exec(ordered.execution_options(yield_per=100)):
        entry = logged.pop(row.sha256, None)
        yield from _faults(row, order, entry, before.get(row.order_id, ""))
        before[row.order_id] = row.sha256
    for sha256, entry in logged.items():
        yield (
            f"statement {entry.facts.get('number')} of order {entry.subject}: its row is gone "
            f"({sha256})"
        )
    yield from _file_faults(session)


def _faults(
    row: StatementRow, order: str, entry: audit_log.TrailEntry | None, previous: str
) -> Iterator[str]:
    """Yield what is wrong with one row."""
    name = f"statement {row.number} of order {order}"
    if recompute_statement(row.document) != row.sha256:
        yield f"{name}: its text was changed after it was written ({row.sha256})"
        return
    if row.previous_sha256 != previous:
        yield f"{name}: it does not follow the statement before it"
    document = json.loads(row.document)
    named = tuple(document.get(name) for name in ("order", "number", "conformity", "at"))
    if named != (order, row.number, row.conformity, row.at.isoformat()):
        yield f"{name}: its row says something else than its text"
    if entry is None:
        yield f"{name}: the audit log does not know it ({row.sha256})"
    elif (entry.subject, entry.facts.get("number"), entry.facts.get("conformity"), entry.at) != (
        order,
        row.number,
        row.conformity,
        row.at,
    ):
        yield f"{name}: the audit log says something else of it"
    else:
        for column in ("state", "final"):
            if entry.facts.get(column) != getattr(row, column):
                yield f"{name}: its {column} is not what the audit log says"


def _file_faults(session: Session) -> Iterator[str]:
    """Yield the rows of files that differ from the audit log, or that are missing."""
    left = {
        (entry.facts.get("statement"), entry.facts.get("kind")): entry
        for entry in audit_log.entries(session, act=FILED)
    }
    wanted = select(StatementFileRow, StatementRow.sha256, StatementRow.number).join(
        StatementRow, col(StatementRow.id) == col(StatementFileRow.statement_id)
    )
    for row, statement, number in session.exec(wanted.order_by(col(StatementFileRow.id))):
        name = f"{row.kind} of statement {number} ({statement})"
        entry = left.pop((statement, row.kind), None)
        if entry is None:
            yield f"{name}: the audit log does not know this file"
            continue
        was = (entry.facts.get("sha256"), entry.facts.get("signed_by") or "", entry.at)
        if was != (row.sha256, row.signed_by, row.at):
            yield f"{name}: the audit log holds another hash, signature or time of this file"
    for entry in left.values():
        kind, of = entry.facts.get("kind"), entry.facts.get("statement")
        yield f"{kind} of a statement of order {entry.subject}: its row is gone ({of})"
