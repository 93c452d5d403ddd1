# ruff: noqa: ARG001 - the readers follow in the next commit
"""Read microscope makers' own files: Zeiss CZI, Leica LIF, Nikon ND2.

In:  a file's bytes and path. Out: a `Loader` per scene. Next: `read`.
Their libraries come with the extra `vendor`; without it a file is `unsupported`, and the
sentence says what to install.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import FileCode, FileError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.imaging.page import Limits, Loader

CZI_START = b"ZISRAWFILE"
LIF_START = b"\x70\0\0\0"
ND2_STARTS = (b"\xda\xce\xbe\x0a", b"\0\0\0\x0cjP  \r\n\x87\n")


def czi(content: bytes, path: Path, limits: Limits) -> list[Loader]:
    """Read a Zeiss CZI, one micrograph per scene. Raises `FileError`."""
    raise _missing("a Zeiss CZI file")


def lif(content: bytes, path: Path, limits: Limits) -> list[Loader]:
    """Read a Leica LIF, one micrograph per image. Raises `FileError`."""
    raise _missing("a Leica LIF file")


def nd2(content: bytes, path: Path, limits: Limits) -> list[Loader]:
    """Read a Nikon ND2, one micrograph per position and time. Raises `FileError`."""
    raise _missing("a Nikon ND2 file")


def _missing(what: str) -> FileError:
    return FileError(
        FileCode.UNSUPPORTED,
        f"it is {what}, whose reader is not installed: pip install 'martensight[vendor]'.",
    )
