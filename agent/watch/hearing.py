"""Choose how news of a folder is heard: events where they come, polling where they do not.

In:  a folder and the lab's wish. Out: a `Hearing` with its reason. Next: `watched` says it aloud.
Nothing is ever written into a source to try it out: the file system's type decides, and later
what arrives does ("found by the listing, without an event").
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
"""File systems where another machine's writing rings no bell here."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How news is heard, and why so."""

    mode: Mode
    why: str


def choose(wish: Literal["native", "poll", "auto"], folder: Path) -> Hearing:
    """Choose for one folder."""
    if wish != "auto":
        return Hearing(wish, "set so")
    kind = file_system(folder)
    if kind is None:
        return Hearing("native", "a local file system, as far as can be told")
    if is_silent(kind):
        return Hearing("poll", f"{kind} tells nobody here what other machines write")
    return Hearing("native", f"{kind} is a local file system")


def is_silent(kind: str) -> bool:
    """Say whether a file system of this type rings no bell for another machine's writing."""
    kind = kind.lower()
    return kind in SILENT or kind.startswith("fuse.") or kind == "network share"


def is_local(folder: Path) -> bool:
    """Say whether a folder lies for certain on a disk of this PC's own."""
    kind = file_system(folder)
    return kind is not None and not is_silent(kind)


def file_system(folder: Path) -> str | None:
    """Say the type of the file system a folder lies on, or None where it cannot be told."""
    if sys.platform == "win32":
        return _on_windows(folder)
    try:
        mounts = psutil.disk_partitions(all=True)
    except (OSError, RuntimeError, NotImplementedError):
        return None
    # The last of equals: what is mounted over a mount point hides what was there.
    above = [mount for mount in mounts if folder.is_relative_to(mount.mountpoint)]
    return max(reversed(above), key=lambda m: len(m.mountpoint)).fstype if above else None


def _on_windows(folder: Path) -> str | None:
    import ctypes  # noqa: PLC0415 - Windows alone

    remote = 4
    if str(folder).startswith("\\\\"):
        return "network share"
    kind: int = ctypes.windll.kernel32.GetDriveTypeW(folder.anchor)  # type: ignore[attr-defined, unused-ignore]
    return "network share" if kind == remote else None
