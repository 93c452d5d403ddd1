"""Detect rows of letters on plates: an even colour that texture is not, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.scale_bar.letters import detect_rows
from agent.imaging.scale_bar.planes import COLOUR_PLANE, find_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

    Plane = NDArray[Any]  # (h, w) grey

_STEP, _LARGE_STEP, _LARGE_PX = 2, 3, 1400  # rows and columns searched; of pictures as wide
_EVEN = 10  # grey values that compression leaves of one colour
_LEAST_PX, _LARGEST = (36, 18), 0.25  # width and height of a plate; share of the picture
_MOST_EVEN = 0.4  # share of a picture; where more of it is even, so is the specimen
_FLAT, _PAPER, _RIM = 0.25, 0.5, 0.9  # shares: even of a plate; paper of it, and of its sides
_RUNS = ((1, 26), (14, 1))  # height and width of the shortest runs of paper, pixels
_OF_SIDE = 0.6  # of a row or column at the side of a plate
_CORNER = 0.2  # of a side, where it may be rounded
_TALL_PX = 200  # height of a plate
_OF_PLATE = 0.5  # of its width or height, more than a letter has
_LEAST_CONTRAST = 60  # grey values between paper and letters
_MOST_TRIED, _MOST_PLATES, _MOST_ROWS = 8, 3, 4  # parts, plates, rows of letters of a plate


def iter_plate_rows(planes: list[Plane]) -> Iterator[Box]:
    """Yield the boxes of rows of letters on plates, the largest plate first.

    Args:
        planes: (h, w) uint8 each, the light and the dark one first.
    """
    planes = planes[:2] if planes[COLOUR_PLANE:] else planes[:1]  # of grey both planes say the same
    for box in _find_plates(planes):
        x0, y0, _, _ = box
        off = _measure_off(planes, box)
        contrast = float(np.percentile(off, 99))
        if contrast >= _LEAST_CONTRAST:
            k = 1 + len(off) // _TALL_PX  # letters of a large plate are taller than usual ones
            ink = _drop_lines(off[::k, ::k] > 0.5 * contrast)
            for a0, b0, a1, b1 in detect_rows(ink)[:_MOST_ROWS]:
                yield (x0 + k * a0, y0 + k * b0, x0 + k * a1, y0 + k * b1)


def _drop_lines(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask of a plate's ink without what is too long for a letter, such as the bar."""
    high, wide = ink.shape
    _, marks, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    w, h = stats[:, 2], stats[:, 3]
    line = (
        (h > _OF_PLATE * high) | (w > _OF_PLATE * wide) | (np.maximum(w, h) > 5 * np.minimum(w, h))
    )
    line[0] = False
    return np.asarray(ink & ~line[marks])


def _measure_off(planes: list[Plane], box: Box) -> Plane:
    """Return by how many grey values every pixel of a box differs from its most usual colour."""
    x0, y0, x1, y1 = box
    parts = [plane[y0:y1, x0:x1].astype(np.int16) for plane in planes]
    offs = [np.abs(part - np.median(part[::_STEP, ::_STEP])) for part in parts]
    return np.asarray(np.maximum(offs[0], offs[-1]))


def _find_plates(planes: list[Plane]) -> list[Box]:
    """Return the boxes of plates, the largest first."""
    k = _LARGE_STEP if max(planes[0].shape) >= _LARGE_PX else _STEP
    small = [np.ascontiguousarray(plane[::k, ::k]) for plane in planes]
    square = np.ones((3, 3), np.uint8)
    steps = [cv2.morphologyEx(plane, cv2.MORPH_GRADIENT, square) for plane in small]
    flat = cv2.inRange(cv2.max(steps[0], steps[-1]), 0, _EVEN)
    if cv2.countNonZero(flat) > _MOST_EVEN * flat.size:
        return []
    # Paper runs on above and below letters, and left and right of them; specks of texture do not.
    runs = [np.ones((max(1, high // k), max(1, wide // k)), np.uint8) for high, wide in _RUNS]
    across, down = (cv2.morphologyEx(flat, cv2.MORPH_OPEN, run) for run in runs)
    parts = find_parts(cv2.bitwise_or(across, down))
    w, h, area = parts[:, 2], parts[:, 3], parts[:, 4]
    large = (w * k >= _LEAST_PX[0]) & (h * k >= _LEAST_PX[1])
    likely = large & (w * h <= _LARGEST * flat.size) & (area >= _FLAT * w * h)
    largest = parts[likely][np.argsort(-area[likely])]
    boxes = [
        (int(a * k), int(b * k), int((a + c) * k), int((b + d) * k)) for a, b, c, d, _ in largest
    ]
    plates = (_trim_to_plate(planes, box) for box in boxes[:_MOST_TRIED])
    return [plate for plate in plates if plate is not None][:_MOST_PLATES]


def _trim_to_plate(planes: list[Plane], box: Box) -> Box | None:
    """Return the box of a plate in a box with even parts, or None without one.

    Bright grains next to a white plate have its colour in a part of a row or column only.
    """
    x0, y0, _, _ = box
    paper = _measure_off(planes, box) <= _EVEN
    columns = np.flatnonzero(paper.mean(axis=0) >= _OF_SIDE)
    rows = np.flatnonzero(paper.mean(axis=1) >= _OF_SIDE)
    if len(columns) < _LEAST_PX[0] or len(rows) < _LEAST_PX[1]:
        return None
    left, right, top, foot = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    paper = paper[top:foot, left:right]
    across, down = (slice(int(_CORNER * n), n - int(_CORNER * n)) for n in paper.shape[::-1])
    sides = (paper[1:3, across], paper[-3:-1, across], paper[down, 1:3], paper[down, -3:-1])
    if min(float(side.mean()) for side in (paper, *sides)) < _PAPER:
        return None
    if any(float(side.mean()) < _RIM for side in sides):
        return None
    return (x0 + int(left), y0 + int(top), x0 + int(right), y0 + int(foot))
