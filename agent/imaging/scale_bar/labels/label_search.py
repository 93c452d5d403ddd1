# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Read the words around a candidate line and pair a length with the line it labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box
from agent.imaging.readers.channels import largest, smallest
from agent.imaging.scale_bar.bars.line import (
    FoundBar,
    Line,
    are_alike,
    compute_distance,
    find_room,
    measure_colour,
)
from agent.imaging.scale_bar.bars.planes import COLOUR_PLANE, find_parts
from agent.imaging.scale_bar.bars.plates import find_plate_inside
from agent.imaging.scale_bar.labels.lengths import Length
from agent.imaging.scale_bar.labels.letters import (
    detect_rows,
    extend_to_lost_digits,
    tighten_to_ink,
)
from agent.imaging.scale_bar.labels.ocr import (
    adds_digit,
    confirms_length,
    detect_texts,
    read_cuts,
    read_lengths,
)
from agent.imaging.scale_bar.matching import build_bar, find_plate_colour, is_stroke, pair_lengths

Plane = NDArray[Any]  # (h, w) grey

_EXACT = 12  # grey values that JPEG changes a drawn colour by
_LIKELY_RANK, _LEAST_EVEN = 4.8, 0.5  # that few lines of texture reach
_BARE = 0.1  # share of ink next to a line without ticks; a ruler's have more
_TALL_PX = (16, 28)  # height of the ticks of a bar in a plate: about that of its words
_ABOVE, _ABOVE_WIDE = (1.0, 1.35, 1.7), 5.5  # heights and width of words above it, in such heights
_OF_WORDS = 0.8  # of the height of words, from which their plate is whole
_FADED = 90  # grey values from the ink at which texture has faded


class LabelSearch(StrEnum):
    """How words are looked for: in a line's ink, in exactly its colour, or by text detection.

    Texture has few pixels of exactly the colour that a program drew with.
    """

    INK = "ink"
    EXACT_INK = "exact_ink"
    DETECTOR = "detector"


def read_around(
    pixels: NDArray[np.uint8], lines: list[Line], region: Box, search: LabelSearch
) -> tuple[FoundBar | None, list[tuple[Length, Box]]]:
    """Read around a line; read a wider region where the edge cut words in two."""
    bar, cut, lengths = _find_best_pair(pixels, lines, region, search)
    if bar is None and cut is not None:
        bar, _, lengths = _find_best_pair(
            pixels, lines, _expand_cut_words(cut, pixels.shape), search
        )
    return bar, lengths


def _expand_cut_words(words: Box, shape: Sequence[int]) -> Box:
    """Return the region of words cut by an edge: eight letters on, and a line above."""
    x0, y0, x1, y1 = words
    high = max(16, y1 - y0)
    return (
        max(0, x0 - 8 * high),
        max(0, y0 - high),
        min(shape[1], x1 + 8 * high),
        min(shape[0], y1 + high),
    )


