"""List the files of a source's folder, classified by name; one predicate also for events.

A bad entry (a link loop, an undecodable name, a file without rights) costs that entry, never the
listing. Links are not followed: a target inside the folder is listed in its own place, and one
outside does not belong to the source.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

# --- classify files by name; one predicate for events and listing ---------------------------------
# Two different filters would let a watcher wake on what it ignores.


class Kind(StrEnum):
    """Type of a file, by its name."""

    PICTURE = "picture"
    OTHER = "other"
    """Not a picture: recorded as `ignored` with its name, so that it is accounted for."""
    JUNK = "junk"
    """A temporary or system file: never recorded, since there are thousands."""


READ_HERE = frozenset(
    "tif tiff btf tf8 png jpg jpeg jpe jfif bmp dib czi nd2 lif lof xlef".split()  # noqa: SIM905
)
"""Readable extensions (some with the extra `vendor`); OME-TIFF is among `tif`."""
NAMED_ONLY = frozenset(
    "dm3 dm4 elid emd eds fdi gif heic heif ims ipm jp2 j2k lsm mrc ndpi oib oif oir poir"  # noqa: SIM905
    " scn ser sis stk svs tvips vsi webp zvi".split()
)
"""Pictures of microscopes and cameras without a reader: set aside as `unsupported` with a message,
never ignored, since they were exported on purpose."""
EXTENSIONS = READ_HERE | NAMED_ONLY
"""Extensions of pictures, in any case. Anything else is `Kind.OTHER`."""

JUNK_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
JUNK_FOLDERS = frozenset(
    {
        "@eadir",
        "@recycle",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__macosx",
    }
)
"""Internal folders of servers; every folder that begins with a dot counts as well."""
_TEMPORARY = re.compile(
    r"""^[.~]                    # .name  ._name  .~name  ~$name  ~RF1234.TMP
      | ~$                       # name.tif~
      | downloading$             # cryo-EM transfer tools
      | \.(tmp|temp|part|partial|filepart|crdownload|download|opdownload|incomplete
          |uploading|writing|copying|lock|lck|swp|swx|bak)$
      | \.tmp\.[^.]+$            # name.tmp.tif
    """,
    re.VERBOSE | re.IGNORECASE,
)


def classify_name(relative: str) -> Kind:
    """Return the kind of a file by its path below the source's folder (forward slashes).

    Everything below a junk folder is junk.
    """
    *folders, name = relative.split("/")
    if any(is_junk_folder(folder) for folder in folders):
        return Kind.JUNK
    if name.lower() in JUNK_NAMES or _TEMPORARY.search(name):
        return Kind.JUNK
    return Kind.PICTURE if get_extension(name) in EXTENSIONS else Kind.OTHER


def is_junk_folder(name: str) -> bool:
    """Return whether a folder is internal to a system; nothing below it is listed."""
    return name.startswith(".") or name.lower() in JUNK_FOLDERS


def get_extension(name: str) -> str:
    """Return a name's last extension, lower case, without its dot; "" if there is none.

    Trailing dots and blanks are typing errors and not part of the extension.
    """
    stem, dot, last = name.rstrip(". ").rpartition(".")
    return last.lower() if dot and stem else ""


# A file name is bytes on POSIX and need not be text; a database needs text. Bytes that are not
# UTF-8 become private-use characters, and convert back to the same bytes.
_FIRST, _LAST = 0xEF80, 0xEFFF
_BASE = 0xEF00
_ESCAPED = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]+")
_UNSAFE = re.compile(f"[\ud800-\udfff{chr(_FIRST)}-{chr(_LAST)}]")


def to_text(name: str) -> str:
    """Convert any file name to text that a database, JSON and a page can hold."""
    return _UNSAFE.sub(lambda match: _escape(match.group()), name)


def from_text(text: str) -> str:
    """Convert text of `to_text` back to the file name."""
    return _ESCAPED.sub(lambda match: os.fsdecode(_unescape(match.group())), text)


def locate(folder: Path, relative: str) -> Path:
    """Return the path of a file listed as `relative` in `folder`."""
    return Path(folder, from_text(relative))


def _escape(character: str) -> str:
    return "".join(chr(_BASE + byte) for byte in os.fsencode(character))


def _unescape(text: str) -> bytes:
    return bytes(ord(character) - _BASE for character in text)


# --- list the files of a source's folder ----------------------------------------------------------


# FILE_ATTRIBUTE_OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS: the bytes are in a cloud.
ELSEWHERE = 0x1000 | 0x40000 | 0x400000
MAX_TROUBLES = 100  # limits the messages of a share full of unreadable files


@dataclass(slots=True)
class Listing:
    """Contents of a folder.

    Args:
        pictures: Relative path → facts, of every file with the name of a micrograph.
        others: Relative path → facts, of other files.
        not_files: Relative path → facts, of links, pipes and empty folders with the name of a
            micrograph: someone put them there instead of one.
        troubles: Relative path → sentence, of unreadable entries.
        entries: Number of entries of any kind.
    """

    pictures: dict[str, Facts] = field(default_factory=dict)
    others: dict[str, Facts] = field(default_factory=dict)
    not_files: dict[str, Facts] = field(default_factory=dict)
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
        before = listing.entries
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
            continue
        if relative and listing.entries == before:
            _add_not_file(listing, relative.rstrip("/"), path)
    return listing


def _add_entry(entry: os.DirEntry[str], parent: str, listing: Listing) -> tuple[str, str] | None:
    """Add one entry to the listing; return the folder to list next, if it is one."""
    relative = parent + to_text(entry.name)
    try:
        if entry.is_symlink():
            _add_not_file(listing, relative, entry.path)
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
    else:
        _add_not_file(listing, relative, entry.path)
    return None


def _add_not_file(listing: Listing, relative: str, path: str) -> None:
    """Add what is no file, where its name is that of a micrograph."""
    if classify_name(relative) is Kind.PICTURE:
        with suppress(OSError):  # it is gone by now
            listing.not_files[relative] = stat_to_facts(os.lstat(path))


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


# --- a file as listed in a source's folder --------------------------------------------------------


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
