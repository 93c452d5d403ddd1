"""Policies and triggers by which the database itself keeps the rows of its sites apart.

PostgreSQL's row-level security compares each row with the site of the session. It also covers
statements without a site condition and other programs that set a site. It does not bind superusers
and users with BYPASSRLS, for whom only the guard of `site_scope` remains, nor users who set the
site by hand: a database user is trusted with all sites.

Triggers refuse a row which names a row of another site, on SQLite and PostgreSQL alike. A foreign
key contains a number and no site, so a number from outside would connect the two sites. They are
created and removed like the guards on evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, inspect, text

from agent.store.sites.site_scope import EVERY_SITE, GROUPED, POSTGRESQL_SETTING
from agent.store.tables import PER_SITE, REFERRING, load_metadata

OWN, EVERY = "martensight_own_site", "martensight_every_site"
"""Policies of each table: rows of the session's site, and reading those of all."""
_SITE = f"(SELECT nullif(current_setting('{POSTGRESQL_SETTING}', true), '')::integer)"
_GROUPED = {
    str(inspect(table).local_table.description): shares for table, shares in GROUPED.items()
}


def lay_policies(connection: Connection) -> None:
    """Create the policies of all existing tables of a site; SQLite has none."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables(connection):
        for statement in _policies(table):
            connection.exec_driver_sql(statement)


def remove_policies(connection: Connection) -> None:
    """Remove the policies, for the time of a migration: it has no site and changes all rows."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables(connection):
        for statement in _removing(table):
            connection.exec_driver_sql(statement)


def find_missing_policies(connection: Connection) -> list[str]:
    """Return the tables whose rows PostgreSQL does not separate."""
    if connection.dialect.name != "postgresql":
        return []
    query = text(
        "SELECT relname FROM pg_class WHERE relname = ANY(:tables) AND relkind = 'r' "
        "AND pg_table_is_visible(oid) AND NOT (relrowsecurity AND relforcerowsecurity AND "
        "(SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid "
        "AND polname IN (:own, :every)) = 2) ORDER BY relname"
    )
    parameters = {"tables": sorted(PER_SITE), "own": OWN, "every": EVERY}
    return [str(name) for (name,) in connection.execute(query, parameters)]


def is_exempt(connection: Connection) -> bool:
    """Return whether PostgreSQL's policies do not bind the user of a connection."""
    if connection.dialect.name != "postgresql":
        return False
    query = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    return bool(connection.execute(text(query)).scalar())


def _tables(connection: Connection) -> list[str]:
    """Return the tables that have rows of sites, in any schema that this program knows."""
    there = inspect(connection)
    return [
        table
        for table in sorted(PER_SITE & set(there.get_table_names()))
        if any(column["name"] == "site_id" for column in there.get_columns(table))
    ]


def _policies(table: str) -> Iterator[str]:
    yield from _removing(table)
    own = f"site_id = {_SITE}"
    reads = own
    if shares := _GROUPED.get(table):
        sharing = f"SELECT id FROM site WHERE {shares}"  # noqa: S608 - names of ours
        reads = f"({own} OR ({_SITE} IN ({sharing}) AND site_id IN ({sharing})))"
    yield f'CREATE POLICY {OWN} ON "{table}" USING ({reads}) WITH CHECK ({reads})'
    yield f'CREATE POLICY {EVERY} ON "{table}" FOR SELECT USING ({_SITE} = {EVERY_SITE})'
    yield f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY'
    yield f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY'


def _removing(table: str) -> Iterator[str]:
    for name in (OWN, EVERY):
        yield f'DROP POLICY IF EXISTS {name} ON "{table}"'
    yield f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY'
    yield f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY'


PREFIX = "same_site_"
ACROSS = frozenset({("login", "account_id")})
"""Columns that may name a row of another site: a shared account logs in at each."""


def lay_triggers(connection: Connection) -> None:
    """Create the triggers of all existing tables."""
    remove_triggers(connection)
    for statement in _triggers(connection):
        connection.exec_driver_sql(statement)


def remove_triggers(connection: Connection) -> None:
    """Remove every trigger, for the time of a migration."""
    if connection.dialect.name == "sqlite":
        for name in _laid_sqlite(connection):
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        return
    for table in sorted(PER_SITE):
        connection.exec_driver_sql(f'DROP FUNCTION IF EXISTS "{PREFIX}{table}"() CASCADE')


def are_triggers_laid(connection: Connection) -> bool:
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


def _triggers(connection: Connection) -> Iterator[str]:
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
