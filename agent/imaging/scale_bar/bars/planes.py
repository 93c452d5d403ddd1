# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Split a micrograph into planes in which graphics are bright; measure parts of planes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box

Plane = NDArray[Any]  # (h, w) grey


ROWS = 64  # per block, so that a block stays in the processor's cache
COLOUR_PLANE = 2  # the plane of coloured lines
_UNLIKE = 2.0  # ratio of the contrasts of two sides
_OF_PLAIN, _OF_TICKED = 0.95, 0.55  # share of a side without ticks; of one that a ruler has
_LEAST_DROP = 40  # grey values between a line and what lies next to it


def compute_planes(pixels: NDArray[np.uint8]) -> list[Plane]:
    """Return the planes in which drawn lines are bright: light ones, dark ones, coloured ones.

    Red on grey is as bright as grey, but its largest channel is bright and its smallest dark.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        Two or three planes, (h, w) uint8.
    """
    light, dark = np.empty((2, *pixels.shape[:2]), np.uint8)
    channels = np.empty(
        (3, ROWS, pixels.shape[1]), np.uint8
    )  # reused, so that it stays in the cache
    coloured_px = 0
    for top in range(0, len(pixels), ROWS):
        rows = slice(top, top + ROWS)
        red, green, blue = cv2.split(pixels[rows], [*channels[:, : len(light[rows])]])
        most = cv2.max(cv2.max(red, green), blue, light[rows])
        least = cv2.min(cv2.min(red, green), blue)
        cv2.bitwise_not(least, dark[rows])
        coloured_px += cv2.countNonZero(cv2.inRange(cv2.subtract(most, least), 111, 255))
    coloured = [cv2.subtract(light, cv2.bitwise_not(dark))] if coloured_px > 20 else []
    return [light, dark, *coloured]


def find_parts(mask: Plane) -> NDArray[Any]:
    """Return x, y, width, height and area of every part of a mask, (n, 5), from top to bottom.

    OpenCV's statistics visit every pixel, which takes four times as long as labelling; here only
    the ends of runs are visited. Empty rows cost nothing.
    """
    is_used = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] > 0
    is_used[1:] |= is_used[:-1]  # and the row below, so that the next part does not touch
    rows = np.flatnonzero(is_used)
    if not rows.size:
        return np.empty((0, 5), np.int32)
    packed = cv2.copyMakeBorder(mask[rows], 0, 0, 1, 1, cv2.BORDER_CONSTANT)
    flat = packed.ravel()
    before, last = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T
    _, marks = cv2.connectedComponents(packed, connectivity=4)
    part = marks.ravel()[last]
    order = np.argsort(part, kind="stable")
    first = np.flatnonzero(np.diff(part[order], prepend=0))
    y, left = np.divmod(before[order], packed.shape[1])
    top, length = rows[y], (last - before)[order]
    x0, x1 = np.minimum.reduceat(left, first), np.maximum.reduceat(left + length, first)
    y0, y1 = top[first], np.maximum.reduceat(top, first) + 1
    area = np.add.reduceat(length, first)
    return np.stack([x0, y0, x1 - x0, y1 - y0, area], axis=1, dtype=np.int32, casting="same_kind")


def compute_contrast(plane: Plane, box: Box, level: float, share: float = 0.7) -> float:
    """Return the contrast to four rows above and below in a share of the columns; 0: none.

    Thick ticks of a ruler cover up to 4 in 10 of them on one side, and none on the other.
    """
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 4) : y0, x0:x1], plane[y1 : y1 + 4, x0:x1])
    drops = [level - side.min(axis=0).astype(np.int16) for side in sides if side.size]
    shares = [compute_share(drop > 25) for drop in drops]
    least = min(share, _OF_TICKED) if shares and max(shares) > _OF_PLAIN else share
    if not drops or min(shares) < least:
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
