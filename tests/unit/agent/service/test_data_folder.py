"""Locks of a data folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agent.errors import StoreError, UsageError
from agent.service.data_folder import RunLock

NOBODY = 65534


@pytest.fixture
def read_only():
    """Return a folder that others may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    if os.geteuid() == NOBODY:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_a_lock_is_seen_where_its_file_can_only_be_read(read_only) -> None:
    lock = RunLock(read_only, "PC")
    with lock:
        for file in read_only.iterdir():
            file.chmod(0o444)
        if os.geteuid() == 0:  # root may write everything
            os.seteuid(NOBODY)
        assert RunLock(read_only, "PC").is_held()

    assert not RunLock(read_only, "PC").is_held()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_a_full_disk_is_named_and_leaves_no_lock(tmp_path) -> None:
    lock = RunLock(tmp_path, "PC")
    (tmp_path / "agent.lock").symlink_to("/dev/full")

    with pytest.raises(StoreError, match="cannot be written"):
        lock.acquire()

    assert not RunLock(tmp_path, "PC").is_held()


# --- two PCs ------------------------------------------------------------------------------------


def on(folder: Path, pc: str, boot: str, watch_s: float = 30.0, url: str = "") -> RunLock:
    return RunLock(folder, pc, url, boot=boot, beat_s=0.02, watch_s=watch_s)


def without_locks(folder: Path) -> None:
    """Make the folder what a share is that carries no locks from one PC to the other."""
    (folder / "agent.lock").unlink()


def test_the_lock_of_a_folder_is_of_the_folder_and_not_of_a_host_name(tmp_path) -> None:
    with RunLock(tmp_path, "PC-1"), pytest.raises(UsageError, match="already running"):
        RunLock(tmp_path, "PC-2").acquire()


def test_agents_of_a_postgresql_share_their_folder(tmp_path) -> None:
    url = "postgresql+psycopg://server/lab"
    with (
        on(tmp_path, "PC-1", "first", url=url),
        on(tmp_path, "PC-2", "second", url=url),
        pytest.raises(UsageError, match="already running"),
    ):
        on(tmp_path, "PC-1", "first", url=url).acquire()


def test_an_agent_that_runs_on_another_pc_is_found_where_locks_do_not_reach(tmp_path) -> None:
    with on(tmp_path, "PC-1", "first"):
        without_locks(tmp_path)
        with pytest.raises(UsageError, match=r"agent of PC-1 \(process \d+\) is running"):
            on(tmp_path, "PC-2", "second").acquire()


def test_an_agent_that_died_on_another_pc_is_taken_over_with_a_sentence(tmp_path) -> None:
    with on(tmp_path, "PC-1", "first"):
        died = (tmp_path / "agent.presence").read_bytes()
    (tmp_path / "agent.presence").write_bytes(died)

    with capture_logs() as logs, on(tmp_path, "PC-2", "second", watch_s=0.1):
        pass

    assert [entry["event"] for entry in logs] == ["folder.taken_over"]
    assert "the agent of PC-1" in logs[0]["reason"]


@pytest.mark.parametrize(("pc", "boot"), [("PC-1", "first"), ("container-2", "first")])
def test_an_agent_that_died_here_is_not_waited_for(tmp_path, pc, boot) -> None:
    with on(tmp_path, "PC-1", "first"):
        died = (tmp_path / "agent.presence").read_bytes()
    (tmp_path / "agent.presence").write_bytes(died)

    with capture_logs() as logs, on(tmp_path, pc, boot, watch_s=1e9):
        pass

    assert logs == []


def test_one_that_stopped_well_is_not_waited_for(tmp_path) -> None:
    with on(tmp_path, "PC-1", "first"):
        pass

    with on(tmp_path, "PC-2", "second", watch_s=1e9):
        pass


def test_an_agent_whose_folder_was_taken_over_while_it_stood_still_learns_of_it(tmp_path) -> None:
    with on(tmp_path, "PC-2", "second"):
        other = json.loads((tmp_path / "agent.presence").read_text("utf-8"))
    other |= {"is_stopped": False, "pid": 1}
    with on(tmp_path, "PC-1", "first") as first:
        first.require_held()

        def beat_until_seen() -> None:
            while True:
                (tmp_path / "agent.presence").write_text(json.dumps(other).ljust(512), "utf-8")
                first.require_held()

        with pytest.raises(StoreError, match="the agent of PC-2"):
            beat_until_seen()
