"""A lab that moves to another PC keeps its sources and history, and takes nothing again."""

from __future__ import annotations

import json
import tomllib
import zipfile
from typing import TYPE_CHECKING

import pytest
from test_service import picture

from agent.cli import main
from agent.cli.move import with_folders
from agent.service.data_folder import agent_name
from agent.service.lock import RunLock

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
# ours
[site]
name = "Plant 1"

[[sources]]
name = "A"   # the old one
folder = "/mnt/a"
quiet_s = 0.2

[[sources]]
folder = '\\\\server\\b'
name = "B"
"""


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(one) for one in arguments])
    return int(stopped.value.code or 0)


def test_only_the_named_sources_folder_changes_and_comments_stay() -> None:
    text = with_folders(TEXT, {"B": r"D:\b"})

    assert [one["folder"] for one in tomllib.loads(text)["sources"]] == ["/mnt/a", r"D:\b"]
    assert "# the old one" in text


def test_a_lab_moves_with_its_pixels_and_nothing_is_taken_again(tmp_path, capsys) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "export").mkdir(parents=True)
    for index in range(3):
        (old / "export" / f"{index}.png").write_bytes(picture(index))
    (old / "agent.toml").write_text(
        '[imaging]\nworkers = 1\n[web]\nport = 0\n[[sources]]\nname = "LOM"\nfolder = "export"\n'
        "quiet_s = 0.2\n",
        encoding="utf-8",
    )
    config = ("--config", old / "agent.toml")
    assert run(*config, "run", "--once") == 0
    assert run(*config, "backup", "--pixels", tmp_path / "lab.zip") == 0
    (old / "export").rename(tmp_path / "elsewhere")

    moved = run("move", tmp_path / "lab.zip", "--to", new, "--source", f"LOM={tmp_path}/elsewhere")
    said = capsys.readouterr().out
    again = run("--config", new / "agent.toml", "run", "--once")

    assert (moved, again) == (0, 0)
    assert "3 images, 3 already processed, 0 new" in said
    assert "crops are missing" not in said
    assert "stored" not in capsys.readouterr().out
    assert len(list((new / "data" / "crops").rglob("*-p0.png"))) == 3


def test_a_move_over_a_lab_that_is_there_is_refused(tmp_path) -> None:
    (tmp_path / "agent.toml").write_text("# mine", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "lab.zip", "w"):
        pass

    assert run("move", tmp_path / "lab.zip", "--to", tmp_path) == 2
    assert (tmp_path / "agent.toml").read_text(encoding="utf-8") == "# mine"


def test_a_source_that_stands_last_moves_alone() -> None:
    text = TEXT + '\n[backup]\nfolder = "/mnt/backup"\n[orders]\noutbox = "/mnt/lims"\n'

    moved = tomllib.loads(with_folders(text, {"B": r"D:\b"}))

    assert moved["backup"]["folder"] == "/mnt/backup"
    assert moved["orders"]["outbox"] == "/mnt/lims"
    assert [one["folder"] for one in moved["sources"]] == ["/mnt/a", r"D:\b"]


@pytest.fixture
def backup(tmp_path):
    """Makes a back-up of a lab of one micrograph whose settings end with some lines."""

    def make(lines: str) -> Path:
        old = tmp_path / "old"
        (old / "export").mkdir(parents=True)
        (old / "export" / "1.png").write_bytes(picture(1))
        (old / "agent.toml").write_text(
            '[imaging]\nworkers = 1\n[web]\nport = 0\n[[sources]]\nname = "LOM"\n'
            f'folder = "export"\nquiet_s = 0.2\n{lines}',
            encoding="utf-8",
        )
        assert run("--config", old / "agent.toml", "run", "--once") == 0
        assert run("--config", old / "agent.toml", "backup", "--pixels", tmp_path / "lab.zip") == 0
        return tmp_path / "lab.zip"

    return make


def test_a_lab_that_lives_where_the_settings_point_is_not_replaced(tmp_path, backup, capsys):
    live = tmp_path / "live"
    packed = backup(f"[store]\nfolder = {json.dumps(str(live))}\n")
    before = {path: path.read_bytes() for path in live.rglob("*") if path.is_file()}

    code = run("move", packed, "--to", tmp_path / "new")

    assert code == 2
    assert "already contains a lab" in capsys.readouterr().err
    assert not (tmp_path / "new" / "agent.toml").exists()
    assert {path: path.read_bytes() for path in live.rglob("*") if path.is_file()} == before


def test_each_folder_that_still_points_elsewhere_is_named(tmp_path, backup, capsys) -> None:
    packed = backup('[backup]\nfolder = "/nowhere/backup"\n[orders]\noutbox = "/nowhere/lims"\n')

    run("move", packed, "--to", tmp_path / "new")

    said = " ".join(capsys.readouterr().out.split())
    assert "[backup] folder still points to /nowhere/backup, which does not exist" in said
    assert "[orders] outbox still points to /nowhere/lims, which does not exist" in said
    assert "[store] folder still points" not in said


def test_no_agent_starts_on_a_lab_while_it_is_moved_there(tmp_path, backup) -> None:
    packed = backup("")
    (tmp_path / "new" / "data").mkdir(parents=True)

    with RunLock(tmp_path / "new" / "data", agent_name()):
        assert run("move", packed, "--to", tmp_path / "new") == 2
