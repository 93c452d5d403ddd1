# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Trace a thin line near a label row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.imaging.scale_bar.bar_label import (
    BarLabel,
    LabelledLine,
    cut_region,
    is_aligned,
)
from agent.imaging.scale_bar.line import Line, compute_distance, is_pale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey

SHOWS = 90  # of 255: contrast of a line in the plane of its ink
_FAINT = 0.13  # share of the paper-to-ink distance of the palest line
_TRACED = 12.0  # sum of such shares along a line
_LONG_PX = 125  # 2 per cent of it exceed what blur and missed ticks add
_LONG_PALE_PX = 190  # the same where only colour shows the line, which JPEG blurs more


def trace_line(pixels: NDArray[np.uint8], label: BarLabel) -> LabelledLine | None:
    """Trace a thin line row by row: the run of columns with the largest sum of ink.

    Ink counts where a pixel is nearer to the label's ink than three rows above and below; a grain
    across the line, or noise, costs a column but does not end the run.
    """
    x0, y0, x1, y1 = label.box
    picture, left, top = cut_region(pixels, label.box)
    way = (label.ink - label.paper).astype(np.float32)
    progress = (picture.astype(np.float32) - label.paper.astype(np.float32)) @ (
        way / float(way @ way)
    )
    ink = np.clip(progress[3:-3] - np.maximum(progress[:-6], progress[6:]), -0.4, 0.5)
    top += 3
    rim = round(0.15 * (y1 - y0))  # a line may touch the box of its words
    ink[max(0, y0 + rim - top) : max(0, y1 - rim - top), x0 - left : x1 - left] = -0.4
    sums, starts, ends = _find_best_runs(ink - _FAINT)
    row = int(np.argmax(sums))
    elsewhere = np.delete(sums, slice(max(0, row - 3), row + 4))
    start, end = int(starts[row]), int(ends[row])
    clear = sums[row] >= _TRACED and sums[row] > 3 * elsewhere.max(initial=0.0)
    if not clear or float(np.mean(ink[row, start:end] > _FAINT)) < 0.85:
        return None
    first, last = _find_half_ink(progress[row + 3], start, end)
    box = (left + round(first), top + row, left + round(last), top + row + 1)
    line = Line(box, float(last - first), exact=False, contrast=float(SHOWS), core=box)
    if compute_distance(line, label.box) is None or last - first < 0.5 * (x1 - x0):
        return None
    pale = is_pale(label.ink, label.paper)
    long = last - first >= (_LONG_PALE_PX if pale else _LONG_PX)
    sure = long and is_aligned(box, label.box)
    return LabelledLine(line, float(last - first), sure, traced=True)


def _find_half_ink(ink: NDArray[Any], start: int, end: int) -> tuple[float, float]:
    """Return to subpixels where a run of columns falls to half of its median ink."""
    half = 0.5 * float(np.median(ink[start:end]))
    full = start + np.flatnonzero(ink[start:end] >= half)
    if not full.size:
        return float(start), float(end)
    first, last = int(full[0]), int(full[-1])
    before, after = ink[max(0, first - 1)], ink[min(len(ink) - 1, last + 1)]
    ahead = (ink[first] - half) / max(1e-3, float(ink[first] - before))
    behind = (ink[last] - half) / max(1e-3, float(ink[last] - after))
    return first + 0.5 - min(ahead, 1.0), last + 0.5 + min(behind, 1.0)


def _find_best_runs(gains: Plane) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return sum, first column and end of the best run of columns in every row.

    Source:
        Kadane's algorithm (Bentley, Programming Pearls, CACM 27, 1984), for all rows at once.
    """
    sums, running = np.zeros((2, len(gains)), np.float32)
    starts, ends, begun = np.zeros((3, len(gains)), int)
    for x, column in enumerate(gains.T):
        begun = np.where(running <= 0, x, begun)
        running = np.maximum(running, 0) + column
        better = running > sums
        sums = np.where(better, running, sums)
        starts, ends = np.where(better, begun, starts), np.where(better, x + 1, ends)
    return sums, starts, ends
