# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn bars
"""Measure a bar a second time, from nothing but its box: its ink row by row, and its ticks.

The first length comes from planes, runs and colours of columns. This one looks for the ink of the
middle of a bar in its rows, from the middle outwards, whatever was found before: a bar of which a
part was found goes on in its rows, and a figure with a grain at an end is longer than its rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.imaging.scale_bar.bars.line import LUMA, FoundBar
from agent.imaging.scale_bar.bars.line_length import SAME

Off = NDArray[Any]  # (h, w) distance to the ink, in distances from ink to paper
Measured = tuple[tuple[float, ...], tuple[int, int]]  # lengths; columns of the ends

_SAME, _SAME_PX = 0.01, 1.05  # by which two measurements of one length differ at most
_OF_TIPS = 0.03  # the same of an arrow, whose tips are less than a pixel wide
_KINDS = frozenset({"plain", "caps", "ruler", "figure"})  # of one ink from end to end
_AROUND_PX, _REACH = 8, 0.4  # rows around a bar, and columns beyond it in lengths of it
_LEAST_CONTRAST, _LEAST_LIGHT = 30, 60  # between ink and paper, in grey values: colour, brightness
_OF_ROW = 0.35  # of the distance from ink to paper, by which rows of one line differ
_INKED, _STRICT = 0.5, 0.2  # such distances up to which a pixel is ink; is surely ink
_OF_CORE = 0.3  # of the contrast of a glow, that of the line in it at least
_LEAST_ROWS = 2  # of a line, of which one is of its whole ink
_EXACT = 2  # grey values from an ink that was not compressed
_LEAST_TICKED_PX = 6  # height of a bar with ticks
_GAP, _GAP_PX = 0.01, 2  # columns without ink inside a bar, in lengths of it
_TICKED, _TICK_PX = 0.6, 4  # share of the rows of a tick that have its ink; height of such rows
_HEAD = 0.3  # distance to the ink up to which a pixel is of a head, and texture seldom
_OF_LINE = 0.8  # share of the middle of an arrow that is as tall as its line
_OF_OPEN = 3  # parts of a column of an open head, and columns of such
_OF_RISE = 0.6  # of the columns in which a head grows, those in which it ends at most
_OF_ARROW = 0.01  # share of the rows of an arrow that a column of its tip has
_GRAIN = 0.5  # share of the rows above or below a line that have its ink where a grain crosses it
_BETWEEN = frozenset({"caps", "ruler", "comb", "figure", "broken", "upright"})  # may have ticks
_LEAST_APART, _LEAST_APART_PX = 0.016, 1.5  # by which middles and outer ends of ticks differ
_MOST_APART = 0.9 * 2 * SAME  # half-way between two lengths that differ by more, both are too far
_SLENDER = 9  # height over thickness of the ticks of ZEISS
_ON_PLATE, _OF_PLATE = 0.8, 20  # share of what is between its ticks that is paper; grey values
_INKED_LEAST = 60  # grey values between paper and words
_BEFORE, _BEGINS = 0.3, (-0.15, 0.4)  # heights of ticks without ink; from one to its words
_WORDS, _ABOVE, _OF_TICK = 6, 0.95, 0.8  # width of words, rows above, most height, in such heights


def has_other_length(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether the second measurement of a bar gives another length, or no end.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        bar: A bar; kinds that are not of one ink from end to end are not measured again.
    """
    if bar.kind not in _KINDS:
        return False
    x0, y0, x1, y1 = bar.line
    reach = max(_AROUND_PX, round(_REACH * (x1 - x0)))
    left, top = max(0, x0 - reach), max(0, y0 - _AROUND_PX)
    part = pixels[top : y1 + _AROUND_PX, left : x1 + reach].astype(np.int16)
    box = (x0 - left, y0 - top, x1 - left, y1 - top)
    measured = _measure_off(part, box, bar)
    if measured is None:
        return False
    offs, rows = measured
    room = max(_SAME * bar.line_px, _SAME_PX)
    is_arrow = bar.kind == "figure" and _has_heads(offs[0], box, rows[1] - rows[0])
    if is_arrow is None:
        return True
    if is_arrow:
        rows, room = (box[1], box[3]), max(_OF_TIPS * bar.line_px, 2 * _SAME_PX)

    def agrees(measured: Measured | None) -> bool:
        """Return whether a measurement gives the length that was found."""
        return measured is not None and any(
            abs(length - bar.line_px) <= room for length in measured[0]
        )

    for off in offs:
        loose, strict = (
            _measure_length(off, box, rows, inked, is_arrow=is_arrow) for inked in (_INKED, _STRICT)
        )
        if agrees(loose):
            return False
        grain = (
            loose is not None and strict is not None and _is_grain(off, rows, loose[1], strict[1])
        )
        if grain and agrees(strict):
            return False
    return True


