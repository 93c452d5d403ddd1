"""Read a file once and yield every micrograph in it.

The bytes decide the format, never the name: a JPEG called `.tif` is a JPEG. Unusable content is a
`FileError` with a code; failures of share or disk stay an `OSError`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import FileCode, FileError
from agent.files.regular_file import open_regular
from agent.files.shares import inspect
from agent.imaging.readers.page import Limits, Loader, Page, decoding
from agent.imaging.readers.raster import (
    BMP_START,
    JPEG_START,
    PNG_START,
    list_bmp_loaders,
    list_jpeg_loaders,
    list_png_loaders,
)
from agent.imaging.readers.sidecars import read_sidecar_scales
from agent.imaging.readers.tiff import TIFF_STARTS, list_tiff_loaders
from agent.imaging.readers.vendor import (
    CZI_START,
    LIF_START,
    ND2_STARTS,
    list_czi_loaders,
    list_lif_loaders,
    list_nd2_loaders,
)
from agent.imaging.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Opener = Callable[[bytes, Path, Limits], list[Loader]]

PIECE_BYTES = 1 << 20

__all__ = ["Limits", "MicrographImage", "iter_micrographs", "read"]


@dataclass(frozen=True, slots=True)
class MicrographImage:
    """One page or scene of one content.

    Args:
        sha256: Of the file's bytes, lower-case hex.
        size_bytes: Size of the file.
        page: Index among the file's micrographs, from 0.
        pages: Number of micrographs in the file.
        format: "TIFF", "PNG", "JPEG", "BMP", "CZI", "LIF" or "ND2".
        pixels: (h, w, 3) uint8 RGB, upright.
        scales: From metadata and sidecar files; several only where they disagree.
        metadata: Text from the file where known: "microscope", "objective", "magnification",
            "acquired_at", …
        warnings: Stable words, such as "sharpest_plane".
    """

    sha256: str
    size_bytes: int
    page: int
    pages: int
    format: str
    pixels: NDArray[np.uint8]
    scales: tuple[Scale, ...]
    metadata: dict[str, str]
    warnings: tuple[str, ...]


def read(path: Path, *, limits: Limits | None = None) -> list[MicrographImage]:
    """Read every micrograph of a file.

    Args:
        path: The file; it is opened read-only.
        limits: Size limits; by default `Limits()`.

    Returns:
        At least one, in the order of the file.

    Raises:
        FileError: The content cannot be used.
        OSError: Share or disk failed, or the file changed during reading: try again later.
    """
    return list(iter_micrographs(path, limits=limits or Limits()))


def iter_micrographs(path: Path, *, limits: Limits) -> Iterator[MicrographImage]:
    """Yield a file's micrographs one by one, so that only one page's pixels are in memory."""
    content = _read_bytes(path, limits)
    sha256 = hashlib.sha256(content).hexdigest()
    size_bytes = len(content)
    name, opened = _find_reader(content)
    with decoding(name):
        loaders = opened(content, path, limits)
    del content  # the loaders reference it, and release it with the last page
    pages = len(loaders)
    if not pages:
        raise FileError(FileCode.UNREADABLE, f"it is a {name} that holds no picture.")
    for number in range(pages):
        with decoding(name):
            page = loaders.pop(0)()
        yield MicrographImage(
            sha256=sha256,
            size_bytes=size_bytes,
            page=number,
            pages=pages,
            format=name,
            pixels=page.pixels,
            scales=_collect_scales(page, path, limits),
            metadata={
                name: "".join(filter(str.isprintable, text))  # no database keeps a NUL
                for name, text in page.metadata.items()
            },
            warnings=tuple(dict.fromkeys(page.warnings)),
        )


def _collect_scales(page: Page, path: Path, limits: Limits) -> tuple[Scale, ...]:
    beside: tuple[float, ...] = ()
    if limits.sidecars:
        beside = inspect(
            path.parent,
            lambda: read_sidecar_scales(
                path, page.pixels.shape[1::-1], root=limits.find_root(path)
            ),
            limit_s=limits.standstill_s,
        )
    return tuple(Scale("metadata", um) for um in page.um_per_px) + tuple(
        Scale("sidecar", um) for um in beside
    )


def _read_bytes(path: Path, limits: Limits) -> bytes:
    """Return a file's bytes; its share may be slow, and must not stand still."""
    pieces: list[bytes] = []
    inspect(
        path.parent,
        lambda: _read_pieces(path, limits, pieces),
        limit_s=limits.standstill_s,
        progress=lambda: len(pieces),
    )
    return b"".join(pieces)


