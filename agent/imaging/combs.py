# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars and said where they stand
"""Find rulers that have ticks and no line.

In:  the planes of an image. Out: `Line`s of the kind "comb". Next: `micron_bar`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey
    Ticks = NDArray[Any]  # (n, 5): x, y, width, height, area

_LEAST_TICKS = 5
_NEAR = 0.25  # share of the height, from the top and from the bottom, where rulers are drawn


def find_combs(plane: Plane) -> Iterator[Line]:
    """Yield rulers that have ticks and no line, near the top or the bottom of a plane.

    Args:
        plane: (h, w) uint8, in which the ticks are bright.
    """
    height = plane.shape[0]
    near = round(_NEAR * height)
    for top, foot in ((0, near), (height - near, height)):
        ticks = _ticks(plane[top:foot])
        ticks[:, 1] += top
        if len(ticks) > 5000:
            continue
        for feet in (ticks[:, 1], ticks[:, 1] + ticks[:, 3]):
            for y in np.unique(feet):
                row = ticks[np.abs(feet - y) <= 1]
                run = _between_alike(_even(row)) if len(row) >= _LEAST_TICKS else row
                comb = _comb(plane, run) if len(run) >= _LEAST_TICKS else None
                if comb is not None:
                    yield comb


def _ticks(plane: Plane) -> Ticks:
    """Find short thin uprights."""
    up = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((5, 1), np.uint8))
    thin = cv2.subtract(up, cv2.morphologyEx(up, cv2.MORPH_OPEN, np.ones((1, 7), np.uint8)))
    _, _, stats, _ = cv2.connectedComponentsWithStats((thin > 60).view(np.uint8), connectivity=4)
    stats = stats[1:]
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    return stats[(w <= 5) & (h >= 5) & (h <= 70) & (area >= 0.6 * w * h)]


def _even(ticks: Ticks) -> Ticks:
    """Choose the longest run of ticks with one spacing and one width; one in four may be lost."""
    ticks = ticks[np.argsort(ticks[:, 0])]
    centres = ticks[:, 0] + (ticks[:, 2] - 1) / 2
    best: list[int] = []
    for first in range(len(ticks) - _LEAST_TICKS + 1):
        for second in range(first + 1, min(first + 3, len(ticks))):
            step = centres[second] - centres[first]
            run = _run(centres, first, second) if 3.5 <= step <= 150 else []
            if len(run) > len(best):
                best = run
    return ticks[best] if best and np.ptp(ticks[best, 2]) <= 2 else ticks[:0]


def _run(centres: NDArray[Any], first: int, second: int) -> list[int]:
    """Walk along ticks as far as they keep the spacing of the first two."""
    run, count, lost = [first, second], 1, 0
    step = centres[second] - centres[first]
    while True:
        aim = centres[first] + step * (count + 1 + lost)
        near = int(np.argmin(np.abs(centres - aim)))
        if abs(centres[near] - aim) <= 1.5 and near > run[-1]:
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
    if contrast < 50 or float(np.mean(filled)) > 0.12 or np.median(filled) > 0.05:
        return None
    if max(filled[0], filled[-1]) > 0.2:
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
