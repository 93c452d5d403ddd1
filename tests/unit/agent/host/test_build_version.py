"""Each commit builds a version of its own, newer than the one before; git need not be there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from packaging.version import Version

from agent.host.build_version import compute_version


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    ended = subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


def commit(folder: Path, at: str, text: str) -> str:
    (folder / "file").write_text(text)
    git(folder, "add", "file")
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", text],
        cwd=folder,
        check=True,
        env={"GIT_COMMITTER_DATE": at, "GIT_AUTHOR_DATE": at, "PATH": "/usr/bin:/bin"},
    )
    return git(folder, "rev-parse", "--short=8", "HEAD")


def test_a_later_commit_is_a_newer_version_and_names_its_hash(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")

    first = commit(tmp_path, "2026-12-01T00:05:59+00:00", "one")
    older = compute_version(tmp_path)
    second = commit(tmp_path, "2026-12-01T11:24:00+01:00", "two")
    newer = compute_version(tmp_path)

    assert older == f"0.1.20261201.5+g{first}"
    assert newer == f"0.1.20261201.1024+g{second}"
    assert Version(older) < Version(newer)
    assert str(Version(newer)) == newer


def test_a_tree_that_differs_from_its_commit_is_named(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    sha = commit(tmp_path, "2026-12-01T11:24:00+00:00", "one")

    (tmp_path / "file").write_text("edited")

    assert compute_version(tmp_path) == f"0.1.20261201.1124+g{sha}.changed"


def test_without_git_the_version_is_that_of_the_sdist_the_archive_or_the_release(
    tmp_path: Path,
) -> None:
    git(tmp_path, "init", "-q")  # another project's, around the unpacked tree
    commit(tmp_path, "2020-01-01T00:00:00+00:00", "another project")
    tree = tmp_path / "unpacked"
    tree.mkdir()

    alone = compute_version(tree)
    archived = compute_version(tree, archived="1796124240 4dd254bf")
    (tree / "PKG-INFO").write_text(
        "Metadata-Version: 2.4\nName: martensight\nVersion: 0.1.7.8+gabc\n"
    )
    sdist = compute_version(tree)

    assert (alone, archived, sdist) == ("0.1.0", "0.1.20261201.1124+g4dd254bf", "0.1.7.8+gabc")
