"""Find bars that stand upright: as level ones of a turned part, with their words turned or level.

Only the part around a straight upright line of full ink is turned and read, so that a picture
without one costs two erosions of every eighth row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.scale_bar.bars.candidates import find_candidates
from agent.imaging.scale_bar.bars.line import FoundBar, Line, measure_colour
from agent.imaging.scale_bar.bars.line_length import measure_length
from agent.imaging.scale_bar.bars.planes import compute_planes, find_parts
from agent.imaging.scale_bar.bars.second_length import has_other_length
from agent.imaging.scale_bar.doubts import ends_in_texture, has_hidden_end
from agent.imaging.scale_bar.labels.ocr import detect_texts, read_lengths
from agent.imaging.scale_bar.matching import is_believable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

_STEP = 8  # rows: search in every eighth
_FULL = 200  # grey value of drawn ink in the plane where it is bright, also in a reduced picture
_LEAST = 0.05  # of the height of the picture: shortest upright line
_WIDEST_PX, _WIDEST = 16, 0.014  # thickness of a line: pixels, or share of the picture's height
_SLENDER = 4.0  # least length of a line, in thicknesses
_FILLED, _APART = 0.9, 0.85  # share of a line that is full; of its sides that are not
_LEAST_STEP, _SIDE_PX = 60, 3  # grey values between a line and its sides, or its outline there
_MOST, _MOST_USUAL = 2, 60  # lines that are read; slender parts, of which texture has more
_LONGER = 1.5  # of an upright, of which a bar is less than that
_FARTHEST, _TOUCHING_PX = 2.0, 2  # from a line to level words, in their heights; to its plate
_ASIDE_PX, _BEYOND_PX = 120, 60  # room for the words of a line


def find_turned_bars(
    pixels: NDArray[np.uint8],
    planes: Sequence[NDArray[np.uint8]],
    read: Callable[[NDArray[np.uint8]], list[FoundBar]],
) -> list[FoundBar]:
    """Return the upright bar whose words are turned by a right angle or left or right of it.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        planes: Planes in which graphics are bright.
        read: Finds the level bars of a picture.
    """
    lines = _list_uprights(planes)
    for line in lines:
        x0, y0, x1, y1 = line
        beyond = (y1 - y0) // 2 + _BEYOND_PX
        left, top = max(0, x0 - _ASIDE_PX), max(0, y0 - beyond)
        part = pixels[top : y1 + beyond, left : x1 + _ASIDE_PX]
        for turns in (-1, 1):
            bars = read(np.ascontiguousarray(np.rot90(part, turns)))
            for bar in bars:
                box = _turn_back(bar.line, part.shape, turns, (left, top))
                if bar.um is None or bar.label_box is None or not _is_on(box, line):
                    continue
                words = _turn_back(bar.label_box, part.shape, turns, (left, top))
                return [replace(bar, line=box, label_box=words, kind="upright")]
        level = _read_level_words(pixels, line, lines)
        if level is not None:
            return [level]
    return []


def _read_level_words(
    pixels: NDArray[np.uint8], upright: Box, uprights: list[Box]
) -> FoundBar | None:
    """Return the bar of an upright line and the level words left or right of its middle.

    None where the words are next to another upright too.
    """
    x0, y0, x1, y1 = upright
    middle, beyond = (y0 + y1) // 2, (y1 - y0) // 2 + _BEYOND_PX
    left, top = max(0, x0 - 2 * _ASIDE_PX), max(0, middle - _BEYOND_PX)
    part = pixels[top : middle + _BEYOND_PX, left : x1 + 2 * _ASIDE_PX].copy()
    part[:, x0 - left - 2 : x1 - left + 2] = part[:, x0 - left - 3 : x0 - left - 2]
    readings = [(box, read_lengths([part], box)) for box in detect_texts(part)]
    readings = [(box, lengths) for box, lengths in readings if lengths]
    if len(readings) != 1 or len(readings[0][1]) != 1 or readings[0][1][0].um is None:
        return None
    (a0, b0, a1, b1), [length] = readings[0]
    words = (left + a0, top + b0, left + a1, top + b1)
    high = b1 - b0
    near = abs((words[1] + words[3]) / 2 - middle) <= high
    if not near or _compute_gap(words, upright) > _FARTHEST * high:
        return None
    rivals = [line for line in uprights if _compute_gap(line, upright) > _TOUCHING_PX]
    if any(_compute_gap(words, line) <= _FARTHEST * high for line in rivals):
        return None
    aside = max(_BEYOND_PX, pixels.shape[1] // 10, 12 * (x1 - x0))  # lines are lower than a part
    at = (max(0, x0 - aside), max(0, y0 - beyond))
    region = pixels[at[1] : y1 + beyond, at[0] : x1 + aside]
    turned = np.ascontiguousarray(np.rot90(region, -1))
    for line in _list_level_lines(turned):
        box = _turn_back(line.box, region.shape, -1, at)
        bar = FoundBar(line.box, None, measure_length(turned, line), length.words, length.um)
        bar = replace(bar, contrast=line.contrast, ink=tuple(measure_colour(turned, line)))
        measured = replace(bar, kind=line.kind)
        fits = _is_on(box, upright) and is_believable(length, line)
        if fits and not _has_unsure_end(turned, measured):
            return replace(bar, line=box, label_box=words, kind="upright")
    return None


def _has_unsure_end(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a level bar may end elsewhere than it was found."""
    return (
        has_other_length(pixels, bar) or has_hidden_end(pixels, bar) or ends_in_texture(pixels, bar)
    )


