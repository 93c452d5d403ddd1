# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars and said where they stand
"""Find straight lines that a program drew: of one colour, abrupt, much thinner than long.

In:  the pixels. Out: `Line`s, measured to the pixel. Next: `micron_bar`.
A bright needle is none of that to the pixel; what is drawn falls off within two pixels above
and below, along nearly all of its length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.boxes import Box, overlap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey

_STEP = 4  # columns: lines are looked for in every fourth, and measured in all
COLOUR_PLANE = 2  # the plane of coloured lines
_CONTRAST = 40  # grey values between a line and what is above and below it


@dataclass(frozen=True, slots=True)
class Line:
    """A candidate: straight, of one colour, abrupt.

    Args:
        box: The line with its ticks. line_px: what would stand for a label.
        exact: All of one value, as only a program draws. contrast: to what is around it.
        crisp: Share of its columns that fall off within two pixels, above and below.
        kind: "plain", "caps", "ruler", "comb", "checker" or "broken".
        framed: It is the side of a box.
        gap: Where a broken line leaves room for its label. core: the line without its ticks.
        ticks: (outer x, inner x, top, bottom) of what stands up at its left and right end.
        plane: In which of the planes it was found. rank: how much it looks like a bar.
    """

    box: Box
    line_px: float
    exact: bool
    contrast: float
    crisp: float = 1.0
    kind: str = "plain"
    framed: bool = False
    gap: Box | None = None
    core: Box = (0, 0, 0, 0)
    ticks: tuple[Box | None, Box | None] = (None, None)
    plane: int = 0
    rank: float = 0.0

    @property
    def width(self) -> int:
        """In pixels, ticks included."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """In pixels, ticks included."""
        return self.box[3] - self.box[1]


def planes_of(pixels: NDArray[np.uint8]) -> list[Plane]:
    """Give the planes in which drawn lines are bright: light ones, dark ones, coloured ones.

    Red on grey is as bright as grey; its largest channel is bright and its smallest dark.
    """
    red, green, blue = cv2.split(pixels)
    most = cv2.max(cv2.max(red, green), blue)
    least = cv2.min(cv2.min(red, green), blue)
    colour = cv2.subtract(most, least)
    planes: list[Plane] = [most, cv2.bitwise_not(least)]
    if int((colour > 110).sum()) > 20:
        planes.append(colour)
    return planes


def find_lines(planes: list[Plane], number: int) -> Iterator[Line]:
    """Yield the straight bright lines of one plane."""
    plane = planes[number]
    height, width = plane.shape
    shortest = max(13, round(0.017 * width)) | 1  # odd: an even kernel shifts by a pixel
    thick = int(np.clip(0.04 * height, 12, 60)) | 1
    runs = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((1, shortest), np.uint8))
    thin = cv2.subtract(runs, cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8)))
    sampled = np.ascontiguousarray(thin[:, ::_STEP])  # a run has three samples at least
    for level in (_CONTRAST, 3 * _CONTRAST):
        mask = (sampled > level).view(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        stats = stats[1:]
        stats[:, [0, 2]] *= _STEP
        w, h, area = stats[:, 2], stats[:, 3], stats[:, 4] * _STEP
        likely = (area >= 0.75 * w * h) & (w >= 1.8 * h) & (h < thick) & (w < 0.95 * width)
        # A strip at the image's edge is an area that goes on beyond it.
        likely &= (stats[:, 1] > 0) & (stats[:, 1] + h < height)
        best = np.argsort(-(w * likely))[:160]
        for x, y, wide, high, _ in stats[best[likely[best]]]:
            end = min(width, int(x + wide - _STEP + 1))
            line = _measured(plane, (int(x), int(y), end, int(y + high)), number)
            if line is not None:
                yield line


def _measured(plane: Plane, box: Box, number: int) -> Line | None:
    """Measure a candidate to the pixel, or refuse it."""
    x0, y0, x1, y1 = box
    height = plane.shape[0]
    inside = plane[y0:y1, x0:x1]
    sampled = inside[:, :: max(1, (x1 - x0) // 12)]
    best_row = int(np.argmax(sampled.sum(axis=1)))
    core = inside[best_row].astype(np.int16)
    beside = plane[[max(0, y0 - 3), min(height - 1, y1 + 2)], x0:x1]
    if float(np.mean(beside[:, ::3] < int(core[0]) // 2 + int(core[-1]) // 2 - 18)) < 0.5:
        return None
    level = float(np.median(core))
    spread = np.abs(core - level)
    if level < 90 or np.mean(spread > 0.18 * level) > 0.07:
        return None
    exact = bool(np.mean(spread <= 1) > 0.97)
    # Within four pixels above and below something else begins, in nearly every column.
    above, below = plane[max(0, y0 - 4) : y0, x0:x1], plane[y1 : min(height, y1 + 4), x0:x1]
    drops = [level - side.min(axis=0).astype(np.int16) for side in (above, below) if side.size]
    if not drops or min(float(np.mean(drop > 25)) for drop in drops) < 0.7:
        return None
    contrast = float(np.mean([np.median(drop) for drop in drops]))
    share = 0.45 if number == COLOUR_PLANE else 0.1 if exact else 0.4
    ends = _ends(plane, box, level, share)
    if contrast < _CONTRAST or ends is None:
        return None
    near = [plane[max(0, y0 - 2) : y0, x0:x1], plane[y1 : min(height, y1 + 2), x0:x1]]
    crisp = min(
        float(np.mean(level - side.min(axis=0).astype(np.int16) > 0.6 * contrast))
        for side in near
        if side.size
    )
    box = (ends[0], y0, ends[1], y1)
    checker = _outlined(plane, box, level - 0.55 * contrast)
    if checker is not None:
        length = float(checker[2] - checker[0])
        return Line(checker, length, exact, contrast, crisp, "checker", core=checker, plane=number)
    line = Line(box, float(ends[1] - ends[0]), exact, contrast, crisp, core=box, plane=number)
    return _with_ticks(plane, line, level)


def _outlined(plane: Plane, box: Box, least: float) -> Box | None:
    """Say how far a bar of full and empty cells goes, if the box is one of its full cells."""
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


def _ends(plane: Plane, box: Box, level: float, share: float) -> tuple[int, int] | None:
    """Say where the line has lost a share of its height, or None where it fades out."""
    x0, y0, x1, y1 = box
    width = plane.shape[1]
    middle = (y0 + y1) // 2
    rows = plane[max(y0, middle - 2) : min(y1, middle + 3)].max(axis=0).astype(np.int16)
    reach = 8 + _STEP
    outer = [rows[max(0, x0 - reach) : x0], rows[x1 : min(width, x1 + reach)]]
    levels = [float(side.min()) if side.size else 0.0 for side in outer]
    if max(levels) > level - 30:
        return None
    left = _crossing(rows, x0, -1, level - share * (level - levels[0]))
    right = _crossing(rows, x1 - 1, 1, level - share * (level - levels[1]))
    return (left, right + 1) if right - left > 8 else None


def _crossing(rows: Plane, start: int, step: int, threshold: float) -> int:
    """Walk outwards while the line goes on, or inwards to where it begins; say its last pixel."""
    at = start
    while 0 <= at + step < len(rows) and rows[at + step] >= threshold and abs(at - start) < 13:
        at += step
    while 0 <= at - step < len(rows) and rows[at] < threshold and abs(at - start) < 13:
        at -= step
    return at


def _with_ticks(plane: Plane, line: Line, level: float) -> Line:
    """Find what stands up at the ends of a line: ticks of a bar, or the sides of a box."""
    x0, y0, x1, y1 = line.box
    least = level - float(np.clip(0.3 * line.contrast, 20, 70))
    left = _upright(plane, range(x0 - 1, x0 + 9), y0, y1, least)
    right = _upright(plane, range(x1, x1 - 10, -1), y0, y1, least)
    left = None if left is None or left[0] > x0 + (4 if left[3] - left[2] > 11 else 2) else left
    reach = 5 if right is not None and right[3] - right[2] > 11 else 3
    right = None if right is None or right[0] < x1 - reach else right
    line = replace(line, ticks=(left, right))  # but for the head of an arrow, a ruler's second
    if left is None or right is None:
        return line
    (la, lb, ltop, lbottom), (rb, ra, rtop, rbottom) = left, right
    tall = max(lbottom, rbottom) - min(ltop, rtop)
    line = replace(line, line_px=(ra + rb) / 2 - (la + lb) / 2)
    alike = abs(ltop - rtop) <= 4 and abs(lbottom - rbottom) <= 4
    if not alike or tall > min(0.12 * plane.shape[0] + 20, 1.1 * line.width):
        return replace(line, framed=True)
    one_sided = ltop >= y0 - 1 or lbottom <= y1 + 1
    far = slice(lbottom - 4, lbottom) if ltop >= y0 - 1 else slice(ltop, ltop + 4)
    if one_sided and _closed(plane[far, x0:x1], level):
        return replace(line, framed=True)
    box = (min(x0, la), min(ltop, rtop), max(x1, rb + 1), max(lbottom, rbottom))
    return replace(line, box=box, kind="ruler" if one_sided else "caps")


def _closed(rows: Plane, level: float) -> bool:
    return bool(np.mean(rows >= level - 40, axis=1).max() > 0.9)


def _upright(
    plane: Plane, columns: range, y0: int, y1: int, least: float
) -> tuple[int, int, int, int] | None:
    """Find the outermost columns that stand above or below: (outer, inner, top, bottom)."""
    height, width = plane.shape
    thick = y1 - y0
    reach = height // 5
    found: list[tuple[int, int, int]] = []
    for x in columns:
        if not 0 <= x < width:
            continue
        bright = plane[max(0, y0 - reach) : min(height, y1 + reach), x] >= least
        middle = (y0 + y1) // 2 - max(0, y0 - reach)
        if not bright[middle]:
            if found:
                break
            continue
        dark_above = np.flatnonzero(~bright[:middle])
        dark_below = np.flatnonzero(~bright[middle:])
        top = int(dark_above[-1]) + 1 if dark_above.size else 0
        bottom = middle + int(dark_below[0]) if dark_below.size else len(bright)
        if bottom - top >= max(thick + 4, 1.5 * thick):
            found.append((x, top, bottom))
        elif found:
            break
    if not found or len(found) > max(5, thick + 3):
        return None
    highs = [b - t for _, t, b in found]
    if highs[0] < 0.75 * max(highs):
        return None  # it rises from a point: the head of an arrow
    top = max(0, y0 - reach) + int(np.median([t for _, t, _ in found]))
    bottom = max(0, y0 - reach) + int(np.median([b for _, _, b in found]))
    return found[0][0], found[-1][0], top, bottom


def distinct(lines: list[Line]) -> list[Line]:
    """Keep one of the candidates that several planes and levels gave."""
    kept: list[Line] = []
    order = sorted(
        lines,
        key=lambda line: (line.exact, line.crisp > 0.9, min(line.contrast, 120), line.width),
        reverse=True,
    )
    for line in order[:400]:
        same = (overlap(line.box, k.box) > 0.6 and overlap(k.box, line.box) > 0.6 for k in kept)
        if not any(same):
            kept.append(line)
    return kept


def _of_one_colour(pixels: NDArray[np.uint8], one: Line, other: Line) -> bool:
    """Say whether two lines have the same ink."""
    inks = [
        np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
        for x0, y0, x1, y1 in (one.core, other.core)
    ]
    return bool(np.abs(inks[0] - inks[1]).max() < 50)


def with_broken(lines: list[Line], pixels: NDArray[np.uint8]) -> list[Line]:
    """Add lines that their label breaks in two."""
    joined = []
    drawn = (line for line in lines if line.crisp > 0.6 and not line.framed)
    halves = sorted(drawn, key=lambda line: (line.exact, line.contrast), reverse=True)[:60]
    for one in halves:
        for other in halves:
            gap = other.box[0] - one.box[2]
            if not 8 < gap < 4 * (one.width + other.width):
                continue
            (_, a0, _, a1), (_, b0, _, b1) = one.box, other.box
            alike = abs(one.width - other.width) <= max(6, 0.25 * one.width)
            level = abs((a0 + a1) - (b0 + b1)) <= 4 and abs((a1 - a0) - (b1 - b0)) <= 4
            long = min(one.width, other.width) >= max(18, 8 * (a1 - a0))
            if alike and level and long and _of_one_colour(pixels, one, other):
                box = (one.box[0], min(a0, b0), other.box[2], max(a1, b1))
                length = float(box[2] - box[0])
                left, right = one.ticks[0], other.ticks[1]
                if left is not None and right is not None:
                    box = (box[0], min(left[2], right[2]), box[2], max(left[3], right[3]))
                    length = (right[0] + right[1] - left[0] - left[1]) / 2
                joined.append(
                    replace(
                        one,
                        box=box,
                        line_px=length,
                        exact=one.exact or other.exact,
                        contrast=min(one.contrast, other.contrast),
                        kind="broken",
                        framed=False,
                        gap=(one.box[2], box[1], other.box[0], box[3]),
                        core=(one.box[0], a0, other.box[2], a1),
                    )
                )
    return lines + joined


def true_length(pixels: NDArray[np.uint8], line: Line) -> float:
    """Measure a line without ticks to a part of a pixel: where it has lost half its ink.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        line: As found.

    Returns:
        Its length in pixels; that of the line itself where its ends cannot be seen better.
    """
    if line.kind != "plain" or line.ticks != (None, None):
        return line.line_px
    x0, y0, x1, y1 = line.core
    rows = pixels[y0:y1].astype(np.float32)
    ink = np.median(rows[:, x0:x1].reshape(-1, 3), axis=0)
    left = _half_at(rows[:, max(0, x0 - 12) : x0 + 8][:, ::-1], ink)
    right = _half_at(rows[:, x1 - 8 : x1 + 12], ink)
    start = x0 if left is None else x0 + 8 - left
    end = x1 if right is None else x1 - 8 + right
    return float(end - start)


def _half_at(rows: NDArray[np.float32], ink: NDArray[Any]) -> float | None:
    """Say where rows that run out of a line lose half their ink, the longest row's way."""
    if rows.shape[1] < 16:
        return None
    paper = np.median(rows[:, -6:].reshape(-1, 3), axis=0)
    off = ink - paper
    if not off.any():
        return None
    light = np.array([0.299, 0.587, 0.114])  # JPEG keeps it sharper than colour
    weights = light if abs(float(off @ light)) >= 40 else off * (np.abs(off) == np.abs(off).max())
    share = (rows - paper) @ weights / float(off @ weights)
    if float(share[:, -6:].std()) > 0.12:
        return None  # on a restless ground the line's own colour is the better witness
    at = []
    for row in share[share[:, :5].mean(axis=1) > 0.7]:
        below = np.flatnonzero(row < 0.5)
        if below.size and below[0]:
            x = int(below[0])
            at.append(x - 0.5 + float((row[x - 1] - 0.5) / (row[x - 1] - row[x])))
    return max(at) if at and abs(max(at) - 8) <= 1.6 else None
