"""An upgrade says how far it is, keeps the database as it was, and asks systemd for more time."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest
from labs.later_versions import KEPT
from labs.shell import Shell
from sqlalchemy import text

from agent.errors import StoreError
from agent.host.systemd import Manager
from agent.store import Store, Upgrade, schema, store_url
from agent.store.engine import make_engine
from agent.store.upgrade import UpgradeProgress, estimate_s

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024 - as shutil.disk_usage returns it


@pytest.fixture(autouse=True)
def two_versions_later(install_next_version) -> None:
    """The program is two versions later than the one of the databases."""
    install_next_version()
    install_next_version()


def old_database(folder: Path, dump: Path = KEPT[0]) -> str:
    folder.mkdir(exist_ok=True)
    with sqlite3.connect(folder / "martensight.db") as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    return store_url(folder)


def upgraded(url: str, folder: Path) -> list[Upgrade]:
    told: list[Upgrade] = []
    Store.open(url, site="Plant 1", agent="PC", folder=folder, on_upgrade=told.append).close()
    return told


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.before-schema-*"))


def test_each_step_is_told_with_its_number_and_an_estimate(tmp_path) -> None:
    told = upgraded(old_database(tmp_path), tmp_path)

    first, *steps, last = told
    assert "from schema 0001 to" in first.sentence
    assert f"{first.rows} rows, {first.steps} steps, about 2 s" in first.sentence
    assert [step.step for step in steps] == list(range(1, first.steps + 1))
    assert f"step 1 of {first.steps} (" in steps[0].sentence
    assert last.is_done
    assert f"schema {schema.HEAD} now" in last.sentence
    assert str(last.kept) in last.sentence
    assert upgraded(store_url(tmp_path), tmp_path) == []


def beat(url: str, facts: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM agent WHERE name = 'PC-2'")
        connection.execute(
            text("INSERT INTO agent (site_id, name, seen_at, facts) VALUES (1, 'PC-2', :at, :f)"),
            {"at": datetime.now(UTC).replace(tzinfo=None).isoformat(" "), "f": facts},
        )
    engine.dispose()


def test_an_upgrade_is_refused_while_an_agent_of_the_version_before_runs(tmp_path) -> None:
    url = old_database(tmp_path)
    beat(url, "{}")
    with pytest.raises(StoreError, match=r"agents of the version before run \(PC-2\)"):
        upgraded(url, tmp_path)
    assert kept(tmp_path) == []

    beat(url, '{"stopped": true}')
    assert upgraded(url, tmp_path)[-1].is_done


def test_the_estimate_grows_with_rows_and_steps() -> None:
    assert estimate_s(0, 1) < estimate_s(1_000_000, 1) < estimate_s(1_000_000, 5)


def test_a_step_that_takes_long_is_told_again_and_again() -> None:
    heard = threading.Semaphore(0)
    progress = UpgradeProgress(lambda _: heard.release(), every_s=0.001)
    progress.change(Upgrade("x", "0001", "0002", steps=1, rows=0, estimate_s=1))

    with progress.ticking():
        again = [heard.acquire(timeout=60) for _ in range(4)]

    assert again == [True] * 4


def test_a_listener_that_fails_ends_no_upgrade(tmp_path) -> None:
    def fail(_: Upgrade) -> None:
        raise RuntimeError("the terminal is gone")

    url = old_database(tmp_path)
    Store.open(url, site="Plant 1", agent="PC", on_upgrade=fail).close()

    assert upgraded(url, tmp_path) == []


def test_a_copy_is_kept_for_each_state_and_once_for_the_same(tmp_path) -> None:
    url = old_database(tmp_path)
    upgraded(url, tmp_path)
    old_database_again(tmp_path)
    upgraded(url, tmp_path)
    same = kept(tmp_path)
    old_database_again(tmp_path)
    with sqlite3.connect(tmp_path / "martensight.db") as connection:
        connection.execute("DELETE FROM content WHERE id = (SELECT max(id) FROM content)")
    connection.close()

    upgraded(url, tmp_path)

    assert same == [f"martensight.db.before-schema-{schema.HEAD}"]
    assert kept(tmp_path) == [*same, f"{same[0]}-2"]


def old_database_again(folder: Path) -> None:
    for end in ("", "-wal", "-shm"):
        (folder / f"martensight.db{end}").unlink(missing_ok=True)
    old_database(folder)


def test_without_room_for_the_copy_nothing_is_changed(tmp_path, monkeypatch) -> None:
    url = old_database(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 90, 10))

    with pytest.raises(StoreError, match=r"Make room for .* nothing was changed"):
        upgraded(url, tmp_path)

    assert kept(tmp_path) == []
    with sqlite3.connect(tmp_path / "martensight.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    connection.close()


def test_the_command_says_it_on_stderr(tmp_path, capsys) -> None:
    shell = Shell(tmp_path, capsys)
    shell.lab.store.close()
    old_database_again(tmp_path / "data")
    (tmp_path / "data/database.json").unlink(missing_ok=True)

    code, said = shell.agent("files")

    assert code == 0
    assert "agent: the database is brought from schema 0001" in " ".join(said.split())


# --- PostgreSQL ---------------------------------------------------------------------------------


def old_postgresql(postgres) -> str:
    return postgres.empty("ours")


def test_a_postgresql_is_dumped_before_and_brought_up(postgres, tmp_path) -> None:
    url = old_postgresql(postgres)

    told = upgraded(url, tmp_path)

    (dump,) = tmp_path.glob(f"martensight.before-schema-{schema.HEAD}-*.pgdump")
    assert told[-1].kept == dump
    assert dump.read_bytes()[:5] == b"PGDMP"
    assert f"schema {schema.HEAD} now" in told[-1].sentence


def test_a_postgresql_without_pg_dump_says_that_no_copy_was_kept(
    postgres, tmp_path, monkeypatch
) -> None:
    url = old_postgresql(postgres)
    monkeypatch.setenv("PATH", str(tmp_path))

    told = upgraded(url, tmp_path)

    assert told[-1].is_done
    assert "no copy was kept before the upgrade: pg_dump is not installed" in told[-1].sentence


# --- systemd ------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is Linux")
def test_systemd_is_asked_for_more_time(tmp_path, monkeypatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        line.settimeout(10)
        monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", address)
        manager = Manager()
        Store.open(
            old_database(tmp_path / "data"),
            site="Plant 1",
            agent="PC",
            on_upgrade=lambda upgrade: manager.extend_start(upgrade.sentence),
        ).close()

        first = line.recv(4096).decode()

    extended, status = first.splitlines()
    assert extended == "EXTEND_TIMEOUT_USEC=120000000"
    assert status.startswith("STATUS=the database is brought from schema 0001")


def test_a_service_manager_that_reads_nothing_does_not_stop_the_agent(tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        line.settimeout(10)
        monkeypatch.setitem(os.environ, "NOTIFY_SOCKET", address)
        manager = Manager()
        for second in range(1000):  # the kernel keeps some hundred at most
            manager.extend_start(f"{second} s")
        manager.say("READY=1", wait_s=0.01)

        assert line.recv(4096).decode().endswith("STATUS=0 s")
