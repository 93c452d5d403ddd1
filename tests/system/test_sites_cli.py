"""No command answers to, or changes, what another site has.

Every command is walked with the other site's keys. A command that is neither walked nor left out
with a reason fails it, and so does an argument that the walk does not know.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from labs.two_sites import HERE, HIDDEN, Known, World, nowhere, sqlite_world, world

import agent.cli
from agent.cli.app import app, main

__all__ = ["sqlite_world", "world"]

LEFT_OUT = {
    "run": "the service itself; what it asks the store is walked by method",
    "web": "the pages, which have a walk of their own",
    "demo": "a lab of its own",
    "init": "writes settings, opens no database",
    "restore": "refused where several sites share a database, see `test_sites`",
    "backup": "holds the whole database, see fleet.md",
    "support licences": "shows licences",
    "models weights": "fetches weights",
    "support wheels": "fetches packages",
    "look": "reads files",
    "needles measure": "reads files",
    "models experiments": "reads a folder",
    "models evaluate": "reads a folder",
    "train": "reads a folder",
    "import": "reads a folder",
    "classify": "reads files",
    "models datasets": "reads a folder",
    "service install": "of this PC",
    "service uninstall": "of this PC",
    "service start": "of this PC",
    "service stop": "of this PC",
    "service status": "of this PC",
    "doctor": "looks at the PC; what it says of sites has tests of its own",
}


def list_commands() -> dict[str, click.Command]:
    """Return every command by its words."""
    for module in pkgutil.walk_packages(agent.cli.__path__, "agent.cli."):
        importlib.import_module(module.name)
    return dict(_iter_commands(typer.main.get_command(app), ""))


def _iter_commands(group: Any, words: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{words}{name}", command
            yield from _iter_commands(command, f"{words}{name} ")
        else:
            yield f"{words}{name}", command


COMMANDS = {name: one for name, one in list_commands().items() if name not in LEFT_OUT}


def values(known: Known, folder: Path) -> dict[str, str | None]:
    """Return what each argument is given: `command.argument`, else `argument`; None: left away."""
    first, second = known.fields
    flags = ("as_json", "json", "off", "dismiss", "different", "dry_run", "pixels", "once", "every")
    flags += ("failed", "unsure", "cannot_tell", "no_lock", "overlay", "saliency")
    flags += ("unassigned", "control", "check", "fill", "verify", "repair", "stop", "resume")
    flags += ("undo", "program", "password", "disable", "enable", "send", "fetch", "customer")
    flags += ("installation", "rings", "pdf", "from_features")
    flags += ("why", "cancel", "refresh", "pseudo_labels", "names", "may_go_back", "include_taught")
    none = (
        "manifest",
        "as_of",
        "first",
        "last",
        "anchor",
        "at",
        "team",
        "raters",
        "merge",
        "picture",
    )
    none += ("stratified", "seed", "preparations", "defect", "strange", "unusable", "gain", "spec")
    none += (
        "again",
        "limit",
        "night",
        "may_lose",
        "references",
        "days",
        "shadow",
        "images",
        "codes",
    )
    return {
        **dict.fromkeys(flags),
        **dict.fromkeys(none),
        "account": known.account,
        "asked": known.order,
        "belongs": None,
        "orders same-place.belongs": first,
        "bundle": known.bundle,
        "by": "Eve",
        "certificate": "C-1",
        "code": "G8",
        "comment": "x",
        "criterion": "mean",
        "division": "10um",
        "expected": None,
        "field": "1",
        "file": str(folder / "list.csv"),
        "orders dismiss-file.file": f"{HIDDEN}3.tif",
        "folder": str(folder / f"new-{known.order}"),
        "spec validate.folder": str(folder),
        "form": "csv",
        "image": str(folder / "none.tif"),
        "kind": "order",
        "material": "100Cr6",
        "micrographs": first,
        "microscope": None,
        "microscopes": known.source,
        "against": None,
        "week": None,
        "month": None,
        "all_sites": None,
        "retire": None,
        "ray": None,
        "language": None,
        "statement": None,
        "what": known.fields[0],
        "export.what": "trail",
        "copy_to": None,
        "needles calibrate.microscope": known.source,
        "needles calibrate.subtype": "G",
        "name": known.bundle,
        "roundrobin new.name": known.campaign,
        "roundrobin open.name": known.campaign,
        "roundrobin close.name": known.campaign,
        "roundrobin report.name": known.campaign,
        "roundrobin new.micrographs": str(folder / "ids.txt"),
        "users add.name": known.account,
        "users change.name": known.account,
        "users change.role": "viewer",
        "msa plan.name": known.campaign,
        "msa report.name": known.campaign,
        "number": known.order,
        "objective": "50x",
        "operators": "Eve,Ada",
        "order": known.order,
        "orders same-place.other": second,
        "out": str(folder / "out"),
        "password_stdin": "",
        "path": str(folder / "none"),
        "preparation": "1",
        "public_id": first,
        "rater": known.pseudonym,
        "roundrobin new.rater": "R9=Eve",
        "reason": "because",
        "review list.reason": "uncertain",
        "role": "viewer",
        "source": known.source,
        "specimen": known.specimen,
        "orders supersede.specimen": None,
        "specimens": known.specimen,
        "suggest": None,
        "spreadsheet": None,
        "state": None,
        "target": str(folder / "out.zip"),
        "which": known.sha256,
    }


def line(name: str, command: click.Command, known: Known, folder: Path) -> list[str]:
    """Return the words of a command with every argument that it has."""
    given, words = values(known, folder), name.split()
    for argument in command.params:
        if argument.name == "help":
            continue
        key = f"{name}.{argument.name}"
        key = key if key in given else str(argument.name)
        assert key in given, f"{name} has an argument {argument.name!r} the walk does not know yet"
        value = given[key]
        if value is not None:
            option = [] if argument.param_type_name == "argument" else [argument.opts[0]]
            words += [*option, *([value] if value else [])]
    return words


def play(
    world: World,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[int, str]:
    """Run a command of the first site, with a password on standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(world.folder.parent / "agent.toml"), *words])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


