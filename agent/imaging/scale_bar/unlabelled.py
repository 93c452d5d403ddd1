# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Accept a micron bar without a label only if nothing else can resemble it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.boxes import within
from agent.imaging.scale_bar.line import EVEN, measure_colour
from agent.imaging.scale_bar.line_length import is_arrow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box
    from agent.imaging.scale_bar.line import Line

_ALONE = 8  # pixels around a line within which its ink must end


def is_bar_without_label(pixels: NDArray[np.uint8], line: Line, band: Box | None) -> bool:
    """Return whether a line without a label is a bar: clear, whole, alone, in a usual place.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        line: The candidate.
        band: The info band, or None.
    """
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = line.box
    low = min(y0, height - y1) < 0.15 * height
    cornered = low and min(x0, width - x1) < 0.15 * width
    drawn = low and not line.framed and line.width >= 30 and line.contrast >= 80
    if not drawn or not _is_isolated(pixels, line):
        return False
    if line.kind in ("caps", "ruler"):
        return max(line.crisp, line.even) > EVEN and (line.exact or line.contrast > 100)
    if line.kind in ("comb", "checker"):
        return cornered and line.width > 2 * line.height and _has_equal_ticks(line)
    clear = line.contrast > 100
    if clear and line.width > 50 and line.even > (0.9 if line.exact else 0.97):
        return cornered or (band is not None and within(line.box, band))
    solid = line.height >= 3 and line.width >= 4 * line.height
    solid = solid and (line.crisp > 0.95 or line.even > 0.85)
    sure = line.exact and (cornered or line.contrast > 150)
    faint = line.contrast <= (150 if line.even > 0.85 else 220)
    arrow = cornered and clear and line.even > 0.7 and is_arrow(pixels, line)
    return arrow or (solid and (sure or (cornered and not faint)))


def _has_equal_ticks(line: Line) -> bool:
    """Return whether the outer ticks of a ruler are equally wide, as drawn ones are."""
    first, last = line.ticks
    return first is None or last is None or abs(first[1] - first[0] - last[1] + last[0]) <= 1


def _is_isolated(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a line's ink ends with it on all sides; that of a grain boundary continues."""
    x0, y0, x1, y1 = line.box
    left, top, right, foot = x0 - _ALONE, y0 - _ALONE, x1 + _ALONE, y1 + _ALONE
    left, top = max(0, left), max(0, top)
    picture = pixels[top:foot, left:right]
    off = cv2.absdiff(picture, np.full_like(picture, np.rint(measure_colour(pixels, line))))
    ink = cv2.inRange(off.max(axis=2), 0, 0.5 * line.contrast)
    _, marks, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    core = marks[line.core[1] - top : line.core[3] - top, line.core[0] - left : line.core[2] - left]
    x, y, w, h = stats[np.bincount(core[core > 0], minlength=1).argmax()][:4]
    return bool(x > 0 and y > 0 and x + w < picture.shape[1] and y + h < len(picture))
