"""An odd back-up file is refused in one sentence, and nothing of it is put anywhere."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labs.shell import Shell

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.fixture
def shell(tmp_path, capsys) -> Shell:
    made = Shell(tmp_path, capsys)
    made.lab.store.close()
    return made


def packed(folder: Path, manifest: str | bytes, members: dict[str, bytes]) -> Path:
    file = folder / "odd.zip"
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
        made.writestr("manifest.json", manifest)
    return file


def refused(shell: Shell, file: Path) -> None:
    code, said = shell.agent("restore", file)

    assert code == 2, said
    assert "Traceback" not in said
    assert said.count("\n") <= 2


CLASHING = ("martensight.db", "martensight.db/x")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

ODD_MANIFESTS = [
    "[]",
    "null",
    '"text"',
    "{}",
    "[" * 100_000,
    '{"kind": "sqlite", "sha256": []}',
    '{"kind": "sqlite", "sha256": {"a": 5}}',
    '{"kind": 7, "sha256": {}}',
    '{"kind": "sqlite", "sha256": {}}',
    '{"kind": "sqlite", "sha256": {"": "x"}}',
    '{"kind": "sqlite", "sha256": {"a\\u0000b": "x"}}',
    '{"kind": "sqlite", "sha256": {"../out": "x"}}',
    '{"kind": "sqlite", "sha256": {"/etc/out": "x"}}',
    '{"kind": "sqlite", "sha256": {"not there": "x"}}',
    json.dumps({"kind": "sqlite", "sha256": {"martensight.db": EMPTY}, "trail": 5}),
    json.dumps({"kind": "sqlite", "sha256": dict.fromkeys(CLASHING, EMPTY)}),
    json.dumps({"kind": "sqlite", "sha256": {"martensight.evil": EMPTY}}),
    b"\xff\xfe\x00",
]


def test_an_odd_manifest_is_one_sentence(shell, tmp_path) -> None:
    for manifest in ODD_MANIFESTS:
        members = dict.fromkeys(("martensight.db/x", "martensight.evil"), b"")
        if b"martensight.db" in (manifest if isinstance(manifest, bytes) else manifest.encode()):
            members["martensight.db"] = b""

        refused(shell, packed(tmp_path, manifest, members))


def test_a_member_with_a_password_is_one_sentence(shell, tmp_path) -> None:
    file = packed(tmp_path, json.dumps({"kind": "sqlite", "sha256": {"martensight.db": EMPTY}}),
                  {"martensight.db": b"12345"})  # fmt: skip
    content = bytearray(file.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        at = content.index(start)
        content[at + (6 if start[2] == 3 else 8)] |= 1
    file.write_bytes(content)

    refused(shell, file)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(document=JSON | st.fixed_dictionaries({"kind": JSON, "sha256": JSON}))  # fmt: skip
def test_whatever_a_manifest_holds_it_is_one_sentence(shell, tmp_path, document) -> None:
    refused(shell, packed(tmp_path, json.dumps(document), {"a": b""}))


ODD_NAMES = [
    "C:/evil.txt",
    "C:evil.txt",
    "bundles\\..\\..\\evil_w.txt",
    "\\\\server\\x",
    "//server/x",
    "/etc/out",
    "NUL",
    "bundles/con.txt",
    "bundles/COM1 .log",
    "bundles/a:b",
    "bundles/../../evil.txt",
    "bundles//x",
    "./x",
    "bundles/x.",
    "bundles/x ",
    "bundles/a\nb",
]


def rewritten(file: Path, target: Path, name: str, *, listed: bool) -> Path:
    """Return a copy of a backup with one member more, which its manifest lists or not."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(target, "w") as made:
        manifest = json.loads(source.read("manifest.json"))
        for entry in manifest["sha256"]:
            made.writestr(entry, source.read(entry))
        if listed:
            manifest["sha256"][name] = EMPTY
        made.writestr(name, b"")
        made.writestr("manifest.json", json.dumps(manifest))
    return target


@pytest.fixture
def whole(shell, tmp_path) -> Path:
    file = tmp_path / "whole.zip"
    code, said = shell.agent("backup", file)
    assert code == 0, said
    return file


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_leads_out_on_any_system_is_refused(
    shell, tmp_path, whole, name, listed
) -> None:
    file = rewritten(whole, tmp_path / "odd.zip", name, listed=listed)
    database = tmp_path / "data" / "martensight.db"
    before = database.read_bytes()

    restore = shell.agent("restore", file)
    unchanged = database.read_bytes() == before
    trial = shell.agent("backup", "--verify", file)

    assert (restore[0], trial[0]) == (2, 3), restore[1] + trial[1]
    assert unchanged
    for said in (restore[1], trial[1]):
        words = "".join(said.split())
        assert "mayleadoutofthedatafolder:" + "".join(repr(name).split()) in words


def test_a_move_refuses_such_a_name_before_it_writes_settings(shell, tmp_path) -> None:
    name = "settings/..\\..\\evil.toml"
    file = packed(tmp_path, '{"kind": "sqlite", "sha256": {}}', {name: b"[store]\n"})

    code, said = shell.agent("restore", file, "--to", tmp_path / "new")

    assert code == 2, said
    assert "may lead out of the data folder" in " ".join(said.split())
    assert not (tmp_path / "new").exists()


def test_the_names_that_a_lab_has_are_restored(shell, tmp_path, whole) -> None:
    file = rewritten(whole, tmp_path / "good.zip", "inbox/Gefüge Nr. 1 (neu).json", listed=True)

    code, said = shell.agent("restore", file)

    assert code == 0, said
    assert (tmp_path / "data" / "inbox" / "Gefüge Nr. 1 (neu).json").is_file()


def test_a_file_that_no_restore_would_take_is_not_backed_up(shell, tmp_path) -> None:
    folder = tmp_path / "data" / "reference"
    folder.mkdir(exist_ok=True)
    (folder / "G8 10:30.tif").write_bytes(b"pixels")

    code, said = shell.agent("backup", tmp_path / "new.zip")

    assert code == 2
    assert "G8 10:30.tif" in said
    assert "Rename it" in said
    assert not (tmp_path / "new.zip").exists()


@pytest.mark.parametrize("kind", ["oracle", "", "sql", "postgresql"])
def test_a_trial_refuses_the_kind_that_a_restore_refuses(shell, tmp_path, whole, kind) -> None:
    file = tmp_path / "odd.zip"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w") as made:
        manifest = json.loads(source.read("manifest.json")) | {"kind": kind}
        for entry in manifest["sha256"]:
            made.writestr(entry, source.read(entry))
        made.writestr("manifest.json", json.dumps(manifest))

    trial, restore = shell.agent("backup", "--verify", file), shell.agent("restore", file)

    assert (trial[0], restore[0]) == (3, 2), trial[1] + restore[1]
    assert "kind of database" in " ".join(trial[1].split()) or "it holds martensight.db" in trial[1]
