"""Pages that are decoded on demand, limits of a file, and the conversion to 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.errors import FileCode, FileError

Stored = NDArray[Any]
"""Pixels as a file stores them: (h, w) or (h, w, channels), of any integer type."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may need before it is refused as too large.

    Args:
        max_megapixels: Of one page, in millions; checked before anything is decoded.
        max_pages: Pages of one file; more is a recording, not a micrograph.
        sidecars: Whether text and XML files of the same name are read for the scale.
        standstill_s: Seconds without a byte after which its share hangs.
        roots: Folders of the sources; a folder below one is not followed where it is a link.
    """

    max_megapixels: float = 200.0
    max_pages: int = 64
    sidecars: bool = True
    standstill_s: float = 60.0
    roots: tuple[Path, ...] = ()

    def find_root(self, path: Path) -> Path | None:
        """Return the source's folder that a file is below, None where it is below no one's."""
        return next((root for root in self.roots if path.is_relative_to(root)), None)

    @property
    def max_bytes(self) -> int:
        """Largest file size that is read: 16-bit RGBA at `max_megapixels`, and 64 MB."""
        return round(self.max_megapixels * 1e6 * 8) + 64_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """One page as its reader decoded it.

    Args:
        pixels: (h, w, 3) uint8 RGB, upright.
        um_per_px: From the file's metadata, µm per pixel, most trusted first.
        metadata: Text from the file.
        warnings: Stable words.
    """

    pixels: NDArray[np.uint8]
    um_per_px: tuple[float, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


Loader = Callable[[], Page]
"""Decodes one page; the number of pages is known before any is decoded."""


def check_size(width: int, height: int, limits: Limits) -> None:
    """Check the size of a page by its header, before it is decoded.

    Raises:
        FileError: No image, or above the limit.
    """
    if width < 1 or height < 1:
        raise FileError(
            FileCode.UNREADABLE, f"its header says {width} × {height} px, which is no image."
        )
    if width * height > limits.max_megapixels * 1e6:
        raise FileError(
            FileCode.TOO_LARGE,
            f"its header says {width} × {height} px, above the limit of "
            f"{limits.max_megapixels:g} megapixels ([imaging] max_megapixels).",
        )


MOST_SCANS = 200
"""Scans of one JPEG. Encoders write 1 or about 10; each costs a decoder a pass over the picture."""
START_OF_SCAN = b"\xff\xda"
"""A marker that no compressed data holds: there a zero follows 0xFF (ITU-T T.81, B.1.1.5)."""


def check_scans(content: bytes, start: int, end: int) -> None:
    """Check into how many scans a JPEG is divided, before it is decoded.

    Args:
        content: The file.
        start: Its byte at which the JPEG begins, or its first scan ends.
        end: Its byte after the JPEG.

    Raises:
        FileError: Above the limit.
    """
    scans = content.count(START_OF_SCAN, start, end)
    if scans > MOST_SCANS:
        raise FileError(
            FileCode.TOO_LARGE,
            f"its JPEG picture is in {scans} scans, above the limit of {MOST_SCANS}; export it as "
            "TIFF or as a baseline JPEG.",
        )


def check_pages(count: int, limits: Limits) -> None:
    """Check the number of pages.

    Raises:
        FileError: The file is a recording rather than a micrograph.
    """
    if count > limits.max_pages:
        raise FileError(
            FileCode.TOO_LARGE,
            f"it holds {count} pages, at most {limits.max_pages} are taken; "
            "export the fields one by one.",
        )


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Convert any exception raised while foreign bytes are decoded to a `FileError`.

    Decoders raise anything from `struct.error` to `RecursionError` on damaged bytes, some only when
    a tag is read, so this is the one place besides the pipeline's edge that catches `Exception`. An
    `OSError` with an error number comes from share or disk and is raised unchanged.
    """
    try:
        yield
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(
            FileCode.TOO_LARGE, f"decoding it as {what} took more memory than there is."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and isinstance(error.errno, int):
            raise
        raise FileError(
            FileCode.UNREADABLE, f"it cannot be decoded as {what}: {_shorten(error)}."
        ) from error


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())[:160].rstrip(".")
    return text or type(error).__name__


# --- convert stored pixels to 8-bit RGB by one fixed rule -----------------------------------------
# 16 bits become 8 by dropping the lowest bits of the camera's bit depth: values are shifted, never
# stretched to the image's extremes, so one steel under one lamp has one grey in every image, in
# training as in service. The bit depth comes from the file; without it, it is the smallest of 8,
# 12, 14 and 16 that holds the largest value, with the warning `bit_depth_inferred`.


