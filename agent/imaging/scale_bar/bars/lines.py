# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect straight lines drawn by a program: of one colour, sharp, much thinner than long.

A bright needle has none of this to the pixel; a drawn line falls off within two pixels above and
below along nearly all of its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs
from agent.imaging.scale_bar.bars.chequered import are_cells, measure_chequered
from agent.imaging.scale_bar.bars.hollow_bars import find_hollow_bars
from agent.imaging.scale_bar.bars.line import Line, count_from_top
from agent.imaging.scale_bar.bars.planes import (
    COLOUR_PLANE,
    ROWS,
    compute_contrast,
    compute_crispness,
    compute_median,
    compute_one_sided_crispness,
    compute_share,
    find_parts,
)

Plane = NDArray[Any]  # (h, w) grey

_STEP = 4  # columns: search in every fourth, measurement in all
_MOST = 160  # measured candidates of one mask, the longest first
_CONTRAST = 40  # grey values between a line and the rows above and below it
_FULL = 220  # grey value that most lines have in the plane where they are bright …
_SATURATED = 250  # … and ink on texture that is nearly as bright
_OF_SATURATED = 20  # grey values that compression takes from saturated ink


def find_lines(
    planes: list[Plane], number: int, *, thick_px: int | None = None, least_px: int | None = None
) -> Iterator[Line]:
    """Yield the straight bright lines of one plane.

    Args:
        planes: (h, w) uint8 each, graphics bright.
        number: Index of the plane.
        thick_px: Upper limit of the thickness, pixels; None: by the height of the plane.
        least_px: Lower limit of the length, pixels; None: by the width of the plane.
    """
    plane = planes[number]
    height, width = plane.shape
    thick = compute_max_thickness(height) if thick_px is None else thick_px
    least = max(13, round(0.017 * width)) if least_px is None else least_px
    runs = _keep_long_runs(plane, least | 1)  # odd: an even one shifts a pixel
    for mask in _iter_masks(runs, thick):
        parts = _select_likely(find_parts(mask), thick, plane.shape)
        yield from find_hollow_bars(plane, parts, thick, number)
        for x, y, wide, high in parts:
            box = (x, y, min(width, x + wide - _STEP + 1), y + high)
            line = measure_chequered(plane, box, number) or _measure(plane, box, number)
            if line is not None:
                yield line


def _iter_masks(runs: Plane, thick: int) -> Iterator[Plane]:
    """Yield masks of thin contrasting parts: all, those of high contrast, full, saturated."""
    upright = np.ones((thick, 1), np.uint8)
    thin = cv2.subtract(runs, cv2.morphologyEx(runs, cv2.MORPH_OPEN, upright))
    stands_out = cv2.inRange(thin, _CONTRAST, 255)
    yield stands_out
    yield cv2.inRange(thin, 3 * _CONTRAST, 255)
    full = cv2.bitwise_and(stands_out, cv2.inRange(runs, _FULL, 255))
    yield full
    saturated = cv2.bitwise_and(stands_out, cv2.inRange(runs, _SATURATED, 255))
    if cv2.countNonZero(saturated) != cv2.countNonZero(full):
        yield saturated


def compute_max_thickness(height: int) -> int:
    """Return the largest line thickness in an image of this height, both in pixels; odd."""
    return int(np.clip(0.055 * height, 12, 81)) | 1


def _select_likely(parts: NDArray[Any], thick: int, shape: tuple[int, ...]) -> list[list[int]]:
    """Return the parts of a sampled mask as long and full as a line: x, y, w, h."""
    height, width = shape
    parts[:, [0, 2]] *= _STEP
    y, w, h, area = parts[:, 1], parts[:, 2], parts[:, 3], parts[:, 4] * _STEP
    least = np.where(h >= 4, 0.55, 0.75)  # of a bar of full and outlined cells, half is drawn
    likely = (area >= least * w * h) & (w >= 1.8 * h) & (h < thick) & (w < 0.95 * width)
    likely &= (y > 0) & (y + h < height)  # what touches the image's edge continues beyond it
    best = np.argsort(-(w * likely))[:_MOST]
    chosen: list[list[int]] = parts[best[likely[best]], :4].tolist()
    return chosen


