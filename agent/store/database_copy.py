"""Copy a database into an empty one, also of the other kind, and compare what came there.

All sites are copied, in one transaction: counts and hashes of every table are compared before it is
committed. The text search is computed again, since each kind has its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError

from agent.errors import StoreError
from agent.store import engine as engines
from agent.store import schema
from agent.store.sites.site_scope import EVERY_SITE, bind
from agent.store.tables import load_metadata

COMPUTED = frozenset({"search_entry"})
"""Tables that are made again from the others."""
ROWS_AT_ONCE = 500
MODULUS = 1 << 256
NUMBERED_BY_ACT = "trail"
"""Its highest number is that of its newest row: a later one would mean that acts were deleted."""


@dataclass(frozen=True, slots=True)
class TableDigest:
    """What a table holds: its rows, whatever their sequence.

    Attributes:
        rows: How many there are.
        sha256: Sum of the SHA-256 of its rows, modulo 2 to the 256.
    """

    rows: int
    sha256: str


def copy_database(
    engine: Engine, target: Engine, *, progress: Callable[[int, int, str], None]
) -> dict[str, TableDigest]:
    """Copy all rows of all sites into an empty database.

    Args:
        engine: The database, at this program's schema; no agent may write to it.
        target: The empty one; on a fault it stays empty.
        progress: Called with (rows done, rows in total, table).

    Returns:
        Table → what it holds, which is the same in both.

    Raises:
        StoreError: The target is not empty, does not take a value, or holds something else then.
    """
    digests: dict[str, TableDigest] = {}
    with engines.opening(engine), bind(engine, EVERY_SITE).connect() as source:
        if not engines.is_sqlite(engine):
            source.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

        def fill(connection: Connection) -> None:
            digests.update(_copy_rows(source, connection, progress))

        schema.create_filled(target, fill)
    return digests


def _copy_rows(
    source: Connection, target: Connection, progress: Callable[[int, int, str], None]
) -> Iterator[tuple[str, TableDigest]]:
    tables = [table for table in load_metadata().sorted_tables if table.name not in COMPUTED]
    counts = {
        table.name: source.execute(select(func.count()).select_from(table)).scalar_one()
        for table in tables
    }
    total, done = 2 * sum(counts.values()), 0
    for table in reversed(tables):  # a new database has rows of its own
        target.execute(delete(table))
    for table in tables:
        written, later = 0, []
        for rows in _iter_batches(source, table):
            batch = [dict(zip(table.columns.keys(), row, strict=True)) for row in rows]
            written += _digest(rows)
            later += _put_off(table, batch)
            _insert(target, table, batch)
            done += len(rows)
            progress(done, total, table.name)
        _fill_later(target, table, later)
        _carry_number(source, target, table)
        read, count = 0, 0
        for rows in _iter_batches(target, table):
            read += _digest(rows)
            count += len(rows)
            progress(done + count, total, table.name)
        done += count
        if (count, read % MODULUS) != (counts[table.name], written % MODULUS):
            raise StoreError(
                f"{engines.place(target.engine)}: table {table.name} holds other rows than "
                f"{engines.place(source.engine)} after the copy; nothing was kept. An agent may "
                "have written during this time: stop all agents and copy again."
            )
        yield table.name, TableDigest(count, f"{read % MODULUS:064x}")


def _iter_batches(connection: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    rows = select(table).order_by(*table.primary_key.columns)
    rows = rows.execution_options(yield_per=ROWS_AT_ONCE)
    try:
        yield from connection.execute(rows).partitions()
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{engines.place(connection.engine)}: table {table.name} holds a value that cannot be "
            f"read ({error}). agent verify names it."
        ) from error


def _digest(rows: Sequence[Row[Any]]) -> int:
    """Return the sum of the rows' hashes: the two kinds of databases sort text differently."""
    texts = (json.dumps(list(row), default=_to_json, sort_keys=True) for row in rows)
    return sum(int.from_bytes(hashlib.sha256(one.encode()).digest()) for one in texts)


def _to_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} in a row")


def _insert(target: Connection, table: Table, batch: list[dict[str, Any]]) -> None:
    try:
        target.execute(insert(table), batch)
    except (DBAPIError, StatementError) as error:
        why = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise StoreError(
            f"{engines.place(target.engine)}: does not take a row of table {table.name} ({why}). "
            "Nothing was kept; agent verify names values of another kind than their column."
        ) from error


# --- rows that name later rows of their table -----------------------------------------------------


def _put_off(table: Table, batch: list[dict[str, Any]]) -> list[tuple[int, str, int]]:
    """Empty references to later rows, and return them as (number, column, reference)."""
    later = []
    for key in table.foreign_keys:
        if key.column.table is not table:
            continue
        name = key.parent.name
        for row in batch:
            if row[name] is not None and row[name] > row["id"]:
                later.append((row["id"], name, row[name]))
                row[name] = None
    return later


def _fill_later(target: Connection, table: Table, later: Sequence[tuple[int, str, int]]) -> None:
    for number, name, reference in later:
        target.execute(update(table).where(table.c.id == number).values({name: reference}))


# --- numbers that were given ----------------------------------------------------------------------


def _carry_number(source: Connection, target: Connection, table: Table) -> None:
    """Carry on the numbers of a table: none is given twice, also of a row that is not there."""
    if "id" not in table.columns:
        return
    highest = source.execute(select(func.max(table.c.id))).scalar() or 0
    if table.name != NUMBERED_BY_ACT:
        highest = max(highest, _find_last_number(source, table))
    if not highest:
        return
    if target.dialect.name == "sqlite":
        if table.dialect_kwargs.get("sqlite_autoincrement"):
            target.execute(text("DELETE FROM sqlite_sequence WHERE name = :t"), {"t": table.name})
            target.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:t, :n)"),
                {"t": table.name, "n": highest},
            )
        return
    if sequence := _find_sequence(target, table):
        target.execute(text("SELECT setval(:s, :n)"), {"s": sequence, "n": highest})


def _find_last_number(source: Connection, table: Table) -> int:
    if source.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :t")
        return int(source.execute(query, {"t": table.name}).scalar() or 0)
    if sequence := _find_sequence(source, table):
        return int(source.exec_driver_sql(f"SELECT last_value FROM {sequence}").scalar() or 0)  # noqa: S608 - PostgreSQL's own name
    return 0


def _find_sequence(connection: Connection, table: Table) -> str | None:
    query = text("SELECT pg_get_serial_sequence(:t, 'id')")
    quoted = connection.dialect.identifier_preparer.quote(table.name)
    name: str | None = connection.execute(query, {"t": quoted}).scalar()
    return name
