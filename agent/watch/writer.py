"""Say whether whoever writes a file has let go of it: asked only once it has been quiet.

In:  a quiet file. Out: whether it is announced, and what still speaks against taking it.
Next: `watched` asks again, later and later, and in the end hands the file on all the same.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import StrEnum
from typing import TYPE_CHECKING

if sys.platform == "linux":
    import fcntl

from agent.watch.listing import facts_of, long_path, look_up

if TYPE_CHECKING:
    from pathlib import Path

    from agent.watch.arrival import Arrival

SIDECARS = (".done", ".ok", ".ready", ".complete", ".xml", ".txt", ".json", ".cal", ".md5")
"""A file beside the picture, with its whole name or its stem, that says: it is done."""


class Hold(StrEnum):
    """What speaks against taking a quiet file now."""

    REFUSED = "refused"
    """It does not open, or opening shows other facts than the listing did."""
    HOLES = "holes"
    """Its size was taken in advance, and parts of it were never written."""
    OPEN = "open"
    """A program of this PC has it open for writing (Linux, local disks)."""


def is_announced(path: Path) -> bool:
    """Say whether a file beside this one announces that it is done."""
    stem = path.with_suffix("")
    return any(
        os.path.lexists(f"{base}{suffix}")
        for base in (path, stem)
        for suffix in (*SIDECARS, *(s.upper() for s in SIDECARS))
        if f"{base}{suffix}" != str(path)
    )


def hold_on(file: Arrival, *, is_local: bool) -> Hold | None:
    """Open a file and say what speaks against taking it, or None.

    Opening makes a network file system fetch size and times afresh, where a listing may show
    what it saw a minute ago; on Windows it is refused while a writer holds the file.

    Args:
        file: As the listing shows it.
        is_local: Whether this PC itself keeps its disk, and so knows who has the file open.
    """
    path = long_path(file.path)
    try:
        if sys.platform == "win32":
            free = _opens_alone(path) and look_up(file.folder, file.relative) == file.facts
            return None if free else Hold.REFUSED
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return Hold.REFUSED
    try:
        if facts_of(os.fstat(descriptor)) != file.facts:
            return Hold.REFUSED
        if is_local and _is_open_for_writing(descriptor):
            return Hold.OPEN
        return Hold.HOLES if _has_holes(descriptor, file.size_bytes) else None
    except OSError:
        return Hold.REFUSED
    finally:
        os.close(descriptor)


def _is_open_for_writing(descriptor: int) -> bool:
    """Ask Linux for a lease, which it gives only on a file that nobody may write, and end it.

    Source:
        fcntl(2), F_SETLEASE. Whoever opens the file for writing within these microseconds waits
        for their end, and we are told by SIGURG, which does nothing; SIGIO would end the agent.
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
        return False  # somebody else's file, or a file system without leases
    return False


def _has_holes(descriptor: int, size_bytes: int) -> bool:
    """Say whether parts were never written; a file system that cannot tell says no."""
    if not hasattr(os, "SEEK_HOLE"):
        return False
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < size_bytes
    except OSError:
        return False


def _opens_alone(path: str) -> bool:
    """Open with nobody else writing, and close at once (Windows): share reading and deleting."""
    import ctypes  # noqa: PLC0415 - Windows alone

    generic_read, share_read_delete, open_existing = 0x80000000, 0x1 | 0x4, 3
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined, unused-ignore]
    kernel.CreateFileW.restype = ctypes.c_void_p
    handle = kernel.CreateFileW(path, generic_read, share_read_delete, None, open_existing, 0, None)
    if handle in (None, ctypes.c_void_p(-1).value):
        return False
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return True
