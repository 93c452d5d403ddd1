"""Create a new database with this program's schema in one step.

Replaying the migrations gives the same schema, but loads Alembic; a test compares both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import column, insert, table

from agent.store.tables import load_metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VERSIONS = table("alembic_version", column("version_num"))
_MAKE_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""Alembic's own table, which an upgrade starts from."""


def create(connection: Connection, revision: str) -> None:
    """Create all tables in an empty database and number their schema.

    Guards, policies and the text search are laid afterwards, as after a migration.

    Args:
        connection: In a transaction that may change the schema.
        revision: Number of this program's schema.
    """
    create_tables(connection)
    connection.exec_driver_sql(_MAKE_VERSIONS)
    connection.execute(insert(_VERSIONS).values(version_num=revision))


def create_tables(connection: Connection) -> None:
    """Create all tables."""
    load_metadata().create_all(connection, checkfirst=False)
