"""A share that hangs or refuses, or a full disk, costs a sentence.

No command ends in a traceback, and no agent hangs or ends.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from servers.failing_share import FailingShare

from agent.cli import main
from agent.files import shares

PATHS = {
    "sources": '[[sources]]\nname = "LOM-1"\nfolder = "{share}"\n',
    "back-up": '[backup]\nfolder = "{share}"\n',
    "outbox": '[orders]\noutbox = "{share}"\n',
    "lists": '[orders]\nlists = "{share}"\n',
    "specifications": '[orders]\nspecifications = "{share}/specifications.toml"\n',
    "anchor": '[trail]\nanchor = "{share}/anchor.jsonl"\n',
    "below": '[backup]\nfolder = "{share}/backups"\n[orders]\noutbox = "{share}/out"\n'
    'lists = "{share}/lists"\n[[sources]]\nname = "LOM-1"\nfolder = "{share}/export"\n',
    "report": '[report]\nshare = "{share}"\ncustomer_templates = "{share}/templates"\n',
}
OVERVIEWS = ("status", "doctor --json")
"""Commands that name what is wrong with each share."""
REFUSALS = tuple(
    (path, error) for path in ("below", "anchor") for error in (errno.EIO, errno.ESTALE)
)
"""The other errors are tried where files are read, listed and written: no code tells them apart."""
COMMANDS = (
    *OVERVIEWS, "verify", "verify --installation", "report", "backup {lab}/by-hand",
    "spec list --check", "orders show 4711", "orders list",
    "support bundle {lab}/support.zip", "restore --accept database --reason x",
)  # fmt: skip
WITH_COMMANDS = (
    *((path, COMMANDS if path == "below" else OVERVIEWS) for path in PATHS),
    *(
        pytest.param(p, COMMANDS, marks=pytest.mark.slow)
        for p in ("specifications", "anchor", "report")
    ),
)
"""With four shares in one folder each command is tried; with others in the slow run."""


def write_lab(folder: Path, settings: str) -> Path:
    share = folder / "share"
    (folder / "agent.toml").write_text(settings.format(share=share), encoding="utf-8")
    return share


def run(lab: Path, command: str, capsys) -> str:
    """Run a command; return what it printed."""
    with pytest.raises(SystemExit):
        main(["--config", str(lab / "agent.toml"), *command.format(lab=lab).split()])
    printed = capsys.readouterr()
    return printed.out + printed.err


def list_faults(lab: Path, commands: tuple[str, ...], why: str, capsys) -> dict[str, str]:
    """Return command → its traceback, or what an overview printed that does not name the fault."""
    faults = {}
    for command in commands:
        try:
            printed = run(lab, command, capsys)
        except Exception as fault:  # noqa: BLE001 - each is listed
            faults[command] = "".join(traceback.format_exception(fault)[-3:])
            continue
        if command in OVERVIEWS and why not in printed and "cannot be reached" not in printed:
            faults[command] = printed
    return faults


@pytest.mark.parametrize(("path", "commands"), WITH_COMMANDS)
def test_a_share_that_refuses_is_a_sentence_in_each_command(
    tmp_path: Path, capsys, monkeypatch, path: str, commands: tuple[str, ...]
) -> None:
    share = write_lab(tmp_path, PATHS[path])
    monkeypatch.chdir(tmp_path)

    with FailingShare(share, errno.EACCES):
        faults = list_faults(tmp_path, commands, os.strerror(errno.EACCES), capsys)

    assert faults == {}


@pytest.mark.parametrize(("path", "error"), REFUSALS)
def test_a_share_that_fails_in_another_way_is_named(
    tmp_path: Path, capsys, monkeypatch, path: str, error: int
) -> None:
    share = write_lab(tmp_path, PATHS[path])
    monkeypatch.chdir(tmp_path)

    with FailingShare(share, error):
        faults = list_faults(tmp_path, OVERVIEWS, os.strerror(error), capsys)

    assert faults == {}


@pytest.mark.parametrize(("path", "commands"), WITH_COMMANDS)
def test_a_share_that_hangs_is_a_sentence_in_each_command(
    tmp_path: Path, capsys, monkeypatch, path: str, commands: tuple[str, ...]
) -> None:
    share = write_lab(tmp_path, PATHS[path])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shares, "LIMIT_S", 0.5)

    with FailingShare(share, None) as failing:
        faults = list_faults(tmp_path, commands, "does not answer", capsys)
        is_over = failing.is_over.is_set()

    assert (faults, is_over) == ({}, False)  # a command that hangs outlasts the share


@contextmanager
def start_agent(lab: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Start the agent of a lab as systemd does; yield it and where it notifies."""
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(lab / "notify"))
    notices.settimeout(120)
    command = [sys.executable, "-m", "agent", "--config", str(lab / "agent.toml"), "run"]
    environment = {**os.environ, "NOTIFY_SOCKET": str(lab / "notify")}
    with (
        notices,
        (lab / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as agent,
    ):
        try:
            yield agent, notices
        finally:
            agent.kill()


def wait_for(notices: socket.socket, text: str) -> str:
    """Return the first notice with a text."""
    while text not in (notice := notices.recv(4096).decode()):
        pass
    return notice


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(None, id="hangs"),
        pytest.param(errno.EIO, id="EIO", marks=pytest.mark.slow),
    ],
)
def test_an_agent_starts_though_each_share_hangs_or_refuses_and_names_them(
    tmp_path: Path, error: int | None
) -> None:
    every = (
        '[[sources]]\nname = "LOM-1"\nfolder = "{share}/export"\n'
        '[backup]\nfolder = "{share}/backups"\n[trail]\nanchor = "{share}/anchors/a.jsonl"\n'
        '[orders]\noutbox = "{share}/out"\nlists = "{share}/lists"\n'
        'specifications = "{share}/specifications.toml"\n[web]\nport = 0\n'
    )
    share = write_lab(tmp_path, every)
    with FailingShare(share, error), start_agent(tmp_path) as (agent, notices):
        wait_for(notices, "READY=1")
        wait_for(notices, "WATCHDOG=1")  # so the heartbeat goes on
        status = json.loads((tmp_path / "data/status.json").read_text("utf-8"))
        agent.terminate()
        code = agent.wait(60)

    printed = (tmp_path / "log").read_text("utf-8")
    assert (code, "Traceback" in printed) == (0, False), printed
    why = "does not answer" if error is None else os.strerror(error)
    named = [sentence for sentence in status["problems"] if why in sentence]
    assert [
        setting
        for setting in ("[backup] folder", "[orders] lists", "[orders] outbox", "specifications")
        if not any(setting in sentence for sentence in named)
    ] == []


def fill(file: Path) -> None:
    """Write a file until its disk is full."""
    with suppress(OSError), file.open("wb", buffering=0) as opened:
        while opened.write(bytes(4096)):
            pass


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="a small disk needs root"
)
def test_an_agent_that_starts_on_a_full_disk_waits_for_room_and_names_it(tmp_path: Path) -> None:
    write_lab(tmp_path, "[web]\nport = 0\n")
    disk = tmp_path / "data"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], check=True)
    try:
        fill(disk / "ballast")
        with start_agent(tmp_path) as (agent, notices):
            notice = wait_for(notices, "EXTEND_TIMEOUT_USEC")
            (disk / "ballast").unlink()
            wait_for(notices, "READY=1")
            agent.terminate()
            code = agent.wait(60)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)

    assert f"{disk}: the disk is full" in notice
    printed = (tmp_path / "log").read_text("utf-8")
    assert (code, "Traceback" in printed) == (0, False), printed
