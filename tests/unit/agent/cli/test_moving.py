"""A lab that moves to another PC keeps its sources and history, and takes nothing again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs.service import picture
from pydantic import BaseModel

from agent import settings
from agent.cli import main
from agent.cli.operate.move import list_paths_elsewhere, with_folders
from agent.service.data_folder import RunLock, agent_name

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
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_only_the_named_sources_folder_changes_and_comments_stay() -> None:
    text = with_folders(TEXT, {"B": r"D:\b"})

    assert [source["folder"] for source in tomllib.loads(text)["sources"]] == ["/mnt/a", r"D:\b"]
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

    moved = run(
        "restore", tmp_path / "lab.zip", "--to", new, "--source", f"LOM={tmp_path}/elsewhere"
    )
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

    assert run("restore", tmp_path / "lab.zip", "--to", tmp_path) == 2
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
        (old / "specifications.toml").touch()
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

    code = run("restore", packed, "--to", tmp_path / "new")

    assert code == 2
    assert "already contains a lab" in capsys.readouterr().err
    assert not (tmp_path / "new" / "agent.toml").exists()
    assert {path: path.read_bytes() for path in live.rglob("*") if path.is_file()} == before


def test_each_folder_that_still_points_elsewhere_is_named(tmp_path, backup, capsys) -> None:
    packed = backup('[backup]\nfolder = "/nowhere/backup"\n[orders]\noutbox = "/nowhere/lims"\n')

    run("restore", packed, "--to", tmp_path / "new")

    said = " ".join(capsys.readouterr().out.split())
    assert "[backup] folder still points to /nowhere/backup, which does not exist" in said
    assert "[orders] outbox still points to /nowhere/lims, which does not exist" in said
    assert "[store] folder still points" not in said


def test_no_agent_starts_on_a_lab_while_it_is_moved_there(tmp_path, backup) -> None:
    packed = backup("")
    (tmp_path / "new" / "data").mkdir(parents=True)

    with RunLock(tmp_path / "new" / "data", agent_name()):
        assert run("restore", packed, "--to", tmp_path / "new") == 2


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def damage(packed: Path, name: str) -> Path:
    """Flip a byte of one member of a zip file, as a bad stick does."""
    with zipfile.ZipFile(packed) as opened:
        info = next(info for info in opened.infolist() if info.filename == name)
    held = bytearray(packed.read_bytes())
    held[info.header_offset + 30 + len(name) + 20 + info.compress_size // 2] ^= 0xFF
    damaged = packed.with_name("damaged.zip")
    damaged.write_bytes(held)
    return damaged


def test_a_move_of_a_damaged_backup_leaves_nothing_and_can_be_repeated(
    tmp_path, backup, capsys
) -> None:
    packed, new = backup(""), tmp_path / "new"
    (new / "data" / "reference").mkdir(parents=True)
    (new / "data" / "reference" / "mine.png").write_bytes(b"mine")
    before = tree(new)

    code = run("restore", damage(packed, "martensight.db"), "--to", new)

    said = " ".join(capsys.readouterr().err.split())
    assert code == 2
    assert f"what it had written into {new} was removed" in said
    assert tree(new) == before

    assert run("restore", packed, "--to", new, "--source", f"LOM={tmp_path}/old/export") == 0
    assert (new / "agent.toml").is_file()
    assert (new / "specifications.toml").is_file()
    assert not list(new.glob("*unfinished*"))
    assert not (new / "agent-move.json").exists()


def test_a_failed_move_removes_the_folder_that_it_made(tmp_path, backup) -> None:
    packed = backup("")

    assert run("restore", damage(packed, "martensight.db"), "--to", tmp_path / "new") == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("appeared", ["specifications.toml", "data/martensight.db"])
def test_a_killed_move_is_no_lab_and_can_be_repeated(tmp_path, backup, capsys, appeared) -> None:
    packed, new = backup(""), tmp_path / "new"
    command = [sys.executable, "-m", "agent", "restore", str(packed), "--to", str(new)]
    moving = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends_s = time.monotonic() + 60
    while not (new / appeared).exists() and time.monotonic() < ends_s:
        os.sched_yield()
    moving.kill()
    assert moving.wait() == -signal.SIGKILL
    assert (new / appeared).exists()
    half = tree(new)
    capsys.readouterr()

    for command_line in (("run", "--once"), ("status",), ("doctor",)):
        assert run("--config", new / "agent.toml", *command_line) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert said.startswith(f"agent: The move of a lab into {new} did not finish. Repeat it")
    assert run("init", new) == 2
    assert tree(new) == half

    assert run("restore", packed, "--to", new, "--source", f"LOM={tmp_path}/old/export") == 0
    assert "did not finish; what it had written was removed" in " ".join(
        capsys.readouterr().out.split()
    )
    assert run("--config", new / "agent.toml", "status") == 0
    assert not list(new.glob("*unfinished*"))


def test_files_that_others_put_next_to_a_killed_move_stay(tmp_path, backup) -> None:
    packed, new = backup(""), tmp_path / "new"
    (new / "data" / "crops").mkdir(parents=True)
    (new / "data" / "crops" / "copied.png").write_bytes(b"pixels")
    (new / "agent.toml.unfinished").write_text("", encoding="utf-8")
    laid = {
        "folder": str(new),
        "is_new": True,
        "settings": ["agent.toml.unfinished"],
        "data": str(new / "data"),
        "members": ["crops/laid.png", "../outside.txt"],
    }
    (new / "agent-move.json").write_text(json.dumps(laid), encoding="utf-8")
    (new / "data" / "crops" / "laid.png").write_bytes(b"pixels")
    (new / "outside.txt").write_bytes(b"mine")

    run("restore", packed, "--to", new)

    assert (new / "data" / "crops" / "copied.png").exists()
    assert (new / "outside.txt").exists()
    assert not (new / "data" / "crops" / "laid.png").exists()


def test_a_move_into_a_file_is_refused_in_a_sentence(tmp_path, backup, capsys) -> None:
    packed, target = backup(""), tmp_path / "target"
    target.write_text("mine", encoding="utf-8")

    for place in (target, target / "below"):
        assert run("restore", packed, "--to", place) == 2
        said = capsys.readouterr().err
        assert str(target) in said.replace("\n", "")
        assert "Traceback" not in said
    assert target.read_text(encoding="utf-8") == "mine"


# --- paths that point elsewhere -----------------------------------------------------------------

LIKE_A_PATH = ("folder", "file", "path", "pem", ".toml", "pkcs", "certificate", "key")
NO_PATHS = {"store.url", "store.objects", "sources.pattern"}


def fields(kind: type[BaseModel], section: str) -> Iterator[tuple[str, object, str]]:
    for key, field in kind.model_fields.items():
        yield f"{section}.{key}", field, f"{key} {field.description or ''}".casefold()


def all_fields() -> Iterator[tuple[str, object, str]]:
    for section, field in settings.Settings.model_fields.items():
        kind = settings.Source if section == "sources" else field.annotation
        yield from fields(kind, section)


def test_each_setting_that_sounds_like_a_path_is_one() -> None:
    named = {name for name, field, _ in all_fields() if settings.is_path(field)}
    sounding = {
        name
        for name, field, words in all_fields()
        if field.annotation in {str, Path} and any(word in words for word in LIKE_A_PATH)
    }

    assert named - sounding == set()
    assert sounding - named - NO_PATHS == set()


def test_every_path_of_the_settings_is_named_when_it_points_elsewhere(tmp_path) -> None:
    names = [name for name, field, _ in all_fields() if settings.is_path(field)]
    sections: dict[str, list[str]] = {}
    for name in names:
        section, _, key = name.partition(".")
        sections.setdefault(section, []).append(f'{key} = "/nowhere/{section}/{key}"')
    text = "".join(
        f"[[sources]]\nname = 'A'\n{lines[0]}\n"
        if section == "sources"
        else f"[{section}]\n" + "\n".join(lines) + "\n"
        for section, lines in sections.items()
    )
    (tmp_path / "agent.toml").write_text(text, encoding="utf-8")
    read = settings.read(tmp_path / "agent.toml", {})

    said = list_paths_elsewhere(read, tmp_path, given=set())

    expected = {
        "source A"
        if name == "sources.folder"
        else f"[{name.partition('.')[0]}] {name.partition('.')[2]}"
        for name in names
    }
    assert {line.partition(" still points to ")[0] for line in said} == expected
    assert "source A" not in str(list_paths_elsewhere(read, tmp_path, given={"A"}))


def test_a_relative_path_that_did_not_come_along_is_named(tmp_path) -> None:
    (tmp_path / "agent.toml").write_text(
        '[web]\ncertificate = "page.pem"\nkey = "here.pem"\n[trail]\nanchor = "trail.jsonl"\n',
        encoding="utf-8",
    )
    (tmp_path / "here.pem").write_text("", encoding="utf-8")
    (tmp_path / "data").mkdir()
    read = settings.read(tmp_path / "agent.toml", {})

    said = list_paths_elsewhere(read, tmp_path, given=set())

    assert [line.partition(" did not come along")[0] for line in said] == [
        f"[web] certificate is missing: {tmp_path / 'page.pem'}",
        f"[trail] anchor is missing: {tmp_path / 'trail.jsonl'}",
    ]
