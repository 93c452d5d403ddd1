# ruff: noqa: PLR2004 - grey values and shares, measured on real bars
"""Contrast and crispness of a box against the rows above and below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

    Plane = NDArray[Any]  # (h, w) grey

_UNLIKE = 2.0  # ratio of the contrasts of two sides
_LEAST_DROP = 40  # grey values between a line and what lies next to it


def compute_contrast(plane: Plane, box: Box, level: float, share: float = 0.7) -> float:
    """Return the contrast to four rows above and below in a share of the columns; 0: none.

    Thick ticks of a ruler cover up to 4 in 10 of them.
    """
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 4) : y0, x0:x1], plane[y1 : y1 + 4, x0:x1])
    drops = [level - side.min(axis=0).astype(np.int16) for side in sides if side.size]
    if not drops or min(compute_share(drop > 25) for drop in drops) < share:
        return 0.0
    return sum(compute_median(drop) for drop in drops) / len(drops)


def compute_crispness(plane: Plane, box: Box, least: float) -> float:
    """Return the share of columns in which a line falls off within two rows above and below."""
    return min(compute_share(side < least) for side in _list_sides(plane, box))


def compute_one_sided_crispness(plane: Plane, box: Box, level: float) -> float:
    """Return the crispness of a line by the contrast of each side.

    Steel on one side of a line, and its shadow or the plate of its words on the other, differ in
    brightness; 0 where both sides are alike.
    """
    sides = _list_sides(plane, box)
    drops = [max(_LEAST_DROP, level - compute_median(side.astype(np.int16))) for side in sides]
    if max(drops) < _UNLIKE * min(drops):
        return 0.0
    return min(
        compute_share(side < level - 0.6 * drop) for side, drop in zip(sides, drops, strict=True)
    )


def _list_sides(plane: Plane, box: Box) -> list[Plane]:
    """Return the darker of two pixels above and below every column of a line."""
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 2) : y0, x0:x1], plane[y1 : y1 + 2, x0:x1])
    return [side.min(axis=0) for side in sides if side.size]


def compute_share(flags: NDArray[np.bool_]) -> float:
    """Return the share of true flags; `np.mean` takes five times as long for a few pixels."""
    return np.count_nonzero(flags) / flags.size


def compute_median(row: NDArray[Any]) -> float:
    """Return the median of a row; `np.median` takes ten times as long for a few pixels."""
    ordered = np.sort(row)
    half = len(row) // 2
    return (float(ordered[half]) + float(ordered[~half])) / 2
