"""Create or migrate a database to this program's schema when it is opened; refuse a newer one.

Alembic is only loaded for a database of an older schema: most commands never need it. A new one is
created in one step; replaying the migrations gives the same schema, and a test compares both.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, column, insert, inspect, select, table, text
from sqlalchemy.exc import ProgrammingError
from sqlmodel import col

from agent.errors import StoreError
from agent.store import engine as engines
from agent.store.evidence import guards
from agent.store.search import search_updates
from agent.store.sites import site_guards
from agent.store.sites.site_scope import EVERY_SITE, SCHEMA, bind
from agent.store.tables import SITE, AgentRow, load_metadata
from agent.store.upgrade import Upgrade, UpgradeProgress, estimate_s, keep_before

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alembic.config import Config


def count_rows(connection: Connection) -> dict[str, int]:
    """Return table → rows, of our tables that are there."""
    there = set(inspect(connection).get_table_names())
    quote = connection.dialect.identifier_preparer.quote
    return {
        name: int(connection.exec_driver_sql(f"SELECT count(*) FROM {quote(name)}").scalar() or 0)  # noqa: S608 - names of ours
        for name in sorted(there & load_metadata().tables.keys())
    }


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


HEAD = "0001"
"""The newest revision in `migrations/versions`; a test compares them."""

ALIVE = timedelta(seconds=60)
"""Heartbeats are a few seconds apart."""
MIGRATING = 0x6D617274  # a number of ours for PostgreSQL's advisory lock: "mart"


def bring_up(
    engine: Engine,
    *,
    folder: Path | None = None,
    listen: Callable[[Upgrade], None] = lambda _upgrade: None,
) -> None:
    """Make the tables, or migrate them to this program's schema; nothing to do is usual.

    Args:
        engine: The database.
        folder: The data folder, where a PostgreSQL is dumped before; None: it is not.
        listen: Called with how far an upgrade is, also from another thread.

    Raises:
        StoreError: The database is newer than this program, is not ours, or cannot be opened.
    """
    with engines.opening(engine):
        revision = _revision(engine) or _create(engine)
        if revision != HEAD:
            _upgrade(engine, revision, folder, UpgradeProgress(listen))


def lay_missing_guards(engine: Engine) -> bool:
    """Create the guards again where one is missing; return whether any was.

    A PostgreSQL user that does not own the tables cannot create them; `agent doctor` names those.
    """
    with engines.opening(engine):
        with engine.connect() as connection:
            if (
                guards.are_laid(connection)
                and site_guards.are_triggers_laid(connection)
                and not site_guards.find_missing_policies(connection)
                and search_updates.is_laid(connection)
            ):
                return False
        try:
            with (
                engine.connect().execution_options(
                    **engines.WRITES, **{SITE: SCHEMA}
                ) as connection,
                connection.begin(),
            ):
                _lay(connection)
        except ProgrammingError:
            return False
    return True


def _upgrade(engine: Engine, revision: str, folder: Path | None, progress: UpgradeProgress) -> None:
    """Migrate a database that has rows: copy it first, and report progress."""
    titles = _list_steps(revision)
    if not titles:  # a newer one, which is refused without a copy
        _migrate(engine)
        return
    _refuse_running(engine)
    rows = _count_rows(engine)
    upgrade = Upgrade(
        place=engines.place(engine),
        before=revision,
        after=HEAD,
        steps=len(titles),
        rows=rows,
        estimate_s=estimate_s(rows, len(titles)),
        title="it is copied first",
    )
    progress.change(upgrade)
    with progress.ticking():
        kept, note = keep_before(engine, revision, HEAD, folder)
        upgrade = replace(upgrade, kept=kept, note=note)
        progress.change(replace(upgrade, step=1, title=titles[0]))

        def applied(**_: object) -> None:
            step = progress.now.step + 1 if progress.now else 1
            if step <= len(titles):
                progress.change(replace(upgrade, step=step, title=titles[step - 1]))

        _migrate(engine, applied)
    progress.change(replace(upgrade, step=len(titles), is_done=True))


def _refuse_running(engine: Engine) -> None:
    """Refuse while agents of the old schema write: they would go on with rows that they misread."""
    query = select(col(AgentRow.name), col(AgentRow.seen_at), col(AgentRow.facts))
    with bind(engine, EVERY_SITE).connect() as connection:
        now = datetime.now(UTC)
        alive = [
            str(name)
            for name, seen_at, facts in connection.execute(query.order_by(col(AgentRow.name)))
            if seen_at and abs(now - seen_at) < ALIVE and not facts.get("stopped")
        ]
    if alive:
        raise StoreError(
            f"{engines.place(engine)}: has an older schema, and agents of the version before run "
            f"({', '.join(dict.fromkeys(alive))}). Stop every agent, wait a minute, then start "
            "this version; nothing was changed."
        )


def _list_steps(revision: str) -> list[str]:
    """Return the titles of the migrations from a schema to this program's, [] for a newer one."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - half a second, only needed here

    scripts = ScriptDirectory.from_config(configuration())
    if revision not in {script.revision for script in scripts.walk_revisions()}:
        return []
    steps = [
        script
        for script in scripts.iterate_revisions("head", revision)
        if script.revision != revision
    ]
    titles = [(script.doc or "").partition("\n")[0].partition(";")[0] for script in reversed(steps)]
    return [title.strip() or f"step {number}" for number, title in enumerate(titles, start=1)]


