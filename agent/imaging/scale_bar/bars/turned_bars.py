"""Find bars that stand upright: as level ones of a turned part, with their words turned or level.

Only the part around a straight upright line of full ink is turned and read, so that a picture
without one costs two erosions of every eighth row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box
from agent.imaging.scale_bar.bars.candidates import find_candidates
from agent.imaging.scale_bar.bars.figures import find_figure
from agent.imaging.scale_bar.bars.line import FoundBar, Line, drop_duplicates, measure_colour
from agent.imaging.scale_bar.bars.line_length import measure_length
from agent.imaging.scale_bar.bars.planes import compute_planes, find_parts
from agent.imaging.scale_bar.bars.second_length import has_other_length
from agent.imaging.scale_bar.bars.tick_rulers import find_combs
from agent.imaging.scale_bar.doubts import ends_in_texture, has_hidden_end, has_unsure_label
from agent.imaging.scale_bar.labels.bar_label import BarLabel, build_label
from agent.imaging.scale_bar.labels.lengths import Length
from agent.imaging.scale_bar.labels.ocr import detect_texts, read_lengths
from agent.imaging.scale_bar.matching import is_believable

_STEP = 8  # rows: search in every eighth
_FULL = 200  # grey value of drawn ink in the plane where it is bright, also in a reduced picture
_LEAST = 0.05  # of the height of the picture: shortest upright line
_WIDEST_PX, _WIDEST = 16, 0.025  # thickness of a line: pixels, or share of the picture's height
_SLENDER = 4.0  # least length of a line, in thicknesses
_FILLED, _APART = 0.9, 0.85  # share of a line that is full; of its sides that are not
_TICKED = 0.6  # the same of the side on which a ruler has its ticks
_LEAST_STEP, _SIDE_PX = 60, 3  # grey values between a line and its sides, or its outline there
_MOST, _MOST_USUAL = 2, 60  # lines that are read; slender parts, of which texture has more
_SAME = 0.01  # by which two lengths of one ruler differ at most
_WITH_CORE_PX, _EVEN, _OF_EVEN = 4, 12, 0.8  # thickness; grey values; share of ink that is even
_OF_TIP = 0.4  # share of the height of an arrow that its tips have
_OF_PART = 28  # least width of a part, in thicknesses of its line
_LONGER = 1.5  # of an upright, of which a bar is less than that
_FARTHEST, _TOUCHING_PX = 2.0, 2  # from a line to level words, in their heights; to its plate
_ASIDE_PX, _BEYOND_PX, _USUAL_PX = 120, 60, 1200  # room for words in a picture of a usual side


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


def find_standing_combs(pixels: NDArray[np.uint8], places: Sequence[Box]) -> list[FoundBar]:
    """Return the ruler of ticks without a line that stands left or right of a length.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        places: Boxes of words that were read without a bar.
    """
    for place in places:
        lengths = read_lengths([pixels], place)
        if len(lengths) != 1 or lengths[0].um is None:
            continue
        (x0, y0, x1, y1), [length] = place, lengths
        high, middle = y1 - y0, (y0 + y1) / 2
        aside, beyond = round(_FARTHEST * high) + _ASIDE_PX, len(pixels) // 2
        at = (max(0, x0 - aside), max(0, y0 - beyond))
        region = pixels[at[1] : y1 + beyond, at[0] : x1 + aside].copy()
        label = build_label(pixels, place, length)
        region[y0 - at[1] : y1 - at[1], x0 - at[0] : x1 - at[0]] = label.paper
        turned = np.ascontiguousarray(np.rot90(region, -1))
        combs = [comb for plane in compute_planes(turned) for comb in find_combs(plane, near=1.0)]
        bars = []
        for comb in drop_duplicates(combs):
            box = _turn_back(comb.box, region.shape, -1, at)
            bar = FoundBar(box, place, comb.line_px, length.words, length.um, comb.contrast)
            bar = replace(bar, ink=tuple(measure_colour(turned, comb)), kind="upright")
            near = _compute_gap(place, box) <= _FARTHEST * high
            near = near and abs((box[1] + box[3]) / 2 - middle) <= high
            if near and is_believable(length, comb) and _is_of_ink(bar, label):
                bars.append(bar)
        alike = all(abs(bar.line_px / bars[0].line_px - 1) < _SAME for bar in bars)
        if bars and alike and not has_unsure_label(pixels, bars[0]):
            return bars[:1]
    return []


def _read_level_words(
    pixels: NDArray[np.uint8], upright: Box, uprights: list[Box]
) -> FoundBar | None:
    """Return the bar of an upright line and the level words next to its middle or its ends.

    None where the words are next to another upright too.
    """
    x0, y0, x1, y1 = upright
    beyond = (y1 - y0) // 2 + _BEYOND_PX
    reading = _read_next_to(pixels, upright)
    if reading is None:
        return None
    length, words = reading
    label, high = build_label(pixels, words, length), words[3] - words[1]
    rivals = [line for line in uprights if _compute_gap(line, upright) > _TOUCHING_PX]
    if any(_compute_gap(words, line) <= _FARTHEST * high for line in rivals):
        return None
    wide, room = pixels.shape[1], _OF_PART * (x1 - x0)  # lines are lower than a part
    aside = max(_BEYOND_PX, wide // 10, room // 2)
    at = (max(0, min(x0 - aside, wide - room)), max(0, y0 - beyond))
    region = pixels[at[1] : y1 + beyond, at[0] : max(x1 + aside, room)]
    turned = np.ascontiguousarray(np.rot90(region, -1))
    for line in [*_list_arrows(turned, words, at, length), *_list_level_lines(turned)]:
        box = _turn_back(line.box, region.shape, -1, at)
        long = line.line_px if line.kind == "figure" else measure_length(turned, line)
        bar = FoundBar(line.box, None, long, length.words, length.um)
        colour = label.ink if line.kind == "figure" else measure_colour(turned, line)
        bar = replace(bar, contrast=line.contrast, ink=tuple(colour))
        measured = replace(bar, kind=line.kind)
        fits = _is_on(box, upright) and is_believable(length, line)
        fits = fits and _is_of_ink(bar, label)
        if fits and not _has_unsure_end(turned, measured):
            bar = replace(bar, line=box, label_box=words, kind="upright")
            return None if has_unsure_label(pixels, bar) else bar
    return None


def _is_of_ink(bar: FoundBar, label: BarLabel) -> bool:
    """Return whether a line has the ink of words rather than their paper's, as a shadow has."""
    of_ink, of_paper = (
        np.abs(np.array(bar.ink) - colour).max() for colour in (label.ink, label.paper)
    )
    return bool(of_ink < of_paper)


