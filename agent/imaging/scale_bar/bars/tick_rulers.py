# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect rulers that consist of ticks or dots without a line."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box
from agent.imaging.scale_bar.bars.line import Line, translate
from agent.imaging.scale_bar.bars.planes import find_parts

Plane = NDArray[Any]  # (h, w) grey
Ticks = NDArray[Any]  # (n, 5): x, y, width, height, area

_LEAST_TICKS = 5
_USUAL_INTERVALS = (4, 5, 10, 20, 25, 50)  # between the ticks of a ruler
_MOST_TICKS = 60
_TALLEST, _WIDEST, _THIN = 70, 9, 5  # pixels, of a tick
_FULL, _OF_INK = 225, 130  # grey value of thick ticks, and above their paper: texture is seldom so
_NEAR = 0.25  # share of the height at the top and the bottom that is searched
_LEAST_DOTS, _DOT_PX = 8, (2, 9)  # of a row of dots, and their sides
_DOT_INKS = (150, 225)  # grey values of dots on the paper of a band, and of those on steel
_OFF_PLACE_PX, _OF_TWO = 0.8, 0.01  # of a dot; of two lengths of one row, that of its steps too
_MOST_OF_DOTS = 0.3  # share of a plane as bright as dots, from which it is not searched
_OF_DOT = 0.5  # of its area: ink between dots is less


def find_combs(plane: Plane, *, near: float = _NEAR) -> Iterator[Line]:
    """Yield rulers of ticks or dots without a line near the top or the bottom of a plane.

    Args:
        plane: (h, w) uint8, ticks bright.
        near: Share of the height searched from the top and from the bottom; 1: all of it.
    """
    height = plane.shape[0]
    deep = round(near * height)
    for top, foot in sorted({(0, deep), (height - deep, height)}):
        part = plane[top:foot]
        for least in _DOT_INKS:
            yield from (translate(dots, 0, top) for dots in _find_dots(part, least))
        mask = _mask_uprights(part)
        tops = _find_end_rows(mask[2:], mask[1:-1], part[2:], part[:-2])[::-1] + 2
        feet = _find_end_rows(mask[:-2], mask[1:-1], part[:-2], part[2:]) + 1
        if not tops.size and not feet.size:
            continue
        ticks = _detect_ticks(mask, tops, feet)
        for ends, rows in ((ticks[:, 1], tops), (ticks[:, 1] + ticks[:, 3], feet)):
            for y in rows:
                comb = _build_from_row(part, ticks[np.abs(ends - y) <= 1])
                if comb is not None:
                    yield translate(comb, 0, top)


def _find_dots(plane: Plane, least: int) -> Iterator[Line]:
    """Yield rows of equal dots at equal distances, whose first to last is the length.

    Args:
        plane: (h, w) uint8, dots bright.
        least: Their grey value at least.
    """
    mask = cv2.inRange(plane, least, 255)
    if cv2.countNonZero(mask) > _MOST_OF_DOTS * mask.size:
        return
    stats = find_parts(mask)
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    small = (np.minimum(w, h) >= _DOT_PX[0]) & (np.maximum(w, h) <= _DOT_PX[1])
    dots = stats[small & (np.abs(w - h) <= 1) & (area >= 0.6 * w * h)]
    for y in np.unique(dots[:, 1]):
        level = dots[np.abs(dots[:, 1] - y) <= 1]
        run = _find_even_run(level) if len(level) >= _LEAST_DOTS else level[:0]
        line = _measure_dots(plane, mask, run) if len(run) >= _LEAST_DOTS else None
        if line is not None:
            yield line


