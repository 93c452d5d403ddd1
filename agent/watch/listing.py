"""List a source's folder: the truth about which files are there.

In:  a folder. Out: a `Listing`. Next: `watched`.
One bad entry (a loop of links, a name that is no text, a file without rights) costs that entry,
never the listing. Links are not followed: what they point to inside the folder is listed at its
own place, and what lies outside is not ours.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.watch.names import Kind, is_junk_folder, kind_of, locate, to_text

if TYPE_CHECKING:
    from pathlib import Path

    from agent.watch.arrival import Facts

# FILE_ATTRIBUTE_OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS: the bytes are in a cloud.
ELSEWHERE = 0x1000 | 0x40000 | 0x400000
MAX_TROUBLES = 100  # a share full of them is one trouble, not a million sentences


@dataclass(slots=True)
class Listing:
    """What a folder holds.

    Args:
        pictures: Relative path → facts, of every micrograph by its name.
        others: The same, of files that are no pictures.
        troubles: Relative path → sentence, of entries that could not be looked at.
        entries: How many entries were seen, of whatever kind.
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
                    if below := _take(entry, relative, listing):
                        waiting.append(below)
        except OSError as error:
            if not relative:
                raise
            _note(listing, relative.rstrip("/"), error)
    return listing


def _take(entry: os.DirEntry[str], parent: str, listing: Listing) -> tuple[str, str] | None:
    """Write one entry down; give back the folder to list next, if it is one."""
    relative = parent + to_text(entry.name)
    try:
        if entry.is_symlink():
            return None
        if entry.is_dir(follow_symlinks=False):
            return None if is_junk_folder(entry.name) else (entry.path, relative + "/")
        kind = kind_of(relative)
        if kind is Kind.JUNK:
            return None
        # On Windows an entry's own size may be stale while a writer holds the file open.
        found = (
            os.lstat(entry.path) if sys.platform == "win32" else entry.stat(follow_symlinks=False)
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        _note(listing, relative, error)
        return None
    if stat.S_ISREG(found.st_mode):
        _sort_in(listing, relative, kind, found)
    return None


def _sort_in(listing: Listing, relative: str, kind: Kind, found: os.stat_result) -> None:
    if getattr(found, "st_file_attributes", 0) & ELSEWHERE:
        _note(listing, relative, "it is only a placeholder; its bytes are in a cloud store")
        return
    (listing.pictures if kind is Kind.PICTURE else listing.others)[relative] = facts_of(found)


def _note(listing: Listing, relative: str, error: OSError | str) -> None:
    if len(listing.troubles) < MAX_TROUBLES:
        sentence = error if isinstance(error, str) else error.strerror or str(error)
        listing.troubles[relative] = sentence


def facts_of(found: os.stat_result) -> Facts:
    """Say what a `stat` shows of a file's content; the change time counts on POSIX alone."""
    ctime_ns = 0 if sys.platform == "win32" else found.st_ctime_ns
    return found.st_size, _in_64_bits(found.st_mtime_ns), _in_64_bits(ctime_ns)


def _in_64_bits(ns: int) -> int:
    # A file may be dated after 2262, which no database takes; what counts is that it differs.
    return (ns + 2**63) % 2**64 - 2**63


def look_up(folder: Path, relative: str) -> Facts | None:
    """Say the facts of one file now, by the listing's rules; None if it is not there.

    Raises:
        OSError: It cannot be looked at, for another reason than not being there.
    """
    try:
        found = os.lstat(long_path(locate(folder, relative)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts_of(found) if stat.S_ISREG(found.st_mode) else None


def long_path(path: Path) -> str:
    r"""Say a path so that Windows takes more than 260 characters of it (`\\?\`)."""
    text = str(path)
    if sys.platform != "win32" or text.startswith("\\\\?\\"):
        return text
    absolute = os.path.abspath(text)  # noqa: PTH100 - `resolve` would ask the share
    if absolute.startswith("\\\\"):
        return "\\\\?\\UNC\\" + absolute[2:]
    return "\\\\?\\" + absolute