CAMERA_BITS = (8, 12, 14, 16)
"""Bit depths of cameras; not 10, which a dim 12-bit image would match."""
BLOCK_ROWS = 256
"""Rows per block, so that no second copy of a large image is needed."""
MOSTLY_DARK = 0.2
"""Share of one value above which a row is not an ordinary row of a picture."""
GREY_ALPHA, RGB, RGBA = 2, 3, 4


def to_rgb(
    stored: Stored, *, bits: int | None, alpha: bool = False
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Convert one page by the rule in the module docstring.

    Args:
        stored: (h, w) or (h, w, channels), bool, uint8 or uint16; channels grey or RGB first.
        bits: Bit depth of the camera, or None.
        alpha: Whether the last channel is transparency; it is dropped, colours stay.

    Returns:
        (h, w, 3) uint8 RGB, and warnings.

    Raises:
        FileError: `unsupported`: black and white are undefined, or channels are not a picture.
    """
    values = stored[..., None] if stored.ndim == 2 else stored  # noqa: PLR2004 - rows and columns
    warnings: list[str] = []
    if alpha:
        if not _is_opaque(values[..., -1]):
            warnings.append("transparency_ignored")
        values = values[..., :-1]
    if values.shape[-1] not in (1, RGB):
        raise FileError(
            FileCode.UNSUPPORTED,
            f"it has {values.shape[-1]} channels, neither grey nor RGB; export it as RGB.",
        )
    shift = 0
    if values.dtype == np.uint16:
        meant = _infer_bits(values, bits)
        shift = meant - 8
        if meant != bits:
            warnings.append("bit_depth_inferred")
    elif values.dtype not in (np.uint8, np.bool_):
        raise FileError(
            FileCode.UNSUPPORTED,
            f"its values are {values.dtype}, for which black and white are not defined; "
            "export it with 8 or 16 bits per channel.",
        )
    return _expand(values, shift), tuple(warnings)


def _expand(values: Stored, shift: int) -> NDArray[np.uint8]:
    height, width, channels = values.shape
    if values.dtype == np.uint8 and channels == RGB:
        return np.ascontiguousarray(values)
    out = np.empty((height, width, RGB), np.uint8)
    for top in range(0, height, BLOCK_ROWS):
        rows = values[top : top + BLOCK_ROWS]
        if values.dtype == np.bool_:
            rows = rows * np.uint8(255)
        elif shift:
            rows = (rows >> shift).astype(np.uint8)
        out[top : top + BLOCK_ROWS] = rows if channels == RGB else _grey_to_rgb(rows)
    return out


def _grey_to_rgb(rows: Stored) -> NDArray[np.uint8]:
    # Three times faster than NumPy's broadcasting.
    return np.asarray(
        cv2.cvtColor(np.ascontiguousarray(rows[..., 0]), cv2.COLOR_GRAY2RGB), np.uint8
    )


def _infer_bits(values: Stored, stated: int | None) -> int:
    largest = int(values.max())
    if stated and 8 <= stated <= 16 and largest < 1 << stated:  # noqa: PLR2004 - bits of uint16
        return stated
    return next(bits for bits in CAMERA_BITS if largest < 1 << bits)


def _is_opaque(alpha: Stored) -> bool:
    return bool(alpha.min() == np.iinfo(alpha.dtype).max)


def apply_orientation(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return a picture turned upright by its EXIF or TIFF orientation (1 to 8); others count as 1.

    Source:
        TIFF 6.0, tag 274: the corner that row 0 and column 0 of the file represent.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def find_tear(rows: Stored) -> int | None:
    """Return the row at which an image breaks off into zeros, as in a half-copied file.

    A copy allocated at full length but not filled breaks off within a row: before the break is an
    ordinary row, after it one value, and every later row is zero. Dark steel, resin or an info band
    differs: it ends at the start of a row, or its edge is irregular. Trailing zero bytes of the
    file prove nothing: valid tiled files end in padding.

    Args:
        rows: (h, w) or (h, w, channels), in the order of the file.

    Returns:
        The row of the break, or None.
    """
    pixels = rows.reshape(*rows.shape[:2], -1)
    last = next((y for y in range(len(pixels) - 1, -1, -1) if pixels[y].any()), 0)
    if last in (0, len(pixels) - 1):
        return None
    like_end = (pixels[last] == pixels[last, -1]).all(axis=-1)
    start = int(np.flatnonzero(~like_end)[-1]) + 1 if not like_end.all() else 0
    tail = len(like_end) - start
    # A codec that stores differences repeats the last value where zeros follow.
    filled = not pixels[last, -1].any() or tail >= max(8, len(like_end) // 20)
    if start == 0 or not filled:
        return None
    above = (pixels[last - 1] == pixels[last, -1]).all(axis=-1)
    ordinary = np.count_nonzero(like_end[:start]) <= MOSTLY_DARK * start
    goes_on = np.count_nonzero(above[start:]) <= MOSTLY_DARK * tail
    return last if ordinary and goes_on else None
