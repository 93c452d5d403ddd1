# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Decide whether the ends of a line are where they were found.

A grain at an end lengthens a line, and compression blurs thin ticks away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.imaging.scale_bar.line import EVEN, find_even_columns, is_pale, measure_colour
from agent.imaging.scale_bar.line_length import find_heads, has_long_heads
from agent.imaging.scale_bar.planes import COLOUR_PLANE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.scale_bar.line import Line

SAME = 0.02
"""Relative difference below which two lengths are one."""
_ROOM = 75  # grey values from a line's ink
_EXACT_ROOM = 30  # grey values from an exact ink
_SOLID_PX, _LONG_PX = 6, 190  # height and length from which 2 per cent exceed that blur
_END_PX, _UNEVEN_END = 6, 0.34  # columns near an end; share of them with the line's edges
_ALIKE_ENDS = 0.7  # by which such shares differ at most where both ends are rounded
_ROUNDED_PX = 4  # height of a line with rounded ends
_TICK_PX = 2  # by which ticks or halves of one bar may differ
_TICK_SHARE = 0.15  # of a line's colour that a tick keeps in a compressed picture, at the least
_LEAST_COLOURED_PX = 60  # of a line whose middle is compared with its ends
_CHROMA = np.eye(3) - 1 / 3  # takes the mean of the channels away
_THIN_PX = 4  # height of the shaft of an arrow; texture next to a thicker line resembles a head


def has_sure_ends(
    pixels: NDArray[np.uint8], line: Line, length_px: float, *, is_even: bool = False
) -> bool:
    """Return whether a line without ticks has the same length by its colours as where detected.

    `is_even`: its ink is even to both ends, so that no grain lengthens it.
    """
    room = max(1.0, SAME * line.line_px)
    x0, y0, x1, y1 = line.core
    paper = np.median(pixels[max(0, y0 - 4) : max(1, y0 - 2), x0:x1].reshape(-1, 3), axis=0)
    blurred = has_lost_ticks(line, measure_colour(pixels, line), paper) or (
        line.plane == COLOUR_PLANE and line.kind == "plain" and line.height < _SOLID_PX
    )
    if blurred and _has_ink_at_ends(pixels, line) and not has_long_heads(pixels, line):
        return False
    if not has_equal_ends(line):
        return False
    if line.kind == "plain" and not is_even and _has_uneven_end(pixels, line):
        return False
    thin = line.kind == "plain" and y1 - y0 <= _THIN_PX
    if thin and not is_even and len(set(find_heads(pixels, line))) > 1:
        return False  # an arrow with one head runs on into something else
    return line.kind != "plain" or is_even or abs(length_px - line.line_px) <= room


def has_equal_ends(line: Line) -> bool:
    """Return whether ticks and halves at both ends are alike; a grain changes one of them."""
    return _have_equal_ticks(line) and not _has_unequal_halves(line)


def _have_equal_ticks(line: Line) -> bool:
    left, right = line.ticks
    if left is None or right is None or line.kind not in ("caps", "ruler"):
        return True
    wide = abs(abs(left[1] - left[0]) - abs(right[1] - right[0]))
    tall = max(abs(left[2] - right[2]), abs(left[3] - right[3]))
    beyond = max(left[0] - line.core[0], line.core[2] - 1 - right[0])
    room = max(1.0, 0.01 * line.line_px)
    return wide <= max(_TICK_PX, room) and tall <= _TICK_PX and beyond <= room


def _has_unequal_halves(line: Line) -> bool:
    """Return whether a grain lengthens one half of a line that its label breaks."""
    if line.gap is None or None not in line.ticks:
        return False
    if line.ticks != (None, None):
        return True
    left, right = line.gap[0] - line.box[0], line.box[2] - line.gap[2]
    return abs(left - right) > max(_TICK_PX, SAME * max(left, right))


def has_one_uneven_end(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether only one end of an even line has other edges; rounded ends are both such."""
    shares = _measure_ends(pixels, line)
    return shares is not None and shares[0] < _UNEVEN_END and shares[1] - shares[0] > _ALIKE_ENDS


def _has_uneven_end(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether an even line has other edges near one end, where a grain lengthens it."""
    shares = _measure_ends(pixels, line)
    if shares is None or shares[0] >= _UNEVEN_END:
        return False
    return shares[1] - shares[0] > _ALIKE_ENDS or not _are_rounded_alike(pixels, line)


def _measure_ends(pixels: NDArray[np.uint8], line: Line) -> tuple[float, float] | None:
    """Return the shares of columns near both ends with the line's edges, the smaller one first.

    None where the line is not even between them, or is an arrow.
    """
    colour = measure_colour(pixels, line)
    grey = colour.max() - colour.min() < _EXACT_ROOM  # compression changes a colour everywhere
    even = find_even_columns(pixels, line, _EXACT_ROOM if line.exact and grey else _ROOM)
    inside = even[_END_PX:-_END_PX]
    if len(inside) < 2 * _END_PX or inside.mean() < EVEN or all(find_heads(pixels, line)):
        return None
    ends = even[1 : _END_PX + 1], even[-_END_PX - 1 : -1]
    first, last = sorted(float(end.mean()) for end in ends)
    return first, last


def _are_rounded_alike(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether both ends of a thick line are rounded alike, which no grain does."""
    x0, y0, x1, y1 = line.core
    if y1 - y0 < _ROUNDED_PX:
        return False
    off = np.abs(pixels[y0:y1, x0:x1].astype(np.int16) - measure_colour(pixels, line)).max(axis=2)
    heights = (off < _ROOM).sum(axis=0)
    left, right = heights[: y1 - y0], heights[::-1][: y1 - y0]
    grows = (np.diff(left) >= -1).all() and (np.diff(right) >= -1).all()
    return bool(grows and np.abs(left - right).max() <= max(2, 0.3 * (y1 - y0)))


def has_lost_ticks(line: Line, ink: NDArray[Any], paper: NDArray[Any]) -> bool:
    """Return whether JPEG may have blurred ticks of a short line that only its colour shows.

    Args:
        line: The line.
        ink: (3,) its colour.
        paper: (3,) the colour around it.
    """
    short = line.line_px < _LONG_PX and line.height < _SOLID_PX
    return is_pale(ink, paper) and short and line.kind == "plain" and not line.exact


def _has_ink_at_ends(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether the ends of a coloured line may have ticks above or below them.

    Steel has no colour, so that only ticks colour the rows next to a line; where the picture was
    compressed, also the line itself, but its middle then as much as its ends.
    """
    x0, y0, x1, y1 = line.core
    if line.plane != COLOUR_PLANE or x1 - x0 < _LEAST_COLOURED_PX or y0 < 6 or x0 < 4:
        return True
    ink = measure_colour(pixels, line) @ _CHROMA
    for strip in (pixels[y0 - 6 : y0 - 2], pixels[y1 + 2 : y1 + 6]):
        if len(strip) < 4:
            return True
        coloured = strip[:, x0 - 4 : x1 + 4].astype(np.float32) @ _CHROMA
        share = (coloured @ ink / float(ink @ ink)).mean(axis=0)
        usual = float(np.percentile(share[14:-14], 90))
        if max(share[:10].max(), share[-10:].max()) > usual + _TICK_SHARE:
            return True
    return False
