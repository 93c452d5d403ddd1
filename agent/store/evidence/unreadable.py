"""Find values in a SQLite file that no program of ours wrote and none can read.

SQLite accepts any value, a text in a column of times too. One such value would end every
comparison of rows and so hide other changes.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    String,
    inspect,
    text,
)
from sqlalchemy.types import TypeDecorator

from agent.store.tables import Row, load_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Column, Connection, Table, TextClause
    from sqlalchemy.types import TypeEngine

DOCUMENTS = {"trail": "facts", "statement": "document"}
"""Columns of text that hold a JSON object, kept as text since it is what was hashed."""
DAY = "'[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
BEYOND_ASCII = "'*[^\x01-\x7f]*'"
"""Letters that may be no UTF-8: SQLite keeps any bytes as text, and Python refuses to read them."""
SHOWN = 60
"""Letters of a value that a sentence shows."""


def find_unreadable(connection: Connection, site_id: int) -> Iterator[str]:
    """Yield a sentence for each value of a site that is not of its column's type.

    PostgreSQL enforces the types itself; only JSON that is stored as text is read there.
    """
    if connection.dialect.name == "sqlite":
        yield from _of_another_kind(connection, site_id)
    read = "CAST({} AS BLOB)" if connection.dialect.name == "sqlite" else "{}"
    for name, column in DOCUMENTS.items():
        wanted = read.format(f'"{column}"')
        query = text(
            f'SELECT id, {wanted} FROM "{name}" WHERE site_id = :site_id ORDER BY id'  # noqa: S608 - our names
        ).execution_options(yield_per=500)
        for number, value in connection.execute(query, {"site_id": site_id}):
            shown = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            if not _is_object(shown):
                yield _sentence(name, number, column, shown)


def _of_another_kind(connection: Connection, site_id: int) -> Iterator[str]:
    there = set(inspect(connection).get_table_names())
    for table in load_metadata().sorted_tables:
        if table.name in there:
            yield from _in_table(connection, table, site_id)


def _in_table(connection: Connection, table: Table, site_id: int) -> Iterator[str]:
    suspects = {
        column.name: f'"{column.name}" IS NOT NULL AND ({_suspect(column)})'
        for column in table.columns
    }
    any_of_them = " OR ".join(f"({suspect})" for suspect in suspects.values())
    own = {"site_id": site_id} if "site_id" in table.columns else {}
    if not connection.execute(_select("1", table, f"({any_of_them}) LIMIT 1"), own).first():
        return  # one scan of a table without faults
    for column in table.columns:
        wanted = f'rowid, typeof("{column.name}"), CAST("{column.name}" AS BLOB)'
        for number, stored, raw in connection.execute(
            _select(wanted, table, f"({suspects[column.name]})"), own
        ):
            if not _is_read(column, stored, bytes(raw)):
                value = bytes(raw).decode(errors="replace")
                yield _sentence(table.name, number, column.name, value)


def _sentence(table: str, number: int, column: str, value: str) -> str:
    return (
        f"{table} {number}: {column} holds {value[:SHOWN]!r}, which cannot be read: it was changed"
    )


def _is_object(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict)
    except ValueError:
        return False


def _select(wanted: str, table: Table, where: str) -> TextClause:
    query = f'SELECT {wanted} FROM "{table.name}" WHERE {where}'.replace(":", "\\:")  # noqa: S608 - our own names
    # Unindexed: a value of another type in `site_id` belongs to no site, so each names it.
    if "site_id" in table.columns:
        query = query.replace(
            " WHERE ", " WHERE (+site_id = :site_id OR typeof(site_id) <> 'integer') AND ", 1
        )
    return text(query)


def _plain(kind: TypeEngine[object]) -> TypeEngine[object]:
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind


def _suspect(column: Column[object]) -> str:
    """Return SQL that is true for every value that cannot be read, and for few others."""
    kind, name = _plain(column.type), f'"{column.name}"'
    if isinstance(kind, Integer | Boolean):
        return f"typeof({name}) <> 'integer'"
    if isinstance(kind, Float):
        return f"typeof({name}) NOT IN ('real', 'integer')"
    if isinstance(kind, LargeBinary):
        return f"typeof({name}) <> 'blob'"
    if isinstance(kind, Date | DateTime):
        return f"typeof({name}) <> 'text' OR {name} NOT GLOB {DAY} OR datetime({name}) IS NULL"
    beyond_ascii = f"{name} GLOB {BEYOND_ASCII} OR instr(CAST({name} AS BLOB), x'00')"
    if isinstance(kind, JSON):
        shapes = f"json_type({name}) <> '{_shape(column)}'"
        return f"typeof({name}) <> 'text' OR {beyond_ascii} OR NOT json_valid({name}) OR {shapes}"
    return f"typeof({name}) <> 'text' OR {beyond_ascii}"


def _shape(column: Column[object]) -> str:
    """Return what the JSON of a column is: "array" where a list is its empty value."""
    for table in Row.__subclasses__():
        if table.__tablename__ == column.table.name:
            empty = table.model_fields[column.name].default_factory
            return "array" if empty is list else "object"
    return "object"


def _is_read(column: Column[object], stored: str, raw: bytes) -> bool:
    """Return whether a suspect is read all the same, such as NaN in JSON, or a letter like "é"."""
    kind = _plain(column.type)
    try:
        value = raw.decode()
        if isinstance(kind, JSON):
            shape = dict if _shape(column) == "object" else list
            return isinstance(json.loads(value), shape)
        if isinstance(kind, Date | DateTime):
            datetime.fromisoformat(value)
            return True
    except ValueError:
        return False
    return isinstance(kind, String) and stored == "text"
