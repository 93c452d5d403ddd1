"""Write files so that each is complete or absent, also after a kill or a power cut."""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

PART = ".part"
"""End of the name of a file that is not complete yet."""


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
