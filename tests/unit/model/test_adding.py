"""A bundle from elsewhere brings in what its manifest names, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from labs.bundle_contents import contents
from labs.shell import Shell

from model.bundle import write_bundle


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_bundle(contents(), tmp_path / "usb")


def here(shell: Shell, bundle: Path) -> set[str]:
    folder = shell.lab.folder / "bundles" / bundle.name
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_files_that_the_manifest_does_not_name_stay_where_they_are(shell, bundle) -> None:
    named = {path.name for path in bundle.iterdir()}
    (bundle / "extra.bin").write_bytes(b"x")
    (bundle / "record").mkdir()
    (bundle / "record" / "card.html").write_text("<script>alert(1)</script>")

    code, said = shell.agent("models", "add", bundle)

    assert code == 0, said
    assert here(shell, bundle) == named


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("name", ["notes.txt", "heads.safetensors"])
def test_a_link_in_a_bundle_is_refused(shell, bundle, tmp_path, name) -> None:
    (tmp_path / "secret").write_text("root:x:0:0")
    (bundle / name).unlink(missing_ok=True)
    (bundle / name).symlink_to(tmp_path / "secret")

    code, said = shell.agent("models", "add", bundle)

    assert code == 2
    assert f"contains a link, {name}" in said
    assert here(shell, bundle) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_pipe_in_the_place_of_a_file_holds_nobody(shell, bundle) -> None:
    (bundle / "extra").unlink(missing_ok=True)
    os.mkfifo(bundle / "extra")

    assert shell.agent("models", "add", bundle)[0] == 0
    assert "extra" not in here(shell, bundle)


def test_what_is_exported_keeps_what_was_written_about_it(shell, bundle, tmp_path) -> None:
    assert shell.agent("models", "add", bundle)[0] == 0
    record = shell.lab.folder / "bundles" / bundle.name / "record"
    record.mkdir()
    (record / "note.txt").write_text("ours")

    assert shell.agent("models", "export", bundle.name, tmp_path / "out")[0] == 0

    assert (tmp_path / "out" / bundle.name / "record" / "note.txt").read_text() == "ours"


def test_a_manifest_of_brackets_is_refused_in_a_sentence(shell, bundle) -> None:
    (bundle / "bundle.json").write_text("[" * 200_000)

    code, said = shell.agent("models", "add", bundle)

    assert code == 2
    assert "broken bundle.json" in said
    assert "Traceback" not in said


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
@pytest.mark.parametrize("name", ["bundle.json", "split.json", "heads.safetensors"])
def test_a_pipe_in_the_place_of_any_file_is_refused_and_not_waited_for(shell, bundle, name) -> None:
    (bundle / name).unlink(missing_ok=True)
    os.mkfifo(bundle / name)

    code, said = shell.agent("models", "add", bundle)

    assert code == 2
    assert f"contains {name}, which is no file" in said
