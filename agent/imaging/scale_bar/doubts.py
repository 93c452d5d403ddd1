# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Decide whether a bar may end elsewhere than it was found, so that it states no length."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs, overlap
from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.bars.line_length import SAME
from agent.imaging.scale_bar.labels.bar_label import build_label
from agent.imaging.scale_bar.labels.label_search import lacks_digit, render_ink
from agent.imaging.scale_bar.labels.lengths import (
    Length,
    may_lack_digit,
    parse_half_read,
    parse_length,
    parse_named_length,
)
from agent.imaging.scale_bar.labels.letters import (
    find_plate_start,
    find_words_on_plate,
    has_digit_before,
    has_ink_before,
)
from agent.imaging.scale_bar.labels.ocr import (
    confirms_length,
    contradicts_length,
    is_one_of_two,
    read_words,
    states_a_division,
)
from agent.imaging.scale_bar.matching import TICKED, compute_room

_LEAST_GAP_PX, _LEAST_PART_PX = 12, 16  # of a line that is cut, pixels
_AROUND_PX, _HIDES = 4, 0.3  # of an end; share of a place of the line's ink that hides it
_THICK_PX, _GREY = 8, 12  # of a bar with rows free of its edges; grey values of a grey ink
_EVEN_ROOM = 8  # grey values within which ink is even
_NEAR, _LEAST_NEAR_PX = 0.08, 10  # share of a line and columns that are near its end
_CROSSED = 0.6  # share of three rows above and below that have the ink where something crosses
_LEAST_CROSSED_PX = 3  # columns of it at one end more than at the other
_FRAME_PX, _OF_FRAME = 4, 0.9  # thickness of a frame; share of a bar's columns that its sides have
_LEAST_CELL_PX, _CELL_ROOM = 4, 4  # thickness of a divided bar; rows around it
_OF_A_CELL = 2  # length of a cell at least, in thicknesses
_OF_CELL, _OF_GROUND = 0.9, 0.4  # shares of a cell's ink in it, and above and below it at most
_WITHOUT_TICKS = frozenset({"plain", "figure", "checker", "hollow"})
_OF_LETTERS, _WITH_TEXTURE = 0.75, 1.0  # width of a letter in heights of the words, at most
_OFF_WORDS = 0.5  # of the height of words, by which a bar may be off their middle, start or end
_TURN_PX = 16  # of the corner of a frame
_PALED_PX = 2  # pixels that pale at an end