def _compute_gap(box: Box, other: Box) -> int:
    """Return how many columns are between two boxes."""
    return max(box[0] - other[2], other[0] - box[2])


def _list_level_lines(pixels: NDArray[np.uint8]) -> list[Line]:
    """Return the lines and rulers of a small picture, the clearest first."""
    lines = find_candidates(pixels, compute_planes(pixels), None)
    kept = [line for line in lines if line.kind in ("plain", "caps", "ruler") and not line.framed]
    return sorted(kept, key=lambda line: -line.crisp * line.width)


def _list_uprights(planes: Sequence[NDArray[np.uint8]]) -> list[Box]:
    """Return straight upright lines of full ink, the longest first."""
    lines = [line for plane in planes[:2] for line in _iter_uprights(plane)]
    return sorted(lines, key=lambda line: line[1] - line[3])[:_MOST]


def _iter_uprights(plane: NDArray[np.uint8]) -> Iterator[Box]:
    full = cv2.inRange(plane[::_STEP], _FULL, 255)
    widest, least = max(_WIDEST_PX, round(_WIDEST * len(plane))), max(5, round(_LEAST * len(full)))
    wider = cv2.morphologyEx(full, cv2.MORPH_OPEN, np.ones((1, widest + 1), np.uint8))
    full = cv2.subtract(full, wider)
    runs = cv2.morphologyEx(full, cv2.MORPH_OPEN, np.ones((least, 1), np.uint8))
    parts = find_parts(runs)
    x, y, wide, high, area = parts.T
    kept = (wide <= widest) & (_STEP * high >= _SLENDER * wide) & (area >= _FILLED * wide * high)
    kept &= (x > _SIDE_PX) & (x + wide + _SIDE_PX < plane.shape[1])
    parts = parts[kept & (y > 0) & (y + high < len(full))]
    if len(parts) > _MOST_USUAL:
        return
    for left, first, across, along, _ in parts.tolist():
        top, foot = _STEP * first, _STEP * (first + along)
        rows = plane[top:foot:_STEP].astype(np.int16)
        level = float(np.median(rows[:, left : left + across]))
        sides = (
            rows[:, left - _SIDE_PX : left].min(axis=1),
            rows[:, left + across : left + across + _SIDE_PX].min(axis=1),
        )
        if min(float(np.mean(side < level - _LEAST_STEP)) for side in sides) >= _APART:
            yield (left, top, left + across, foot)


def _turn_back(box: Box, shape: tuple[Any, ...], turns: int, at: tuple[int, int]) -> Box:
    """Return the box of a turned part in pixels of the picture; the part begins at (x, y) `at`."""
    x0, y0, x1, y1 = box
    high, wide = shape[:2]
    if turns < 0:
        x0, y0, x1, y1 = y0, high - x1, y1, high - x0
    else:
        x0, y0, x1, y1 = wide - y1, x0, wide - y0, x1
    return (at[0] + x0, at[1] + y0, at[0] + x1, at[1] + y1)


def _is_on(box: Box, line: Box) -> bool:
    """Return whether a bar is an upright line: over it, and hardly longer or shorter.

    Its plate's paper next to a bar is a shorter upright, where words end it.
    """
    over = box[0] <= line[2] and line[0] <= box[2]
    room = 2 * _STEP + 0.05 * (line[3] - line[1])
    around = box[1] <= line[1] and line[3] <= box[3]
    same = max(abs(box[1] - line[1]), abs(box[3] - line[3])) <= room
    return over and (same or (around and box[3] - box[1] < _LONGER * (line[3] - line[1])))
