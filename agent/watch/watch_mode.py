"""Choose events or polling for a folder.

Nothing is ever written into a source for a test: the type of the file system decides, and later
the arrivals do ("found by the listing, without an event").
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import psutil

if TYPE_CHECKING:
    from pathlib import Path

Mode = Literal["native", "poll"]

SILENT = frozenset(
    "9p afpfs afs beegfs ceph cifs coda davfs drvfs glusterfs gpfs lustre ncpfs nfs nfs4 prl_fs"  # noqa: SIM905
    " smb3 smbfs vboxsf virtiofs vmhgfs webdav".split()
)
"""File systems that raise no event here when another machine writes."""


@dataclass(frozen=True, slots=True)
class WatchMode:
    """Mode of watching, and the reason."""

    mode: Mode
    why: str


def choose_mode(wish: Literal["native", "poll", "auto"], folder: Path) -> WatchMode:
    """Return the mode of one folder."""
    if wish != "auto":
        return WatchMode(wish, "set so")
    kind = find_file_system(folder)
    if kind is None:
        return WatchMode("native", "a local file system, as far as can be told")
    if is_silent(kind):
        return WatchMode("poll", f"{kind} tells nobody here what other machines write")
    return WatchMode("native", f"{kind} is a local file system")


def is_silent(kind: str) -> bool:
    """Return whether this type of file system raises no event when another machine writes."""
    kind = kind.lower()
    return kind in SILENT or kind.startswith("fuse.") or kind == "network share"


def is_local(folder: Path) -> bool:
    """Return whether a folder is certainly on a disk of this PC."""
    kind = find_file_system(folder)
    return kind is not None and not is_silent(kind)


def find_file_system(folder: Path) -> str | None:
    """Return the type of a folder's file system, or None where unknown."""
    if sys.platform == "win32":
        return _get_windows_type(folder)
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError, NotImplementedError):
        return None
    # The last of equals: a mount over a mount point hides the earlier one.
    above = [mount for mount in mounts if folder.is_relative_to(mount.mountpoint)]
    return max(reversed(above), key=lambda m: len(m.mountpoint)).fstype if above else None


def _get_windows_type(folder: Path) -> str | None:
    import ctypes  # noqa: PLC0415 - Windows alone

    remote = 4
    if str(folder).startswith("\\\\"):
        return "network share"
    kind: int = ctypes.windll.kernel32.GetDriveTypeW(folder.anchor)  # type: ignore[attr-defined, unused-ignore]
    return "network share" if kind == remote else None