def continues_beyond_gap(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a bar is a part of a longer line that a stroke, a stain or its words cut.

    Beyond an end, after its words or a gap of less than their height, the same rows have the same
    ink again, for a quarter of the length at least, on another ground above and below.
    """
    if bar.kind != "plain" or not bar.ink or bar.label_box is None:
        return False
    x0, y0, x1, y1 = bar.line
    ink, long = np.array(bar.ink), x1 - x0
    a0, b0, a1, b1 = bar.label_box
    reach = max(_LEAST_GAP_PX, b1 - b0)
    least = max(_LEAST_PART_PX, long // 4)
    if y0 < 3 or y1 + 3 > len(pixels):
        return False
    left, right = x0, x1
    if b0 < y1 and y0 < b1:  # words next to it
        left, right = (min(x0, a0), x1) if a1 < (x0 + x1) / 2 else (x0, max(x1, a1))
    for start, stop in ((x1, right + reach + least), (left - reach - least, x0)):
        rows = pixels[y0 - 3 : y1 + 3, max(0, start) : max(0, stop)].astype(np.int16)
        like = np.abs(rows - ink).max(axis=2) < min(50, 0.4 * bar.contrast)
        line = (like[3:-3].mean(axis=0) >= 0.6) & ~like[[0, -1]].any(axis=0)
        if any(end - first >= least for first, end in find_runs(line)):
            return True
    return False


def has_hidden_end(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a bar without ticks ends in a place of its own ink, which hides the end.

    Such a place is a bright grain or a dark pore: it has the ink above and below the line too. The
    head of an arrow has it as well, then at both ends alike.
    """
    if bar.kind != "plain" or not bar.ink:
        return False
    x0, y0, x1, y1 = bar.line
    top, foot = max(0, y0 - _AROUND_PX), y1 + _AROUND_PX
    room = compute_room(pixels, bar.line, np.array(bar.ink), bar.contrast)
    for end in (x0, x1):
        around = slice(max(0, end - _AROUND_PX), end + _AROUND_PX)
        sides = (pixels[top : max(0, y0 - 1), around], pixels[y1 + 1 : foot, around])
        off = [np.abs(side.astype(np.int16) - np.array(bar.ink)).max(axis=2) for side in sides]
        if all(side.size and float(np.mean(side < room)) > _HIDES for side in off):
            return True
    wide = max(_LEAST_NEAR_PX, round(_NEAR * (x1 - x0)))
    (left, left_px), (right, right_px) = (
        _find_crossed(pixels, bar, columns, room)
        for columns in (
            np.arange(x0 - _AROUND_PX, x0 + wide),
            np.arange(x1 + _AROUND_PX - 1, x1 - wide, -1),
        )
    )
    unlike = abs(left_px - right_px) > max(_LEAST_CROSSED_PX, SAME * bar.line_px)
    return unlike and min(left, right) <= 3 * _AROUND_PX


def _find_crossed(
    pixels: NDArray[np.uint8], bar: FoundBar, columns: NDArray[np.intp], room: float
) -> tuple[int, int]:
    """Return start and number of the first columns that have a bar's ink both above and below it.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        bar: The bar.
        columns: (n,), from an end inwards; a grain farther inside hides no end.
        room: Grey values by which ink differs.
    """
    _, y0, _, y1 = bar.line
    columns = columns[(columns >= 0) & (columns < pixels.shape[1])]
    sides = (pixels[max(0, y0 - 4) : max(0, y0 - 1)], pixels[y1 + 1 : y1 + 4])
    if not all(side.size for side in sides):
        return len(columns), 0
    off = [
        np.abs(side[:, columns].astype(np.int16) - np.array(bar.ink)).max(axis=2) for side in sides
    ]
    above, below = ((side < room).mean(axis=0) > _CROSSED for side in off)
    nothing = (len(columns), len(columns))
    start, end = next(iter(find_runs(np.asarray(above & below))), nothing)
    return start, end - start


def ends_in_texture(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a thick grey bar is longer than its own even ink: a grain goes on from it."""
    x0, y0, x1, y1 = bar.line
    if bar.kind != "plain" or not bar.ink or y1 - y0 < _THICK_PX or x1 - x0 < 4 * _THICK_PX:
        return False
    core = pixels[y0 + 2 : y1 - 2, max(0, x0) : x1].astype(np.int16)
    inside = core[:, len(core[0]) // 4 : -(len(core[0]) // 4)]
    ink = np.median(inside, axis=(0, 1))
    if np.ptp(ink) > _GREY:  # compression runs a colour into what is next to it
        return False
    room = max(_EVEN_ROOM, 2 * float(np.percentile(np.abs(inside - ink).max(axis=2), 95)))
    even = np.flatnonzero(np.median(np.abs(core - ink).max(axis=2), axis=0) <= room)
    if not even.size or max(even[0], len(core[0]) - 1 - even[-1]) <= _PALED_PX:
        return False
    return bool(even[-1] - even[0] + 1 < (1 - SAME) * bar.line_px)


def is_next_to_cell(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a cell of another even ink, or an outlined one, follows a bar without a gap.

    Both are the cells of one divided bar, whose words may be those of the whole.
    """
    x0, y0, x1, y1 = bar.line
    long, thick = x1 - x0, y1 - y0
    if bar.kind not in ("plain", "figure") or not bar.ink:
        return False
    if thick < _LEAST_CELL_PX or long < _OF_A_CELL * thick:
        return False
    if y0 < _CELL_ROOM or y1 + _CELL_ROOM > len(pixels):
        return False
    aside, cell = max(3, long // 20), slice(_CELL_ROOM + 1, -_CELL_ROOM - 1)
    for start, stop in ((x1, x1 + long), (x0 - long, x0)):
        if start < 0 or stop > pixels.shape[1]:
            continue
        around = pixels[y0 - _CELL_ROOM : y1 + _CELL_ROOM, start + aside : stop - aside]
        rows = around.astype(np.int16)
        ink = np.median(rows[cell], axis=(0, 1))
        if np.abs(ink - np.array(bar.ink)).max() < bar.contrast / 2:
            continue
        if _has_rims(rows, bar):
            return True
        like = np.abs(rows - ink).max(axis=2) <= _GREY
        beyond = like[[0, 1, -2, -1]].mean(axis=1)
        if like[cell].mean() >= _OF_CELL and beyond.max() < _OF_GROUND:
            return True
    return False


def _has_rims(rows: NDArray[np.int16], bar: FoundBar) -> bool:
    """Return whether the rows next to an end of a bar are an empty cell, outlined in its ink."""
    inked = (np.abs(rows - np.array(bar.ink)).max(axis=2) < 0.5 * bar.contrast).mean(axis=1)
    top, foot = _CELL_ROOM, len(rows) - _CELL_ROOM
    rims = inked[top - 1 : top + 2].max(), inked[foot - 2 : foot + 1].max()
    beyond = max(inked[top - 3], inked[foot + 2])
    return bool(min(rims) >= _OF_CELL and beyond < _OF_GROUND)


def is_off_its_words(bar: FoundBar) -> bool:
    """Return whether a bar below or above longer words is neither in their middle nor at an end.

    It is a cell of the bar that is meant.
    """
    if bar.kind not in _WITHOUT_TICKS or bar.label_box is None:
        return False
    (x0, y0, x1, y1), (a0, b0, a1, b1) = bar.line, bar.label_box
    if x1 - x0 >= a1 - a0 or (b0 < y1 and y0 < b1) or _compute_letter_width(bar) > _OF_LETTERS:
        return False
    off = min(abs(a0 - x0), abs(a1 - x1), abs(a0 + a1 - x0 - x1) / 2)
    return off > _OFF_WORDS * (b1 - b0)


def _compute_letter_width(bar: FoundBar) -> float:
    """Return the width of the words' box for each letter, in heights; texture in it adds to it."""
    x0, y0, x1, y1 = bar.label_box or (0, 0, 0, 1)
    return (x1 - x0) / (max(1, len(bar.label)) * (y1 - y0))


def is_side_of_frame(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a thin line turns towards its words at both ends, and is beyond them again.

    Both are sides of the frame of a plate, also where its corners are rounded.
    """
    if bar.kind != "plain" or not bar.ink or bar.label_box is None:
        return False
    (x0, y0, x1, y1), (_, b0, _, b1) = bar.line, bar.label_box
    thick, high = y1 - y0, b1 - b0
    is_above = y1 <= b0 + 2
    if thick > _FRAME_PX or not (is_above or y0 >= b1 - 2):
        return False
    apart = thick + 2
    turn = slice(y1 + 1, y1 + _TURN_PX // 2) if is_above else slice(y0 - _TURN_PX // 2, y0 - 1)
    first, last = (b1, b1 + 3 * high) if is_above else (b0 - 3 * high, b0)
    first, last = max(apart, first), min(len(pixels) - apart, last)
    if last <= first or y0 < _TURN_PX:
        return False

    def find_ink(rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Return where the bar's ink is, (h, w)."""
        off = np.abs(pixels[rows, columns].astype(np.int16) - np.array(bar.ink)).max(axis=2)
        return np.asarray(off < 0.5 * bar.contrast)

    turns = (
        find_ink(turn, slice(max(0, x0 - _TURN_PX), x0 + 2)),
        find_ink(turn, slice(x1 - 2, x1 + _TURN_PX)),
    )
    if not all(ink.any(axis=1).mean() > _OF_FRAME for ink in turns):
        return False
    drawn = find_ink(slice(first - apart, last + apart), slice(x0, x1)).mean(axis=1)
    others = np.maximum(drawn[: -2 * apart], drawn[2 * apart :])
    return bool(np.any((drawn[apart:-apart] > _OF_FRAME) & (others < 0.6)))


def is_outline(pixels: NDArray[np.uint8], bar: FoundBar, ink: NDArray[Any]) -> bool:
    """Return whether a hollow bar is the outline of a filled one, which has the words' ink.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        bar: The bar.
        ink: (3,) the colour of its words.
    """
    x0, y0, x1, y1 = bar.line
    if bar.kind != "hollow" or not bar.ink:
        return False
    aside, beyond = (x1 - x0) // 4, (y1 - y0) // 3
    inside = np.median(pixels[y0 + beyond : y1 - beyond, x0 + aside : x1 - aside], axis=(0, 1))
    return bool(np.abs(inside - ink).max() < np.abs(np.array(bar.ink) - ink).max())


# --- decide whether the words of a bar state another length than was read, so that it states none

_TWO_DIGITS = 2
_INKED = 0.5  # share of the paper-to-ink distance from which a pixel is ink
_LEAST_PX = 6  # height of a digit
_ALIKE = 0.1  # of their height, by which digits of one number differ in top and foot
_WIDEST, _APART = 1.1, 1.0  # of a digit and between two, in heights
_OF_POINT = 0.42  # gap between two digits in which a point has room, in heights
_OF_DIGIT, _LEAST_SPECK_PX = 0.6, 3  # height of a digit, of the tallest letter; of a speck
_LOW, _OFF_FOOT = 0.3, 0.07  # shares of it above and below the foot of digits
_OF_COMMA = 1.3  # height over width of a comma
_LOOSE = 0.65  # of the box of the words: rows that are lower were read too small
_MOST_READ = 3
_BELOW = 0.25  # of the height: room for the foot of a µ
_AS_LOW = 1.1  # heights of an "m" up to which no digit is as low
_NARROWEST_M, _WIDEST_M = 0.8, 2.0  # width of an "m", in heights


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
        or has_speck_for_point(pixels, bar, words)
        or has_part_of_fraction(pixels, bar, words)
        or _is_outvoted(pixels, bar, words, bar.um)
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


def has_speck_for_point(pixels: NDArray[np.uint8], bar: FoundBar, words: Box) -> bool:
    """Return whether a speck of texture is between two digits of a label, where a point would be.

    A point ends with the digits, and a comma is taller than wide: "100 µm" has been read as "10.0".
    """
    label = build_label(pixels, words, Length(bar.um, bar.label, 0.0, 1.0))
    letters = sorted(_list_letters(pixels, words, label.ink, widest=_WIDEST, least_px=1))
    high = max((box[3] - box[1] for box in letters), default=0)
    tall = [box for box in letters if box[3] - box[1] >= _OF_DIGIT * high]
    for x0, y0, x1, y1 in letters:
        wide, low = x1 - x0, y1 - y0
        before = [box for box in tall if box[0] < x0 and box[2] <= (x0 + x1) / 2 + 1]
        after = [box for box in tall if box[0] >= (x0 + x1) / 2 - 1 and box[2] > x1]
        if not before or not after or not _LEAST_SPECK_PX <= low <= _OF_POINT * high:
            continue
        foot = min(before[-1][3], after[0][3])
        between = after[0][0] - before[-1][2] < high and y1 > foot - _LOW * high
        if between and y1 - foot > _OFF_FOOT * high and low < _OF_COMMA * wide:
            text = read_words(pixels, words)
            return text is not None and any(sign in text.words for sign in ".,·")
    return False


def has_part_of_fraction(pixels: NDArray[np.uint8], bar: FoundBar, words: Box) -> bool:
    """Return whether a raised small digit or a slash is before a number or where it begins.

    "¾" is read as "4" or "3", with its slash or its numerator as a part of that digit or as none; a
    stacked "½" as "2": it begins above and ends below the letters of its unit.
    """
    if bar.number >= 10 or bar.number != int(bar.number):
        return False
    x0, y0, x1, y1 = words
    high = y1 - y0
    ink = build_label(pixels, words, Length(bar.um, bar.label, 0.0, 1.0)).ink
    around = (max(0, x0 - 2 * high), max(0, y0 - high), x1, min(len(pixels), y1 + high // 2))
    letters = _list_letters(pixels, around, ink, widest=2 * _WIDEST_M)
    row = [box for box in letters if box[0] > x0 + _OF_DIGIT * high and y0 - 2 <= box[1] < y1 - 2]
    _, top, _, foot = max(row, key=lambda box: box[2], default=words)  # the m; a µ is lower
    tall = foot - min([y0, *(box[1] for box in row)])
    for a0, b0, a1, b1 in letters:
        is_level = min(b1, foot) - max(b0, y0) > _OF_POINT / 2 * tall
        is_near = x0 - _OF_POINT * high <= a1 and a0 <= x0 + _OF_POINT * high
        is_wide = a1 - a0 >= 1.3 * (b1 - b0)  # texture: digits and slashes are no wider
        if is_wide or not (is_near and is_level) or overlap((a0, b0, a1, b1), bar.line) > 0:
            continue
        slanted = 0.5 * (b1 - b0) < min(a1 - a0, 0.8 * high)  # a slash; a 1 is not
        crosses = slanted and a0 < x0 - 0.15 * high and x0 + 1 < a1 <= x0 + high
        raised = _OF_POINT * tall < b1 - b0 < 0.8 * tall and foot - b1 > 0.25 * tall
        beyond = 0.25 * (foot - top)
        stacked = b1 > foot + beyond and b0 < top - beyond
        if crosses or raised or stacked:
            return True
    return False


def _is_outvoted(pixels: NDArray[np.uint8], bar: FoundBar, words: Box, um: float) -> bool:
    """Return whether words whose texture is faded are read otherwise more often than alike.

    Where texture is in their box too they must be read alike.
    """
    ink = build_label(pixels, words, Length(um, bar.label, 0.0, 1.0)).ink
    x0, y0, x1, y1 = words
    room = y1 - y0
    left, top = max(0, x0 - room), max(0, y0 - room)
    faded = render_ink(pixels[top : y1 + room, left : x1 + room], ink)
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    letters = faded[inside].copy()
    a0, b0, a1, b1 = bar.line  # its ends would be digits
    faded[max(0, b0 - top - 1) : max(0, b1 - top + 1), max(0, a0 - left) : max(0, a1 - left)] = 255
    faded[inside] = letters
    votes = 0
    for zoom in (1.0, 0.7, 0.85):
        text = read_words(faded, (x0 - left, y0 - top, x1 - left, y1 - top), zoom)
        states = (parse_length, parse_named_length, parse_half_read)
        read = (parse(text.words) for parse in states) if text else ()
        length = next((length for length in read if length is not None), None)
        votes += 0 if length is None else 1 if length.number == bar.number else -1
        if votes > 0:
            return False
    return votes < 0 or _compute_letter_width(bar) > _WITH_TEXTURE


def _states_two_numbers(pixels: NDArray[np.uint8], words: Box, bar: FoundBar) -> bool:
    """Return whether words in mm or inches are read as a number, and are two: a fraction.

    "1/2 mm" is read as "12 mm" where its texture was faded, and as it is in the picture itself; "½"
    as "2", which is then lower than the letters of its unit.
    """
    number, unit = bar.label.split()
    digits = number.strip("0").replace(".", "")
    if unit not in ("mm", "in"):
        return False
    x0, y0, x1, y1 = words  # a box may lose the upper half of its digits
    whole = (x0, max(0, y0 - (y1 - y0)), x1, y1)
    letters = _list_letters(pixels, whole, np.array(bar.ink), widest=_WIDEST_M)
    letters = sorted(letter for letter in letters if letter[3] > y0)
    if unit == "mm" and _has_low_digits(letters):
        return True
    if len(digits) < _TWO_DIGITS:
        return False
    if number == "12" and not _are_neighbours(letters[:_TWO_DIGITS]):
        return True
    text = read_words(pixels, words)
    half = parse_half_read(text.words) if text else None
    return half is not None and half.um is None and half.number != bar.number


def _has_low_digits(letters: list[Box]) -> bool:
    """Return whether what precedes the "mm" at the end of letters is lower than a digit."""
    *number, first, last = letters if len(letters) > _TWO_DIGITS else [(0, 0, 0, 0)] * 3
    high = last[3] - last[1]
    wide = min(box[2] - box[0] for box in (first, last)) >= _NARROWEST_M * high > 0
    are_mm = wide and _share_rows(first, last) and first[2] <= last[0]
    return are_mm and max(box[3] - box[1] for box in number) <= _AS_LOW * high


def _are_neighbours(digits: list[Box]) -> bool:
    """Return whether two digits have one top and foot, and no room for a slash between them."""
    if len(digits) < _TWO_DIGITS:
        return False
    first, second = digits
    return _share_rows(first, second) and second[0] - first[2] < _OF_POINT * (first[3] - first[1])


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
    boxes = _list_letters(pixels, words, ink, widest=_WIDEST)
    rows = [row for row in (_collect_row(box, boxes) for box in boxes) if len(row) > 1]
    return sorted(rows, key=lambda row: (len(row), row[0][3] - row[0][1]), reverse=True)


def _list_letters(
    pixels: NDArray[np.uint8],
    words: Box,
    ink: NDArray[Any],
    *,
    widest: float,
    least_px: int = _LEAST_PX,
) -> list[Box]:
    """Return the boxes of the letters of a label that are no wider than so many heights."""
    x0, y0, x1, y1 = words
    part = pixels[y0:y1, x0:x1].astype(np.float32)
    papers = [np.median(colours.reshape(-1, 3), axis=0) for colours in (part, part[[0, -1]])]
    way = max((ink - paper for paper in papers), key=lambda off: float(np.abs(off).max()))
    share = (part - (ink - way)) @ way / max(1.0, float(way @ way))
    _, _, stats, _ = cv2.connectedComponentsWithStats((share > _INKED).astype(np.uint8))
    return [
        (x0 + x, y0 + y, x0 + x + w, y0 + y + h)
        for x, y, w, h, _ in stats[1:].tolist()
        if h >= least_px and w <= widest * h
    ]


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