def _count_rows(engine: Engine) -> int:
    with bind(engine, EVERY_SITE).connect() as connection:
        return sum(count_rows(connection).values())


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _revision_in(connection)


def _revision_in(connection: Connection) -> str | None:
    tables = inspect(connection)
    if tables.has_table("alembic_version"):
        number = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if number is not None:
            return str(number)
    if not tables.has_table("micrograph"):
        return None
    where = engines.place(connection.engine)
    if tables.has_table("trail"):
        raise StoreError(
            f"{where}: the lab's tables are there, but the table alembic_version, which holds the "
            "number of their schema, was deleted or emptied. Stop the agent and put the newest "
            "back-up in its place: agent restore FILE (the database that is there is kept)."
        )
    raise StoreError(
        f"{where}: has tables but no schema number; it was not made by this program. "
        "Set store.folder or store.url to another place."
    )


def create_filled(engine: Engine, fill: Callable[[Connection], None]) -> None:
    """Create the tables in an empty database and fill them, whole or not at all.

    Args:
        engine: The database.
        fill: Writes the rows, before guards, policies and the text search are laid.

    Raises:
        StoreError: There are tables of this program, or the database cannot be opened.
    """
    writes = {**engines.WRITES, SITE: SCHEMA}
    with (
        engines.opening(engine),
        engine.connect().execution_options(**writes) as connection,
        connection.begin(),
    ):
        _lock(connection)
        if _revision_in(connection) is not None:
            raise StoreError(
                f"{engines.place(engine)}: holds a lab's database already. Name an empty one."
            )

        create(connection, HEAD)
        fill(connection)
        _lay(connection)


def _create(engine: Engine) -> str:
    """Create the tables of a new database; return the revision that it has then."""
    writes = {**engines.WRITES, SITE: SCHEMA}
    with engine.connect().execution_options(**writes) as connection, connection.begin():
        _lock(connection)
        revision = _revision_in(connection)  # another agent may have been first
        if revision is None:
            create(connection, HEAD)
            _lay(connection)
    return revision or HEAD


def _lock(connection: Connection) -> None:
    """Wait for other agents that change the schema; SQLite's transaction does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))


def _lay(connection: Connection) -> None:
    """Create what the tables are guarded, separated and searched with."""
    from agent.store.search import search_index  # noqa: PLC0415 - it makes tables, rarely needed here

    guards.lay(connection)
    site_guards.lay_policies(connection)
    site_guards.lay_triggers(connection)
    search_index.lay(connection)


def _migrate(engine: Engine, applied: Callable[..., None] = lambda **_: None) -> None:
    from alembic import command  # noqa: PLC0415 - half a second, and only needed here
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = configuration()
    writes = {**engines.WRITES, SITE: SCHEMA}
    with engine.connect().execution_options(**writes) as connection:
        if engines.is_sqlite(engine):
            connection.exec_driver_sql("COMMIT")  # foreign keys can only be put aside outside
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        _lock(connection)
        revision = _revision_in(connection)  # another agent may have migrated while we waited
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if revision is not None and revision not in known:
            raise StoreError(
                f"{engines.place(engine)}: the store is newer than this program (schema "
                f"{revision}, this program knows {HEAD}); install the newer version or restore an "
                "older backup."
            )
        config.attributes["connection"] = connection
        config.attributes["applied"] = applied
        logging.getLogger("alembic").setLevel(logging.WARNING)
        guards.remove(connection)
        site_guards.remove_policies(connection)
        site_guards.remove_triggers(connection)
        command.upgrade(config, "head")
        _lay(connection)
        connection.commit()
        if engines.is_sqlite(engine):
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")


def configuration() -> Config:
    """Return Alembic's configuration with the migrations of this package."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "agent.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
