"""A file as a folder's listing shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.watch.names import locate

if TYPE_CHECKING:
    from pathlib import Path

Facts = tuple[int, int, int]
"""(size in bytes, mtime in ns, POSIX ctime in ns or 0): the same facts, the same content."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One file of one source: the same facts, the same content, until it is read.

    Args:
        source: Name of the source it came from.
        folder: The source's folder, absolute.
        relative: Its path below the folder, as text, with forward slashes on every platform
            (bytes that are no UTF-8 as `names.to_text` writes them).
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
        return locate(self.folder, self.relative)

    @property
    def facts(self) -> Facts:
        """What the listing shows of its content."""
        return self.size_bytes, self.mtime_ns, self.ctime_ns
