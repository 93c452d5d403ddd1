"""Convert stored pixels to 8-bit RGB by one fixed rule.

16 bits become 8 by dropping the lowest bits of the camera's bit depth: values are shifted, never
stretched to the image's extremes, so one steel under one lamp has one grey in every image, in
training as in service. The bit depth comes from the file; without it, it is the smallest of 8,
12, 14 and 16 that holds the largest value, with the warning `bit_depth_inferred`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.errors import FileCode, FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.readers.page import Stored

CAMERA_BITS = (8, 12, 14, 16)
"""Bit depths of cameras; not 10, which a dim 12-bit image would match."""
BLOCK_ROWS = 256
"""Rows per block, so that no second copy of a large image is needed."""
MOSTLY_DARK = 0.2
"""Share of one value above which a row is not an ordinary row of a picture."""
GREY_ALPHA, RGB, RGBA = 2, 3, 4


def to_rgb(
    stored: Stored, *, bits: int | None = None, alpha: bool = False
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
