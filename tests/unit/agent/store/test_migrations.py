"""A store is brought to this program's schema when opened, rows kept; a newer one is refused."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from labs.later_versions import KEPT
from servers.databases import KINDS, empty
from sqlalchemy import Connection, Engine, inspect

from agent.backup.verification import Outside, verify_trail
from agent.errors import StoreError
from agent.store import Store, engine, schema
from agent.store.evidence import guards
from agent.store.search import search_updates
from agent.store.sites import site_guards
from agent.store.tables import load_metadata
from agent.watch import ListedFile

AT = datetime(2026, 11, 24, 21, 0, tzinfo=UTC)


def test_migrations_and_tables_say_the_same(address) -> None:
    with engine.make_engine(address).connect() as connection:
        opts = {
            "compare_type": True,
            # made by `search_index`, as each database's text search needs it
            "include_name": lambda name, _kind, _parents: name not in search_updates.OWN_TABLES,
        }
        context = MigrationContext.configure(connection, opts=opts)

        assert compare_metadata(context, load_metadata()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_database_equals_one_that_went_through_every_migration(
    kind, request, tmp_path
) -> None:
    created = engine.make_engine(empty(kind, request, tmp_path / "created"))
    replayed = engine.make_engine(empty(kind, request, tmp_path / "replayed"))
    with replayed.connect().execution_options(writes=True) as connection:
        config = schema.configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    schema.lay_missing_guards(replayed)

    schema.bring_up(created)

    assert _describe(created) == _describe(replayed)
    created.dispose()
    replayed.dispose()


def _describe(database: Engine) -> dict[str, object]:
    """Return all that tables, indexes and triggers are, in no order, and what rows there are."""
    tables = inspect(database)
    described: dict[str, object] = {
        name: {
            "columns": sorted(
                (row["name"], repr(row["type"]), row["nullable"], row["default"])
                for row in tables.get_columns(name)
            ),
            "primary key": sorted(tables.get_pk_constraint(name).items(), key=str),
            "foreign keys": _sort(tables.get_foreign_keys(name)),
            "unique": _sort(tables.get_unique_constraints(name)),
            "indexes": _sort(tables.get_indexes(name)),
            "checks": _sort(tables.get_check_constraints(name)),
        }
        for name in tables.get_table_names()
    }
    with database.connect() as connection:
        described["revision"] = connection.exec_driver_sql(
            "SELECT version_num FROM alembic_version"
        ).all()
        described["missing guards"] = guards.find_missing(connection)
        described["missing policies"] = site_guards.find_missing_policies(connection)
        described["triggers"] = _list_triggers(connection)
    return described


def _sort(facts: list[Any]) -> list[str]:
    """Return facts of SQLAlchemy's inspector as text, the conditions of partial indexes as SQL."""

    def write(value: object) -> object:
        if isinstance(value, dict):
            return sorted((name, write(entry)) for name, entry in value.items())
        return str(value)

    return sorted(str(write(fact)) for fact in facts)


def _list_triggers(connection: Connection) -> list[str]:
    asked = (
        "SELECT name || sql FROM sqlite_master WHERE type = 'trigger'"
        if connection.dialect.name == "sqlite"
        else "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"
    )
    return sorted(connection.exec_driver_sql(asked).scalars())


def test_the_newest_revision_is_the_one_the_program_asks_for() -> None:
    scripts = ScriptDirectory.from_config(schema.configuration())

    assert scripts.get_current_head() == schema.HEAD


def test_opening_twice_changes_nothing(tmp_path) -> None:
    url = f"sqlite:///{tmp_path}/martensight.db"
    with Store.open(url, site="Plant 1", agent="PC") as store:
        store.files.add([ListedFile("LOM", Path("/x"), "a.tif", 1, 1)], at=AT)

    with Store.open(url, site="Plant 1", agent="PC") as store:
        assert len(list(store.files.iter_status())) == 1


