# ruff: noqa: PLR2004 - shares of a digit's height, measured on drawn labels
"""Decide whether the words of a bar state another length than was read, so that it states none."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.scale_bar.bar_label import build_label
from agent.imaging.scale_bar.doubts import is_outline
from agent.imaging.scale_bar.label_search import lacks_digit
from agent.imaging.scale_bar.lengths import Length, may_lack_digit, parse_half_read, parse_length
from agent.imaging.scale_bar.letters import (
    find_plate_start,
    find_words_on_plate,
    has_digit_before,
    has_ink_before,
)
from agent.imaging.scale_bar.matching import TICKED
from agent.imaging.scale_bar.ocr import (
    confirms_length,
    contradicts_length,
    is_one_of_two,
    read_words,
    states_a_division,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box
    from agent.imaging.scale_bar.line import FoundBar

_TWO_DIGITS = 2
_INKED = 0.5  # share of the paper-to-ink distance from which a pixel is ink
_LEAST_PX = 6  # height of a digit
_ALIKE = 0.1  # of their height, by which digits of one number differ in top and foot
_WIDEST, _APART = 1.1, 1.0  # of a digit and between two, in heights
_OF_POINT = 0.42  # gap between two digits in which a point has room, in heights
_LOOSE = 0.65  # of the box of the words: rows that are lower were read too small
_MOST_READ = 3
_BELOW = 0.25  # of the height: room for the foot of a µ


def has_unsure_label(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether the words of a bar may state another length than was read.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        bar: A bar that states a length.
    """
    words = bar.label_box
    if words is None or bar.um is None:
        return False
    return (
        (bar.kind in TICKED and states_a_division(pixels, words))
        or _is_cut(pixels, bar, words, bar.um)
        or _starts_before_plate(pixels, words, bar.um)
        or _has_other_words(pixels, bar, words, bar.um)
    )


def _is_cut(pixels: NDArray[np.uint8], bar: FoundBar, words: Box, um: float) -> bool:
    """Return whether a digit precedes the label of a bar."""
    if not bar.ink:
        return False
    x0, y0, _, y1 = words
    _, b0, a1, b1 = bar.line
    ink = np.array(bar.ink)
    left = a1 + 2 if a1 <= x0 + 2 and b0 < y1 and y0 < b1 else 0
    left = max(left, find_plate_start(pixels, words, ink))
    if not has_ink_before(pixels, words, ink, left):
        return False
    sign = (max(left, x0 - (words[3] - y0)), y0, words[2], words[3])  # a sign before the number
    farther = bar.kind != "broken" and has_digit_before(pixels, sign, ink, left)
    if farther and is_one_of_two(pixels, words, left=left):
        return True
    if may_lack_digit(bar.number) and has_digit_before(pixels, words, ink, left):
        differs = not confirms_length(pixels, words, um, left=left)
    else:
        differs = contradicts_length(pixels, words, um, number=bar.number, left=left)
        differs = differs and bar.kind != "broken"  # a half of it is before its words
    return differs and lacks_digit(pixels, words, um, number=bar.number, ink=ink, left=left)


def _starts_before_plate(pixels: NDArray[np.uint8], words: Box, um: float) -> bool:
    """Return whether words read otherwise without what is in front of their plate."""
    on_plate = find_words_on_plate(pixels, words)
    return on_plate is not None and not confirms_length(pixels, on_plate, um, left=on_plate[0])


def _has_other_words(pixels: NDArray[np.uint8], bar: FoundBar, words: Box, um: float) -> bool:
    """Return whether the label of a bar is written in another ink, or states another length."""
    if not bar.ink:
        return False
    ink = build_label(pixels, words, Length(um, bar.label, 0.0, 1.0)).ink
    if is_outline(pixels, bar, ink) or _states_two_numbers(pixels, words, bar):
        return True
    return reads_otherwise(pixels, words, np.array(bar.ink), um=um, number=bar.number)


def _states_two_numbers(pixels: NDArray[np.uint8], words: Box, bar: FoundBar) -> bool:
    """Return whether words in mm or inches that have two digits are read as two numbers.

    "1/2 mm" is read as "12 mm" where its texture was faded, and as it is in the picture itself.
    """
    number, unit = bar.label.split()
    if unit not in ("mm", "in") or len(number.strip("0").replace(".", "")) < _TWO_DIGITS:
        return False
    text = read_words(pixels, words)
    half = parse_half_read(text.words) if text else None
    return half is not None and half.um is None and half.number != bar.number


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