def _find_best_pair(
    pixels: NDArray[np.uint8], lines: list[Line], region: Box, search: LabelSearch
) -> tuple[FoundBar | None, Box | None, list[tuple[Length, Box]]]:
    """Read the words around the first line; pair a length with the line it labels.

    Returns:
        The bar or None; words cut by the region's edge, or None; all lengths read.
    """
    x0, y0, x1, _ = region
    first = lines[0]
    on_plate = search is LabelSearch.DETECTOR and find_plate_colour(pixels, first) is not None
    views = _render_views(pixels, first, region, any_ink=on_plate)
    picture, ink = views[0], measure_colour(pixels, first)
    if search is LabelSearch.DETECTOR:
        boxes = _list_words(picture)
    else:
        drawn = _mask_exact_ink(picture, ink) if search is LabelSearch.EXACT_INK else None
        boxes = _find_letters(picture, first, pixels, x0, drawn)
    if search is LabelSearch.EXACT_INK:
        views = [picture, render_ink(picture, ink)]
    boxes = [extend_to_lost_digits(picture, box) for box in boxes]
    places = [(x0 + box[0], y0 + box[1], x0 + box[2], y0 + box[3]) for box in boxes]
    lines = [line for line in lines if not any(is_stroke(line, place) for place in places)]
    if search is not LabelSearch.DETECTOR:
        near = [
            min(
                (c for c in (compute_distance(ln, p) for ln in lines) if c is not None), default=9.0
            )
            for p in places
        ]
        order = np.argsort(near, kind="stable")[:2]
        boxes, places = [boxes[i] for i in order], [places[i] for i in order]
    # Texture fades where only the ink is rendered; it costs another reading.
    may_render = search is not LabelSearch.EXACT_INK and first.plane != COLOUR_PLANE
    may_render = may_render and first.rank >= _LIKELY_RANK and first.even >= _LEAST_EVEN
    cut: Box | None = None
    lengths: list[tuple[Length, Box]] = []
    for box, around in zip(boxes, places, strict=True):
        if all(compute_distance(line, around) is None for line in lines):
            continue
        near_edge = 0.4 * (box[3] - box[1])
        goes_on = (x0 and box[0] <= near_edge, x1 < pixels.shape[1] and around[2] >= x1 - near_edge)
        if any(goes_on):
            cut = around if cut is None else cut
            continue
        lengths_read = read_lengths(views, box)
        if not _has_length(lengths_read) and may_render:
            lengths_read = read_lengths([render_ink(picture, ink)], box)
        for length in lengths_read:
            left, right = (round(at * (box[2] - box[0])) for at in (length.start, length.end))
            lengths.append((length, (around[0] + left, around[1], around[0] + right, around[3])))
    if search is not LabelSearch.DETECTOR:  # letters were looked for in the first line's ink
        lines = [line for line in lines if are_alike(measure_colour(pixels, line), ink, 90)]
    return pair_lengths(pixels, lines, lengths), cut, lengths


def read_above(pixels: NDArray[np.uint8], line: Line) -> FoundBar | None:
    """Return the bar of a line with ticks on a plate and of the words directly above it.

    ZEISS writes words larger than the plate in a corner: half of them on steel, across its frame,
    where text detection finds none. Two cuts of the rows above the line have to read alike.
    """
    if find_plate_colour(pixels, line) is None:
        return None
    x0, y0, x1, _ = line.box
    tall = int(np.clip(line.height, *_TALL_PX))
    left, right = max(0, x0 - tall), min(pixels.shape[1], max(x1, x0 + round(_ABOVE_WIDE * tall)))
    places = [(left, max(0, y0 - 1 - round(by * tall)), right, y0 - 1) for by in _ABOVE]
    reading = read_cuts(
        pixels, [place for place in places if place[3] - place[1] >= _TALL_PX[0] / 2]
    )
    if reading is None:
        return None
    length, place = reading
    return build_bar(pixels, line, measure_colour(pixels, line), place, length)


def _list_words(picture: NDArray[np.uint8]) -> list[Box]:
    """Return the boxes of detected words, on their plate and then as detected where it is less.

    Words may be larger than their plate.
    """
    boxes = detect_texts(picture)
    plates = [find_plate_inside(picture, box) or box for box in boxes]
    larger = [
        box
        for box, plate in zip(boxes, plates, strict=True)
        if plate[3] - plate[1] < _OF_WORDS * (box[3] - box[1])
    ]
    return [tighten_to_ink(picture, box) for box in [*plates, *larger]]


def _render_views(
    pixels: NDArray[np.uint8], line: Line, region: Box, *, any_ink: bool
) -> list[NDArray[np.uint8]]:
    """Return the region without its line, so that ticks and arrows are not read as letters.

    For a coloured line the first picture is of the colour alone, since texture has none, but for
    `any_ink`: words on a plate may have another one.
    """
    x0, y0, x1, y1 = region
    picture = pixels[y0:y1, x0:x1].copy()
    ax, ay, bx, by = line.box
    head = 5 if by - ay <= 5 else 1
    room = find_room(line)
    if room is not None and _is_bare(pixels, line, room):
        for a0, a1, top, foot in (
            (ax, bx, line.core[1], line.core[3]),
            (ax, room[0], ay, by),
            (room[2], bx, ay, by),
        ):
            _paint_over(picture, (a0 - 1 - x0, top - 1 - y0, a1 + 1 - x0, foot + 1 - y0))
    elif line.gap is None:
        _paint_over(picture, (ax - 1 - x0, ay - head - y0, bx + 1 - x0, by + head - y0))
    else:
        _paint_over(picture, (ax - 1 - x0, ay - head - y0, line.gap[0] + 2 - x0, by + head - y0))
        _paint_over(picture, (line.gap[2] - 2 - x0, ay - head - y0, bx + 1 - x0, by + head - y0))
    if any_ink or line.plane != COLOUR_PLANE:
        return [picture]
    ink = cv2.bitwise_not(cv2.subtract(largest(picture), smallest(picture)))
    return [np.asarray(cv2.merge([ink, ink, ink]), np.uint8), picture]


