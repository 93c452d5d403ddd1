"""Check whether a file is complete: quiet for long enough, and released by its writer."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from agent.watch.listing import ListedFile, find_facts, long_path, stat_to_facts

if sys.platform == "linux":
    import fcntl


SIDECARS = (".done", ".ok", ".ready", ".complete", ".xml", ".txt", ".json", ".cal", ".md5")
"""Suffixes of a file next to the picture, with its name or its stem, that marks it as complete."""


class Hold(StrEnum):
    """Reason not to read a quiet file now."""

    REFUSED = "refused"
    """It does not open, or has other facts than in the listing."""
    HOLES = "holes"
    """Its size was allocated in advance, and parts were never written."""
    OPEN = "open"
    """A program of this PC has it open for writing (Linux, local disks)."""


def is_announced(path: Path) -> bool:
    """Return whether a file next to this one marks it as complete."""
    stem = path.with_suffix("")
    return any(
        os.path.lexists(f"{base}{suffix}")
        for base in (path, stem)
        for suffix in (*SIDECARS, *(s.upper() for s in SIDECARS))
        if f"{base}{suffix}" != str(path)
    )


def find_hold(file: ListedFile, *, is_local: bool) -> Hold | None:
    """Return why a file should not be read now, or None.

    Opening makes a network file system fetch size and times again, where a listing may be a minute
    old; on Windows it fails while a writer has the file open.

    Args:
        file: As listed.
        is_local: Whether the disk is local, so that this PC knows which programs have the file
            open.
    """
    path = long_path(file.path)
    try:
        if sys.platform == "win32":
            free = _opens_alone(path) and find_facts(file.folder, file.relative) == file.facts
            return None if free else Hold.REFUSED
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return Hold.REFUSED
    try:
        if stat_to_facts(os.fstat(descriptor)) != file.facts:
            return Hold.REFUSED
        if is_local and _is_open_for_writing(descriptor):
            return Hold.OPEN
        return Hold.HOLES if _has_holes(descriptor, file.size_bytes) else None
    except OSError:
        return Hold.REFUSED
    finally:
        os.close(descriptor)


def _is_open_for_writing(descriptor: int) -> bool:
    """Return whether Linux refuses a read lease, which it grants only without a writer.

    Source:
        fcntl(2), F_SETLEASE. A program that opens the file for writing within these microseconds
        waits for the end of the lease, and we receive SIGURG, which has no effect; SIGIO would end
        the agent.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file of another user, or a file system without leases
    return False


def _has_holes(descriptor: int, size_bytes: int) -> bool:
    """Return whether parts were never written; False where the file system cannot tell."""
    if not hasattr(os, "SEEK_HOLE"):
        return False
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < size_bytes
    except OSError:
        return False


def _opens_alone(path: str) -> bool:
    """Return whether the file opens with no other writer (Windows), reading and deleting shared."""
    import ctypes  # noqa: PLC0415 - Windows alone

    generic_read, share_read_delete, open_existing = 0x80000000, 0x1 | 0x4, 3
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    kernel.CreateFileW.restype = ctypes.c_void_p
    handle = kernel.CreateFileW(path, generic_read, share_read_delete, None, open_existing, 0, None)
    if handle in (None, ctypes.c_void_p(-1).value):
        return False
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return True


# --- separate files that are still being written from files that are complete ---------------------
# Time is the reading of a monotonic clock; a file's own times are compared only with themselves,
# so a wrong clock, here or on the server, has no effect.


class StabilityTracker:
    """Detects files unchanged for the quiet time.

    Args:
        quiet_s: Time without a change, in seconds, after which a file counts as complete.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._unchanged_since: dict[ListedFile, float] = {}

    def find_stable(self, listing: Iterable[ListedFile], now_s: float) -> list[ListedFile]:
        """Return the files unchanged for `quiet_s`.

        Args:
            listing: Every file not yet recorded, as it is now; others are forgotten.
            now_s: Reading of a monotonic clock, in seconds.

        Returns:
            The files unchanged for `quiet_s` or longer, oldest first. Never an empty file: a
            placeholder is not a micrograph.
        """
        since_s = {file: self._unchanged_since.get(file, now_s) for file in listing}
        self._unchanged_since = since_s
        quiet = [f for f, s in since_s.items() if f.size_bytes and now_s - s >= self._quiet_s]
        return sorted(quiet, key=lambda file: (file.mtime_ns, file.relative))

    def unchanged_s(self, file: ListedFile, now_s: float) -> float:
        """Return for how long a file has been unchanged, in seconds; 0 for an unknown file."""
        return now_s - self._unchanged_since.get(file, now_s)

    def next_at_s(self) -> float | None:
        """Return when the next file may become complete, on the same clock; None without any."""
        waiting = [since_s for file, since_s in self._unchanged_since.items() if file.size_bytes]
        return min(waiting) + self._quiet_s if waiting else None
