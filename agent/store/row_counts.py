"""Count the rows of every table of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect

from agent.store.tables import load_metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def count_rows(connection: Connection) -> dict[str, int]:
    """Return table → rows, of our tables that are there."""
    there = set(inspect(connection).get_table_names())
    quote = connection.dialect.identifier_preparer.quote
    return {
        name: int(connection.exec_driver_sql(f"SELECT count(*) FROM {quote(name)}").scalar() or 0)  # noqa: S608 - names of ours
        for name in sorted(there & load_metadata().tables.keys())
    }