def _is_bare(pixels: NDArray[np.uint8], line: Line, room: Box) -> bool:
    """Return whether no ticks stand on a line between those at its ends."""
    rows = (
        slice(room[3] - 3, room[3] - 1)
        if room[1] < line.core[1]
        else slice(room[1] + 1, room[1] + 3)
    )
    near = pixels[rows, room[0] + 2 : room[2] - 2].astype(np.int16)
    drawn = largest(np.abs(near - measure_colour(pixels, line))) < 0.5 * line.contrast
    return float(drawn.mean()) < _BARE


def _has_length(lengths: list[Length]) -> bool:
    return any(length.um is not None for length in lengths)


def _paint_over(picture: NDArray[np.uint8], box: Box) -> None:
    """Fill a box, each half with the row above or below."""
    height, width = picture.shape[:2]
    x0, y0 = max(0, box[0]), max(0, box[1])
    x1, y1 = min(width, box[2]), min(height, box[3])
    if x0 >= x1 or y0 >= y1:
        return
    middle = (y0 + y1) // 2
    picture[y0:middle, x0:x1] = picture[max(0, y0 - 1) if y0 else min(y1, height - 1), x0:x1]
    picture[middle:y1, x0:x1] = picture[y1 if y1 < height else max(0, y0 - 1), x0:x1]


