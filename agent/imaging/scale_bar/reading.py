# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Read around the best candidates, and choose the bars among what was read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap, within
from agent.imaging.scale_bar.bars.candidates import is_convincing, is_worth_reading
from agent.imaging.scale_bar.bars.line import (
    EVEN,
    FoundBar,
    Line,
    are_alike,
    find_frame,
    measure_colour,
)
from agent.imaging.scale_bar.bars.line_length import is_arrow, measure_length
from agent.imaging.scale_bar.bars.planes import COLOUR_PLANE
from agent.imaging.scale_bar.labels.label_search import LabelSearch, read_above, read_around
from agent.imaging.scale_bar.labels.lengths import Length
from agent.imaging.scale_bar.matching import find_plate_colour

_MOST_READ = 6  # candidates whose surroundings are read, best first …
_MOST_DETECTED = 2  # … and those with text detection
_ALONE = 8  # pixels around a line within which its ink must end


def read_candidates(
    pixels: NDArray[np.uint8], ranked: list[Line], band: Box | None
) -> tuple[list[FoundBar], list[tuple[Length, Box]]]:
    """Read around the best candidates; return bars, and lengths without a bar.

    Letters in the line's ink are tried first; text detection, which costs as much as everything
    else together, runs only where the line alone is convincing.
    """
    bars: list[FoundBar] = []
    lengths_read: list[tuple[Length, Box]] = []
    regions: list[tuple[Box, NDArray[Any]]] = []
    detected = 0
    for line in ranked:
        if len(regions) >= _MOST_READ:
            break
        colour = measure_colour(pixels, line)
        done = (within(line.box, place) and are_alike(colour, ink, 70) for place, ink in regions)
        if not is_worth_reading(line) or any(done):
            continue
        if any(bar.um is not None for bar in bars) and not is_convincing(line):
            continue  # a second panel's bar is as clear as the first
        region = _expand_to_label(line, pixels.shape, band)
        regions.append((region, colour))
        inside = [line, *(o for o in ranked if o is not line and within(o.box, region))]
        may_detect = detected < _MOST_DETECTED
        bar, words, has_detected = _read_line(pixels, inside, region, may_detect=may_detect)
        if has_detected:
            detected += 1 if line.exact or line.even > EVEN else _MOST_DETECTED
        lengths_read += words
        if bar is None or _is_parted(bar, band) or _is_of_frame(bar, ranked):
            continue
        if any(_is_half(bar, line) or _is_next_cell(bar, line) for line in ranked):
            continue
        same = [known for known in bars if _is_the_same(bar, known)]
        clearer = same and (
            _is_clearer(bar, same[0])
            or _contains_bar(bar, same[0])
            or (same[0].kind == "plain" and _is_on_plate(pixels, bar, ranked))
        )
        if not same or (same[0].um is None and bar.um is not None) or clearer:
            bars = [bar if known in same else known for known in bars] if same else [*bars, bar]
    bars.sort(key=lambda bar: bar.um is None)
    if not bars:
        alone = (line for line in ranked[:_MOST_READ] if is_bar_without_label(pixels, line, band))
        bars = [
            FoundBar(line.box, None, measure_length(pixels, line), "", None)
            for line in itertools.islice(alone, 1)
        ]
    return bars, lengths_read


def _expand_to_label(line: Line, shape: Sequence[int], band: Box | None) -> Box:
    """Return where a line's label can be; for a line in an info band, inside the band."""
    height, width = shape[:2]
    reach = int(np.clip(0.06 * max(height, width), 36, 110))
    x0, y0, x1, y1 = line.box
    side = int(2.2 * reach)
    top, foot = 0, height
    if band is not None and overlap(line.box, band) > 0.9:
        top, foot = band[1], band[3]
    return (
        max(0, x0 - side),
        max(top, y0 - reach),
        min(width, x1 + side),
        min(foot, y1 + reach),
    )


def _read_line(
    pixels: NDArray[np.uint8], lines: list[Line], region: Box, *, may_detect: bool
) -> tuple[FoundBar | None, list[tuple[Length, Box]], bool]:
    """Read around the first line, the cheapest search first, until one finds its length.

    Returns:
        The bar or None; all lengths read; whether text was detected.
    """
    bar, lengths = read_around(pixels, lines, region, LabelSearch.INK)
    if not is_convincing(lines[0]):
        return bar, lengths, False
    if _is_unread(bar):
        bar = read_above(pixels, lines[0]) or bar
    searches = [] if lines[0].plane == COLOUR_PLANE else [LabelSearch.EXACT_INK]
    searches += [LabelSearch.DETECTOR] if may_detect else []
    for search in searches:
        if not _is_unread(bar):
            return bar, lengths, False
        other, words = read_around(pixels, lines, region, search)
        bar = other or bar
        lengths += words
        if search is LabelSearch.DETECTOR:
            return bar, lengths, True
    return bar, lengths, False


def _is_unread(bar: FoundBar | None) -> bool:
    return bar is None or bar.um is None


def _is_clearer(bar: FoundBar, known: FoundBar) -> bool:
    """Return whether a bar is the clearer of two separate lines for one label."""
    return bar.contrast > 1.1 * known.contrast and overlap(bar.line, known.line) < 0.5


