"""Read a file once and yield every micrograph in it.

The bytes decide the format, never the name: a JPEG called `.tif` is a JPEG. Unusable content is a
`FileError` with a code; failures of share or disk stay an `OSError`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import FileCode, FileError
from agent.files.shares import inspect
from agent.files.whole_file import NO_SUCH_FILE, decode_text, open_regular
from agent.imaging.readers.metadata import (
    UM_PER,
    PageFacts,
    Scale,
    compute_reduction,
    get_square_scale,
    iter_elements,
    parse_any,
    parse_tescan,
    parse_xml,
    read_ome_length,
    read_ome_pixels,
    select_new,
)
from agent.imaging.readers.page import Limits, Loader, Page, decoding
from agent.imaging.readers.raster import (
    BMP_START,
    JPEG_START,
    PNG_START,
    list_bmp_loaders,
    list_jpeg_loaders,
    list_png_loaders,
)
from agent.imaging.readers.tiff import TIFF_STARTS, list_tiff_loaders
from agent.imaging.readers.vendor import (
    CZI_START,
    LIF_START,
    ND2_STARTS,
    list_czi_loaders,
    list_lif_loaders,
    list_nd2_loaders,
)

Opener = Callable[[bytes, Path, Limits], list[Loader]]


# --- scales of files next to a micrograph, such as a microscope's text or XML file ----------------


SIDECARS = ("{stem}.txt", "{name}.txt", "{stem}.hdr", "{stem}-{ext}.hdr", "{stem}.xml",
            "{name}.xml", "{stem}_meta.xml", "{name}_meta.xml", "{stem}.cal.xml",
            "{name}_metadata.xml", "{stem}_metadata.xml")  # fmt: skip
SIDECAR_BYTES = 4_000_000
LONGEST_NAME = 255  # bytes, of every common file system


def read_sidecar_scales(
    path: Path, size: tuple[int, int], root: Path | None = None
) -> tuple[float, ...]:
    """Read the scale from text and XML files of the same name next to a picture.

    Args:
        path: The picture.
        size: Its (width, height) in pixels; a sidecar of another width describes a rescaled
            picture.
        root: Folder of the source, see `open_regular`.

    Returns:
        µm per pixel, in the order of `SIDECARS`; several only where the files disagree.

    Raises:
        OSError: The share did not give one for now; without it the scale is not known.
    """
    scales: list[float] = []
    for text in _iter_sidecars(path, root):
        scales += select_new(_parse_sidecar(text, size), scales)
    return tuple(scales)


def _iter_sidecars(path: Path, root: Path | None) -> Iterable[str]:
    names = {"stem": path.stem, "name": path.name, "ext": path.suffix.lstrip(".")}
    for pattern in dict.fromkeys(pattern.format(**names) for pattern in SIDECARS):
        file = path.with_name(pattern)
        if len(os.fsencode(pattern)) > LONGEST_NAME:
            continue  # no such file can exist, and testing for it is an error
        if pattern == path.name or not file.is_file() or file.stat().st_size > SIDECAR_BYTES:
            continue
        try:
            with open_regular(file, root=root) as opened:
                content = opened.read(SIDECAR_BYTES)
        except OSError as error:
            if error.errno not in NO_SUCH_FILE:
                raise
        else:
            yield decode_text(content)


def _parse_sidecar(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    for read in (_parse_ome, _parse_zen, _parse_axiovision, _parse_leica, _parse_hitachi,
                    _parse_jeol, parse_any):  # fmt: skip
        try:
            if um := read(text, size):
                return um
        except (ValueError, TypeError, KeyError, ArithmeticError):
            continue  # damaged, or of another program
    return parse_tescan(text)


def _parse_ome(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    pixels = read_ome_pixels(text, 0)
    if pixels is None:
        return ()
    grid = int(pixels["SizeX"])
    factor = compute_reduction(size, (grid, int(pixels.get("SizeY", grid * size[1] / size[0]))))
    x, y = (read_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY")
    return get_square_scale(x * factor if x else None, y * factor if y else None)


def _parse_zen(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    metres = {
        element.get("Id"): float(next(iter_elements(element, "Value")).text or 0)
        for element in iter_elements(parse_xml(text), "Distance")
        if element.get("Id") in ("X", "Y")
    }
    return get_square_scale(metres["X"] * 1e6, metres["Y"] * 1e6) if metres else ()


AXIOVISION_UM = "76"
"""AxioVision's code of micrometres; other units are ignored."""


def _parse_axiovision(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    # <V7>0.645</V7><I7>769</I7>: value and the number of the tag it belongs to.
    values = dict(re.findall(r"<V(\d+)>([^<]*)</V\1>", text))
    tags = {tag: values.get(n) for n, tag in re.findall(r"<I(\d+)>(\d+)</I\1>", text)}
    if not tags.get("769"):
        return ()
    x, y = (float((tags[tag] or "").replace(",", ".")) for tag in ("769", "772"))
    return get_square_scale(x, y) if tags["770"] == AXIOVISION_UM else ()


def _parse_leica(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    matches = [re.search(rf"{axis}Met(?:re|er)sPerPixel\W+([\d.eE+-]+)", text) for axis in "XY"]
    metres = [float(match[1]) * 1e6 for match in matches if match]
    return get_square_scale(metres[0], metres[-1]) if metres else ()


def _parse_hitachi(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    nm = re.search(r"^PixelSize=([\d.]+)", text, re.MULTILINE)
    grid = re.search(r"^DataSize=(\d+)x(\d+)", text, re.MULTILINE)
    if not nm or not grid:
        return ()
    factor = compute_reduction(size, (int(grid[1]), int(grid[2])))
    return get_square_scale(float(nm[1]) * 1e-3 * factor, None)


def _parse_jeol(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    px = re.search(r"^\$\$SM_MICRON_BAR\s+([\d.]+)", text, re.MULTILINE)
    marker = re.search(r"^\$\$SM_MICRON_MARKER\s+([\d.]+)\s*(\w+)", text, re.MULTILINE)
    return (
        get_square_scale(float(marker[1]) * UM_PER[marker[2]] / float(px[1]), None)
        if px and marker
        else ()
    )


# --- read a file once and yield every micrograph in it --------------------------------------------


PIECE_BYTES = 1 << 20

__all__ = ["Limits", "MicrographImage", "iter_micrographs", "read"]


@dataclass(frozen=True, slots=True)
class MicrographImage(PageFacts):
    """One page or scene as it was read; its scales are of metadata and sidecar files.

    Args:
        size_bytes: Size of the file.
        pixels: (h, w, 3) uint8 RGB, upright.
    """

    size_bytes: int
    pixels: NDArray[np.uint8]


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
