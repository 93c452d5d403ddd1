"""Compute the version of a build from its commit; setuptools reads `VERSION`, nothing else does.

Each commit is a version of its own and a later one is newer, so that `pip install --upgrade`
installs it. An installed program reads its version from its metadata, not from here. setuptools
loads this file alone, without its package.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

RELEASE = "0.1"
"""Major and minor number, raised by hand."""
ARCHIVED = "$Format:%ct %h$"
"""Time and hash of the commit, which `git archive` writes here (`.gitattributes`)."""
GIT_ENDS_S = 20.0


def compute_version(folder: Path, *, archived: str = ARCHIVED) -> str:
    """Return the version of a source tree.

    It is release, day and minute of the commit in UTC, and the commit's hash, such as
    `0.1.20261201.1124+g4dd254bf`; `.changed` follows where files differ from the commit. Without
    git it is that of the sdist, else of the archive, else the release alone.

    Args:
        folder: Of `pyproject.toml`.
        archived: Seconds since 1970 and hash, or what is there where nothing was archived.
    """
    if commit := _find_commit(folder):
        return commit
    if sdist := _find_in_sdist(folder):
        return sdist
    return _format(archived) if re.fullmatch(r"\d+ [0-9a-f]+", archived) else f"{RELEASE}.0"


def _find_commit(folder: Path) -> str:
    """Return the version of the commit in a working tree, "" where there is none."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if not top or not os.path.samefile(top.strip(), folder):  # noqa: PTH121 - of two texts
        return ""  # a tree without git, maybe inside another project's
    commit = _git(folder, "log", "-1", "--format=%ct %h", "--abbrev=8")
    if not commit:
        return ""
    is_changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return _format(commit.strip()) + (".changed" if is_changed else "")


def _format(commit: str) -> str:
    seconds, sha = commit.split()
    at = datetime.fromtimestamp(int(seconds), UTC)
    return f"{RELEASE}.{at:%Y%m%d}.{at.hour * 100 + at.minute}+g{sha}"


def _find_in_sdist(folder: Path) -> str:
    """Return the version that an sdist states, "" where there is none."""
    try:
        stated = (folder / "PKG-INFO").read_text(encoding="utf-8")
    except OSError:
        return ""
    line = re.search(r"^Version: (\S+)$", stated, re.MULTILINE)
    return line.group(1) if line else ""


def _git(folder: Path, *words: str) -> str:
    """Return what a git command prints, "" where it fails or there is no git."""
    try:
        ended = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(folder), *words],  # noqa: S607 - the builder's own git
            capture_output=True,
            check=True,
            text=True,
            timeout=GIT_ENDS_S,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return ended.stdout


def __getattr__(name: str) -> str:
    if name != "VERSION":  # computed on request: tests import this module too
        raise AttributeError(name)
    return compute_version(Path(__file__).resolve().parents[2])


if __name__ == "__main__":  # for a build where git is not, such as a container's
    sys.stdout.write(__getattr__("VERSION"))
