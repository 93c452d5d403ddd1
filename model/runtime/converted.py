"""Keep converted networks, so that a process that serves never loads PyTorch.

A kept network is data that OpenVINO reads, never code. It is found by the hash of all that it
depends on, and used only if its content has the SHA-256 that was recorded when it was made; else it
is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from model.durable_file import write_durably

if TYPE_CHECKING:
    from pathlib import Path

CONVERTER: Final = 1
"""Version of our conversion; increase it where one release converts a network differently than
before. Each release converts again."""

_PRIVATE_FOLDER = 0o700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SUFFIXES = (".json", ".xml", ".bin")

_UNUSED_S = 90 * 86_400.0
"""Seconds after which a network that no process has loaded is removed: its bundle is gone, or
another release converts it. One that is needed again is made again."""


@dataclass(frozen=True, slots=True)
class ConvertedFolder:
    """Folder of converted networks: structure, weights and a record of both for each.

    Args:
        path: The folder.
    """

    path: Path

    def find(self, key: str, versions: str) -> tuple[bytes, bytes] | None:
        """Return structure and weights of a network; None if they are missing or damaged.

        Args:
            key: All that the network depends on.
            versions: Of OpenVINO and of this program.
        """
        name = _compute_name(key, versions)
        if not _is_private(self.path):
            return None
        try:
            if not all((self.path / f"{name}{suffix}").is_file() for suffix in _SUFFIXES):
                return None  # a pipe would never end
            record = json.loads((self.path / f"{name}.json").read_bytes())
            structure = (self.path / f"{name}.xml").read_bytes()
            weights = (self.path / f"{name}.bin").read_bytes()
            is_kept = record == _build_record(key, versions, structure, weights)
        except (OSError, ValueError, RecursionError):
            return None
        if not is_kept:
            return None
        with suppress(OSError):  # the folder may be read-only
            os.utime(self.path / f"{name}.json")
        return structure, weights

    def keep(self, key: str, versions: str, structure: bytes, weights: bytes) -> None:
        """Write a network for its owner alone, and remove what has not been used for long.

        Nothing is written where the folder cannot be.
        """
        name = _compute_name(key, versions)
        record = json.dumps(_build_record(key, versions, structure, weights), indent=1)
        with suppress(OSError):
            self.path.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            if not _is_private(self.path):
                return
            # The record is the last: a network without one is not used.
            self._replace(f"{name}.xml", structure)
            self._replace(f"{name}.bin", weights)
            self._replace(f"{name}.json", record.encode())
            self._remove_unused((self.path / f"{name}.json").stat().st_mtime - _UNUSED_S)

    def _remove_unused(self, oldest: float) -> None:
        """Remove networks and parts of files that were last used before an instant of the disk."""
        for file in (*self.path.glob("*.json"), *self.path.glob(".*.part")):
            with suppress(OSError):  # another process removed it, or Windows holds it open
                if file.stat().st_mtime >= oldest:
                    continue
                file.unlink(missing_ok=True)  # a network without its record is not used
                if file.suffix == ".json":
                    for suffix in _SUFFIXES[1:]:
                        file.with_suffix(suffix).unlink(missing_ok=True)
        for file in (*self.path.glob("*.xml"), *self.path.glob("*.bin")):
            with suppress(OSError):
                if not file.with_suffix(".json").exists() and file.stat().st_mtime < oldest:
                    file.unlink(missing_ok=True)

    def _replace(self, name: str, content: bytes) -> None:
        part = self.path / f".{name}.{os.getpid()}-{uuid4().hex[:8]}.part"
        try:
            part.touch(mode=0o600)
            write_durably(part, content)
            part.replace(self.path / name)
        finally:
            part.unlink(missing_ok=True)


def _is_private(folder: Path) -> bool:
    """Return whether nobody but this account and root can write into a folder, on POSIX.

    What is in it decides answers, and no manifest of a bundle covers it.
    """
    if os.name == "nt":  # the service's set-up sets the permissions
        return True
    try:
        status = folder.lstat()
    except OSError:
        return False
    is_own = status.st_uid in (0, os.geteuid())
    return stat.S_ISDIR(status.st_mode) and is_own and not status.st_mode & _OTHERS_WRITE


def _compute_name(key: str, versions: str) -> str:
    return hashlib.sha256(json.dumps([CONVERTER, versions, key]).encode()).hexdigest()[:32]


def _build_record(key: str, versions: str, structure: bytes, weights: bytes) -> dict[str, object]:
    return {
        "converter": CONVERTER,
        "versions": versions,
        "network": key,
        "structure_sha256": hashlib.sha256(structure).hexdigest(),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
