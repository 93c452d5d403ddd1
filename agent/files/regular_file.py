"""Open an exported file only as a regular file, never a link or a pipe.

A file in an export folder may be swapped between listing and reading. A link would have another
file archived under its name, a pipe would block the reader for ever.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NOINHERIT", 0)
)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; its last part is not followed where it is a link.

    Windows cannot refuse a link when it opens, so there the opened file is compared with the name.

    Raises:
        OSError: It cannot be opened, or is a link, a folder, a pipe or a device.
    """
    descriptor = os.open(path, FLAGS)
    try:
        _require_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(descriptor: int, path: Path) -> None:
    opened = os.fstat(descriptor)
    listed = opened if hasattr(os, "O_NOFOLLOW") else os.lstat(path)
    is_same = (opened.st_ino, opened.st_dev) == (listed.st_ino, listed.st_dev)
    if not (stat.S_ISREG(opened.st_mode) and stat.S_ISREG(listed.st_mode) and is_same):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