def _read_pieces(path: Path, limits: Limits, pieces: list[bytes]) -> None:
    with open_regular(path, root=limits.find_root(path)) as file:
        before = os.fstat(file.fileno())
        if before.st_size > limits.max_bytes:
            raise FileError(
                FileCode.TOO_LARGE,
                f"the file has {before.st_size / 1e9:.1f} GB, more than an image of "
                f"{limits.max_megapixels:g} megapixels needs ([imaging] max_megapixels).",
            )
        while piece := file.read(PIECE_BYTES):
            pieces.append(piece)
        after = os.fstat(file.fileno())
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not unchanged or sum(map(len, pieces)) != after.st_size:
        raise OSError(errno.EBUSY, "the file changed while it was read", str(path))


def _find_reader(content: bytes) -> tuple[str, Opener]:
    if not content:
        raise FileError(FileCode.EMPTY, "it is empty.")
    for name, starts, opened in READERS:
        if content.startswith(starts):
            return name, opened
    if not content.strip(b"\0"):
        raise FileError(FileCode.EMPTY, f"it holds {len(content)} zero bytes and nothing else.")
    for start, at, what in UNSUPPORTED_FORMATS:
        if content[at : at + len(start)] == start:
            raise FileError(
                FileCode.UNSUPPORTED, f"it is {what}, which is not read; export it as TIFF."
            )
    raise FileError(FileCode.NOT_AN_IMAGE, "it does not begin like any image format.")


READERS: tuple[tuple[str, tuple[bytes, ...], Opener], ...] = (
    ("TIFF", TIFF_STARTS, lambda content, _, limits: list_tiff_loaders(content, limits)),
    ("PNG", (PNG_START,), lambda content, _, limits: list_png_loaders(content, limits)),
    ("JPEG", (JPEG_START,), lambda content, _, limits: list_jpeg_loaders(content, limits)),
    ("BMP", (BMP_START,), lambda content, _, limits: list_bmp_loaders(content, limits)),
    ("CZI", (CZI_START,), list_czi_loaders),
    ("LIF", (LIF_START,), list_lif_loaders),
    ("ND2", ND2_STARTS, list_nd2_loaders),
)
"""Format, first bytes, reader."""

UNSUPPORTED_FORMATS = (
    (b"GIF8", 0, "a GIF"),
    (b"WEBP", 8, "a WebP picture"),
    (b"ftyphei", 4, "a HEIC picture"),
    (b"ftypavif", 4, "an AVIF picture"),
    (b"\x8aMNG", 0, "an MNG film"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"%PDF", 0, "a PDF"),
    (b"\0\0\0\x03", 0, "a Gatan DM3 file"),
    (b"\0\0\0\x04", 0, "a Gatan DM4 file"),
    (b"BZh", 0, "a bzip2 archive (such as Phenom ELID)"),
    (b"\xd0\xcf\x11\xe0", 0, "a compound document (such as ZVI, OIB or an Office file)"),
    (b"PK\x03\x04", 0, "a ZIP archive (such as Phenom ELID or an Office file)"),
    (b"SIMPLE  =", 0, "a FITS file"),
    (b"\x89HDF", 0, "an HDF5 file"),
)
"""Known formats without a reader: bytes, offset, name."""