def _keep_long_runs(plane: Plane, shortest: int) -> Plane:
    """Return what is bright over `shortest` columns, in every fourth column."""
    runs = np.empty((len(plane), -(-plane.shape[1] // _STEP)), np.uint8)
    kernel = np.ones((1, shortest), np.uint8)
    for top in range(0, len(plane), ROWS):
        opened = cv2.morphologyEx(plane[top : top + ROWS], cv2.MORPH_OPEN, kernel)
        runs[top : top + ROWS] = opened[:, ::_STEP]
    return runs


def _measure(plane: Plane, box: Box, number: int) -> Line | None:
    """Return the candidate measured to the pixel, or None."""
    tone = _find_tone(plane, box)
    if tone is None:
        return None
    level, exact = tone
    box = _drop_needles(plane, box, level)
    contrast = compute_contrast(plane, box, level, 0.55 if exact else 0.7)
    if contrast < _CONTRAST:
        return None
    least = level - 0.55 * contrast
    x0, y0, x1, y1 = box = _trim_rows(plane, box, least)
    filled = compute_share(plane[(y0 + y1) // 2, x0:x1] >= least)
    rim = box if filled > 0.8 else (x0, y0, x1, y0 + 2)  # an outlined cell is empty in its middle
    ends = _find_ends(plane, rim, level, 0.1) if exact else None
    if ends is None or not _are_hard(plane, ends, (rim[1] + rim[3]) // 2, level - contrast):
        ends = _find_ends(plane, rim, level, 0.45 if number == COLOUR_PLANE else 0.4)
    if ends is None:
        return None
    crisp = compute_crispness(plane, box, level - 0.6 * contrast)
    crisp = max(crisp, compute_one_sided_crispness(plane, box, level))
    box = (ends[0], y0, ends[1], y1)
    checker = (
        _find_outlined_cells(plane, box, least)
        if filled > 0.8
        else _find_chequered_cells(plane, box, least)
    )
    if checker is not None:
        length = float(checker[2] - checker[0])
        return Line(checker, length, exact, contrast, crisp, "checker", core=checker, plane=number)
    if filled < 0.75:
        return None
    line = Line(box, float(ends[1] - ends[0]), exact, contrast, crisp, core=box, plane=number)
    return _add_ticks(plane, line, level)


def _drop_needles(plane: Plane, box: Box, level: float) -> Box:
    """Return the box without three or more edge rows that hold only adjacent needles."""
    x0, y0, x1, y1 = box
    if y1 - y0 < 4:
        return box
    full = np.flatnonzero((plane[y0:y1, x0:x1:3] >= level - 50).mean(axis=1) > 0.5)
    if not full.size:
        return box
    above, below = int(full[0]), y1 - y0 - 1 - int(full[-1])
    return (x0, y0 + above * (above > 2), x1, y1 - below * (below > 2))


def _trim_rows(plane: Plane, box: Box, least: float) -> Box:
    """Return the box without first and last rows that have lost half of the line's ink."""
    x0, y0, x1, y1 = box
    drawn = np.flatnonzero(np.median(plane[y0:y1, x0:x1:3], axis=1) >= least)
    return (x0, y0 + int(drawn[0]), x1, y0 + int(drawn[-1]) + 1) if drawn.size else box


def _find_tone(plane: Plane, box: Box) -> tuple[float, bool] | None:
    """Return the tone of a line and whether all of it has exactly that tone, or None.

    What is as bright three rows above and below is no line; most candidates end there.
    """
    x0, y0, x1, y1 = box
    inside = plane[y0:y1, x0:x1]
    sampled = inside[:, :: max(1, (x1 - x0) // 12)]
    brightest = int(np.argmax(sampled.sum(axis=1)))
    core = inside[brightest]
    above, below = max(0, y0 - 3), min(len(plane) - 1, y1 + 2)
    beside = plane[above : below + 1 : below - above, x0:x1:3]
    middling = int(np.sort(sampled[brightest])[len(sampled[0]) // 2])
    if compute_share(beside < middling - 18) < 0.5:  # an end may lie on an outline
        return None
    core = core.astype(np.int16)
    level = compute_median(core)
    spread = np.abs(core - level)
    if level < 90 or compute_share(spread > 0.18 * level) > 0.07:
        return None
    return level, compute_share(spread <= 1) > 0.97


def _find_outlined_cells(plane: Plane, box: Box, least: float) -> Box | None:
    """Return the box of a bar of full and empty cells, if `box` is one of its full cells."""
    x0, y0, x1, y1 = box
    if y1 - y0 < 5:
        return None
    drawn = np.minimum(plane[y0 : y0 + 2].max(axis=0), plane[y1 - 2 : y1].max(axis=0)) >= least
    left = x0 - int(np.argmin(drawn[:x0][::-1])) if not drawn[:x0].all() else 0
    right = x1 + int(np.argmin(drawn[x1:])) if not drawn[x1:].all() else len(drawn)
    empty = [*plane[(y0 + y1) // 2, left:x0], *plane[(y0 + y1) // 2, x1:right]]
    if len(empty) < 0.8 * (x1 - x0) or float(np.mean(np.array(empty) < least)) < 0.3:
        return None
    return (left, y0, right, y1)


def _find_chequered_cells(plane: Plane, box: Box, least: float) -> Box | None:
    """Return the box if it is a bar of full and outlined cells, else None."""
    x0, y0, x1, y1 = box
    rims = plane[[y0, y1 - 1], x0:x1] >= least
    middle = plane[(y0 + y1) // 2, x0:x1] >= least
    return box if compute_share(rims) > 0.9 and are_cells(middle) else None


def _find_ends(plane: Plane, box: Box, level: float, share: float) -> tuple[int, int] | None:
    """Return where the line has lost a share of its height, or None where it fades out."""
    x0, y0, x1, y1 = box
    width = plane.shape[1]
    middle = (y0 + y1) // 2
    rows = plane[max(y0, middle - 2) : min(y1, middle + 3)].max(axis=0).astype(np.int16)
    reach = 8 + _STEP
    outer = [rows[max(0, x0 - reach) : x0], rows[x1 : min(width, x1 + reach)]]
    levels = [float(side.min()) if side.size else 0.0 for side in outer]
    if max(levels) > level - 30:
        return None
    left = _find_crossing(rows, x0, -1, level - share * (level - levels[0]))
    right = _find_crossing(rows, x1 - 1, 1, level - share * (level - levels[1]))
    return (left, right + 1) if right - left > 8 else None


def _are_hard(plane: Plane, ends: tuple[int, int], y: int, paper: float) -> bool:
    """Return whether a line falls off within one pixel at both ends, which JPEG prevents."""
    beyond = [x for x in (ends[0] - 1, ends[1]) if 0 <= x < plane.shape[1]]
    drawn = (int(plane[y, ends[0]]) + int(plane[y, ends[1] - 1])) / 2
    return all(int(plane[y, x]) < paper + 0.5 * (drawn - paper) for x in beyond)


def _find_crossing(rows: Plane, start: int, step: int, threshold: float) -> int:
    """Return the last pixel of the line, walking outwards while it continues, else inwards."""
    at = start
    while 0 <= at + step < len(rows) and rows[at + step] >= threshold and abs(at - start) < 13:
        at += step
    while 0 <= at - step < len(rows) and rows[at] < threshold and abs(at - start) < 13:
        at -= step
    return at


def _add_ticks(plane: Plane, line: Line, level: float) -> Line:
    """Return the line with the uprights at its ends: ticks of a bar, or sides of a box."""
    x0, y0, x1, y1 = line.box
    least = level - float(np.clip(0.3 * line.contrast, 20, 70))
    left, right = _find_uprights(plane, line.box, least)
    if left and right and not _are_level(left, right) and level >= _SATURATED:
        # a grain at a tick is less bright than saturated ink
        left, right = _find_uprights(plane, line.box, level - _OF_SATURATED)
    left = None if left is None or left[0] > x0 + (4 if left[3] - left[2] > 11 else 2) else left
    reach = 5 if right is not None and right[3] - right[2] > 11 else 3
    right = None if right is None or right[0] < x1 - reach else right
    line = replace(line, ticks=(left, right))  # but for the head of an arrow, a ruler's second
    if left is None or right is None:
        return line
    (la, lb, ltop, lbottom), (rb, ra, rtop, rbottom) = left, right
    tall = max(lbottom, rbottom) - min(ltop, rtop)
    line = replace(line, line_px=(ra + rb) / 2 - (la + lb) / 2)
    if not _are_level(left, right) or tall > min(0.12 * plane.shape[0] + 20, 1.1 * line.width):
        return replace(line, framed=True)
    one_sided = ltop >= y0 - 1 or lbottom <= y1 + 1
    far = slice(lbottom - 4, lbottom) if ltop >= y0 - 1 else slice(ltop, ltop + 4)
    if one_sided and _is_closed(plane[far, x0:x1], level - 0.5 * line.contrast):
        return replace(line, framed=True)
    side = plane[ltop + 1 : y0] if ltop < y0 - 2 else plane[y1 : lbottom - 1][::-1]
    outer = ((la + lb) / 2, (ra + rb) / 2)
    fits = _fit_spacing(side >= least, (x0, x1), outer) if one_sided else None
    if fits is None:  # no ticks between: which of two near an end is the end is unknown
        between = plane[max(ltop, rtop) : min(lbottom, rbottom), x0:x1]
        fits = not _has_tick_near_end(between >= least)
    if not fits:
        return replace(line, framed=True)
    box = (min(x0, la), min(ltop, rtop), max(x1, rb + 1), max(lbottom, rbottom))
    return replace(line, box=box, kind="ruler" if one_sided else "caps")


def _find_uprights(plane: Plane, box: Box, least: float) -> tuple[Box | None, Box | None]:
    """Return the uprights at the left and at the right end of a line; see `_find_upright`."""
    x0, y0, x1, y1 = box
    left = _find_upright(plane, range(x0 - 1, x0 + 9), y0, y1, least)
    right = _find_upright(plane, range(x1, x1 - 10, -1), y0, y1, least)
    return left, right


def _are_level(left: Box, right: Box) -> bool:
    """Return whether two uprights begin and end at the same rows."""
    return abs(left[2] - right[2]) <= 4 and abs(left[3] - right[3]) <= 4


def _fit_spacing(
    bright: NDArray[np.bool_], ends: tuple[int, int], outer: tuple[float, float]
) -> bool | None:
    """Return whether the outer ticks of a ruler have the spacing of those between; None: of none.

    Args:
        bright: (h, w) bool, the rows of the ticks; the last one is next to the line.
        ends: Left and right end of the line.
        outer: Centres of the outer ticks.
    """
    rows = bright[:, ends[0] : ends[1]]
    if not len(rows):
        return None
    near = rows[-2:] if len(rows) > 2 else rows
    runs = [(a, b) for a, b in find_runs(np.asarray(near.all(axis=0))) if b - a <= 8]
    inner = np.array([ends[0] + (a + b - 1) / 2 for a, b in runs])
    inner = inner[(inner > outer[0] + 4) & (inner < outer[1] - 4)]
    if len(inner) < 4:
        return None
    steps = np.diff(inner)
    step = float(np.median(steps))
    if np.abs(steps - step).max() > max(1.5, 0.15 * step):
        return None
    gaps = np.array([inner[0] - outer[0], outer[1] - inner[-1]])
    return bool((np.abs(gaps - step) <= max(2.0, 0.2 * step)).all())


def _has_tick_near_end(bright: NDArray[np.bool_]) -> bool:
    """Return whether an upright as tall as the ticks at the ends stands near one of them.

    Args:
        bright: (h, w) bool, the rows that both ticks have, from end to end of the line.
    """
    width = bright.shape[1]
    uprights = find_runs(np.asarray(bright.all(axis=0)))
    inner = [(a + b) / 2 for a, b in uprights if a > 8 and b < width - 8]
    return len(inner) < 3 and any(min(x, width - x) < 0.2 * width for x in inner)


def _is_closed(rows: Plane, least: float) -> bool:
    """Return whether a row is bright along nearly all columns; blur pales the rim of an outline."""
    return bool(np.mean(rows >= least, axis=1).max() > 0.9)


def _find_upright(
    plane: Plane, columns: range, y0: int, y1: int, least: float
) -> tuple[int, int, int, int] | None:
    """Return the outermost columns that extend above or below, or None.

    Returns:
        (outer, inner, top, bottom).
    """
    height, width = plane.shape
    thick = y1 - y0
    first, middle = max(0, y0 - height // 5), (y0 + y1) // 2
    left, right = max(0, min(columns)), min(width, max(columns) + 1)
    bright = plane[first : y1 + height // 5, left:right] >= least
    tops = middle + 1 - count_from_top(bright[: middle - first + 1][::-1])
    feet = middle + count_from_top(bright[middle - first :])
    stands = feet - tops >= max(thick + 4, 1.5 * thick)
    uprights: list[tuple[int, int, int]] = []
    for x in columns:
        if left <= x < right and stands[x - left]:
            uprights.append((x, int(tops[x - left]), int(feet[x - left])))
        elif uprights:
            break
    if not uprights or len(uprights) > max(5, thick + 3):
        return None
    highs = [b - t for _, t, b in uprights]
    if len(highs) > 2 and highs[0] < 0.75 * max(highs) <= 0.85 * highs[1]:
        uprights, highs = uprights[1:], highs[1:]  # a column that blur has left half of the ink
    if highs[0] < 0.75 * max(highs):
        return None  # it rises from a point: the head of an arrow
    top, bottom = (int(np.median([column[side] for column in uprights])) for side in (1, 2))
    return uprights[0][0], uprights[-1][0], top, bottom