def _read_next_to(pixels: NDArray[np.uint8], upright: Box) -> tuple[Length, Box] | None:
    """Return the only length left or right of an upright's middle, else above or below it."""
    x0, y0, x1, y1 = upright
    middle, centre = (y0 + y1) // 2, (x0 + x1) // 2
    larger = max(1.0, max(pixels.shape) / _USUAL_PX)
    beyond = round(_BEYOND_PX * larger)
    windows = (
        (middle - _BEYOND_PX, middle + _BEYOND_PX, 1.0, middle),  # less texture first
        (middle - beyond, middle + beyond, larger, middle),
        (y0 - 2 * beyond, y0 - 1, larger, None),
        (y1 + 1, y1 + 2 * beyond, larger, None),
    )
    for top, foot, by, at in dict.fromkeys(windows):  # the first two are one in a usual picture
        aside = round(2 * _ASIDE_PX * by)
        left, right = max(0, x0 - aside), x1 + aside
        part = pixels[max(0, top) : max(0, foot), left:right].copy()
        if min(part.shape[:2]) < _BEYOND_PX // 2:
            continue
        if at is not None:
            part[:, x0 - left - 2 : x1 - left + 2] = part[:, x0 - left - 3 : x0 - left - 2]
        readings = [(box, read_lengths([part], box)) for box in detect_texts(part)]
        cut = any(box[0] <= _SIDE_PX < left and lengths for box, lengths in readings)
        readings = [(box, lengths) for box, lengths in readings if lengths]
        if not readings or cut:
            continue
        if len(readings) != 1 or len(readings[0][1]) != 1 or readings[0][1][0].um is None:
            return None
        (a0, b0, a1, b1), [length] = readings[0]
        words = (left + a0, max(0, top) + b0, left + a1, max(0, top) + b1)
        high = b1 - b0
        if at is not None:
            off, gap = abs((words[1] + words[3]) / 2 - at), _compute_gap(words, upright)
        else:
            off = abs((words[0] + words[2]) / 2 - centre)
            gap = max(words[1] - y1, y0 - words[3])
        return (length, words) if off <= high and gap <= _FARTHEST * high else None
    return None


