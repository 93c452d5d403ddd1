"""Decide whether a bar is that of an inset, a part of a figure, or covered in part."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs
from agent.imaging.scale_bar.bars.line import FoundBar
from agent.imaging.scale_bar.matching import TICKED

_OF_INK = 40  # grey values that compression leaves of one colour
_INSET_HEIGHTS, _OF_PICTURE = 2.5, 0.4  # heights of bar and words; share of the picture
_LEAST_INSET, _BAND = 0.12, 0.8  # of the picture's height; of its width, more is an info band's
_THICK_PX, _MOST = 12, 8  # thickness of a frame; uprights nearest to a bar on each side
_ROWS = 16  # of which a column is even
_OF_SIDE = 0.95  # of a side of a frame that has its colour
_OF_INSIDE = 0.5  # of what is in a frame that has its colour: more is a plate
_ALIKE_PX = 3  # by which ends of the sides of one frame differ
_EVEN = 10  # grey values that compression leaves of one colour
_LEAST_PLATE = 60  # grey values between a plate and ink
_UNEVEN, _MOST_WIDE = 0.15, 2.5  # of a bar, twice what is not its middle; of bar and words
_LEAST_UNEVEN = 2.0  # of the larger margin of a plate, in smaller ones
_LEAST_REACH_PX, _TICK_PX = 10, 2  # columns beyond a tick; of a tick that pale
_AROUND_PX = 5  # above and below a figure, where a dark micrograph next to a band has its ink too
_LIKE_INK, _CONTINUES = 0.35, 0.3  # share of a contrast; of each of those columns: texture has 0.2
_OF_UPRIGHT, _OF_STEM = 2, 0.5  # reach in lengths of a tick; share of it that its upright is wide
_OF_DRAWN = 0.03  # share of a row of ticks that is of one ink
_OF_ROW = 0.6  # of the ink of a row of ticks, that texture has above and below it
_OF_TICKS, _LEAST_TICKS = 32, 4  # reach in thicknesses of a tick; ticks of a ruler
_APART_PX = 3  # from the ends of a bar, where its ink pales
_LEAST_PX, _BEYOND_PX, _OF_BAND = 4, 60, 0.5  # of a margin; beyond it; share that has its colour
_OF_PLATE = 0.95  # of a margin that has its most usual colour
_OF_COLUMN = 0.3  # of a column beyond a plate that has another colour


def is_in_inset(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a closed frame around a part of the picture contains a bar.

    The part has a magnification of its own. A plate is hardly higher than bar and words.
    """
    x0, y0, x1, y1 = bar.bbox
    least = max(_INSET_HEIGHTS * (y1 - y0), _LEAST_INSET * len(pixels))
    left = _list_uprights(pixels, slice(y0, y1), range(x0), least)
    right = _list_uprights(pixels, slice(y0, y1), range(x1, pixels.shape[1]), least) if left else []
    sides = itertools.product(left[-_MOST:], right[:_MOST])
    return any(_is_frame(pixels, start, end) for start, end in sides)


