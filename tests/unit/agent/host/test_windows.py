"""On Windows: a writer's file is waited for, long and UNC paths work, mapped drives are refused.

These run on Windows and, by `.ci/wine`, with a genuine Windows Python under wine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

if sys.platform != "win32":
    pytest.skip("Windows alone; .ci/wine runs these under wine", allow_module_level=True)

import win32con
import win32file

from agent import log, settings
from agent.errors import UsageError
from agent.host.windows import needs_password, refuse_mapped_drive
from agent.service.data_folder import RunLock
from agent.settings import Source
from agent.watch import SourceWatcher

DEADLINE_S = 120.0


def picture(seed: int = 0, side: int = 300) -> bytes:
    noise = np.random.default_rng(seed).normal(0, 40, (side, side))
    grey = np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5) * 3 + 128, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", grey)[1].tobytes()


def until(condition) -> None:
    ends_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends_s, "it never came true"
        time.sleep(0.02)


def watch(folder: Path, ring=lambda: None, **given) -> SourceWatcher:
    return SourceWatcher(
        Source(name="LOM", folder=folder, mode="native", quiet_s=0.2),
        known={}, settling={}, ring=ring, clock=time.monotonic, **given,
    )  # fmt: skip


def hold(path: Path, *, share: int = 0):
    """Open a file as a program does that lets nobody else open, or rename, it."""
    return win32file.CreateFile(
        str(path), win32con.GENERIC_READ | win32con.GENERIC_WRITE, share, None,
        win32con.OPEN_EXISTING, 0, None,
    )  # fmt: skip


def agent(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", "--config", str(folder / "agent.toml"), *arguments],
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


def lab(folder: Path, source: str) -> None:
    (folder / "agent.toml").write_text(
        '[store]\nfolder = "data"\n[imaging]\nworkers = 1\n[web]\nport = 0\n[[sources]]\n'
        f"name = \"LOM\"\nfolder = '{source}'\nquiet_s = 0.3\n",
        encoding="utf-8",
    )


def test_an_event_tells_of_a_new_file_long_before_the_next_listing(tmp_path) -> None:
    rung: list[float] = []
    watched = watch(tmp_path, ring=lambda: rung.append(time.monotonic()))
    watched.look(time.monotonic())

    written_s = time.monotonic()
    (tmp_path / "a.png").write_bytes(picture())
    until(lambda: rung)
    watched.close()

    assert rung[0] - written_s < 5, "watchdog 7 waits for silence unless it is told not to"


def test_a_file_that_its_writer_holds_is_not_taken_until_it_lets_go(tmp_path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture())
    watched = watch(tmp_path)
    held = hold(file)
    watched.look(0.0)
    still_held = watched.look(1.0).at_rest
    held.Close()

    taken: list[object] = []

    def offered() -> bool:
        taken.extend(watched.look(time.monotonic()).at_rest)
        return bool(taken)

    until(offered)
    watched.close()

    assert still_held == ()
    assert len(taken) == 1


def test_a_second_agent_does_not_get_the_lock(tmp_path) -> None:
    with RunLock(tmp_path, "PC"), pytest.raises(UsageError, match="already running"):
        RunLock(tmp_path, "PC").acquire()

    with RunLock(tmp_path, "PC"):
        pass


def test_files_with_long_and_foreign_names_are_taken_once(tmp_path) -> None:
    deep = tmp_path / "export" / ("Auftrag_" + "0123456789" * 8) / ("Probe_" + "abcdefghij" * 8)
    extended = "\\\\?\\" + str(deep)
    os.makedirs(extended)  # noqa: PTH103 - an extended path
    for index, name in enumerate(("Gefüge µ 50×.png", "x" * 90 + ".png")):
        with open(f"{extended}\\{name}", "wb") as file:  # noqa: PTH123 - an extended path
            file.write(picture(index))
    assert len(str(deep)) + 95 > 260
    lab(tmp_path, str(tmp_path / "export"))

    first, second = agent(tmp_path, "run", "--once"), agent(tmp_path, "run", "--once")

    assert (first.returncode, first.stdout.strip()) == (0, "2 stored"), first.stderr
    assert second.stdout.strip() == "no new files", second.stderr


def test_a_share_by_its_unc_name_is_watched(tmp_path) -> None:
    share = os.environ.get("MARTENSIGHT_UNC", "")
    if not share or not Path(share).is_dir():
        pytest.skip("no share: MARTENSIGHT_UNC names none")
    folder = Path(tempfile.mkdtemp(dir=share))
    (folder / "a.png").write_bytes(picture())
    lab(tmp_path, str(folder))

    done = agent(tmp_path, "run", "--once")
    (row,) = map(json.loads, agent(tmp_path, "files", "--json").stdout.splitlines())

    assert (done.returncode, done.stdout.strip()) == (0, "1 stored"), done.stderr
    assert row["path"].startswith("\\\\")


def test_a_mapped_drive_is_refused_with_the_reason() -> None:
    drive = os.environ.get("MARTENSIGHT_MAPPED", "")
    if not drive:
        pytest.skip("no mapped drive: MARTENSIGHT_MAPPED names none")

    with pytest.raises(UsageError, match="mapped drive, which a service does not see"):
        refuse_mapped_drive("source LOM", Path(f"{drive}\\export"))
    refuse_mapped_drive("source LOM", Path("C:\\export"))
    refuse_mapped_drive("source LOM", Path(r"\\server\share\export"))


def test_only_people_s_accounts_need_a_password() -> None:
    assert needs_password("LAB\\micro")
    assert not needs_password("LAB\\micro$")
    assert not needs_password("NT SERVICE\\Martensight")
    assert not needs_password("")


def test_the_log_goes_on_while_somebody_holds_its_file_and_rotates_afterwards(
    tmp_path, monkeypatch
) -> None:
    import logging  # noqa: PLC0415

    monkeypatch.setattr(log, "FILE_BYTES", 2000)
    monkeypatch.setattr(log, "AGAIN_S", 0.0)
    file = tmp_path / "agent.log"
    handler = log._to_file(file)
    handler.setFormatter(logging.Formatter("%(message)s"))

    def write(first: int, last: int) -> None:
        for number in range(first, last):
            handler.handle(logging.makeLogRecord({"msg": f"line {number:03} " + "x" * 80}))

    write(0, 10)
    reader = win32file.CreateFile(
        str(file), win32con.GENERIC_READ,
        win32con.FILE_SHARE_READ | win32con.FILE_SHARE_WRITE, None, win32con.OPEN_EXISTING, 0, None,
    )  # fmt: skip
    write(10, 60)
    while_held = sorted(path.name for path in tmp_path.iterdir())
    reader.Close()
    write(60, 70)
    handler.close()

    lines = [
        int(line.split()[1])
        for path in sorted(tmp_path.iterdir(), reverse=True)
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert lines == list(range(70))
    assert while_held == ["agent.log"]
    assert len(list(tmp_path.iterdir())) > 1


def test_settings_of_a_service_lie_where_every_account_finds_them() -> None:
    folder = settings.platform_folder({"PROGRAMDATA": r"D:\ProgramData"})

    assert folder == Path(r"D:\ProgramData\Martensight")
