"""Bring a database to this program's schema when it is opened, and refuse a newer one.

In:  an engine. Out: the same, with the tables of `tables.py`. Next: everything else.
Alembic is only loaded when there is something to do, so that `agent files` answers at once.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import ProgrammingError

from agent.errors import BadStore
from agent.store import engine as engines
from agent.store import guards, site_policies, site_references
from agent.store.site_scope import SCHEMA
from agent.store.tables import SITE

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

HEAD = "0009"
"""The newest revision in `migrations/versions`; a test holds the two together."""

MIGRATING = 0x6D617274  # a number of ours for PostgreSQL's advisory lock: "mart"


def bring_up(engine: Engine) -> None:
    """Make the tables, or migrate them to this program's schema; nothing to do is usual.

    Raises:
        BadStore: The database is newer than this program, is not ours, or cannot be opened.
    """
    with engines.opening(engine):
        found = _revision(engine)
        if found != HEAD:
            if found is not None:
                _keep_before(engine, found)
            _migrate(engine)


def lay_missing_guards(engine: Engine) -> bool:
    """Lay the guards again where one is missing; return whether there was anything to lay.

    A PostgreSQL user that does not own the tables cannot lay them; `agent doctor` names those.
    """
    with engines.opening(engine):
        with engine.connect() as connection:
            if (
                guards.are_laid(connection)
                and site_references.are_laid(connection)
                and not site_policies.find_missing(connection)
            ):
                return False
        try:
            with engine.execution_options(writes=True, **{SITE: SCHEMA}).begin() as connection:
                guards.lay(connection)
                site_policies.lay(connection)
                site_references.lay(connection)
        except ProgrammingError:
            return False
    return True


def _keep_before(engine: Engine, found: str) -> None:
    """Copy a SQLite database beside itself before it is changed; a copy that is there is enough.

    PostgreSQL is not copied here: its programs may be missing, and it migrates in one transaction.
    """
    file = engines.sqlite_file(engine.url) if engines.is_sqlite(engine) else None
    if file is None:
        return
    kept = file.with_name(f"{file.name}.before-schema-{HEAD}")
    part = file.with_name(f".{kept.name}.part")
    if kept.exists():
        return
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as held, closing(sqlite3.connect(part)) as copied:
        held.backup(copied)
    try:
        part.replace(kept)
    except OSError as error:
        raise BadStore(
            f"{kept}: the copy before the change from schema {found} cannot be kept "
            f"({error.strerror or error})."
        ) from error


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _revision_in(connection)


def _revision_in(connection: Connection) -> str | None:
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if tables.has_table("micrograph"):
        raise BadStore(
            f"{engines.place(connection.engine)}: has tables but no schema number; "
            "it was not made by this program. Set store.folder or store.url to another place."
        )
    return None


def _migrate(engine: Engine) -> None:
    from alembic import command  # noqa: PLC0415 - half a second, and only needed here
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = configuration()
    with engine.execution_options(writes=True, **{SITE: SCHEMA}).connect() as connection:
        if engines.is_sqlite(engine):
            connection.exec_driver_sql("COMMIT")  # foreign keys can only be put aside outside
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))
        found = _revision_in(connection)  # another agent may have migrated while we waited
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise BadStore(
                f"{engines.place(engine)}: the store is newer than this program (schema {found}, "
                f"this program knows {HEAD}); install the newer version or restore an older backup."
            )
        config.attributes["connection"] = connection
        logging.getLogger("alembic").setLevel(logging.WARNING)
        guards.remove(connection)
        site_policies.remove(connection)
        site_references.remove(connection)
        command.upgrade(config, "head")
        guards.lay(connection)
        site_policies.lay(connection)
        site_references.lay(connection)
        connection.commit()
        if engines.is_sqlite(engine):
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")


def configuration() -> Config:
    """Say where Alembic finds the migrations: inside this package."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "agent.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
