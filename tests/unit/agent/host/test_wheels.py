"""What a PC without internet is installed from is what was tested, file by file."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from folders import ROOT
from packaging.requirements import Requirement

from agent.errors import UsageError
from agent.host.distribution import LOCK, collect, normalise, read_lock

PROJECT = ROOT / "pyproject.toml"
NOT_BUNDLED = {"dev", "ray"}
"""Extras that are not in a bundle: a Ray cluster is installed from a network in any case."""


def wheel(folder: Path, name: str, needs: str = "", body: str = "") -> Path:
    """Write a wheel with one module, as a package index has it."""
    info = f"{name}-1.0.dist-info"
    required = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": body,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{required}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for file, text in files.items():
            packed.writestr(file, text)
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Returns a folder of wheels that pip finds, and nothing else."""
    for name in ("PIP_CONFIG_FILE", "PIP_CONSTRAINT", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def locked(tmp_path, *wheels):
    lines = [
        f"{one.name.split('-')[0]}==1.0 \\\n    --hash=sha256:"
        f"{hashlib.sha256(one.read_bytes()).hexdigest()}\n"
        for one in wheels
    ]
    lock = tmp_path / "some.lock"
    lock.write_text("".join(lines), encoding="utf-8")
    return lock


def test_what_was_collected_is_installed_by_hash_without_an_index(tmp_path, index):
    part = wheel(index, "needed_part", body="here = True\n")
    own = wheel(tmp_path / "built", "martensight", "needed-part")
    folder = tmp_path / "stick"
    folder.mkdir()

    collect(folder, str(own), "", locked(tmp_path, part))

    command = [sys.executable, "-m", "pip", "install", "--no-index", "--require-hashes"]
    command += ["-r", "requirements.txt", "--target", str(tmp_path / "installed")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert (tmp_path / "installed" / "needed_part.py").is_file()
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        own.name,
        part.name,
        "requirements.txt",
    ]


def test_another_file_of_the_same_version_is_refused_and_an_old_collection_stays(tmp_path, index):
    part = wheel(index, "needed_part")
    own = wheel(tmp_path / "built", "martensight", "needed-part")
    folder, lock = tmp_path / "stick", locked(tmp_path, part)
    folder.mkdir()
    collect(folder, str(own), "", lock)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    wheel(index, "needed_part", body="print('stolen')\n")

    with pytest.raises(UsageError, match=r"needed_part-1\.0.*not the files that were tested"):
        collect(folder, str(own), "", lock)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    collect(folder, str(own), "", None)
    assert (folder / part.name).read_bytes() != before[part.name]


def test_a_version_without_a_hash_is_no_lock(tmp_path):
    (tmp_path / "some.lock").write_text("numpy==2.0\n", encoding="utf-8")

    with pytest.raises(UsageError, match=r"numpy==2\.0 has no hash"):
        read_lock(tmp_path / "some.lock")


def test_the_lock_holds_all_that_is_shipped_in_versions_that_the_project_allows():
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        line for name, lines in extras.items() if name not in NOT_BUNDLED for line in lines
    ]
    versions = dict(read_lock())

    for requirement in map(Requirement, wanted):
        found = [v for n, v in versions if n == normalise(requirement.name)]
        assert found, f"{requirement.name} is not in the lock file: run .ci/lock"
        assert all(map(requirement.specifier.contains, found)), requirement


def test_the_lock_names_no_index():
    assert not re.search(r"https?://|--(index|extra|find)", LOCK.read_text(encoding="utf-8"))
