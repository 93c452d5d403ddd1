"""A file as listed in a source's folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.watch.file_types import locate

if TYPE_CHECKING:
    from pathlib import Path

Facts = tuple[int, int, int]
"""(size in bytes, mtime in ns, POSIX ctime in ns or 0): equal facts mean equal content."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of one source; equal facts mean equal content until it is read.

    Args:
        source: Name of the source.
        folder: The source's folder, absolute.
        relative: Path below the folder, as text, with forward slashes on every platform (bytes that
            are not UTF-8 as `names.to_text` writes them).
        size_bytes: Size in bytes.
        mtime_ns: Time of the last change, ns since 1970.
        ctime_ns: POSIX change time, ns since 1970; 0 elsewhere.
    """

    source: str
    folder: Path
    relative: str
    size_bytes: int
    mtime_ns: int
    ctime_ns: int = 0

    @property
    def path(self) -> Path:
        """Path of the file."""
        return locate(self.folder, self.relative)

    @property
    def facts(self) -> Facts:
        """Facts that identify its content."""
        return self.size_bytes, self.mtime_ns, self.ctime_ns
