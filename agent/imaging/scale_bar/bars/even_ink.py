# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn bars
"""Measure a line by its own ink: a program draws it even to its last column, texture is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box
from agent.imaging.scale_bar.bars.line import FoundBar, Line, measure_colour
from agent.imaging.scale_bar.bars.line_length import measure_between_ticks

Profile = NDArray[Any]  # (n,) grey values by which columns differ from the ink

_LEAST_PX = 24  # length of a line
_REACH_PX = 12  # columns beyond an end that are compared
_OF_INK = 60  # grey values by which the rows of a line differ from its ink at most
_OTHER_ROWS = 4  # of a box that are another colour; ticks have more
_SHORTER, _LONGER = 0.012, 0.025  # of a length; between ticks a line is a little shorter
_BEYOND_PX = 1.0  # by which what stands on a line is beyond its end
_AS_CLEAR = 0.5  # of a line's contrast that what goes on from it has to the rows next to it
_NOISE = 8  # grey values within which any ink is even
_MOST_UNEVEN = 0.12  # of the contrast: ink that varies more is not even
_LEAST_STEP, _OF_NOISE = 40, 4  # grey values at an end; times the unevenness of the ink
_RAMP_PX, _COMPRESSED = 3, 1.5  # columns in which compressed ink ends; its least unevenness
_ROUNDED_PX, _ROUNDED = 1.5, 0.006  # by which rows may end apart: pixels, share of the length


def find_line_ends(pixels: NDArray[np.uint8], line: Line) -> tuple[float, float] | None:
    """Return the ends of the even ink of a plain line, or None also where a tick is at an end.

    What stands on a line beyond its even ink is no tick.
    """
    if line.kind != "plain" or measure_between_ticks(pixels, line) is not None:
        return None
    ends = _find_even_ends(pixels, line.core, measure_colour(pixels, line), line.contrast)
    if ends is None:
        return None
    left, right = line.ticks
    ticked = (left is not None and max(left[:2]) >= ends[0] - _BEYOND_PX) or (
        right is not None and min(right[:2]) <= ends[1] - 1 + _BEYOND_PX
    )
    return None if ticked or _goes_on(pixels, line, ends) else ends


def _goes_on(pixels: NDArray[np.uint8], line: Line, ends: tuple[float, float]) -> bool:
    """Return whether a line goes on beyond its even ink: compression pales its colour near an end.

    What is as thin as the line there is the line; a grain is above or below it too.
    """
    x0, y0, x1, y1 = line.core
    for first, last in ((x0, int(ends[0])), (round(ends[1] + 0.5), x1)):
        if last - first <= _BEYOND_PX or y0 < 2 or y1 + 2 > len(pixels):
            continue
        zone = pixels[y0:y1, first:last].astype(np.int16)
        middle = zone[len(zone) // 2]
        drops = [np.abs(middle - pixels[row, first:last]).max(axis=1) for row in (y0 - 2, y1 + 1)]
        if min(float(np.median(drop)) for drop in drops) > _AS_CLEAR * line.contrast:
            return True
    return False


def settle_length(pixels: NDArray[np.uint8], bar: FoundBar) -> FoundBar:
    """Return the bar, as long as its even ink where another measurement differs."""
    if bar.kind != "plain" or bar.um is None or not bar.ink:
        return bar
    line = Line(bar.line, bar.line_px, exact=False, contrast=bar.contrast, core=bar.line)
    ends = find_line_ends(pixels, line)
    if ends is None or -_SHORTER < (ends[1] - ends[0]) / bar.line_px - 1 < _LONGER:
        return bar
    box = (round(ends[0]), bar.line[1], round(ends[1]), bar.line[3])
    return replace(bar, line=box, line_px=ends[1] - ends[0])


def _find_even_ends(
    pixels: NDArray[np.uint8], core: Box, ink: NDArray[Any], contrast: float
) -> tuple[float, float] | None:
    """Return where the even ink of a line begins and ends, columns to subpixels.

    An end is where the colour is half way between the ink and what follows it, whatever that is:
    a grain nearly as bright as the ink is not as even.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        core: Box of the line, without ticks.
        ink: (3,) its colour.
        contrast: To its surroundings, grey values.

    Returns:
        Left and right end, or None where the ink is uneven or an end is not sharp.
    """
    x0, y0, x1, y1 = core
    if x1 - x0 < _LEAST_PX:
        return None
    left, right = max(0, x0 - _REACH_PX), min(pixels.shape[1], x1 + _REACH_PX)
    rows = pixels[y0:y1, left:right].astype(np.int16)
    quarter = (x1 - x0) // 4
    inner = np.median(rows[:, x0 - left + quarter : x1 - left - quarter], axis=1)
    drawn = np.abs(inner - ink).max(axis=1) < _OF_INK
    if drawn.sum() < max(1, y1 - y0 - _OTHER_ROWS):
        return None
    if drawn.sum() >= 4:  # the first and the last row may be half paper
        drawn[[int(np.flatnonzero(drawn)[0]), int(np.flatnonzero(drawn)[-1])]] = False
    off = np.abs(rows[drawn] - inner[drawn][:, None]).max(axis=2)
    noise = float(np.percentile(np.median(off[:, x0 - left + 4 : x1 - left - 4], axis=0), 95))
    if noise > _MOST_UNEVEN * contrast:
        return None
    middle, room = (x0 + x1) // 2 - left, max(_ROUNDED_PX, _ROUNDED * (x1 - x0))
    ends: list[float] = []
    for half in (off[:, :middle][:, ::-1], off[:, middle:]):
        # Rounded ends have rows of unlike length, and so has a line that a grain goes on from.
        long, usual, short = (
            _find_end(np.percentile(half, share, axis=0), noise) for share in (20, 50, 90)
        )
        if long is None or usual is None or short is None or long - short > room:
            return None
        ends.append(long if long - usual > _ROUNDED_PX / 2 else usual)
    return left + middle - ends[0], left + middle + ends[1]


def _find_end(off: Profile, noise: float) -> float | None:
    """Return how many columns of a profile are even ink, to subpixels; None without a sharp end."""
    least = max(_NOISE, 2 * noise)
    other = off > least
    other = other[:-1] & other[1:]
    begins = int(np.argmax(other))
    beyond = off[begins + 1 : begins + 7]
    if not other[begins] or len(beyond) < 4:
        return None
    step = float(np.median(beyond))
    if step < max(_LEAST_STEP, _OF_NOISE * noise):
        return None
    half = step / 2
    at = begins + int(np.argmax(off[begins:] >= half))
    if at - begins > (_RAMP_PX if noise >= _COMPRESSED else 1):
        return None
    inside, nearest = (float(off[at - 1]) if at else 0.0), float(off[at : at + 2].max())
    part = (nearest / 2 - inside) / max(1e-3, float(off[at]) - inside)
    return at - 0.5 + float(np.clip(part, 0.0, 1.0))
