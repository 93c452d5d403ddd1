"""A lab that moves to another PC keeps its sources and history, and takes nothing again."""

from __future__ import annotations

import tomllib
import zipfile

import pytest
from test_service import picture

from agent.cli import main
from agent.cli.moving import with_folders

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
    assert "3 pictures there, 3 known by name, 0 new" in said
    assert "crops are not here" not in said
    assert "stored" not in capsys.readouterr().out
    assert len(list((new / "data" / "crops").rglob("*-p0.png"))) == 3


def test_a_move_over_a_lab_that_is_there_is_refused(tmp_path) -> None:
    (tmp_path / "agent.toml").write_text("# mine", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "lab.zip", "w"):
        pass

    assert run("move", tmp_path / "lab.zip", "--to", tmp_path) == 2
    assert (tmp_path / "agent.toml").read_text(encoding="utf-8") == "# mine"