def _list_arrows(
    turned: NDArray[np.uint8], words: Box, at: tuple[int, int], length: Length
) -> list[Line]:
    """Return the arrow of level words in a turned part, whose shaft alone is a line too."""
    wide = turned.shape[1]
    x0, x1 = (int(np.clip(x - at[0], 0, len(turned))) for x in (words[0], words[2]))
    y0, y1 = (int(np.clip(y - at[1], 0, wide)) for y in (words[1], words[3]))
    box = (wide - y1, x0, wide - y0, x1)
    if min(x1 - x0, y1 - y0) < _SIDE_PX:
        return []
    label = build_label(turned, box, length)
    bare = turned.copy()
    bare[box[1] : box[3], box[0] : box[2]] = label.paper
    high = y1 - y0  # the strip of words that is next to the line
    near = (box[1], box[1] + high) if box[1] + box[3] > len(turned) else (box[3] - high, box[3])
    figure = find_figure(bare, replace(label, box=(box[0], near[0], box[2], near[1])))
    if figure is None or not figure.sure or figure.line.kind != "figure":
        return []
    arrow = replace(figure.line, line_px=figure.length_px)
    left, top, right, foot = arrow.box
    ends = bare[top:foot, [left, right - 1]].astype(np.float32)
    way = (label.ink - label.paper).astype(np.float32)
    inked = ((ends - label.paper.astype(np.float32)) @ way > 0.5 * float(way @ way)).mean(axis=0)
    return [arrow] if inked.max() <= _OF_TIP else []  # not a line with a grain at its end


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
    widest = max(_WIDEST_PX, round(_WIDEST * len(plane)))
    least = max(5, round(_LEAST * len(full))) | 1  # an opening by an even number moves what is left
    runs = cv2.morphologyEx(full, cv2.MORPH_OPEN, np.ones((least, 1), np.uint8))  # ticks are lower
    wider = cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((1, (widest + 1) | 1), np.uint8))
    parts = find_parts(cv2.subtract(runs, wider))
    x, y, wide, high, area = parts.T
    kept = (wide <= widest) & (_STEP * high >= _SLENDER * wide) & (area >= _FILLED * wide * high)
    kept &= high >= least
    kept &= (x > _SIDE_PX) & (x + wide + _SIDE_PX < plane.shape[1])
    parts = parts[kept & (y > 0) & (y + high < len(full))]
    if len(parts) > _MOST_USUAL:
        return
    for left, first, across, along, _ in parts.tolist():
        top, foot = _STEP * first, _STEP * (first + along)
        rows = plane[top:foot:_STEP].astype(np.int16)
        inside = rows[:, left : left + across]
        core = inside[:, 1:-1] if across >= _WITH_CORE_PX else inside.max(axis=1, keepdims=True)
        level = float(np.median(core))
        if float(np.mean(np.abs(core - level) <= _EVEN)) < _OF_EVEN:
            continue  # a grain
        sides = (
            rows[:, left - _SIDE_PX : left].min(axis=1),
            rows[:, left + across : left + across + _SIDE_PX].min(axis=1),
        )
        ticked, apart = sorted(float(np.mean(side < level - _LEAST_STEP)) for side in sides)
        if ticked >= _TICKED and apart >= _APART:
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
    over = _compute_gap(box, line) <= _TOUCHING_PX  # or the plate's paper next to it
    room = 2 * _STEP + 0.05 * (line[3] - line[1])
    around = box[1] <= line[1] and line[3] <= box[3]
    same = max(abs(box[1] - line[1]), abs(box[3] - line[3])) <= room
    return over and (same or (around and box[3] - box[1] < _LONGER * (line[3] - line[1])))