def _mask_ink(
    picture: NDArray[np.uint8], line: Line, pixels: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Return the mask of pixels with the colour of a line."""
    if line.plane == COLOUR_PLANE:
        paper = float(np.median(picture[:, :, 0]))
        x0, y0, x1, y1 = line.core
        drawn = pixels[y0:y1, x0:x1].reshape(-1, 3)
        ink = 255.0 - float(np.median(drawn.max(axis=1) - drawn.min(axis=1)))
        return np.asarray(picture[:, :, 0] < 0.6 * paper + 0.4 * ink)  # JPEG pales thin strokes
    x0, y0, x1, y1 = line.core
    colour = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    off = largest(cv2.absdiff(picture, np.full_like(picture, colour.astype(np.uint8))))
    return np.asarray(off < 0.42 * max(60.0, float(np.median(off))))


def _mask_exact_ink(picture: NDArray[np.uint8], ink: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the mask of pixels of a colour, but for what JPEG changes."""
    off = largest(cv2.absdiff(picture, np.full_like(picture, np.rint(ink))))
    return np.asarray(off < _EXACT)


def render_ink(picture: NDArray[np.uint8], ink: NDArray[Any]) -> NDArray[np.uint8]:
    """Return ink as black and what is far from it as white, so that texture fades."""
    off = largest(cv2.absdiff(picture, np.full_like(picture, np.rint(ink))))
    grey = cv2.convertScaleAbs(off, alpha=255 / _FADED)
    return np.asarray(cv2.merge([grey, grey, grey]), np.uint8)


def _confirms_in_ink(
    pixels: NDArray[np.uint8], words: Box, um: float, ink: NDArray[Any], left: int
) -> bool:
    """Return whether words state the same length with what precedes them, in their ink alone.

    A digit that a box lost has the ink of the others; most of what texture adds has not.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        words: Box of the words, pixels.
        um: The length that was read in it.
        ink: (3,) their colour.
        left: First column that can hold a digit.
    """
    x0, y0, x1, y1 = words
    room = y1 - y0
    start, top = max(0, x0 - 3 * room), max(0, y0 - room)
    picture = render_ink(pixels[top : y1 + room, start : x1 + room], ink)
    box = (x0 - start, y0 - top, x1 - start, y1 - top)
    return confirms_length(picture, box, um, left=max(0, left - start))


def lacks_digit(
    pixels: NDArray[np.uint8],
    words: Box,
    um: float,
    *,
    number: float,
    ink: NDArray[Any],
    left: int,
) -> bool:
    """Return whether words that differ from their reading with what precedes them lack a digit.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        words: Box of the words, pixels.
        um: The length that was read in it.
        number: Its number, without the unit.
        ink: (3,) their colour.
        left: First column that can hold a digit.
    """
    more = adds_digit(pixels, words, number=number, left=left)
    return more or not _confirms_in_ink(pixels, words, um, ink, left)


def _find_letters(
    picture: NDArray[np.uint8],
    line: Line,
    pixels: NDArray[np.uint8],
    left: int,
    drawn: NDArray[np.bool_] | None,
) -> list[Box]:
    """Detect rows of letters in the ink of a line; those of a broken line are in its gap.

    Args:
        picture: (h, w, 3) uint8, the region.
        line: The line.
        pixels: (h, w, 3) uint8, the image.
        left: Left column of the region, pixels of the image.
        drawn: (h, w) bool, the ink; None: whatever resembles the line.
    """
    ink = _mask_ink(picture, line, pixels) if drawn is None else drawn
    if line.gap is not None:
        ink[:, : max(0, line.gap[0] - left)] = False
        ink[:, max(0, line.gap[2] - left) :] = False
    return detect_rows(ink)


# --- detect rows of letters near the top or the bottom without OCR

_INK = (215, 250)  # grey values of graphics in the plane where they are bright …
_COLOUR = (90,)  # … and in the plane of colours, which JPEG pales
_FULL_INK = (225,)  # between top and bottom, where few labels stand, only full ink is looked for
_RARE_INK = 0.02  # share of full pixels below which few of them are texture
_NEAR = (0.25, 0.7)  # shares of the height: most labels stand above the first or below the second
_ROOM = 0.05  # of the height by which the searched parts overlap
_FARTHEST_RARE = (0.12, 0.08)  # of height and width: farther in, rare ink is as seldom texture …
_FARTHEST_USUAL = (1.0, 0.3)  # … but usual ink is ever more often
_APART = 0.97  # of the rim of a row; rare ink in texture seldom has nothing like it so close
_MOST_INK = 0.2  # share of full pixels above which the steel itself is full
_MOST_LETTERS = 600
_TALLEST_PX = 80  # of a row
_FARTHEST = 1.6  # heights between two letters of a row
LOOKS = (
    "three letters or more",
    "share of letters at least half as tall as the row",
    "share of the rim that is 40 grey values darker than the letters",
    "distance from the top or the bottom, of the height",
    "share of such ink around, at most a tenth",
    "how unevenly letters stand on their line, in heights",
    "distance from the left or the right, of the width",
    "how far width over height is from that of a usual label",
)
CONSTANT = -2.10
WEIGHTS = np.array([1.61, 2.57, 0.63, -11.85, -27.64, -0.95, -7.58, -0.52])
"""Weight of each of `LOOKS`, fitted by `tests/bench/letter_weights.py`."""


@dataclass(frozen=True, slots=True, eq=False)
class TextRow:
    """A possible row of letters.

    Args:
        box: Its box, pixels.
        mask: (h, w) uint8, its ink inside the box.
        looks: Features in the order of `LOOKS`.
        belief: Probability in [0, 1] that it is text.
    """

    box: Box
    mask: Plane
    looks: tuple[float, ...]
    belief: float


def iter_letter_rows(planes: list[Plane]) -> Iterator[TextRow]:
    """Yield possible rows of letters: all near the top or the bottom, between them in full ink."""
    height = len(planes[0])
    above, below, room = (round(share * height) for share in (*_NEAR, _ROOM))
    for number, plane in enumerate(planes):
        for top, foot in ((below, height), (0, above), (above - room, below + room)):
            part = plane[top:foot]
            inks = _INK if 0 in (top, height - foot) else _FULL_INK
            for least in inks if number != COLOUR_PLANE else _COLOUR:
                mask = cv2.inRange(part, least, 255)
                share = cv2.countNonZero(mask) / mask.size
                if share < (_MOST_INK if inks is _INK else _RARE_INK):
                    for letters in _group_rows(find_parts(mask)):
                        extent = (top, height, share < _RARE_INK)
                        yield _build_row(letters, mask, part, share, extent)


def _group_rows(letters: NDArray[Any]) -> list[NDArray[Any]]:
    """Return possible letters grouped into rows, (n, 5) each: x, y, width, height, area."""
    w, h, area = letters[:, 2], letters[:, 3], letters[:, 4]
    usual = (h >= 4) & (h <= 70) & (w <= 2.2 * h + 4) & (area >= 6)
    filled = area >= np.where(w < 0.7 * h, 0.12, 0.2) * w * h
    letters = letters[usual & filled]
    if len(letters) > _MOST_LETTERS:
        return []
    rows: list[list[Any]] = []
    near: list[list[Any]] = []  # rows that a letter this far to the right may go on with
    for number, letter in enumerate(letters[np.argsort(letters[:, 0])].tolist()):
        x, y, w, h, _ = letter
        farthest = x - _FARTHEST * _TALLEST_PX  # of the right side of such a row
        if number % 16 == 0:
            near = [row for row in near if row[2] >= farthest]
        for row in near:
            _, top, right, foot, _ = row
            if top >= y + h or foot <= y or right < farthest:  # the most usual case first
                continue
            tall, shared = foot - top, min(foot, y + h) - max(top, y)
            follows = x - right <= _FARTHEST * max(tall, h)
            if follows and shared >= 0.5 * min(tall, h) and 0.4 * tall <= h <= 2.2 * tall:
                row[:4] = (min(row[0], x), min(top, y), max(right, x + w), max(foot, y + h))
                row[4].append(letter)
                break
        else:
            rows.append([x, y, x + w, y + h, [letter]])
            near.append(rows[-1])
    return [
        np.array(row[4])
        for row in rows
        if 7 <= row[3] - row[1] <= _TALLEST_PX
        and 2 <= len(row[4]) <= 30
        and 1.3 * (row[3] - row[1]) <= row[2] - row[0] <= 30 * (row[3] - row[1])
    ]


def _build_row(
    letters: NDArray[Any], mask: Plane, plane: Plane, share: float, extent: tuple[int, int, bool]
) -> TextRow:
    """Return the row with its probability of being text.

    Args:
        letters: (n, 5) x, y, width, height, area.
        mask: (h, w), ink.
        plane: (h, w), brightness.
        share: Share of ink in the searched part.
        extent: Top of the part and height of the image, pixels; whether such ink is rare.
    """
    x, y, w, h, _ = letters.T
    x0, y0, x1, y1 = int(x.min()), int(y.min()), int((x + w).max()), int((y + h).max())
    tall, (top, height, is_rare) = y1 - y0, extent
    ink = mask[y0:y1, x0:x1]
    rim = plane[[max(0, y0 - 2), min(len(plane) - 1, y1 + 1)], x0:x1]
    apart = float(np.mean(cv2.mean(plane[y0:y1, x0:x1], ink)[0] - rim.astype(np.int16) > 40))
    farthest = _FARTHEST_RARE if is_rare and apart >= _APART else _FARTHEST_USUAL
    looks = (
        float(len(letters) >= 3),
        float(np.mean(h >= 0.5 * tall)),
        apart,
        min(min(top + y0, height - top - y1) / height, farthest[0]),
        min(share, 0.1),
        min(float(np.std(y + h)) / tall, 0.3),
        min(min(x0, mask.shape[1] - x1) / mask.shape[1], farthest[1]),
        abs((x1 - x0) / tall - 3.2),
    )
    belief = 1 / (1 + np.exp(-(CONSTANT + float(WEIGHTS @ looks))))
    return TextRow((x0, top + y0, x1, top + y1), ink, looks, float(belief))