def _measure_dots(plane: Plane, mask: Plane, run: Ticks) -> Line | None:
    """Return the row of dots, or None where one is missing or where more than dots is drawn.

    A row that lost its first or last dot has no usual number of steps.
    """
    top, foot = int(run[:, 1].min()), int((run[:, 1] + run[:, 3]).max())
    x0, x1 = int(run[0, 0]), int(run[-1, 0] + run[-1, 2])
    if len(run) - 1 not in _USUAL_INTERVALS or np.ptp(run[:, 3]) > 1:
        return None
    centres = np.array([_compute_middle(plane, dot) for dot in run])
    counts = np.arange(len(run))
    step, start = np.polyfit(counts, centres, 1)
    length = float(centres[-1] - centres[0])
    by_steps = float(np.median(np.diff(centres))) * (len(run) - 1)
    uneven = float(np.abs(start + step * counts - centres).max()) > _OFF_PLACE_PX
    if uneven or abs(by_steps / length - 1) > max(_OF_TWO, 1 / length):
        return None
    around = mask[max(0, top - 2) : foot + 2, x0:x1]
    others = cv2.countNonZero(around) - int(run[:, 4].sum())
    if others > _OF_DOT * float(np.median(run[:, 4])):
        return None
    paper = float(np.median(plane[max(0, top - 2) : foot + 2, x0:x1]))
    drawn = float(np.median([plane[y : y + h, x : x + w].max() for x, y, w, h, _ in run]))
    if drawn - paper < 50:
        return None
    box = (x0, top, x1, foot)
    ends = [(int(x), int(x + w - 1), int(y), int(y + h)) for x, y, w, h, _ in run[[0, -1]]]
    contrast = drawn - paper
    return Line(
        box, length, exact=True, contrast=contrast, kind="comb", core=box, ticks=(ends[0], ends[1])
    )


def _compute_middle(plane: Plane, dot: Ticks) -> float:
    """Return the middle of a dot with its blurred edges, in columns."""
    x, y, w, h, _ = dot.tolist()
    left = max(0, x - 1)
    rows = plane[y : y + h, left : x + w + 1].astype(np.float32).mean(axis=0)
    ink = rows - rows.min()
    return float(left) + float(ink @ np.arange(len(ink)) / max(1.0, float(ink.sum())))


def _build_from_row(plane: Plane, ticks: Ticks) -> Line | None:
    """Return the ruler among ticks that begin or end on one row, or None.

    Between its first and last tick there may be squares; a row of squares alone is one of dots.
    """
    run = _find_even_run(ticks) if len(ticks) >= _LEAST_TICKS else ticks
    if len(run) < _LEAST_TICKS or np.any(run[[0, -1], 3] <= run[[0, -1], 2] + 1):
        return None
    return _measure_comb(plane, run)


def _mask_uprights(plane: Plane) -> Plane:
    """Return a mask of thin upright strokes."""
    up = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((5, 1), np.uint8))
    thin, thick = (
        cv2.subtract(up, cv2.morphologyEx(up, cv2.MORPH_OPEN, np.ones((1, wide), np.uint8)))
        for wide in (_THIN + 2, _WIDEST + 2)
    )
    ink = cv2.bitwise_and(cv2.inRange(thick, _OF_INK, 255), cv2.inRange(up, _FULL, 255))
    return np.asarray(cv2.bitwise_or(cv2.inRange(thin, 61, 255), ink))


def _find_end_rows(mask: Plane, next_row: Plane, plane: Plane, beyond: Plane) -> NDArray[np.intp]:
    """Return rows in which as many strokes end abruptly as a ruler has ticks.

    Args:
        mask: (h, w), strokes.
        next_row: (h, w), `mask` shifted by one row.
        plane: (h, w), brightness.
        beyond: (h, w), `plane` shifted by two rows.
    """
    ends = cv2.subtract(mask, next_row)
    count = _count_set(ends)
    rows = _find_full_rows(count)  # most images have few or none where anything ends
    if rows.size:
        falls = cv2.inRange(cv2.subtract(plane[rows], beyond[rows]), 51, 255)
        ends = cv2.bitwise_and(ends[rows], falls)
        count[:] = 0
        count[rows] = _count_set(cv2.subtract(ends[:, 1:], ends[:, :-1]))
    return _find_full_rows(count)


