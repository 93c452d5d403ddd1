# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars and said where they stand
"""Find what a program burned into a micrograph: the micron bar, its label, the info band.

In:  the pixels. Out: `Graphics`. Next: `specimen_area` and `crop` leave them out.
A bar is a straight run of one colour with abrupt ends, much thinner than long; a bright
needle is none of that to the pixel. The label is read only where such a run was found, so an
image without graphics costs no reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging import label as labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey

Box = tuple[int, int, int, int]

_MOST_READ = 3  # candidates whose surroundings are read, the best first
_CONTRAST = 40  # grey values between a line and what is above and below it


@dataclass(frozen=True, slots=True)
class FoundBar:
    """A bar with what its label says.

    Args:
        line: The line with its ticks. label_box: the words, or None.
        line_px: The length that stands for the label, in pixels.
        label: "20 µm", or "". um: the label in µm, or None.
    """

    line: Box
    label_box: Box | None
    line_px: float
    label: str
    um: float | None

    @property
    def bbox(self) -> Box:
        """The box around line and label."""
        return self.line if self.label_box is None else _union(self.line, self.label_box)


@dataclass(frozen=True, slots=True)
class Graphics:
    """All that was burned in.

    Args:
        bars: Best first; two panels have two.
        band: The full-width info band, or None.
        boxes: Every box that holds graphics and no specimen: bars, labels, text boxes.
    """

    bars: tuple[FoundBar, ...]
    band: Box | None
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A candidate: straight, of one colour, abrupt."""

    box: Box
    line_px: float
    exact: bool
    contrast: float
    broken: bool = False
    ticks: bool = False
    gap: Box | None = None

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]


def find_graphics(pixels: NDArray[np.uint8]) -> Graphics:
    """Find micron bars, their labels and the info band.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        What was burned in; an image without graphics gives no bars, no band and no boxes.
    """
    channels = cv2.split(pixels)
    bright = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    dark = cv2.bitwise_not(cv2.min(cv2.min(channels[0], channels[1]), channels[2]))
    band = find_band(pixels)
    lines = [line for plane in (bright, dark) for line in _lines(plane)]
    lines = _with_broken(lines)
    ranked = sorted(lines, key=lambda line: _rank(line, band, pixels.shape), reverse=True)
    bars = _read(pixels, ranked, band)
    boxes = tuple(bar.bbox for bar in bars)
    return Graphics(bars=tuple(bars), band=band, boxes=boxes)


# ------------------------------------------------------------------------------------- lines


def _lines(plane: Plane) -> Iterator[_Line]:
    """Yield straight bright lines of a grey plane (h, w) uint8."""
    height, width = plane.shape
    shortest = max(14, round(0.012 * width))
    thick = int(np.clip(0.04 * height, 12, 60))
    runs = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((1, shortest), np.uint8))
    thin = cv2.subtract(runs, cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8)))
    mask = (thin > _CONTRAST).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    stats = stats[1:]
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    straight = area >= 0.8 * w * h
    likely = straight & (w >= 2.5 * h) & (w >= shortest) & (h < thick) & (w < 0.95 * width)
    best = np.argsort(-(w * likely))[:400]
    for x, y, wide, high, _ in stats[best[likely[best]]]:
        line = _measured(plane, (int(x), int(y), int(x + wide), int(y + high)))
        if line is not None:
            yield line


