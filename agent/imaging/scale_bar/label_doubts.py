"""Decide whether the words of a bar state another length than was read, so that it states none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.imaging.scale_bar.bar_label import build_label
from agent.imaging.scale_bar.doubts import is_outline
from agent.imaging.scale_bar.label_search import lacks_digit
from agent.imaging.scale_bar.lengths import Length, may_lack_digit, parse_half_read
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
from agent.imaging.scale_bar.points import reads_otherwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box
    from agent.imaging.scale_bar.line import FoundBar

_TWO_DIGITS = 2
_FACTOR = (2.6, 1.0)  # heights before words, where a number with a sign before them stands


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
    farther = bar.kind != "broken" and has_ink_before(pixels, words, ink, left, heights=_FACTOR)
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
