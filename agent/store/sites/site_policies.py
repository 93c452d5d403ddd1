"""PostgreSQL's row-level security: the server compares each row with the site of the session.

It also covers statements without a site condition and other programs that set a site. It does not
bind superusers and users with BYPASSRLS, for whom only the guard of `site_scope` remains, nor users
who set the site by hand: a database user is trusted with all sites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from agent.store.sites.site_scope import EVERY_SITE, GROUPED, POSTGRESQL_SETTING
from agent.store.tables import PER_SITE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

OWN, EVERY = "martensight_own_site", "martensight_every_site"
"""Policies of each table: rows of the session's site, and reading those of all."""
_SITE = f"(SELECT nullif(current_setting('{POSTGRESQL_SETTING}', true), '')::integer)"
_GROUPED = {
    str(inspect(table).local_table.description): shares for table, shares in GROUPED.items()
}


def lay(connection: Connection) -> None:
    """Create the policies of all existing tables of a site; SQLite has none."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables(connection):
        for statement in _statements(table):
            connection.exec_driver_sql(statement)


def remove(connection: Connection) -> None:
    """Remove the policies, for the time of a migration: it has no site and changes all rows."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables(connection):
        for statement in _removing(table):
            connection.exec_driver_sql(statement)


def find_missing(connection: Connection) -> list[str]:
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


def _statements(table: str) -> Iterator[str]:
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
