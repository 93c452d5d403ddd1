"""No name of a file or a folder steers the terminal on which it is shown."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from labs.shell import Shell

from agent import log
from agent.cli import console
from agent.terminal import STEERING, visible

CLEAR = "\x1b[2J\x9b31m\u202e"
posix = pytest.mark.skipif(sys.platform == "win32", reason="names and rights of POSIX")


@given(st.text())
def test_nothing_that_steers_is_left_and_ordinary_text_stays(text) -> None:
    assert not STEERING.search(visible(text))
    assert visible("Härte 4711\tµm\n") == "Härte 4711\tµm\n"


@pytest.mark.parametrize("console", [console.out, console.err])
def test_a_console_shows_what_would_steer_it(console, capsys) -> None:
    console.print(f"folder {CLEAR}x", markup=False)

    said = capsys.readouterr()
    assert r"folder \x1b[2J\x9b31m\u202ex" in said.out + said.err


def test_a_line_for_scripts_and_json_are_plain_too(capsys) -> None:
    console.echo(f"a{CLEAR}")
    console.print_json({"file": f"b{CLEAR}"})

    plain, document = capsys.readouterr().out.splitlines()
    assert plain == r"a\x1b[2J\x9b31m\u202e"
    assert not STEERING.search(document)
    assert json.loads(document) == {"file": f"b{CLEAR}"}


@posix
def test_status_and_errors_of_an_odd_folder_are_plain(tmp_path, capsys) -> None:
    odd = tmp_path / f"lab{CLEAR}"
    odd.mkdir()
    shell = Shell(odd, capsys)
    shell.write("agent.toml", '[[sources]]\nname = "LOM"\nfolder = "export"\n')

    for words in (["status"], ["doctor"], ["files"], ["restore", odd / "none.zip"], ["verify"]):
        said = shell.agent(*words)[1]
        assert said
        assert not STEERING.search(said), words


def test_status_names_a_folder_in_brackets_as_it_is(tmp_path, capsys) -> None:
    folder = tmp_path / "lab [red] :warning:"
    folder.mkdir()
    shell = Shell(folder, capsys)
    shell.write("agent.toml", '[[sources]]\nname = "LOM"\nfolder = "export"\n')

    lines = shell.agent("status")[1].splitlines()

    assert f"bundle none yet, sqlite: {folder}/data/martensight.db" in lines
    assert f"source LOM: {folder}/export" in lines


def test_a_log_on_a_terminal_is_plain(monkeypatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    root = logging.getLogger()
    before, level = root.handlers, root.level
    try:
        log.set_up()
        structlog.get_logger().info("file.stored", file=f"a{CLEAR}.tif")
    finally:
        root.handlers, root.level = before, level
        structlog.reset_defaults()

    assert r"a\x1b[2J\x9b31m\u202e.tif" in terminal.getvalue()


@posix
def test_the_data_folder_is_closed_to_the_other_users_of_the_pc(tmp_path, capsys) -> None:
    before = os.umask(0)
    try:
        shell = Shell(tmp_path, capsys)
        shell.lab.folder.chmod(0o777)

        assert shell.agent("files")[0] == 0

        assert _others(shell.lab.folder) == 0
    finally:
        os.umask(before)


def _others(folder: Path) -> int:
    return folder.stat().st_mode & stat.S_IRWXO