def _count_set(mask: Plane) -> NDArray[np.int32]:
    """Return the number of set pixels in each row."""
    return np.asarray(cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] // 255, np.int32)


def _find_full_rows(count: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return rows that have, with the next or previous row, as many ends as a ruler has ticks."""
    level = np.append(count[1:] + count[:-1] >= _LEAST_TICKS, [False])
    return np.flatnonzero((level | np.roll(level, 1)) & (count > 0))


def _detect_ticks(mask: Plane, tops: NDArray[np.intp], feet: NDArray[np.intp]) -> Ticks:
    """Return short thin strokes near some rows: below tops, above feet."""
    near = np.zeros(len(mask), bool)
    for y in tops:
        near[y : y + _TALLEST + 3] = True
    for y in feet:
        near[max(0, y - _TALLEST - 3) : y] = True
    mask[~near] = 0
    stats = find_parts(mask)
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    slender = (w <= _THIN) | ((w <= _WIDEST) & (h >= 2 * w))  # squares are dashes
    return _join_parts(stats[slender & (h >= 5) & (h <= _TALLEST) & (area >= 0.6 * w * h)])


def _join_parts(ticks: Ticks) -> Ticks:
    """Return ticks with the parts above and below a crossing object joined."""
    ticks = ticks[np.lexsort((ticks[:, 1], ticks[:, 0]))]
    whole: list[list[int]] = []
    for x, y, w, h, area in ticks.tolist():
        last = whole[-1] if whole else [-9, 0, 0, 0, 0]
        gap = y - last[1] - last[3]
        if x == last[0] and w == last[2] and 0 < gap <= 0.3 * (y + h - last[1]):
            last[3], last[4] = y + h - last[1], last[4] + area
        else:
            whole.append([x, y, w, h, area])
    return np.array(whole, int).reshape(-1, 5)


def _find_even_run(ticks: Ticks) -> Ticks:
    """Return the longest run of ticks of one spacing and width; one in four may be missing."""
    ticks = ticks[np.argsort(ticks[:, 0])]
    best = ticks[:0]
    for width in np.unique(ticks[:, 2]):
        alike = ticks[np.abs(ticks[:, 2] - width) <= 1]
        if len(alike) <= len(best):
            continue
        centres = alike[:, 0] + (alike[:, 2] - 1) / 2
        last = len(alike) - 1
        back = [last - i for i in reversed(_find_longest((-centres[::-1]).tolist()))]
        runs = [_find_longest(centres.tolist()), back]
        longest = max(runs, key=len)
        best = alike[longest] if len(longest) > len(best) else best
    return best


def _find_longest(centres: list[float]) -> list[int]:
    """Return indices of the longest evenly spaced run."""
    best: list[int] = []
    for first in range(len(centres) - _LEAST_TICKS + 1):
        if len(centres) - first <= len(best):
            break
        for second in range(first + 1, min(first + 3, len(centres))):
            step = centres[second] - centres[first]
            run = _follow_run(centres, first, second) if 3.5 <= step <= 150 else []
            if len(run) > len(best):
                best = run
    return best


def _follow_run(centres: list[float], first: int, second: int) -> list[int]:
    """Return the ticks that keep the spacing of the first two."""
    run, count, lost = [first, second], 1, 0
    start = centres[first]
    step = centres[second] - start
    while True:
        aim = start + step * (count + 1 + lost)
        near = _find_nearest(centres, aim)
        if abs(centres[near] - aim) <= max(1.5, 0.14 * step) and near > run[-1]:
            run.append(near)
            count += 1 + lost
            lost = 0
            step = (centres[near] - start) / count
        elif lost == 0:
            lost = 1
        else:
            return run if len(run) > 0.75 * count else []


def _find_nearest(centres: list[float], aim: float) -> int:
    """Return the first index nearest to an aim; centres ascend. Called a million times on noise."""
    after = bisect_left(centres, aim)
    if after == 0:
        return 0
    before = centres[after - 1]
    if after < len(centres) and centres[after] - aim < aim - before:
        return after
    return bisect_left(centres, before)


def _measure_comb(plane: Plane, run: Ticks) -> Line | None:
    """Return the ruler of a run of ticks, or None.

    The run defines where ticks are; each one is measured in the plane, since a tick that touches a
    grain or a letter was not detected alone.
    """
    top, foot = int(run[:, 1].max()), int((run[:, 1] + run[:, 3]).min())
    if foot - top < 4:
        return None
    rows = plane[top:foot]
    wide = round(float(np.median(run[:, 2])))
    places = _fit_places(run)
    drawn = float(np.median(rows[:, run[:, 0] + (run[:, 2] - 1) // 2]))
    paper = float(np.median(rows[:, run[0, 0] : run[-1, 0]]))
    if drawn - paper < 50:
        return None
    least = (drawn + paper) / 2
    step = places[1] - places[0]

    def tick_at(x: float) -> Box:
        """Return the tick at x."""
        return _measure_tick(plane, x, wide, (top, foot), least)

    def goes_on(x: float) -> bool:
        """Return whether the ruler has another tick at x."""
        room = len(places) <= _MOST_TICKS and not _is_whole(run)
        return room and _is_tick(rows, x, wide, least) and _is_like(tick_at(x), run)

    while goes_on(places[0] - step):
        places = np.insert(places, 0, places[0] - step)
    while goes_on(places[-1] + step):
        places = np.append(places, places[-1] + step)
    places = _add_hidden_tick(rows, places, least)
    ticks = [tick_at(x) for x in places]
    first, last = _match_ends(ticks)
    ticks = ticks[first : last + 1]
    if len(ticks) < _LEAST_TICKS or sum(tick[3] > tick[2] for tick in ticks) < 0.8 * len(ticks):
        return None
    x0, x1 = ticks[0][0], ticks[-1][1] + 1
    if x1 - x0 <= 20 or _is_filled(rows, ticks, least) or _has_line(plane, ticks, least):
        return None
    box = (x0, min(tick[2] for tick in ticks), x1, max(tick[3] for tick in ticks))
    length = (ticks[-1][0] + ticks[-1][1] - ticks[0][0] - ticks[0][1]) / 2
    ends = (ticks[0], ticks[-1])
    contrast = drawn - paper
    return Line(box, length, exact=True, contrast=contrast, kind="comb", core=box, ticks=ends)


def _is_whole(run: Ticks) -> bool:
    """Return whether a run begins and ends in tall ticks: what follows is a letter."""
    left, right = int(run[0, 3]), int(run[-1, 3])
    return abs(left - right) <= 2 and min(left, right) > 1.2 * float(np.median(run[:, 3]))


def _is_like(tick: Box, run: Ticks) -> bool:
    """Return whether a stroke next to a run is a tick: as tall as one, or a taller outer one."""
    tops, feet = np.abs(run[:, 1] - tick[2]) <= 1, np.abs(run[:, 1] + run[:, 3] - tick[3]) <= 1
    taller = tick[3] - tick[2] > 1.2 * float(np.median(run[:, 3]))
    return bool((tops & feet).any() or (taller and (tops.any() or feet.any())))


def _fit_places(run: Ticks) -> NDArray[Any]:
    """Return x of every tick of an evenly spaced run, missing ones included."""
    centres = run[:, 0] + (run[:, 2] - 1) / 2
    gaps = np.diff(centres)
    step = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    count = np.append(0, np.cumsum(np.rint(gaps / step)))
    step, start = np.polyfit(count, centres, 1)
    return np.asarray(start + step * np.arange(int(count[-1]) + 1))


def _is_tick(rows: Plane, x: float, wide: int, least: float) -> bool:
    """Return whether a tick is at x: full to its ends, and no wider than the others."""
    aside = wide + 2
    middle = round(x)
    if not aside < middle < rows.shape[1] - aside - 1:
        return False
    columns = rows[:, middle - 1 : middle + 2] >= least
    beside = rows[:, [middle - aside, middle + aside]].max(axis=1) < least
    return bool(columns.mean(axis=0).max() > 0.85 and beside.mean() > 0.6)


def _add_hidden_tick(rows: Plane, places: NDArray[Any], least: float) -> NDArray[Any]:
    """Return x of the ticks with the one more that a usual ruler has and a grain may hide."""
    step = places[1] - places[0]
    if len(places) - 1 in _USUAL_INTERVALS or len(places) not in _USUAL_INTERVALS:
        return places
    outer = [x for x in (places[0] - step, places[-1] + step) if _is_full(rows, x, least)]
    return np.sort(np.append(places, outer)) if len(outer) == 1 else places


def _is_full(rows: Plane, x: float, least: float) -> bool:
    """Return whether a column at x is full of ink, whatever is next to it; a grain hides a tick."""
    middle = round(x)
    if not 1 <= middle < rows.shape[1] - 1:
        return False
    columns = rows[:, middle - 1 : middle + 2] >= least
    return bool(columns.mean(axis=0).max() > 0.85)


def _measure_tick(plane: Plane, x: float, wide: int, rows: tuple[int, int], least: float) -> Box:
    """Return the tick at x as (left, right, top, foot), right inclusive; zero height: no tick."""
    top, foot = rows
    from_x = max(0, round(x) - 1 - wide // 2)
    share = (plane[top:foot, from_x : round(x) + 2 + wide // 2] >= least).mean(axis=0)
    full = np.flatnonzero(share > 0.7)
    if (
        not full.size or full[-1] - full[0] > wide + 1
    ):  # it touches something: use the expected place
        left = round(x - (wide - 1) / 2)
        return (left, left + wide - 1, top, foot if full.size else top)
    left, right = from_x + int(full[0]), from_x + int(full[-1])
    column = plane[:, (left + right) // 2] >= least
    while top > 0 and column[top - 1] and foot - top < _TALLEST:
        top -= 1
    while foot < len(column) and column[foot] and foot - top < _TALLEST:
        foot += 1
    return (left, right, top, foot)


def _match_ends(ticks: list[Box]) -> tuple[int, int]:
    """Return first and last tick of a ruler: its outer ticks match in top, foot and height."""
    first, last = 0, len(ticks) - 1
    while last > first:
        (_, _, top, foot), (_, _, other_top, other_foot) = ticks[first], ticks[last]
        left, right = foot - top, other_foot - other_top
        room = max(1, 0.1 * max(left, right))
        if max(abs(top - other_top), abs(foot - other_foot), abs(left - right)) <= room:
            break
        first, last = (first + 1, last) if left < right else (first, last - 1)
    return first, last


def _has_line(plane: Plane, ticks: list[Box], least: float) -> bool:
    """Return whether the ticks touch a line: that ruler is detected as a line."""
    x0, x1 = ticks[0][0], ticks[-1][1] + 1
    tops, feet = ([tick[i] for tick in ticks] for i in (2, 3))
    rows = plane[max(0, min(tops) - 1) : max(feet) + 1, x0:x1]
    return bool((rows >= least).mean(axis=1).max() > 0.9)


def _is_filled(rows: Plane, ticks: list[Box], least: float) -> bool:
    """Return whether the gaps are so full that the ticks are stripes of something else."""
    gaps = [rows[:, a[1] + 2 : b[0] - 1] for a, b in pairwise(ticks)]
    if not all(gap.size for gap in gaps):
        return True
    filled = [float(np.mean(gap > least)) for gap in gaps]
    most, usual = (0.14, 0.1) if len(ticks) < 9 else (0.3, 0.3)
    return float(np.mean(filled)) > most or float(np.median(filled)) > usual
