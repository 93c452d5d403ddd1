# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars and said where they stand
"""Find rulers that have ticks and no line.

In:  the planes of an image. Out: `Line`s of the kind "comb". Next: `micron_bar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey


def find_combs(plane: Plane) -> Iterator[Line]:
    """Yield rulers that have ticks and no line."""
    up = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((5, 1), np.uint8))
    thin = cv2.subtract(up, cv2.morphologyEx(up, cv2.MORPH_OPEN, np.ones((1, 7), np.uint8)))
    _, _, stats, _ = cv2.connectedComponentsWithStats((thin > 60).astype(np.uint8), connectivity=4)
    stats = stats[1:]
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    ticks = stats[(w <= 5) & (h >= 5) & (h <= 70) & (area >= 0.8 * w * h)]
    if len(ticks) > 5000:
        return
    for foot in (ticks[:, 1], ticks[:, 1] + ticks[:, 3]):
        for y in np.unique(foot):
            row = ticks[np.abs(foot - y) <= 1]
            if len(row) >= 5:
                for comb, step in _even(row):
                    if not _goes_on(plane, comb, step, int(row[:, 3].min())):
                        yield comb


def _goes_on(plane: Plane, comb: Line, step: float, short: int) -> bool:
    """Say whether a comb has another tick beyond one of its ends: then it was not seen whole."""
    x0, y0, x1, y1 = comb.box
    for x in (x0 - step, x1 - 1 + step):
        left, right = round(x) - 2, round(x) + 3
        if left < 3 or right > plane.shape[1] - 3:
            continue
        for rows in (slice(y1 - short, y1), slice(y0, y0 + short)):
            row = plane[rows, left - 3 : right + 3].min(axis=0).astype(np.int16)
            if int(row[3:-3].max()) - int(np.median(row)) > 25:
                return True
    return False


def _even(ticks: NDArray[Any]) -> Iterator[tuple[Line, float]]:
    """Yield the longest run of ticks with one spacing and one width, one in four may be lost."""
    ticks = ticks[np.argsort(ticks[:, 0])]
    centres = ticks[:, 0] + (ticks[:, 2] - 1) / 2
    best: list[int] = []
    steps = 0
    for first in range(len(ticks) - 4):
        for second in range(first + 1, min(first + 3, len(ticks))):
            step = centres[second] - centres[first]
            if not 3.5 <= step <= 150:
                continue
            run, count = [first, second], 1
            lost = 0
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
                    break
            if len(run) > len(best) and len(run) > 0.75 * count:
                best, steps = run, count
    if len(best) >= 5 and np.ptp(ticks[best, 2]) <= 2:
        chosen = ticks[best]
        x0, y0 = int(chosen[0, 0]), int(chosen[:, 1].min())
        x1 = int(chosen[-1, 0] + chosen[-1, 2])
        y1 = int((chosen[:, 1] + chosen[:, 3]).max())
        length = float(centres[best[-1]] - centres[best[0]])
        if x1 - x0 > 20:
            box = (x0, y0, x1, y1)
            yield (
                Line(box, length, exact=True, contrast=100.0, kind="comb", core=box),
                (length / steps),
            )
