"""List the files of a source's folder.

A bad entry (a link loop, an undecodable name, a file without rights) costs that entry, never the
listing. Links are not followed: a target inside the folder is listed in its own place, and one
outside does not belong to the source.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.watch.file_types import Kind, classify_name, is_junk_folder, locate, to_text

if TYPE_CHECKING:
    from pathlib import Path

    from agent.watch.listed_file import Facts

# FILE_ATTRIBUTE_OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS: the bytes are in a cloud.
ELSEWHERE = 0x1000 | 0x40000 | 0x400000
MAX_TROUBLES = 100  # limits the messages of a share full of unreadable files


@dataclass(slots=True)
class Listing:
    """Contents of a folder.

    Args:
        pictures: Relative path → facts, of every file with the name of a micrograph.
        others: Relative path → facts, of other files.
        troubles: Relative path → sentence, of unreadable entries.
        entries: Number of entries of any kind.
    """

    pictures: dict[str, Facts] = field(default_factory=dict)
    others: dict[str, Facts] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    entries: int = 0


def list_folder(folder: Path) -> Listing:
    """List everything below a folder.

    Raises:
        OSError: The folder itself cannot be listed: it is gone, or its share is.
    """
    listing = Listing()
    waiting = [(long_path(folder), "")]
    while waiting:
        path, relative = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    listing.entries += 1
                    if below := _add_entry(entry, relative, listing):
                        waiting.append(below)
        except OSError as error:
            if not relative:
                raise
            _note(listing, relative.rstrip("/"), error)
    return listing


def _add_entry(entry: os.DirEntry[str], parent: str, listing: Listing) -> tuple[str, str] | None:
    """Add one entry to the listing; return the folder to list next, if it is one."""
    relative = parent + to_text(entry.name)
    try:
        if entry.is_symlink():
            return None
        if entry.is_dir(follow_symlinks=False):
            return None if is_junk_folder(entry.name) else (entry.path, relative + "/")
        kind = classify_name(relative)
        if kind is Kind.JUNK:
            return None
        # On Windows an entry's size may be stale while a writer has the file open.
        status = (
            os.lstat(entry.path) if sys.platform == "win32" else entry.stat(follow_symlinks=False)
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        _note(listing, relative, error)
        return None
    if stat.S_ISREG(status.st_mode):
        _add_file(listing, relative, kind, status)
    return None


def _add_file(listing: Listing, relative: str, kind: Kind, status: os.stat_result) -> None:
    if getattr(status, "st_file_attributes", 0) & ELSEWHERE:
        _note(listing, relative, "it is only a placeholder; its bytes are in a cloud store")
        return
    (listing.pictures if kind is Kind.PICTURE else listing.others)[relative] = stat_to_facts(status)


def _note(listing: Listing, relative: str, error: OSError | str) -> None:
    if len(listing.troubles) < MAX_TROUBLES:
        sentence = error if isinstance(error, str) else error.strerror or str(error)
        listing.troubles[relative] = sentence


def stat_to_facts(status: os.stat_result) -> Facts:
    """Return the facts in a `stat` result; the change time counts on POSIX only."""
    ctime_ns = 0 if sys.platform == "win32" else status.st_ctime_ns
    return status.st_size, _to_64_bits(status.st_mtime_ns), _to_64_bits(ctime_ns)


def _to_64_bits(ns: int) -> int:
    # A date after 2262 fits no database column; only a difference matters.
    return (ns + 2**63) % 2**64 - 2**63


def find_facts(folder: Path, relative: str) -> Facts | None:
    """Return the current facts of one file, by the rules of the listing; None if missing.

    A file below a link is none: its folder was swapped after it was listed.

    Raises:
        OSError: It cannot be read for another reason.
    """
    try:
        if is_below_link(folder, relative):
            return None
        status = os.lstat(long_path(locate(folder, relative)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat_to_facts(status) if stat.S_ISREG(status.st_mode) else None


def is_below_link(folder: Path, relative: str) -> bool:
    """Return whether a folder between a source and a file in it is a link; no listing enters one.

    Raises:
        OSError: Such a folder is missing or cannot be inspected.
    """
    above = [relative[:end] for end, letter in enumerate(relative) if letter == "/"]
    return any(stat.S_ISLNK(os.lstat(long_path(locate(folder, part))).st_mode) for part in above)


def long_path(path: Path) -> str:
    r"""Return a path that Windows accepts beyond 260 characters (`\\?\`)."""
    text = str(path)
    if sys.platform != "win32" or text.startswith("\\\\?\\"):
        return text
    absolute = os.path.abspath(text)  # noqa: PTH100 - `resolve` would access the share
    if absolute.startswith("\\\\"):
        return "\\\\?\\UNC\\" + absolute[2:]
    return "\\\\?\\" + absolute
