"""Write files whole or not at all, and open only regular files, never a link or a pipe."""

from __future__ import annotations

import codecs
import errno
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

PART = ".part"
"""End of the name of a file that is not complete yet."""


def compute_hash(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode_text(content: bytes) -> str:
    """Return the text of a note beside a micrograph: UTF-16 with its mark, UTF-8, Windows-1252."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # Notepad's "Unicode"
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Write files so that each is complete or absent, also after a power cut.

    Args:
        files: Path → bytes; all in one folder, which is created.
    """
    parts: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            part = parts[path] = _create_part_path(path)
            with part.open("xb") as file:
                file.write(content)
                _flush(file)
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        flush_folder(folder)


def write_from(path: Path, fill: Callable[[BinaryIO], bool]) -> bool:
    """Write a file in pieces; it appears under its name only when it is complete.

    Args:
        path: The file; its folder is created.
        fill: Writes the content and returns whether it is good; else nothing is kept.

    Returns:
        What `fill` returned.
    """
    part = _create_part_path(path)
    try:
        with part.open("xb") as file:
            good = fill(file)
            _flush(file)
        if good:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    flush_folder(path.parent)
    return good


def _create_part_path(path: Path) -> Path:
    _make_folder(path.parent)
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")


def _make_folder(folder: Path) -> None:
    """Create a folder whose name survives a power cut."""
    if folder.is_dir():
        return
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        flush_folder(made.parent)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk.

    Args:
        folder: Folder in which a file was renamed.
    """
    # Otherwise a power cut may lose the name though the bytes are there. Windows cannot open a
    # folder, and its journal preserves names.
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- open an exported file only as a regular file, never a link or a pipe -------------------------
# A file in an export folder may be swapped between listing and reading. A link would have another
# file archived under its name, a pipe would block the reader for ever. Nor is a folder between a
# source and its file followed where it is a link, though it be swapped in for an instant: each is
# opened in the one before. Windows cannot do that; there the folders and then the file are
# compared after the file was opened.


FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOINHERIT", 0)
)


FOLDER_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
)


NO_SUCH_FILE = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.ENOENT, errno.ENOTDIR}
)
"""Faults of `open_regular` that will be the same the next time: there is no regular file."""


def open_regular(path: Path, *, root: Path | None = None) -> BinaryIO:
    """Open a regular file for reading; its last part is not followed where it is a link.

    Args:
        path: The file.
        root: A folder above it, such as a source's; no folder below this one is followed where it
            is a link. None, or a folder that is not above it: its folders are followed.

    Raises:
        OSError: It cannot be opened, or is a link, a folder, a pipe or a device.
    """
    if root is None or not path.is_relative_to(root):
        root = path.parent
    descriptor = _open_below(root, path) if os.open in os.supports_dir_fd else os.open(path, FLAGS)
    try:
        if os.open not in os.supports_dir_fd:
            _require_no_link(root, path)
        _require_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _open_below(root: Path, path: Path) -> int:
    """Open each folder from the root to the file in the one before."""
    *folders, name = path.relative_to(root).parts
    above = os.open(root, FOLDER_FLAGS)
    try:
        for part in folders:
            inner = _open_folder(part, above, path)
            os.close(above)
            above = inner
        return os.open(name, FLAGS, dir_fd=above)
    except OSError as error:
        error.filename = str(path)  # not the part that was opened
        raise
    finally:
        os.close(above)


def _open_folder(part: str, above: int, path: Path) -> int:
    try:
        return os.open(part, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=above)
    except NotADirectoryError:
        raise _is_swapped(path) from None


def _require_no_link(root: Path, path: Path) -> None:
    for folder in path.parents:
        if folder == root:
            return
        if stat.S_ISLNK(os.lstat(folder).st_mode):
            raise _is_swapped(path)


def _is_swapped(path: Path) -> OSError:
    return OSError(errno.EBUSY, "a folder above it is a link, or no folder", str(path))


def _require_regular(descriptor: int, path: Path) -> None:
    opened = os.fstat(descriptor)
    listed = opened if hasattr(os, "O_NOFOLLOW") else os.lstat(path)
    is_same = (opened.st_ino, opened.st_dev) == (listed.st_ino, listed.st_dev)
    if not (stat.S_ISREG(opened.st_mode) and stat.S_ISREG(listed.st_mode) and is_same):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
