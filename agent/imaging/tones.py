"""Turn whatever a camera stored into RGB, eight bits a channel, by one fixed rule.

In:  grey or colour arrays of 8 or 16 bits. Out: (h, w, 3) uint8. Next: `read`.
Sixteen bits become eight by leaving out the lowest bits that the camera did not fill in: the
value is shifted, never stretched to the image's own darkest and brightest, so one steel under
one lamp has one grey in every image, in training as in service. How many bits are meant comes
from the file; where it does not say, it is the smallest of 8, 12, 14 and 16 that holds the
page's largest value, and the page says so (`bit_depth_inferred`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.errors import FileCode, FileError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.page import Stored

CAMERA_BITS = (8, 12, 14, 16)
"""Depths that cameras have; 10 is left out, since a dim 12-bit image would be taken for it."""
BLOCK_ROWS = 256
"""Rows converted at a time, so that the work needs no second copy of a large image."""
MOSTLY_DARK = 0.2
"""Share of one value above which a row is no ordinary row of a picture."""
GREY_ALPHA, RGB, RGBA = 2, 3, 4


def to_rgb(
    stored: Stored, *, bits: int | None = None, alpha: bool = False
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Convert one page; the rule is this module's first paragraph.

    Args:
        stored: (h, w) or (h, w, channels), bool, uint8 or uint16; channels grey or RGB first.
        bits: How many bits the camera meant, if the file says.
        alpha: Whether the last channel is transparency; it is left out, colours stay.

    Returns:
        (h, w, 3) uint8 RGB, and warnings.

    Raises:
        FileError: `unsupported`, where black and white are undefined or channels are not a picture.
    """
    values = stored[..., None] if stored.ndim == 2 else stored  # noqa: PLR2004 - rows and columns
    warnings: list[str] = []
    if alpha:
        if not _opaque(values[..., -1]):
            warnings.append("transparency_ignored")
        values = values[..., :-1]
    if values.shape[-1] not in (1, RGB):
        raise FileError(
            FileCode.UNSUPPORTED,
            f"it has {values.shape[-1]} channels, neither grey nor RGB; export it as RGB.",
        )
    shift = 0
    if values.dtype == np.uint16:
        meant = _meant_bits(values, bits)
        shift = meant - 8
        if meant != bits:
            warnings.append("bit_depth_inferred")
    elif values.dtype not in (np.uint8, np.bool_):
        raise FileError(
            FileCode.UNSUPPORTED,
            f"its values are {values.dtype}, for which black and white are not defined; "
            "export it with 8 or 16 bits per channel.",
        )
    return _filled(values, shift), tuple(warnings)


def _filled(values: Stored, shift: int) -> NDArray[np.uint8]:
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
        out[top : top + BLOCK_ROWS] = rows if channels == RGB else _grey_as_rgb(rows)
    return out


def _grey_as_rgb(rows: Stored) -> NDArray[np.uint8]:
    # Three times as fast as NumPy's broadcasting.
    return np.asarray(
        cv2.cvtColor(np.ascontiguousarray(rows[..., 0]), cv2.COLOR_GRAY2RGB), np.uint8
    )


def _meant_bits(values: Stored, said: int | None) -> int:
    largest = int(values.max())
    if said and 8 <= said <= 16 and largest < 1 << said:  # noqa: PLR2004 - bits of uint16
        return said
    return next(bits for bits in CAMERA_BITS if largest < 1 << bits)


def _opaque(alpha: Stored) -> bool:
    return bool(alpha.min() == np.iinfo(alpha.dtype).max)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a picture as its EXIF or TIFF orientation (1 to 8) asks; anything else is 1.

    Source:
        TIFF 6.0, tag 274: which corner row 0 and column 0 of the file stand for.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def torn_at(rows: Stored) -> int | None:
    """Say at which row an image breaks off into zeros, as a half-copied file does.

    A copy that was announced at full length but not filled breaks off in the middle of a row:
    what precedes the break is an ordinary row, what follows is one value, and every later row is
    zero. Dark steel, resin or an info band does not look so: it ends at a row's start, or its
    edge wanders. Trailing zero bytes of the file say nothing: good tiled files end in padding.

    Args:
        rows: (h, w) or (h, w, channels), in the order the file stores them.

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