def _contains_bar(bar: FoundBar, known: FoundBar) -> bool:
    """Return whether a bar is the whole line of which another is a part."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = bar.line, known.line
    level = y0 - 2 <= b0 and b1 <= y1 + 2
    return level and x0 <= a0 + 2 and a1 <= x1 + 2 and x1 - x0 > 1.1 * (a1 - a0)


def _is_on_plate(pixels: NDArray[np.uint8], bar: FoundBar, lines: list[Line]) -> bool:
    """Return whether a bar has ticks and is on an even plate, of which a plain line is a side."""
    return any(
        line.box == bar.line and is_convincing(line) and find_plate_colour(pixels, line) is not None
        for line in lines
    )


def _is_parted(bar: FoundBar, band: Box | None) -> bool:
    """Return whether the edge of an info band separates a bar from its label."""
    if band is None or bar.label_box is None:
        return False
    inside = (overlap(box, band) > 0.5 for box in (bar.line, bar.label_box))
    return len(set(inside)) > 1


def _is_the_same(bar: FoundBar, known: FoundBar) -> bool:
    """Return whether two bars are one, or share one label; the first is then the better one."""
    if overlap(bar.line, known.line) > 0.3:
        return True
    label, known_label = bar.label_box, known.label_box
    return (
        label is not None and known_label is not None and _compute_overlap(label, known_label) > 0.5
    )


def _is_of_frame(bar: FoundBar, lines: list[Line]) -> bool:
    """Return whether a bar is a side of the frame around its words."""
    if bar.label_box is None:
        return False
    return any(side.box == bar.line for side in find_frame(lines, bar.label_box))


def _compute_overlap(box: Box, other: Box) -> float:
    """Return the share of the smaller of two boxes that lies in the other."""
    return max(overlap(box, other), overlap(other, box))


def _is_half(bar: FoundBar, other: Line) -> bool:
    """Return whether a bar is only half of one that its label breaks, of which `other` is more."""
    if bar.label_box is None or other.gap is not None:
        return False
    (x0, y0, x1, y1), place = bar.line, bar.label_box
    middle = other.core[1] + other.core[3]
    if not (2 * y0 - 4 <= middle <= 2 * y1 + 4 and other.width > 0.4 * (x1 - x0)):
        return False
    room, slack = 1.5 * (place[3] - place[1]), 0.4 * (place[3] - place[1])
    if place[0] >= x1 - slack:
        return -slack <= other.core[0] - place[2] < room
    return place[2] <= x0 + slack and -slack <= place[0] - other.core[2] < room


def _is_next_cell(bar: FoundBar, other: Line) -> bool:
    """Return whether a bar is one cell of a divided bar, of which `other` is the next but one."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = bar.line, other.core
    wide = x1 - x0
    level = abs(b0 - y0) <= 2 and abs(b1 - y1) <= 2
    gap = max(a0 - x1, x0 - a1)
    return level and abs(a1 - a0 - wide) <= 0.2 * wide and 0.5 * wide <= gap <= 1.5 * wide


def is_bar_without_label(pixels: NDArray[np.uint8], line: Line, band: Box | None) -> bool:
    """Return whether a line without a label is a bar: clear, whole, alone, in a usual place.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        line: The candidate.
        band: The info band, or None.
    """
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = line.box
    low = min(y0, height - y1) < 0.15 * height
    cornered = low and min(x0, width - x1) < 0.15 * width
    drawn = low and not line.framed and line.width >= 30 and line.contrast >= 80
    if not drawn or not _is_isolated(pixels, line):
        return False
    if line.kind in ("caps", "ruler"):
        return max(line.crisp, line.even) > EVEN and (line.exact or line.contrast > 100)
    if line.kind in ("comb", "checker"):
        return cornered and line.width > 2 * line.height and _has_equal_ticks(line)
    clear = line.contrast > 100
    if clear and line.width > 50 and line.even > (0.9 if line.exact else 0.97):
        return cornered or (band is not None and within(line.box, band))
    solid = line.height >= 3 and line.width >= 4 * line.height
    solid = solid and (line.crisp > 0.95 or line.even > 0.85)
    sure = line.exact and (cornered or line.contrast > 150)
    faint = line.contrast <= (150 if line.even > 0.85 else 220)
    arrow = cornered and clear and line.even > 0.7 and is_arrow(pixels, line)
    return arrow or (solid and (sure or (cornered and not faint)))


def _has_equal_ticks(line: Line) -> bool:
    """Return whether the outer ticks of a ruler are equally wide, as drawn ones are."""
    first, last = line.ticks
    return first is None or last is None or abs(first[1] - first[0] - last[1] + last[0]) <= 1


def _is_isolated(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a line's ink ends with it on all sides; that of a grain boundary continues."""
    x0, y0, x1, y1 = line.box
    left, top, right, foot = x0 - _ALONE, y0 - _ALONE, x1 + _ALONE, y1 + _ALONE
    left, top = max(0, left), max(0, top)
    picture = pixels[top:foot, left:right]
    off = cv2.absdiff(picture, np.full_like(picture, np.rint(measure_colour(pixels, line))))
    ink = cv2.inRange(off.max(axis=2), 0, 0.5 * line.contrast)
    _, marks, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    core = marks[line.core[1] - top : line.core[3] - top, line.core[0] - left : line.core[2] - left]
    x, y, w, h = stats[np.bincount(core[core > 0], minlength=1).argmax()][:4]
    return bool(x > 0 and y > 0 and x + w < picture.shape[1] and y + h < len(picture))