def iter_written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, and what is inside of a zip."""
    for path in folder.rglob("*"):
        if path.is_relative_to(folder / "data") or not path.is_file():
            continue
        yield path.name, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as held:
                yield from ((name, held.read(name)) for name in held.namelist())


@pytest.fixture
def shell(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The first site with its settings."""
    folder = world.folder.parent
    settings = f'[site]\nname = "{HERE}"\n[store]\nfolder = "data"\n'
    (folder / "agent.toml").write_text(settings, encoding="utf-8")
    monkeypatch.chdir(folder)
    return world


def test_every_command_is_walked_or_left_out_with_a_reason() -> None:
    assert set(LEFT_OUT) <= set(list_commands())


QUICKLY = {"orders show", "orders assign", "review label", "orders trace"}
"""What each run of the tests tries; all commands take minutes."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICKLY else pytest.mark.slow) for name in COMMANDS],
)
def test_a_command_answers_to_another_sites_key_as_to_one_of_nothing(
    shell: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    for known in (nowhere(shell.known), shell.known):
        (tmp_path / "list.csv").write_text(f"order;customer\n{known.order};Eve\n", encoding="utf-8")
        (tmp_path / "ids.txt").write_text(known.fields[0], encoding="utf-8")
    expected, _ = play(
        shell, line(name, COMMANDS[name], nowhere(shell.known), tmp_path), capsys, monkeypatch
    )

    code, text = play(shell, line(name, COMMANDS[name], shell.known, tmp_path), capsys, monkeypatch)

    assert HIDDEN not in text.replace(f"{HIDDEN}3.tif", "")
    assert code == expected, text
    shell.must_be_as_before(name)
    for path, content in iter_written(tmp_path):
        assert HIDDEN.encode() not in content, path


@pytest.mark.parametrize("what", ["files", "micrographs", "labels", "needles", "trail"])
def test_an_export_holds_nothing_of_another_site(
    shell: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    code, text = play(
        shell, ["export", what, "--out", str(tmp_path / "out.csv")], capsys, monkeypatch
    )

    assert code == 0, text
    exported = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert HIDDEN not in exported
    assert "Bea" not in exported
