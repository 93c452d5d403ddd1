# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn bars, explained in place
"""Detect bars drawn as the outline of a rectangle: two thin rims and two upright sides.

A frame around words is one too, but not empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs
from agent.imaging.scale_bar.bars.chequered import are_cells
from agent.imaging.scale_bar.bars.line import Line
from agent.imaging.scale_bar.bars.planes import (
    compute_contrast,
    compute_crispness,
    compute_median,
    compute_share,
)

Plane = NDArray[Any]  # (h, w) grey

_ENDS_PX = 8  # by which the ends of two rims may differ; they are searched in every fourth column
_CONTRAST = 40  # grey values between the outline and the paper
_LOW = 2.5  # least width over height
_SIDE_PX = 2  # by which a side may be wider than a rim, as JPEG blurs it
_EMPTY = 0.6  # least share of the inside that is not ink; grains behind it may be as bright


def find_hollow_bars(
    plane: Plane, parts: list[list[int]], thick_px: int, number: int
) -> Iterator[Line]:
    """Yield the bars of which two parts of a mask are the rims.

    Args:
        plane: (h, w) grey, graphics bright.
        parts: x, y, width and height of long thin parts, pixels.
        thick_px: Upper limit of a bar's height, pixels.
        number: Index of the plane.
    """
    thin = np.array([part for part in parts if part[3] <= max(2, thick_px // 3)], int)
    if len(thin) < 2:
        return
    x, y, w, h = thin[np.argsort(thin[:, 1])].T
    tall = y[None, :] + h[None, :] - y[:, None]
    pairs = (y[None, :] > y[:, None] + h[:, None]) & (tall <= thick_px)
    pairs &= np.abs(x[None, :] - x[:, None]) <= _ENDS_PX
    pairs &= np.abs((x + w)[None, :] - (x + w)[:, None]) <= _ENDS_PX
    for upper, lower in np.argwhere(pairs).tolist():
        rims = (y[upper], y[upper] + h[upper], y[lower], y[lower] + h[lower])
        ends = (min(x[upper], x[lower]), max((x + w)[upper], (x + w)[lower]))
        bar = _measure(plane, (ends[0], ends[1]), rims, number)
        if bar is not None:
            yield bar


def _measure(
    plane: Plane, ends: tuple[int, int], rims: tuple[int, int, int, int], number: int
) -> Line | None:
    """Return the bar between two rims, or None without sides or with something inside.

    Args:
        plane: (h, w) grey.
        ends: Approximate left and right end.
        rims: Top and foot of the upper rim, then of the lower one.
        number: Index of the plane.
    """
    top, under, over, foot = (int(row) for row in rims)
    inside = plane[under:over, ends[0] + 8 : ends[1] - 8]
    if not inside.size or ends[1] - ends[0] < _LOW * (foot - top):
        return None
    drawn = [plane[row, ends[0] : ends[1]].astype(np.int16) for row in (top, foot - 1)]
    row = max(drawn, key=np.sum)
    level, paper = compute_median(row), compute_median(inside.ravel().astype(np.int16))
    least = (level + paper) / 2
    if level - paper < _CONTRAST or compute_share(inside < least) < _EMPTY:
        return None
    box = _find_box(plane, ends, rims, least)
    if box is None or not _is_on_paper(plane, box, paper, 0.4 * (level - paper)):
        return None
    if are_cells(inside[len(inside) // 2] >= least):
        return None  # the plate around a chequered bar
    contrast = compute_contrast(plane, box, level)
    if contrast < _CONTRAST:
        return None
    exact = compute_share(np.abs(row - level) <= 1) > 0.9
    crisp = compute_crispness(plane, box, level - 0.6 * contrast)
    core = (box[0], top, box[2], under)
    length = float(box[2] - box[0])
    return Line(box, length, exact, contrast, crisp, "hollow", core=core, plane=number)


def _find_box(
    plane: Plane, ends: tuple[int, int], rims: tuple[int, int, int, int], least: float
) -> Box | None:
    """Return the box of two rims with their sides, or None where it is not closed."""
    top, under, over, foot = (int(row) for row in rims)
    thick = max(under - top, foot - over)
    left = _find_side(plane[under:over], ends[0], 1, least, thick)
    right = _find_side(plane[under:over], ends[1] - 1, -1, least, thick)
    if left is None or right is None or right - left < _LOW * (foot - top):
        return None
    for rim in (plane[top:under, left : right + 1], plane[over:foot, left : right + 1]):
        full = rim.max(axis=0) >= least
        if not (full[:8].all() and full[-8:].all() and compute_share(full) >= 0.95):
            return None
    return (left, top, right + 1, foot)


def _is_on_paper(plane: Plane, box: Box, paper: float, room: float) -> bool:
    """Return whether the same paper lies around a bar as in it; else its rims are strips."""
    x0, y0, x1, y1 = box
    sides = (
        plane[max(0, y0 - 4) : y0 - 2, x0:x1],
        plane[y1 + 2 : y1 + 4, x0:x1],
        plane[y0:y1, max(0, x0 - 4) : max(0, x0 - 2)],
        plane[y0:y1, x1 + 2 : x1 + 4],
    )
    tones = [compute_median(side.ravel().astype(np.int16)) for side in sides if side.size]
    return all(abs(tone - paper) <= room for tone in tones)


def _find_side(rows: Plane, end: int, inwards: int, least: float, thick: int) -> int | None:
    """Return the outer column of the upright at an end, or None where its width is not a rim's."""
    width = rows.shape[1]
    columns = end + inwards * np.arange(-_ENDS_PX, 2 * _ENDS_PX)
    columns = columns[(columns >= 0) & (columns < width)]
    full = (rows[:, columns] >= least).mean(axis=0) > 0.8
    for first, last in find_runs(full):
        if last - first <= thick + _SIDE_PX and first > 0:
            return int(columns[first])
    return None