def measure_by_convention(pixels: NDArray[np.uint8], bar: FoundBar) -> float | None:
    """Return the length of a bar with ticks, which no picture tells by itself.

    Programs mean the middles of ticks or their outer ends. Half-way between, a length is within
    2 per cent of both; a bar so short that it is not, and whose program is not recognised, has no
    length. ZEISS means the middles: 14 of its pictures agree with magnification or tag. Dots are
    steps of one length from middle to middle.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        bar: A bar, measured between the middles of its ticks.

    Returns:
        Pixels; None where it is not known.
    """
    x0, y0, x1, y1 = bar.line
    outer = y1 - y0 if bar.kind == "upright" else x1 - x0
    apart = outer - bar.line_px
    differs = apart >= max(_LEAST_APART_PX, _LEAST_APART * bar.line_px)
    are_dots = bar.kind == "comb" and apart >= y1 - y0 - 1
    differs = differs and bar.kind in _BETWEEN and not are_dots
    if not differs or _is_of_zeiss(pixels, bar, apart):
        return bar.line_px
    return bar.line_px + apart / 2 if apart <= _MOST_APART * bar.line_px else None


def _is_of_zeiss(pixels: NDArray[np.uint8], bar: FoundBar, thick: float) -> bool:
    """Return whether thin ticks on a plate are taller than the words above, which begin at one."""
    x0, y0, x1, y1 = bar.line
    tall = y1 - y0
    if bar.kind != "caps" or tall < _SLENDER * thick:
        return False
    between = pixels[y0:y1, x0 + tall // 4 : x1 - tall // 4].astype(np.int16)
    top, start = max(0, y0 - round(_ABOVE * tall)), max(0, x0 - round(_BEFORE * tall))
    words = pixels[top : max(0, y0 - 1), start : x0 + _WORDS * tall].astype(np.int16)
    if not between.size or not words.size:
        return False
    paper = np.median(between, axis=(0, 1))
    if float(np.mean(np.abs(between - paper).max(axis=2) <= _OF_PLATE)) < _ON_PLATE:
        return False
    inked = np.abs(words - paper).max(axis=2) > _INKED_LEAST
    rows, columns = (np.flatnonzero(inked.any(axis=axis)) for axis in (1, 0))
    if not rows.size or rows[-1] - rows[0] >= _OF_TICK * tall:
        return False
    return bool(_BEGINS[0] * tall <= columns[0] + start - x0 <= _BEGINS[1] * tall)


def _measure_off(
    part: NDArray[np.int16], box: tuple[int, int, int, int], bar: FoundBar
) -> tuple[list[Off], tuple[int, int]] | None:
    """Return how far pixels are from the ink of a bar, and its first and last row but the edges.

    By colour, and where brightness separates a coloured ink from the paper, also by that.

    Args:
        part: (h, w, 3), the bar and its surroundings.
        box: The bar in it.
        bar: The bar; between ticks there is its paper.
    """
    x0, y0, x1, y1 = box
    quarter = max(1, (x1 - x0) // 4)
    middle = slice(x0 + quarter, max(x0 + quarter + 1, x1 - quarter))
    rows = np.median(part[:, middle], axis=1)
    beyond = [part[max(0, y0 - 6) : max(0, y0 - 2), middle], part[y1 + 2 : y1 + 6, middle]]
    around = np.concatenate([side.reshape(-1, 3) for side in beyond])
    papers = [np.median(around, axis=0)] if around.size else []
    if (
        bar.kind in ("caps", "ruler") and y1 - y0 >= _LEAST_TICKED_PX
    ):  # what is beyond ticks may be off their plate
        between = rows[y0:y1]  # words reach into them, and a line at their foot is no paper
        usual = np.abs(between - np.median(between, axis=0)).max(axis=1)
        papers = [rows[y0], rows[y1 - 1], between[int(np.argmin(usual))]]
    if not papers:
        return None
    # A line is thin: seen from its own colour all of the paper would be one.
    spreads = [np.abs(rows[y0:y1] - paper).max(axis=1) for paper in papers]
    paper, contrasts = min(
        zip(papers, spreads, strict=True),
        key=lambda pair: float((pair[1] > 0.5 * pair[1].max()).sum()),
    )
    inner = np.abs(rows[y0:y1] - np.array(bar.ink or rows[y0])).max(axis=1)
    inner[contrasts < _OF_CORE * contrasts.max()] = np.inf  # a glow may differ more than the line
    first = last = y0 + int(np.argmin(inner) if bar.ink else np.argmax(contrasts))
    ink, contrast = rows[first], float(contrasts[first - y0])
    if contrast < _LEAST_CONTRAST:
        return None
    alike = np.abs(rows - ink).max(axis=1) < _OF_ROW * contrast
    while first > y0 and alike[first - 1]:
        first -= 1
    while last + 1 < y1 and alike[last + 1]:
        last += 1
    if last - first >= 3:  # the outer ones may be half paper
        first, last = first + 1, last - 1
    off = np.abs(part - ink).max(axis=2)
    offs = [off / contrast, np.where(off <= _EXACT, 0.0, 1.0)]
    if last - first < _LEAST_ROWS:  # half of its only row may be paper, and its ticks are not
        way = ink - paper
        beyond = np.maximum(0.0, (part - ink) @ way / float(way @ way))
        offs.append(np.abs(part - ink - beyond[:, :, None] * way).max(axis=2) / contrast)
    light = abs(float((paper - ink) @ LUMA))
    if light >= _LEAST_LIGHT and np.ptp(ink) > _LEAST_CONTRAST:
        offs.append(np.abs((part - ink) @ LUMA) / light)  # compression keeps it to the pixel
    return offs, (first, last + 1)


def _has_heads(off: Off, box: tuple[int, int, int, int], tall: int) -> bool | None:
    """Return whether a figure is an arrow; None where blobs are at its ends, such as grains.

    A head grows from its tip and ends at once, an open one where its arms end, a tick is as tall at
    the end of the figure, and a grain grows and shrinks.

    Args:
        off: (h, w), distance to the ink.
        box: The figure.
        tall: Height of its line, pixels.
    """
    x0, y0, x1, y1 = box
    if y1 - y0 < 2 * tall + 2:
        return False
    inked = off[y0:y1, x0:x1] < _HEAD
    heights, third = inked.sum(axis=0), (x1 - x0) // 3
    parts = (np.diff(inked.astype(np.int8), axis=0, prepend=0) > 0).sum(axis=0)  # shaft and arms
    if float(np.mean(heights[third : 2 * third] <= tall + 1)) < _OF_LINE:
        return False  # cells, or words that touch it
    for end, apart in ((heights, parts), (heights[::-1], parts[::-1])):
        near = end[:third]
        arms = np.flatnonzero(apart[:third] >= _OF_OPEN)
        widest = int(arms[-1]) if len(arms) >= _OF_OPEN else int(np.argmax(near))
        least = tall + (int(near[widest]) - tall) / 4
        fall = int(np.argmax(np.append(near[widest:] <= least, True)))
        is_tick = widest <= 1
        if fall > (tall + 1 if is_tick else _OF_RISE * (widest + 1) + 1):
            return None
    return not is_tick


def _measure_length(
    off: Off, box: tuple[int, int, int, int], rows: tuple[int, int], inked: float, *, is_arrow: bool
) -> Measured | None:
    """Return the length of a bar and the columns of its ends, or None where it has no end.

    Args:
        off: (h, w), distance to the ink.
        box: The bar.
        rows: First and last row of its line.
        inked: Distance up to which a pixel is ink.
        is_arrow: Its ends are tips, of few rows.

    Returns:
        Length from end to end, between the middles of ticks where there are some at the ends, and
        of the longest row, which rounded ends and arrows have; then the columns of the ends.
    """
    x0, _, x1, _ = box
    line = off[rows[0] : rows[1]]
    drawn = (line < inked).mean(axis=0) >= (_OF_ARROW if is_arrow else 0.5)
    start, gap = (x0 + x1) // 2, max(_GAP_PX, round(_GAP * (x1 - x0)))
    first, last = _walk(drawn[: start + 1][::-1], gap), _walk(drawn[start:], gap)
    if first is None or last is None:
        return None
    left, right = start - first, start + last
    length = _find_edge(line, right, 1) - _find_edge(line, left, -1)
    if is_arrow:
        return (length,), (left, right)
    above, below = off[max(0, rows[0] - _TICK_PX) : max(0, rows[0] - 1)], off[rows[1] + 1 :]
    sides = [
        (side < _INKED).mean(axis=0) >= _TICKED
        for side in (above, below[: _TICK_PX - 1])
        if side.size
    ]
    stands = np.append(np.any(np.stack(sides), axis=0), False)
    ticks = int(np.argmin(stands[left:])) + int(np.argmin(stands[right::-1]))
    longest = np.asarray((line < inked).any(axis=0))
    tips = _walk(longest[: start + 1][::-1], gap), _walk(longest[start:], gap)
    whole = length if None in tips else float(sum(tip or 0 for tip in tips) + 1)
    return (length, length - ticks / 2, whole), (left, right)


def _walk(drawn: NDArray[np.bool_], gap: int) -> int | None:
    """Return the last column with ink before a gap, or None without one."""
    last = 0
    for at in np.flatnonzero(drawn).tolist():
        if at - last > gap:
            break
        last = at
    return last if last + gap < len(drawn) else None


def _find_edge(off: Off, column: int, step: int) -> float:
    """Return where half of the ink is lost near a column, to subpixels: the median of the rows."""
    inside, beyond = off[:, column], off[:, min(max(0, column + step), off.shape[1] - 1)]
    part = np.clip((0.5 - inside) / np.maximum(1e-3, beyond - inside), 0.0, 1.0)
    return float(column + 0.5 + step * np.median(part))


def _is_grain(
    off: Off, rows: tuple[int, int], loose: tuple[int, int], strict: tuple[int, int]
) -> bool:
    """Return whether what is nearly ink beyond the ends of sure ink is thicker than the line."""
    top, foot = rows
    sides = [np.concatenate((off[max(0, top - 5) : max(0, top - 2)], off[foot + 2 : foot + 5]))]
    for first, last in ((loose[0], strict[0] - 1), (strict[1] + 2, loose[1] + 1)):
        if last - first <= 1:
            continue
        zone = sides[0][:, first:last]
        if not zone.size or float((zone < _INKED).mean()) < _GRAIN / 2:
            return False
    return True