def _measured(plane: Plane, box: Box) -> _Line | None:  # noqa: PLR0911 - each a way to fail
    """Measure a candidate to the pixel, or refuse it."""
    x0, y0, x1, y1 = box
    height = plane.shape[0]
    inside = plane[y0:y1, x0:x1].astype(np.int16)
    core = inside[(y1 - y0) // 2]
    level = float(np.median(core))
    spread = np.abs(core - level)
    if np.mean(spread > 14) > 0.03 or level < 110:
        return None
    exact = bool(np.mean(spread <= 1) > 0.97)
    # Above and below, two pixels off, so that JPEG's ringing does not count.
    above = plane[max(0, y0 - 3) : max(0, y0 - 1), x0:x1]
    below = plane[y1 + 1 : min(height, y1 + 3), x0:x1]
    sides = [side.max(axis=0) for side in (above, below) if side.size]
    if not sides:
        return None
    drops = [level - side for side in sides]
    if min(float(np.mean(drop > 25)) for drop in drops) < 0.6:
        return None
    contrast = float(np.mean([np.median(drop) for drop in drops]))
    if contrast < _CONTRAST:
        return None
    ends = _ends(plane, box, level)
    if ends is None:
        return None
    left, right = ends
    box = (left, y0, right, y1)
    ticked = _ticks(plane, box, level)
    if ticked is None:
        return _Line(box, float(right - left), exact, contrast)
    tick_box, line_px = ticked
    return _Line(tick_box, line_px, exact, contrast, ticks=True)


def _ends(plane: Plane, box: Box, level: float) -> tuple[int, int] | None:
    """Say where the line ends, or None where it fades out instead of ending."""
    x0, y0, x1, y1 = box
    width = plane.shape[1]
    rows = plane[y0:y1].astype(np.float32).mean(axis=0)
    left_out = rows[max(0, x0 - 5) : max(0, x0 - 2)]
    right_out = rows[x1 + 2 : min(width, x1 + 5)]
    left_level = float(left_out.mean()) if left_out.size else 0.0
    right_level = float(right_out.mean()) if right_out.size else 0.0
    if level - left_level < 30 or level - right_level < 30:
        return None
    left = _crossing(rows, x0, -1, (level + left_level) / 2)
    right = _crossing(rows, x1 - 1, 1, (level + right_level) / 2)
    return left, right + 1


def _crossing(rows: Plane, start: int, step: int, threshold: float) -> int:
    """Walk outwards while the line goes on; say its last pixel."""
    at = start
    while 0 <= at + step < len(rows) and rows[at + step] >= threshold and abs(at - start) < 6:
        at += step
    if rows[at] < threshold:
        while 0 <= at - step < len(rows) and rows[at] < threshold:
            at -= step
    return at


def _ticks(plane: Plane, box: Box, level: float) -> tuple[Box, float] | None:
    """Find a tick at each end; say the box with them, and the distance between their centres."""
    x0, y0, x1, y1 = box
    thick = y1 - y0
    reach = max(4, thick + 2)
    left = _tick(plane, range(x0 - 2, x0 + reach), y0, y1, level)
    right = _tick(plane, range(x1 - reach, x1 + 2), y0, y1, level)
    if left is None or right is None:
        return None
    (la, lb, ltop, lbottom), (ra, rb, rtop, rbottom) = left, right
    if abs((lbottom - ltop) - (rbottom - rtop)) > 4:
        return None
    if lbottom - ltop > max(80, 1.5 * (x1 - x0)):
        return None
    tick_box = (min(x0, la), min(ltop, rtop), max(x1, rb + 1), max(lbottom, rbottom))
    return tick_box, (ra + rb) / 2 - (la + lb) / 2


def _tick(
    plane: Plane, columns: range, y0: int, y1: int, level: float
) -> tuple[int, int, int, int] | None:
    """Find the columns that stand out above or below the line: (first, last, top, bottom)."""
    height, width = plane.shape
    thick = y1 - y0
    found = []
    for x in columns:
        if not 0 <= x < width:
            continue
        top, bottom = y0, y1
        column = plane[:, x]
        while top > 0 and column[top - 1] >= level - 60:
            top -= 1
            if y0 - top > 120:
                return None
        while bottom < height and column[bottom] >= level - 60:
            bottom += 1
            if bottom - y1 > 120:
                return None
        if bottom - top >= max(thick + 4, 1.6 * thick):
            found.append((x, top, bottom))
    if not found or len(found) > max(5, thick + 3):
        return None
    xs = [x for x, _, _ in found]
    return min(xs), max(xs), min(t for _, t, _ in found), max(b for _, _, b in found)


def _with_broken(lines: list[_Line]) -> list[_Line]:
    """Add lines that their label breaks in two."""
    joined = []
    for one in lines:
        for other in lines:
            gap = other.box[0] - one.box[2]
            alike = abs(one.width - other.width) <= max(6, 0.25 * one.width)
            level = abs(one.box[1] - other.box[1]) + abs(one.box[3] - other.box[3]) <= 6
            if not (level and alike and 8 < gap < 2.5 * (one.width + other.width)):
                continue
            box = (
                one.box[0],
                min(one.box[1], other.box[1]),
                other.box[2],
                max(one.box[3], other.box[3]),
            )
            joined.append(
                _Line(
                    box,
                    float(box[2] - box[0]),
                    one.exact and other.exact,
                    min(one.contrast, other.contrast),
                    broken=True,
                    gap=(one.box[2], box[1], other.box[0], box[3]),
                )
            )
    return lines + joined


def _rank(line: _Line, band: Box | None, shape: Sequence[int]) -> float:
    """Say how much a candidate looks like a bar."""
    height, width = shape[:2]
    x0, y0, x1, y1 = line.box
    score = 2.0 * line.exact + 1.0 * line.ticks + min(line.contrast, 200) / 200
    share = (x1 - x0) / width
    score += 1.0 if 0.03 <= share <= 0.6 else 0.0
    if band is not None and band[1] - 3 <= y0 and y1 <= band[3] + 3:
        score += 1.0
    centre_y = (y0 + y1) / 2 / height
    score += 0.5 if centre_y > 0.8 or centre_y < 0.15 else 0.0
    return score + 0.5 * line.broken


# ------------------------------------------------------------------------------------- labels


def _read(pixels: NDArray[np.uint8], ranked: list[_Line], band: Box | None) -> list[FoundBar]:
    """Read around the best candidates; keep those whose label makes them bars."""
    bars: list[FoundBar] = []
    tried: list[Box] = []
    for line in ranked:
        if len(tried) >= _MOST_READ:
            break
        if any(_overlap(line.box, done) > 0.9 for done in tried):
            continue
        region = _surroundings(line, pixels.shape)
        tried.append(region)
        inside = [other for other in ranked if _within(other.box, region)]
        bar = _best_pair(pixels, inside, region)
        if bar is not None and not any(_overlap(bar.line, b.line) > 0.3 for b in bars):
            bars.append(bar)
            if band is not None:
                break
    if not bars:
        bars = [_unlabelled(line) for line in ranked[:1] if _is_bar_without_label(line, band)]
    return bars


def _surroundings(line: _Line, shape: Sequence[int]) -> Box:
    height, width = shape[:2]
    x0, y0, x1, y1 = line.box
    reach = int(np.clip(0.06 * max(height, width), 36, 120))
    return (
        max(0, x0 - reach),
        max(0, y0 - reach),
        min(width, x1 + reach),
        min(height, y1 + reach),
    )


def _best_pair(pixels: NDArray[np.uint8], lines: list[_Line], region: Box) -> FoundBar | None:
    """Read the words in a region; pair a length with the line it belongs to."""
    x0, y0, x1, y1 = region
    picture = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    best: tuple[float, FoundBar] | None = None
    for box in labels.texts(picture):
        words = labels.read_words(picture, box)
        length = labels.parse_length(words.words) if words else None
        if length is None:
            continue
        start = box[0] + round(length.start * (box[2] - box[0]))
        place = (x0 + start, y0 + box[1], x0 + box[2], y0 + box[3])
        for line in lines:
            cost = _distance(line, place)
            if cost is not None and (best is None or cost < best[0]):
                bar = FoundBar(line.box, place, line.line_px, length.words, length.um)
                best = (cost, bar)
    return None if best is None else best[1]


def _distance(line: _Line, place: Box) -> float | None:
    """Say how far a label is from being where this line's label would be, or None."""
    x0, y0, x1, y1 = line.box
    high = max(8, place[3] - place[1])
    middle_x, middle_y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    if line.broken:
        gap = line.gap or line.box
        if (
            gap[0] - 4 <= place[0]
            and place[2] <= gap[2] + 4
            and place[1] <= (y0 + y1) / 2 <= place[3]
        ):
            return 0.0
        return None
    overlap = min(x1, place[2]) - max(x0, place[0])
    if overlap > 0:
        away = max(place[1] - y1, y0 - place[3], 0) / high
        if away > 2.5:
            return None
        return away + 0.3 * abs(middle_x - (x0 + x1) / 2) / max(x1 - x0, 1) + _penalty(line)
    if y0 - 0.7 * high <= middle_y <= y1 + 0.7 * high:
        away = -overlap / high
        return 0.3 + away + _penalty(line) if away < 3 else None
    return None


def _penalty(line: _Line) -> float:
    return 0.0 if line.exact else 0.2


def _unlabelled(line: _Line) -> FoundBar:
    return FoundBar(line.box, None, line.line_px, "", None)


def _is_bar_without_label(line: _Line, band: Box | None) -> bool:
    del band
    return line.exact and line.contrast > 100 and line.ticks


# ------------------------------------------------------------------------------------- the band


def find_band(pixels: NDArray[np.uint8]) -> Box | None:
    """Find the info band: full-width rows of one exact colour with words on it.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        The band, or None. It need not reach the image's edge.
    """
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    best: Box | None = None
    for level in _flat_levels(grey):
        mask = cv2.inRange(grey, max(0, level - 4), min(255, level + 4))
        share = mask.mean(axis=1) / 255.0
        for top, bottom in _stretches(share > 0.35):
            if not 0.02 * height <= bottom - top <= 0.4 * height:
                continue
            inner = share[top:bottom]
            if np.mean(inner > 0.93) < 0.1 or np.median(inner) < 0.6:
                continue
            if best is None or bottom - top > best[3] - best[1]:
                best = (0, top, width, bottom)
    return best


def _flat_levels(grey: Plane) -> list[int]:
    """Say which grey values fill whole rows near the top or the bottom."""
    height = grey.shape[0]
    levels: dict[int, int] = {}
    for y in [*range(0, height // 4, 4), *range(3 * height // 4, height, 4)]:
        row = grey[y]
        level = int(np.median(row))
        if np.mean(np.abs(row.astype(np.int16) - level) <= 4) > 0.9:
            levels[level] = levels.get(level, 0) + 1
    return sorted(levels, key=lambda level: -levels[level])[:3]


def _stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _union(one: Box, other: Box) -> Box:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def _within(inner: Box, outer: Box) -> bool:
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def _overlap(one: Box, other: Box) -> float:
    """Say which share of `one` lies in `other`."""
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / max(1, (one[2] - one[0]) * (one[3] - one[1]))
