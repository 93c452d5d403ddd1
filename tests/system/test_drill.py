"""The drill fails where what it was written for is broken again, and passes where it is not."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from folders import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None, reason="no bash"),
]
DRILL = ROOT / "deploy" / "drill.sh"
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="the step needs root"
)


@dataclass(frozen=True)
class Mutant:
    """A fault put back into a copy of the program.

    Attributes:
        step: The steps of the drill that find it.
        file: Where it is.
        code: What is there now.
        fault: What was there before.
        found: What the drill says then.
    """

    step: str
    file: str
    code: str
    fault: str
    found: str


MUTANTS = {
    "wrong clock": Mutant(
        "8",
        "agent/service/health/share_facts.py",
        "return compute_age(backup.facts.made_at, now) is not None",
        "return True",
        "it did not come about within 90 s",
    ),
    "hanging share": Mutant(
        "9",
        "agent/files/shares.py",
        "    key = str(share)\n",
        "    return function()\n    key = str(share)\n",
        "FAILED",
    ),
    "second host name": Mutant(
        "10",
        "agent/store/sites/site_folders.py",
        'if not url.startswith("postgresql"):',
        "if False:",
        "under a second host name ended with",
    ),
    "second site's doctor": Mutant(
        "1",
        "agent/service/health/share_facts.py",
        "lab = lab or find_first_act(settings.store.folder, settings.site.name)",
        "from agent.store import find_mark; lab = lab or find_mark(settings.store.folder)",
        "the doctor's findings on 'back-up'",
    ),
    "a move that rewrites another setting": Mutant(
        "3 2",
        "agent/cli/operate/move.py",
        'source["folder"] = moved[source["name"]]',
        'source["folder"] = document["site"]["change_reason"] = moved[source["name"]]',
        "the move changed another setting",
    ),
}


def copy_program(folder: Path) -> Path:
    """Copy the program into a folder, with the command that starts it."""
    for name in ("agent", "model", "reports"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.db")
        )
    return folder


def make_command(folder: Path) -> Path:
    """Write `agent` and `python` that take the program from a folder."""
    programs = folder / "commands"
    programs.mkdir()
    for name, words in (("python", ""), ("agent", "-m agent")):
        text = f'#!/bin/sh\nexport PYTHONPATH="{folder}"\nexec "{sys.executable}" -P {words} "$@"\n'
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    return programs / "agent"


def drill(agent: Path, steps: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DRILL_KINDS": "sqlite", "DRILL_STEPS": steps}
    return subprocess.run(
        ["bash", str(DRILL), str(agent)],
        env=environment, capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip


@root
@pytest.mark.parametrize("name", MUTANTS)
def test_the_drill_fails_where_the_fault_is_back(tmp_path, name) -> None:
    mutant = MUTANTS[name]
    agent = make_command(copy_program(tmp_path / "program"))
    file = tmp_path / "program" / mutant.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant.code) == 1
    file.write_text(text.replace(mutant.code, mutant.fault), encoding="utf-8")

    done = drill(agent, mutant.step)

    assert done.returncode == 1, done.stdout
    assert mutant.found in done.stderr


@root
def test_the_drill_passes_where_no_fault_is(tmp_path) -> None:
    done = drill(make_command(copy_program(tmp_path / "program")), "1 8 9 10")

    assert done.returncode == 0, done.stdout + done.stderr


READS_LICENCES = (
    (' and not file.suffix.lower().startswith(".py")', ""),
    ('Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")', "file.read_text()"),
)
"""As compiled modules were taken for licences: code and fault."""


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_drill_tries_what_pip_installed(tmp_path, is_broken) -> None:
    sources, folder = copy_program(tmp_path / "sources"), tmp_path / "program"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    words = ("-q", "--no-deps", "--no-build-isolation", "--target", str(folder), str(sources))
    subprocess.run([sys.executable, "-m", "pip", "install", *words], check=True)
    (installed,) = importlib.metadata.distributions(path=[str(folder)])
    assert any(file.suffix == ".pyc" for file in installed.files or ())
    if is_broken:
        licences = folder / "agent/host/distribution.py"
        text = licences.read_text(encoding="utf-8")
        for code, fault in READS_LICENCES:
            assert text.count(code) == 1
            text = text.replace(code, fault)
        licences.write_text(text, encoding="utf-8")

    done = drill(make_command(folder), "11")

    assert done.returncode == int(is_broken), done.stdout + done.stderr
    assert ("of this installation" in done.stdout) is not is_broken
