"""An odd back-up file is refused in one sentence, and nothing of it is put anywhere."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell import Shell

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize(
    "manifest",
    [
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
    ],
)  # fmt: skip
def test_an_odd_manifest_is_one_sentence(shell, tmp_path, manifest) -> None:
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
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(document=JSON | st.fixed_dictionaries({"kind": JSON, "sha256": JSON}))  # fmt: skip
def test_whatever_a_manifest_holds_it_is_one_sentence(shell, tmp_path, document) -> None:
    refused(shell, packed(tmp_path, json.dumps(document), {"a": b""}))
