"""Create a new database with this program's schema in one step.

Replaying the migrations gives the same schema, but loads Alembic; a test compares both.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import column, insert, table

from agent.store.tables import CoverageRow, load_metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

COVERED = (
    "order", "record", "promotion", "night", "account",
    "result", "preparation", "same_place", "order_claim",
)  # fmt: skip
"""Tables whose rows the audit log contains; here it does so from their first row on."""

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
    """Create all tables and the first rows of them."""
    load_metadata().create_all(connection, checkfirst=False)
    now = datetime.now(UTC)
    rows = [{"name": name, "newest_id": 0, "since": now} for name in COVERED]
    connection.execute(insert(CoverageRow), rows)