def _list_uprights(
    pixels: NDArray[np.uint8], rows: slice, columns: range, least: float
) -> list[Box]:
    """Return upright lines of one colour that pass some rows, `least` high, left to right."""
    every = max(1, (rows.stop - rows.start) // _ROWS)  # texture is uneven in so many rows too
    part = pixels[rows.start : rows.stop : every, columns.start : columns.stop]
    if not part.size:
        return []
    even = (part.max(axis=0) - part.min(axis=0)).max(axis=1) <= _OF_INK
    steps = np.abs(np.diff(part.mean(axis=0), axis=0)).max(axis=1) > _OF_INK / 2
    starts = np.concatenate(([0], np.flatnonzero(steps) + 1, [len(even)]))
    uprights = []
    for first, last in itertools.pairwise(starts.tolist()):
        if last - first > _THICK_PX or not even[first:last].all():
            continue  # a plate, or texture
        column = columns.start + (first + last - 1) // 2
        ink = np.median(pixels[rows, column], axis=0)
        like = np.abs(pixels[:, column] - ink).max(axis=1) <= _OF_INK
        above, below = np.flatnonzero(~like[: rows.start]), np.flatnonzero(~like[rows.stop :])
        y0 = int(above[-1]) + 1 if above.size else 0
        y1 = rows.stop + int(below[0]) if below.size else len(pixels)
        if y1 - y0 >= least:
            uprights.append((column, y0, column + 1, y1))
    return uprights


def _is_frame(pixels: NDArray[np.uint8], left: Box, right: Box) -> bool:
    """Return whether two upright lines are sides of one frame around a part of the picture."""
    (x0, y0, _, y1), (_, b0, x1, b1) = left, right
    if max(abs(y0 - b0), abs(y1 - b1)) > _ALIKE_PX:
        return False
    height, width = pixels.shape[:2]
    is_band = x1 - x0 > _BAND * width
    if is_band or (x1 - x0) * (y1 - y0) > _OF_PICTURE * height * width:
        return False
    inside = pixels[max(y0, b0) : min(y1, b1), x0:x1].astype(np.int16)
    like = np.abs(inside - np.median(inside[:, 0], axis=0)).max(axis=2) <= _OF_INK
    sides = (like[:_ALIKE_PX].mean(axis=1).max(), like[-_ALIKE_PX:].mean(axis=1).max())
    closed = min(*sides, float(like[:, -1].mean())) >= _OF_SIDE
    if not closed or like.mean() >= _OF_INSIDE:
        return False
    top = max(y0, b0) + int(np.argmax(like[:_ALIKE_PX].mean(axis=1)))
    outside = np.concatenate((pixels[top, :x0], pixels[top, x1:])).astype(np.int16)
    continues = np.abs(outside - np.median(inside[:, 0], axis=0)).max(axis=1) <= _OF_INK
    return not (continues.size and continues.mean() >= _BAND)  # else a cell of an info band


def is_tick(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a level bar is a tick of an upright one, whose words state another length.

    Its ink goes on above or below it, straight and farther than the bar is long; or there are four
    and more such lines, evenly above each other, that begin or end on one column.
    """
    if bar.kind not in ("plain", "figure") or not bar.ink:
        return False
    x0, y0, x1, y1 = bar.line
    long, thick = x1 - x0, y1 - y0
    reach = max(_OF_UPRIGHT * long, _OF_TICKS * thick)
    top = max(0, y0 - reach)
    around = pixels[top : y1 + reach, x0:x1].astype(np.int16)
    off = np.abs(around - np.array(bar.ink)).max(axis=2)
    like, same = off < bar.contrast / 2, off < bar.contrast / 4  # steel around a plate is paler
    above, below = like[: y0 - top][::-1], like[y1 - top :]
    for side in (above, below):
        on = np.append(side, np.zeros((1, long), bool), axis=0).argmin(axis=0)
        if on.max(initial=0) >= long and float(np.mean(on >= long)) < _OF_STEM:
            return True
    shortest = max(3, long // 3)  # tick
    return any(
        _count_ticks(same[:, columns], y0 - top, thick, long) >= _LEAST_TICKS
        for columns in (slice(2, 2 + shortest), slice(-2 - shortest, -2))
    )


def _count_ticks(like: NDArray[np.bool_], at: int, thick: int, long: int) -> int:
    """Return how many lines as thick as one at a row are evenly above or below it, with it."""
    starts = np.array(
        [a for a, b in find_runs(np.asarray(like.all(axis=1))) if abs(b - a - thick) <= _TICK_PX]
    )
    count, extent = 1, 0
    for side in (starts[starts > at + thick], starts[starts < at - thick][::-1]):
        steps = np.abs(np.diff(side, prepend=at))
        even = (np.abs(steps - steps[:1]) <= _TICK_PX) & (steps <= 2 * long)
        ticks = int(np.argmin(np.append(even, False)))
        count, extent = count + ticks, extent + int(steps[:ticks].sum())
    return count if extent >= long else 1  # two or three rows of one bar are close to each other


def is_part_of_figure(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether the ink of a bar with ticks continues without a gap beyond a tick.

    Such a bar is one cell of a divided bar, whose words state the length of the whole.
    """
    if bar.kind not in TICKED or not bar.ink:
        return False
    x0, y0, x1, y1 = bar.line
    reach = max(_LEAST_REACH_PX, (x1 - x0) // 10)
    for start, stop in (
        (x0 - _TICK_PX - reach, x0 - _TICK_PX),
        (x1 + _TICK_PX, x1 + _TICK_PX + reach),
    ):
        around = pixels[max(0, y0 - _AROUND_PX) : y1 + _AROUND_PX, max(0, start) : stop]
        if start < 0 or y0 < _AROUND_PX or not around.size:
            continue
        off = np.abs(around.astype(np.int16) - np.array(bar.ink)).max(axis=2)
        like = off < _LIKE_INK * bar.contrast
        ground = np.concatenate((like[: _AROUND_PX - _TICK_PX], like[_TICK_PX - _AROUND_PX :]))
        inside = like[_AROUND_PX:-_AROUND_PX].mean(axis=0)
        if float(inside.min()) >= _CONTINUES and float(ground.mean()) < _CONTINUES:
            return True
    return False


def is_row_of_texture(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether ticks without a line are a row of a pattern that goes on above and below."""
    x0, y0, x1, y1 = bar.line
    tall = y1 - y0 + 2 * _TICK_PX
    if bar.kind != "comb" or not bar.ink or y0 < tall or y1 + tall > len(pixels):
        return False
    rows = pixels[y0 - tall : y1 + tall, x0:x1].astype(np.int16)
    off = np.abs(rows - np.array(bar.ink)).max(axis=2)
    if bar.label_box is not None:
        a0, _, a1, _ = bar.label_box
        off = np.delete(off, slice(max(0, a0 - x0), max(0, a1 - x0)), axis=1)
    if not off.size:
        return False
    rooms = [_LIKE_INK * bar.contrast]
    if float(np.mean(off[tall:-tall] <= _EVEN)) >= _OF_DRAWN:
        rooms.append(_EVEN)  # drawn ticks are of one ink, which texture nearly has
    likes = [off <= room for room in rooms]
    return all(
        min(like[: tall - _TICK_PX].mean(), like[_TICK_PX - tall :].mean())
        > _OF_ROW * like[tall:-tall].mean()
        for like in likes
    )


def is_partly_covered(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether the words above or below a bar are in the middle of its plate, the bar not.

    Something of the plate's colour covers a part of such a bar. Where the plate is of one width
    whatever the bar, the words are in the middle of the bar or begin with it.
    """
    if bar.kind != "plain" or not bar.ink or bar.label_box is None:
        return False
    left_px, right_px = bar.line[0], bar.line[2]
    first, _, last, _ = bar.label_box
    if last <= left_px + _APART_PX or first >= right_px - _APART_PX:
        return False  # words next to the bar
    x0, y0, x1, y1 = bar.bbox
    left, right = (
        _measure_margin(pixels, bar, slice(y0, y1), columns)
        for columns in (range(x0 - 1 - _APART_PX, -1, -1), range(x1 + _APART_PX, pixels.shape[1]))
    )
    if left is None or right is None or (left >= x0 and right >= pixels.shape[1] - x1):
        return False  # an info band
    if left + right + x1 - x0 > _MOST_WIDE * (x1 - x0):
        return False
    small, large = min(left, right), max(left, right)
    if large <= _LEAST_UNEVEN * small or large - small <= _UNEVEN * bar.line_px:
        return False
    words, plate = (first + last) / 2, (x0 - left + x1 + right) / 2
    limit = _UNEVEN * bar.line_px / 2
    return abs(words - (left_px + right_px) / 2) > limit and abs(words - plate) <= limit


def _measure_margin(
    pixels: NDArray[np.uint8], bar: FoundBar, rows: slice, columns: range
) -> int | None:
    """Return how far even paper reaches beyond a bar, pixels; None where it has none."""
    part = pixels[rows.start : rows.stop, list(columns)].astype(np.int16)
    if part.shape[1] < _LEAST_PX:
        return None
    paper = np.median(part[:, :_LEAST_PX], axis=(0, 1))
    if np.abs(paper - np.array(bar.ink)).max() < _LEAST_PLATE:
        return None
    off = np.abs(part - paper).max(axis=2)
    ends = np.flatnonzero((off > 2 * _EVEN).mean(axis=0) > _OF_COLUMN)  # ringing is of a few rows
    margin = int(ends[0]) if ends.size else len(columns)
    beyond = off[:, margin : margin + _BEYOND_PX] <= _EVEN
    on_band = beyond.size > 0 and beyond.mean() > _OF_BAND  # other words are on it
    is_plate = margin >= _LEAST_PX and float((off[:, :margin] <= _EVEN).mean()) >= _OF_PLATE
    return margin if is_plate and not on_band else None
