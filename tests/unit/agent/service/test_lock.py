"""Locks of a data folder."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from agent.errors import BadStore
from agent.service.lock import RunLock

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
    (tmp_path / "agent-PC.lock").symlink_to("/dev/full")

    with pytest.raises(BadStore, match="cannot be written"):
        lock.acquire()

    assert not RunLock(tmp_path, "PC").is_held()
