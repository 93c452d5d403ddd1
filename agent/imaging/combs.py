# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars and said where they stand
"""Find rulers that have ticks and no line.

In:  the planes of an image. Out: `Line`s of the kind "comb". Next: `micron_bar`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.lines import Line, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey
    Ticks = NDArray[Any]  # (n, 5): x, y, width, height, area

_LEAST_TICKS = 5
_TALLEST = 70  # pixels
_NEAR = 0.25  # share of the height, from the top and from the bottom, where rulers are drawn


def find_combs(plane: Plane) -> Iterator[Line]:
    """Yield rulers that have ticks and no line, near the top or the bottom of a plane.

    Args:
        plane: (h, w) uint8, in which the ticks are bright.
    """
    height = plane.shape[0]
    near = round(_NEAR * height)
    for top, foot in ((0, near), (height - near, height)):
        part = plane[top:foot]
        mask = _uprights(part)
        tops, feet = len(part) - 1 - _feet(part[::-1], mask[::-1]), _feet(part, mask) + 1
        ticks = _ticks(mask, tops, feet)
        for ends, rows in ((ticks[:, 1], tops), (ticks[:, 1] + ticks[:, 3], feet)):
            for y in rows:
                comb = _on_one_row(part, ticks[np.abs(ends - y) <= 1])
                if comb is not None:
                    yield _lowered(comb, top)


def _on_one_row(plane: Plane, ticks: Ticks) -> Line | None:
    """Find the ruler among ticks that begin or end on one row, or None."""
    run = _between_alike(_even(ticks))
    while len(run) >= _LEAST_TICKS:
        comb = _comb(plane, run)
        if comb is not None or np.median(np.diff(run[:, 0])) < 8:
            return comb
        # A letter's stroke may stand as far beyond it as the next tick would.
        run = _between_alike(run[:-1])
    return None


def _lowered(comb: Line, by: int) -> Line:
    x0, y0, x1, y1 = comb.box
    box = (x0, y0 + by, x1, y1 + by)
    return replace(comb, box=box, core=box)


def _uprights(plane: Plane) -> Plane:
    """Mark what is thin and upright."""
    up = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((5, 1), np.uint8))
    thin = cv2.subtract(up, cv2.morphologyEx(up, cv2.MORPH_OPEN, np.ones((1, 7), np.uint8)))
    return np.asarray(cv2.inRange(thin, 61, 255))


def _feet(plane: Plane, mask: Plane) -> NDArray[np.intp]:
    """Say in which rows so many uprights end at once as a ruler has ticks, and abruptly."""
    falls = cv2.inRange(cv2.subtract(plane[:-2], plane[2:]), 51, 255)
    ends = cv2.bitwise_and(cv2.subtract(mask[:-2], mask[1:-1]), falls)
    count = np.count_nonzero(ends[:, 1:] > ends[:, :-1], axis=1)
    level = np.append(count[1:] + count[:-1] >= _LEAST_TICKS, [False])  # within two rows
    return np.flatnonzero((level | np.roll(level, 1)) & (count > 0))


def _ticks(mask: Plane, tops: NDArray[np.intp], feet: NDArray[np.intp]) -> Ticks:
    """Give the short thin uprights of a mask that are near some rows: below tops, above feet."""
    near = np.zeros(len(mask), bool)
    for y in tops:
        near[y : y + _TALLEST + 3] = True
    for y in feet:
        near[max(0, y - _TALLEST - 3) : y] = True
    mask[~near] = 0
    stats = parts_of(mask)
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    return _joined(stats[(w <= 5) & (h >= 5) & (h <= _TALLEST) & (area >= 0.6 * w * h)])


def _joined(ticks: Ticks) -> Ticks:
    """Join what is left of a tick above and below something that lies across it."""
    ticks = ticks[np.lexsort((ticks[:, 1], ticks[:, 0]))]
    whole: list[list[int]] = []
    for x, y, w, h, area in ticks.tolist():
        last = whole[-1] if whole else [-9, 0, 0, 0, 0]
        gap = y - last[1] - last[3]
        if x == last[0] and w == last[2] and 0 < gap <= 0.3 * (y + h - last[1]):
            last[3], last[4] = y + h - last[1], last[4] + area
        else:
            whole.append([x, y, w, h, area])
    return np.array(whole, int).reshape(-1, 5)


def _even(ticks: Ticks) -> Ticks:
    """Choose the longest run of ticks with one spacing and one width; one in four may be lost."""
    ticks = ticks[np.argsort(ticks[:, 0])]
    best = ticks[:0]
    for width in np.unique(ticks[:, 2]):
        alike = ticks[np.abs(ticks[:, 2] - width) <= 1]
        centres = alike[:, 0] + (alike[:, 2] - 1) / 2
        last = len(alike) - 1
        runs = [_longest(centres), [last - i for i in reversed(_longest(-centres[::-1]))]]
        longest = max(runs, key=len)
        best = alike[longest] if len(longest) > len(best) else best
    return best


def _longest(centres: NDArray[Any]) -> list[int]:
    best: list[int] = []
    for first in range(len(centres) - _LEAST_TICKS + 1):
        for second in range(first + 1, min(first + 3, len(centres))):
            step = centres[second] - centres[first]
            run = _run(centres, first, second) if 3.5 <= step <= 150 else []
            if len(run) > len(best):
                best = run
    return best


def _run(centres: NDArray[Any], first: int, second: int) -> list[int]:
    """Walk along ticks as far as they keep the spacing of the first two."""
    run, count, lost = [first, second], 1, 0
    step = centres[second] - centres[first]
    while True:
        aim = centres[first] + step * (count + 1 + lost)
        near = int(np.argmin(np.abs(centres - aim)))
        if abs(centres[near] - aim) <= max(1.5, 0.14 * step) and near > run[-1]:
            run.append(near)
            count += 1 + lost
            lost = 0
            step = (centres[near] - centres[first]) / count
        elif lost == 0:
            lost = 1
        else:
            return run if len(run) > 0.75 * count else []


def _between_alike(run: Ticks) -> Ticks:
    """Leave off what stands beyond the outer ticks of a ruler, which are as tall as each other."""
    while len(run) >= _LEAST_TICKS:
        left, right = int(run[0, 3]), int(run[-1, 3])
        gaps = np.diff(run[:, 0])
        if gaps[-1] > 1.5 * np.median(gaps):
            run = run[:-1]
        elif gaps[0] > 1.5 * np.median(gaps):
            run = run[1:]
        elif abs(left - right) <= max(2, 0.1 * max(left, right)):
            break
        else:
            run = run[1:] if left < right else run[:-1]
    return run


def _comb(plane: Plane, run: Ticks) -> Line | None:
    """Measure a run of ticks, or refuse it: something stands between them, or it goes on."""
    centres = run[:, 0] + (run[:, 2] - 1) / 2
    x0, y0, x1 = int(run[0, 0]), int(run[:, 1].min()), int(run[-1, 0] + run[-1, 2])
    top, foot = int(run[:, 1].max()), int((run[:, 1] + run[:, 3]).min())
    y1 = int((run[:, 1] + run[:, 3]).max())
    step = float(np.median(np.diff(centres)))
    if x1 - x0 <= 20 or foot - top < 4:
        return None
    rows = plane[top:foot].astype(np.int16)
    drawn = float(np.median(rows[:, np.rint(centres).astype(int)]))
    gaps = [rows[:, a[0] + a[2] + 1 : b[0] - 1] for a, b in pairwise(run)]
    if not all(gap.size for gap in gaps):
        return None
    paper = float(np.median(np.concatenate([gap.ravel() for gap in gaps])))
    contrast = drawn - paper
    filled = [float(np.mean(gap > paper + 0.5 * contrast)) for gap in gaps]
    if contrast < 50 or float(np.mean(filled)) > 0.14 or np.median(filled) > 0.1:
        return None
    if max(filled[0], filled[-1]) > 0.3:
        return None
    least = paper + 0.5 * contrast
    for x in (round(centres[0] - step), round(centres[-1] + step)):
        if 6 <= x < plane.shape[1] - 6:
            through = plane[top:foot, x - 6 : x + 7].min(axis=0)
            if through[4:9].max() > least and max(through[0], through[-1]) < least:
                return None  # it goes on: it was not seen whole
    box = (x0, y0, x1, y1)
    length = float(centres[-1] - centres[0])
    return Line(box, length, exact=True, contrast=contrast, kind="comb", core=box)