@pytest.mark.parametrize("later", [0, 2])
@pytest.mark.parametrize("dump", KEPT, ids=lambda path: path.stem)
def test_a_store_of_every_schema_is_brought_up_with_its_rows_whole_and_guarded(
    tmp_path, dump, later, install_next_version
) -> None:
    file = tmp_path / "martensight.db"
    with sqlite3.connect(file) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    for _ in range(later):
        install_next_version()

    with Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC") as store:
        expected = json.loads(dump.with_suffix(".json").read_text(encoding="utf-8"))
        assert [fate.as_json() for fate in store.files.iter_status()] == expected["files"]
        assert [view.id for view in store.results.iter_all()] == expected["micrographs"]
        assert [row.label.code for row in store.labelled_micrographs.list_all()] == expected[
            "labelled"
        ]
        assert store.audit_log.find_problems() == []
        assert store.checks.find_missing_guards() == []
        assert verify_trail(store, Outside(tmp_path / "reports"))[0] == []


def test_the_newest_kept_store_has_the_schema_of_a_new_database(tmp_path) -> None:
    kept, created = (engine.make_engine(f"sqlite:///{tmp_path}/{name}.db") for name in "ab")
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.executescript(KEPT[-1].read_text(encoding="utf-8"))
    connection.close()
    schema.lay_missing_guards(kept)  # the text search, which no dump can hold

    schema.bring_up(created)

    assert _describe(kept) == _describe(created)


def test_the_upgrade_drill_from_the_first_schema_can_be_gone_back_on(
    tmp_path, install_next_version
) -> None:
    """The file as it was lies beside, and holds the rows of its time."""
    file = tmp_path / "martensight.db"
    install_next_version()
    with sqlite3.connect(file) as connection:
        connection.executescript(KEPT[0].read_text(encoding="utf-8"))
        before = connection.execute("SELECT count(*) FROM content").fetchone()
    connection.close()

    for _ in range(2):
        Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC").close()

    (kept,) = tmp_path.glob("*.before-schema-*")
    with sqlite3.connect(kept) as connection:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        rows = connection.execute("SELECT count(*) FROM content").fetchone()
    connection.close()
    assert revision == (KEPT[0].stem,)
    assert rows == before
    assert rows > (0,)


def test_a_new_database_is_not_copied(tmp_path) -> None:
    Store.open(f"sqlite:///{tmp_path}/martensight.db", site="Plant 1", agent="PC").close()

    assert list(tmp_path.glob("*.before-schema-*")) == []


def test_there_is_a_kept_store_of_every_revision() -> None:
    scripts = ScriptDirectory.from_config(schema.configuration())

    assert [path.stem for path in KEPT] == sorted(
        script.revision for script in scripts.walk_revisions()
    )


def test_a_newer_store_is_refused_in_one_sentence(address) -> None:
    with engine.make_engine(address).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match=r"newer than this program \(schema 9999"):
        Store.open(address, site="Plant 1", agent="PC")


def test_a_database_of_another_program_is_left_alone(tmp_path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE micrograph (name TEXT)")
    connection.close()

    with pytest.raises(StoreError, match="was not made by this program"):
        Store.open(f"sqlite:///{file}", site="Plant 1", agent="PC")


def test_two_agents_that_open_an_empty_database_at_once_both_can(postgres) -> None:
    import threading  # noqa: PLC0415 - only here

    url = postgres.empty()
    opened: list[Store] = []

    def go(name: str) -> None:
        opened.append(Store.open(url, site="Plant 1", agent=name))

    threads = [threading.Thread(target=go, args=(f"PC {n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(opened) == 3
    assert len(opened[0].agents.list_all()) == 3
    for store in opened:
        store.close()


def test_the_migrations_lie_inside_the_package() -> None:
    folder = resources.files("agent.store") / "migrations"

    assert (folder / "env.py").is_file()
    assert (folder / "script.py.mako").is_file()
