# ruff: noqa: PLR2004 - shares of a digit's height, measured on drawn labels
"""Detect a decimal point that a reading of a label lost: "1.0" is not "10".

Between two digits a point needs room, whether or not its ink is seen: 0.5 to 0.7 of their height,
where digits without one are at most 0.33 apart, in spaced fonts 0.55.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.scale_bar.lengths import parse_length
from agent.imaging.scale_bar.ocr import read_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

_INKED = 0.5  # share of the paper-to-ink distance from which a pixel is ink
_LEAST_PX = 6  # height of a digit
_ALIKE = 0.1  # of their height, by which digits of one number differ in top and foot
_WIDEST, _APART = 1.1, 1.0  # of a digit and between two, in heights
_OF_POINT = 0.42  # gap between two digits in which a point has room, in heights
_LOOSE = 0.65  # of the box of the words: rows that are lower were read too small
_MOST_READ = 3
_BELOW = 0.25  # of the height: room for the foot of a µ


def reads_otherwise(
    pixels: NDArray[np.uint8], words: Box, ink: NDArray[Any], *, um: float, number: float
) -> bool:
    """Return whether the words of a label state another length when only their rows are read.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        words: Box of the label's words, pixels.
        ink: (3,) their colour.
        um: The length that was read.
        number: Its number, without the unit.
    """
    count = len(str(int(number))) if number == int(number) else 0
    high = words[3] - words[1]
    seen: list[Box] = []
    for row in list_rows(pixels, words, ink):
        tall = row[0][3] - row[0][1]
        gaps = [after[0] - before[2] for before, after in pairwise(row[:count])]
        if max(gaps, default=0) < _OF_POINT * tall and tall > _LOOSE * high:
            continue
        close = (words[0], row[0][1], words[2], row[0][3] + round(_BELOW * tall))
        if any(_share_rows(close, other) for other in seen):
            continue
        seen.append(close)
        text = read_words(pixels, close)
        length = parse_length(text.words) if text else None
        if length is not None and length.um != um:
            return True
        if len(seen) == _MOST_READ:
            break
    return False


def _share_rows(box: Box, other: Box) -> bool:
    return max(abs(box[1] - other[1]), abs(box[3] - other[3])) <= 2


def list_rows(pixels: NDArray[np.uint8], words: Box, ink: NDArray[Any]) -> list[list[Box]]:
    """Return rows of letters of a label with one top and foot, the longest first.

    Figures of unequal height, or letters on their own ink, are in no row.
    """
    x0, y0, x1, y1 = words
    part = pixels[y0:y1, x0:x1].astype(np.float32)
    papers = [np.median(colours.reshape(-1, 3), axis=0) for colours in (part, part[[0, -1]])]
    way = max((ink - paper for paper in papers), key=lambda off: float(np.abs(off).max()))
    share = (part - (ink - way)) @ way / max(1.0, float(way @ way))
    _, _, stats, _ = cv2.connectedComponentsWithStats((share > _INKED).astype(np.uint8))
    boxes: list[Box] = [
        (x0 + x, y0 + y, x0 + x + w, y0 + y + h)
        for x, y, w, h, _ in stats[1:].tolist()
        if h >= _LEAST_PX and w <= _WIDEST * h
    ]
    rows = [row for row in (_collect_row(box, boxes) for box in boxes) if len(row) > 1]
    return sorted(rows, key=lambda row: (len(row), row[0][3] - row[0][1]), reverse=True)


def _collect_row(first: Box, boxes: list[Box]) -> list[Box]:
    """Return a letter and those to its right with the same top and foot at letter distance."""
    high = first[3] - first[1]
    room = max(1.5, _ALIKE * high)
    row = [first]
    for box in sorted(boxes):
        level = max(abs(box[1] - first[1]), abs(box[3] - first[3])) <= room
        if level and 0 < box[0] - row[-1][2] + 0.3 * high <= (_APART + 0.3) * high:
            row.append(box)
    return row
