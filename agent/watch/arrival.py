"""A file as a folder's listing shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Arrival:
    """One file of one source: the same facts, the same content, until it is read.

    Args:
        source: Name of the source it came from.
        folder: The source's folder, absolute.
        relative: Its path below the folder, with forward slashes on every platform.
        size_bytes: Its size.
        mtime_ns: Time of its last change.
        ctime_ns: POSIX change time, 0 elsewhere.
    """

    source: str
    folder: Path
    relative: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int = 0

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.relative
