"""Triggers that refuse a row which names a row of another site, on SQLite and PostgreSQL alike.

A foreign key contains a number and no site, so a number from outside would connect the two sites.
They are created and removed like the guards on evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect

from agent.store.tables import PER_SITE, REFERRING, load_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

PREFIX = "same_site_"
ACROSS = frozenset({("login", "account_id")})
"""Columns that may name a row of another site: a shared account logs in at each."""


def lay(connection: Connection) -> None:
    """Create the triggers of all existing tables."""
    remove(connection)
    for statement in _statements(connection):
        connection.exec_driver_sql(statement)


def remove(connection: Connection) -> None:
    """Remove every trigger, for the time of a migration."""
    if connection.dialect.name == "sqlite":
        for name in _laid_sqlite(connection):
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        return
    for table in sorted(PER_SITE):
        connection.exec_driver_sql(f'DROP FUNCTION IF EXISTS "{PREFIX}{table}"() CASCADE')


def are_laid(connection: Connection) -> bool:
    """Return whether every trigger is there."""
    if connection.dialect.name == "sqlite":
        laid = _laid_sqlite(connection)
    else:
        query = "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
        laid = {str(name) for (name,) in connection.exec_driver_sql(query)}
    return laid >= list_names(connection)


def list_names(connection: Connection) -> set[str]:
    """Return the names of the triggers of a database of this kind."""
    if connection.dialect.name == "sqlite":
        return {f"{PREFIX}{table}_{act}" for table in REFERRING for act in ("insert", "update")}
    return {f"{PREFIX}{table}" for table in REFERRING}


def find_references() -> dict[str, list[tuple[str, str, str]]]:
    """Return table → (column, table that it names, key of that) of tables of sites."""
    by_table: dict[str, list[tuple[str, str, str]]] = {}
    for table in load_metadata().sorted_tables:
        for key in table.foreign_keys:
            named = key.column.table.name
            is_own = table.name in PER_SITE and named in PER_SITE
            if is_own and (table.name, key.parent.name) not in ACROSS:
                by_table.setdefault(table.name, []).append(
                    (key.parent.name, named, key.column.name)
                )
    return {table: sorted(references) for table, references in by_table.items()}


def _laid_sqlite(connection: Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    names = {str(name) for (name,) in connection.exec_driver_sql(query)}
    return {name for name in names if name.startswith(PREFIX)}


def _statements(connection: Connection) -> Iterator[str]:
    there = set(inspect(connection).get_table_names())
    build = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    for table, references in find_references().items():
        if table in there:
            yield from build(table, references)


def _foreign(column: str, named: str, key: str) -> str:
    return (
        f'NEW."{column}" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "{named}" '  # noqa: S608 - ours
        f'WHERE "{key}" = NEW."{column}" AND site_id = NEW.site_id)'
    )


def _sentence(table: str, column: str) -> str:
    return f"{table}.{column} names a row of another site"


def _sqlite(table: str, references: list[tuple[str, str, str]]) -> Iterator[str]:
    body = " ".join(
        f"SELECT RAISE(ABORT, '{_sentence(table, column)}') WHERE {_foreign(column, named, key)};"
        for column, named, key in references
    )
    columns = ", ".join(f'"{column}"' for column, _, _ in references)
    for act, when in (("insert", "INSERT"), ("update", f'UPDATE OF "site_id", {columns}')):
        name = f"{PREFIX}{table}_{act}"
        yield f'CREATE TRIGGER "{name}" BEFORE {when} ON "{table}" BEGIN {body} END'


def _postgresql(table: str, references: list[tuple[str, str, str]]) -> Iterator[str]:
    checks = " ".join(
        f"IF {_foreign(column, named, key)} THEN RAISE EXCEPTION USING "
        f"MESSAGE = '{_sentence(table, column)}', ERRCODE = '23000'; END IF;"
        for column, named, key in references
    )
    columns = ", ".join(f'"{column}"' for column, _, _ in references)
    name = f'"{PREFIX}{table}"'
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$site$BEGIN {checks} RETURN NEW; END$site$"
    )
    yield (
        f'CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OF "site_id", {columns} ON "{table}" '
        f"FOR EACH ROW EXECUTE FUNCTION {name}()"
    )
