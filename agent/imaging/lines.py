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

from agent.imaging.boxes import Box, overlap, stretches
from agent.imaging.channels import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey

_STEP = 4  # columns: lines are looked for in every fourth, and measured in all
_FURTHER = 0.35  # of a pixel: so much may a line end beyond where it was found to
_OTHER_INK = 1.4  # on the way from paper to ink, so far beyond the ink is an outline's
ROWS = 64  # worked on at a time: so many stay in the processor's cache
COLOUR_PLANE = 2  # the plane of coloured lines
EVEN = 0.8  # an evenness that one needle of twenty has, and four bars of five
_MOST = 160  # candidates of one mask that are measured, the longest first
_CONTRAST = 40  # grey values between a line and what is above and below it
_FULL = 220  # grey value that most lines have in the plane where they are bright


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
        even: Share of its columns that are as thick and lie as high as most; see `evenness`.
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
    even: float = 0.0

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
    light, dark = np.empty((2, *pixels.shape[:2]), np.uint8)
    channels = np.empty((3, ROWS, pixels.shape[1]), np.uint8)  # held, so that it stays in the cache
    coloured_px = 0
    for top in range(0, len(pixels), ROWS):
        rows = slice(top, top + ROWS)
        red, green, blue = cv2.split(pixels[rows], [*channels[:, : len(light[rows])]])
        most = cv2.max(cv2.max(red, green), blue, light[rows])
        least = cv2.min(cv2.min(red, green), blue)
        cv2.bitwise_not(least, dark[rows])
        coloured_px += cv2.countNonZero(cv2.inRange(cv2.subtract(most, least), 111, 255))
    coloured = [cv2.subtract(light, cv2.bitwise_not(dark))] if coloured_px > 20 else []
    return [light, dark, *coloured]


def find_lines(
    planes: list[Plane], number: int, *, thick_px: int | None = None, least_px: int | None = None
) -> Iterator[Line]:
    """Yield the straight bright lines of one plane.

    Args:
        planes: (h, w) uint8 each, in which what is drawn is bright.
        number: Which of them.
        thick_px: A line is thinner; None: by the height of the plane.
        least_px: A line is longer; None: by its width.
    """
    plane = planes[number]
    height, width = plane.shape
    thick = thickest(height) if thick_px is None else thick_px
    least = max(13, round(0.017 * width)) if least_px is None else least_px
    runs = _long_runs(plane, least | 1)  # odd: an even one shifts a pixel
    for mask in _masks(runs, thick):
        for x, y, wide, high in _likely(parts_of(mask), thick, plane.shape):
            line = _measured(plane, (x, y, min(width, x + wide - _STEP + 1), y + high), number)
            if line is not None:
                yield line


def _masks(runs: Plane, thick: int) -> Iterator[Plane]:
    """Yield what is thin and stands out, what surely does, what does and is full: one at a time."""
    upright = np.ones((thick, 1), np.uint8)
    thin = cv2.subtract(runs, cv2.morphologyEx(runs, cv2.MORPH_OPEN, upright))
    stands_out = cv2.inRange(thin, _CONTRAST, 255)
    yield stands_out
    yield cv2.inRange(thin, 3 * _CONTRAST, 255)
    yield cv2.bitwise_and(stands_out, cv2.inRange(runs, _FULL, 255))


def thickest(height: int) -> int:
    """Say how thick a line can be in an image of some height, in pixels."""
    return int(np.clip(0.04 * height, 12, 60)) | 1


def _likely(parts: NDArray[Any], thick: int, shape: tuple[int, ...]) -> list[list[int]]:
    """Choose the parts of a sampled mask that are as long and as full as a line: x, y, w, h."""
    height, width = shape
    parts[:, [0, 2]] *= _STEP
    y, w, h, area = parts[:, 1], parts[:, 2], parts[:, 3], parts[:, 4] * _STEP
    least = np.where(h >= 4, 0.55, 0.75)  # of a bar of full and outlined cells, half is drawn
    likely = (area >= least * w * h) & (w >= 1.8 * h) & (h < thick) & (w < 0.95 * width)
    likely &= (y > 0) & (y + h < height)  # what lies at the image's edge goes on beyond it
    best = np.argsort(-(w * likely))[:_MOST]
    chosen: list[list[int]] = parts[best[likely[best]], :4].tolist()
    return chosen


def _long_runs(plane: Plane, shortest: int) -> Plane:
    """Leave what is bright over so many columns, in every fourth column: three of each run."""
    runs = np.empty((len(plane), -(-plane.shape[1] // _STEP)), np.uint8)
    kernel = np.ones((1, shortest), np.uint8)
    for top in range(0, len(plane), ROWS):
        opened = cv2.morphologyEx(plane[top : top + ROWS], cv2.MORPH_OPEN, kernel)
        runs[top : top + ROWS] = opened[:, ::_STEP]
    return runs


def parts_of(mask: Plane) -> NDArray[Any]:
    """Say x, y, width, height and area of every part of a mask, (n, 5), from top to bottom.

    OpenCV's own statistics look at every pixel, which takes four times as long as the marks do:
    here only the ends of runs are looked at. Rows without any cost nothing.
    """
    some = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] > 0
    some[1:] |= some[:-1]  # and the row below, so that the next part does not touch
    rows = np.flatnonzero(some)
    if not rows.size:
        return np.empty((0, 5), np.int32)
    packed = cv2.copyMakeBorder(mask[rows], 0, 0, 1, 1, cv2.BORDER_CONSTANT)
    flat = packed.ravel()
    before, last = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T
    _, marks = cv2.connectedComponents(packed, connectivity=4)
    part = marks.ravel()[last]
    order = np.argsort(part, kind="stable")
    first = np.flatnonzero(np.diff(part[order], prepend=0))
    y, left = np.divmod(before[order], packed.shape[1])
    top, length = rows[y], (last - before)[order]
    x0, x1 = np.minimum.reduceat(left, first), np.maximum.reduceat(left + length, first)
    y0, y1 = top[first], np.maximum.reduceat(top, first) + 1
    area = np.add.reduceat(length, first)
    return np.stack([x0, y0, x1 - x0, y1 - y0, area], axis=1, dtype=np.int32, casting="same_kind")


def _measured(plane: Plane, box: Box, number: int) -> Line | None:
    """Measure a candidate to the pixel, or refuse it."""
    tone = _one_tone(plane, box)
    if tone is None:
        return None
    level, exact = tone
    box = _without_needles(plane, box, level)
    contrast = _contrast(plane, box, level)
    if contrast < _CONTRAST:
        return None
    x0, y0, x1, y1 = box
    least = level - 0.55 * contrast
    filled = _share(plane[(y0 + y1) // 2, x0:x1] >= least)
    rim = box if filled > 0.8 else (x0, y0, x1, y0 + 2)  # an outlined cell is empty in its middle
    ends = _ends(plane, rim, level, 0.1) if exact else None
    if ends is None or not _are_hard(plane, ends, (rim[1] + rim[3]) // 2, level - contrast):
        ends = _ends(plane, rim, level, 0.45 if number == COLOUR_PLANE else 0.4)
    if ends is None:
        return None
    crisp = _crisp(plane, box, level - 0.6 * contrast)
    box = (ends[0], y0, ends[1], y1)
    checker = _outlined(plane, box, least) if filled > 0.8 else _chequered(plane, box, least)
    if checker is not None:
        length = float(checker[2] - checker[0])
        return Line(checker, length, exact, contrast, crisp, "checker", core=checker, plane=number)
    if filled < 0.75:
        return None
    line = Line(box, float(ends[1] - ends[0]), exact, contrast, crisp, core=box, plane=number)
    return _with_ticks(plane, line, level)


def _without_needles(plane: Plane, box: Box, level: float) -> Box:
    """Leave off rows that hold only what lies against a line: three or more, so no blur."""
    x0, y0, x1, y1 = box
    if y1 - y0 < 4:
        return box
    full = np.flatnonzero((plane[y0:y1, x0:x1:3] >= level - 50).mean(axis=1) > 0.5)
    if not full.size:
        return box
    above, below = int(full[0]), y1 - y0 - 1 - int(full[-1])
    return (x0, y0 + above * (above > 2), x1, y1 - below * (below > 2))


def _one_tone(plane: Plane, box: Box) -> tuple[float, bool] | None:
    """Say the tone of a line, and whether all of it has that to the grey value; None: it has none.

    What is as bright three rows above and below is no line; most candidates end there.
    """
    x0, y0, x1, y1 = box
    inside = plane[y0:y1, x0:x1]
    sampled = inside[:, :: max(1, (x1 - x0) // 12)]
    core = inside[int(np.argmax(sampled.sum(axis=1)))]
    above, below = max(0, y0 - 3), min(len(plane) - 1, y1 + 2)
    beside = plane[above : below + 1 : below - above, x0:x1:3]
    if _share(beside < int(core[0]) // 2 + int(core[-1]) // 2 - 18) < 0.5:
        return None
    core = core.astype(np.int16)
    level = _median(core)
    spread = np.abs(core - level)
    if level < 90 or _share(spread > 0.18 * level) > 0.07:
        return None
    return level, _share(spread <= 1) > 0.97


def _contrast(plane: Plane, box: Box, level: float) -> float:
    """Say how far a line stands out: within four rows, in nearly every column; 0: it does not."""
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 4) : y0, x0:x1], plane[y1 : y1 + 4, x0:x1])
    drops = [level - side.min(axis=0).astype(np.int16) for side in sides if side.size]
    if not drops or min(_share(drop > 25) for drop in drops) < 0.7:
        return 0.0
    return sum(_median(drop) for drop in drops) / len(drops)


def _crisp(plane: Plane, box: Box, least: float) -> float:
    """Say in which share of its columns a line falls off within two rows, above and below."""
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 2) : y0, x0:x1], plane[y1 : y1 + 2, x0:x1])
    return min(_share(side.min(axis=0) < least) for side in sides if side.size)


def _share(flags: NDArray[np.bool_]) -> float:
    """Say which share is true; `np.mean` takes five times as long for a few pixels."""
    return np.count_nonzero(flags) / flags.size


def _median(row: NDArray[Any]) -> float:
    """Say the median of a row; `np.median` takes ten times as long for a few pixels."""
    ordered = np.sort(row)
    half = len(row) // 2
    return (float(ordered[half]) + float(ordered[~half])) / 2


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


def _chequered(plane: Plane, box: Box, least: float) -> Box | None:
    """Give a box back if it is a bar of full cells and outlined ones."""
    x0, y0, x1, y1 = box
    rims = plane[[y0, y1 - 1], x0:x1] >= least
    middle = plane[(y0 + y1) // 2, x0:x1] >= least
    return box if _share(rims) > 0.9 and are_cells(middle) else None


def are_cells(full: NDArray[np.bool_]) -> bool:
    """Say whether a row goes full and empty by turns, in three cells or more of one width."""
    cells = sorted(stretches(full) + stretches(~full))
    widths = np.array([end - start for start, end in cells if end - start > 2])
    usual = float(np.median(widths)) if widths.size else 0.0
    even = np.abs(widths - usual) <= 0.15 * usual + 2
    return 3 <= len(widths) <= 24 and usual >= 6 and bool(even.all())


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


def _are_hard(plane: Plane, ends: tuple[int, int], y: int, paper: float) -> bool:
    """Say whether a line falls off within a pixel at both ends, as JPEG lets none."""
    beyond = [x for x in (ends[0] - 1, ends[1]) if 0 <= x < plane.shape[1]]
    drawn = (int(plane[y, ends[0]]) + int(plane[y, ends[1] - 1])) / 2
    return all(int(plane[y, x]) < paper + 0.5 * (drawn - paper) for x in beyond)


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
    first, middle = max(0, y0 - height // 5), (y0 + y1) // 2
    left, right = max(0, min(columns)), min(width, max(columns) + 1)
    bright = plane[first : y1 + height // 5, left:right] >= least
    tops = middle + 1 - _run_from_top(bright[: middle - first + 1][::-1])
    feet = middle + _run_from_top(bright[middle - first :])
    stands = feet - tops >= max(thick + 4, 1.5 * thick)
    found: list[tuple[int, int, int]] = []
    for x in columns:
        if left <= x < right and stands[x - left]:
            found.append((x, int(tops[x - left]), int(feet[x - left])))
        elif found:
            break
    if not found or len(found) > max(5, thick + 3):
        return None
    highs = [b - t for _, t, b in found]
    if len(highs) > 2 and highs[0] < 0.75 * max(highs) <= 0.85 * highs[1]:
        found, highs = found[1:], highs[1:]  # a column that blur has left half of the ink
    if highs[0] < 0.75 * max(highs):
        return None  # it rises from a point: the head of an arrow
    top, bottom = (int(np.median([column[side] for column in found])) for side in (1, 2))
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
        if not any(_are_the_same(line, known) for known in kept):
            kept.append(line)
    return [line for line in kept if not any(_is_halo(line, other) for other in kept)]


def _are_the_same(line: Line, other: Line) -> bool:
    """Say whether two candidates are one; a ruler and its outline, or its frame, are two."""
    if min(overlap(line.box, other.box), overlap(other.box, line.box)) <= 0.6:
        return False
    if line.framed != other.framed and {line.kind, other.kind} & {"caps", "ruler"}:
        return False
    thin, thick = sorted(one.core[3] - one.core[1] for one in (line, other))
    return (line.plane == 1) == (other.plane == 1) or thin > 2 or thick < 3 * thin


def _is_halo(line: Line, other: Line) -> bool:
    """Say whether a line is but the outline of another, or what JPEG leaves beside it."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, other.core
    room = max(4, 0.03 * (a1 - a0))
    along = abs(x0 - a0) <= room and abs(x1 - a1) <= room
    touching = min(y1, b1) - max(y0, b0) >= -1
    return along and touching and other.contrast > 1.25 * line.contrast and other.crisp >= 0.8


def _of_one_colour(pixels: NDArray[np.uint8], one: Line, other: Line) -> bool:
    """Say whether two lines have the same ink."""
    inks = [
        np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
        for x0, y0, x1, y1 in (one.core, other.core)
    ]
    return bool(np.abs(inks[0] - inks[1]).max() < 50)


def colour_of(pixels: NDArray[np.uint8], line: Line) -> NDArray[Any]:
    """Say the colour (3,) that most of a line has."""
    x0, y0, x1, y1 = line.core
    rows = pixels[y0:y1, x0:x1]
    if line.gap is not None:
        rows = rows[:, : max(1, line.gap[0] - x0)]
    if line.kind == "comb":
        return _colour_of_ticks(pixels, line)
    colour: NDArray[Any] = np.median(rows.reshape(-1, 3), axis=0)
    return colour


def alike(one: NDArray[Any], other: NDArray[Any], within: float) -> bool:
    """Say whether two colours (3,) differ by less than so many grey values in every channel."""
    return bool(np.abs(one - other).max() < within)


def _colour_of_ticks(pixels: NDArray[np.uint8], line: Line) -> NDArray[Any]:
    """Say the colour of the ticks at a ruler's ends, of their fullest columns."""
    inks = []
    for left, right, top, foot in (tick for tick in line.ticks if tick is not None):
        columns = np.median(pixels[top:foot, left : right + 1], axis=0)
        beside = [max(0, left - 3), min(pixels.shape[1] - 1, right + 3)]
        paper = np.median(pixels[top:foot, beside], axis=(0, 1))
        inks.append(columns[int(np.argmax(np.abs(columns - paper).max(axis=1)))])
    colour: NDArray[Any] = np.mean(inks, axis=0)
    return colour


def evenness(pixels: NDArray[np.uint8], line: Line) -> float:
    """Say in which share of its columns a line has the upper and lower edge that most have.

    What a program drew keeps its two edges to the pixel from one end to the other, also where a
    needle crosses it; a needle tapers and lies askew, and a grain boundary wanders.
    """
    x0, y0, x1, y1 = line.core
    top = max(0, y0 - 4)
    ink = colour_of(pixels, line)
    rows = pixels[top : y1 + 4, x0:x1]
    if line.gap is not None:
        rows = np.hstack([rows[:, : line.gap[0] - x0], rows[:, line.gap[2] - x0 :]])
    off = largest(cv2.absdiff(rows, np.full_like(rows, np.rint(ink))))
    drawn = off < min(75.0, 0.5 * line.contrast)
    middle = (y0 + y1) // 2 - top
    above, below = _run_from_top(drawn[: middle + 1][::-1]), _run_from_top(drawn[middle:])
    return float(np.bincount(above * len(rows) + below).max() / above.size)


def _run_from_top(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Say for every column how many flags are set from the top on."""
    ends = np.argmin(flags, axis=0)
    return np.where(flags[0] & (ends == 0), len(flags), ends)


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
            (_, a0, _, a1), (_, b0, _, b1) = one.core, other.core
            alike = abs(one.width - other.width) <= max(6, 0.25 * one.width)
            level = abs((a0 + a1) - (b0 + b1)) <= 4 and abs((a1 - a0) - (b1 - b0)) <= 4
            long = min(one.width, other.width) >= max(18, 5 * (a1 - a0))
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
                        ticks=(left, right),
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
    between = _between_ticks(pixels, line)
    if between is not None:
        return between
    x0, y0, x1, y1 = line.core
    rows = pixels[max(0, y0 - 1) : y1 + 1].astype(np.float32)
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    beyond = (rows[:, max(0, x0 - 16) : x0 + 8][:, ::-1], rows[:, x1 - 8 : x1 + 16])
    height = slice(min(y0, 1), min(y0, 1) + y1 - y0)
    left, right = (
        _tip_at(out, ink) if head else _end_at(out[height, :20], ink, line)
        for out, head in zip(beyond, _heads(pixels, line), strict=True)
    )
    if line.plane != COLOUR_PLANE:  # JPEG keeps light to the pixel, colour only to two or three
        left, right = (end and min(end, 8 + _FURTHER) for end in (left, right))
    return float(x1 - x0 + sum(end - 8 for end in (left, right) if end is not None))


def _between_ticks(pixels: NDArray[np.uint8], line: Line) -> float | None:
    """Measure a ruler whose ticks are paler than its line: from centre to centre of the outer ones.

    Returns:
        The length in pixels; None where no row beside the line shows ticks at even distances,
        the outer ones at the line's ends.
    """
    x0, y0, x1, y1 = line.core
    left, right = max(0, x0 - 3), min(pixels.shape[1], x1 + 3)
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    for beside in (pixels[max(0, y0 - 6) : max(0, y0 - 3)], pixels[y1 + 3 : y1 + 6]):
        rows = beside[:, left:right].astype(np.float32)
        if not rows.size:
            continue
        paper = np.median(rows.reshape(-1, 3), axis=0)
        way = ink - paper
        share = ((rows - paper) @ way / max(1.0, float(way @ way))).min(axis=0)
        ticks = stretches(share > 0.25)
        centres = np.array(
            [a + np.average(np.arange(b - a), weights=share[a:b]) for a, b in ticks if b - a <= 6]
        )
        if len(centres) < 5 or len(centres) < len(ticks):
            continue
        steps = np.diff(centres)
        even = np.abs(steps - np.median(steps)).max() <= max(1.5, 0.1 * float(np.median(steps)))
        ends = (centres[0] + left - x0, x1 - 1 - left - centres[-1])
        if even and max(np.abs(ends)) <= 3:
            return float(centres[-1] - centres[0])
    return None


def _tip_at(rows: NDArray[np.float32], ink: NDArray[Any]) -> int | None:
    """Say where rows that run out of an arrow end: a tip has some ink, in one of its rows."""
    paper = np.median(rows[:, -6:].reshape(-1, 3), axis=0)
    way = ink - paper
    if rows.shape[1] < 16 or np.abs(way).max() < 40:
        return None
    share = (rows - paper) @ way / float(way @ way)
    end = int(np.argmax(share.max(axis=0) < 0.4))
    return min(end, 10) if end >= 3 else None


def is_arrow(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Say whether a line has the head of an arrow at either end."""
    return line.kind == "plain" and all(_heads(pixels, line))


def _heads(pixels: NDArray[np.uint8], line: Line) -> tuple[bool, bool]:
    x0, _, x1, _ = line.core
    return _has_head(pixels, line.core, (x0, 1)), _has_head(pixels, line.core, (x1 - 1, -1))


def _has_head(pixels: NDArray[np.uint8], core: Box, end: tuple[int, int]) -> bool:
    """Say whether a line ends in the head of an arrow, given an end and which way is inwards."""
    x0, y0, x1, y1 = core
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    rows = pixels[max(0, y0 - 5) : y1 + 5].astype(np.int16)
    paper = np.median(rows[[0, -1], x0:x1].reshape(-1, 3), axis=0)
    least = 0.5 * float(np.abs(ink - paper).max())
    x, inwards = end
    columns = np.clip(x + inwards * np.array([0, *range(2, 10), 18]), 0, rows.shape[1] - 1)
    tip, *head, shaft = (np.abs(rows[:, columns] - ink).max(axis=2) < least).sum(axis=0).tolist()
    return bool(max(head) >= max(tip, shaft) + 2)


def _end_at(rows: NDArray[np.float32], ink: NDArray[Any], line: Line) -> float | None:
    """Say where rows that run out of a line end: where half its ink is gone, or another begins.

    An outline, or a grain as light as the line, keeps the light and changes the colour.
    """
    if rows.shape[1] < 16:
        return None
    half = _half_at(rows, ink, mean=line.plane == COLOUR_PLANE)
    off = np.abs(rows - ink).max(axis=2)
    drawn = off[:, :4].mean(axis=1) < 60
    other = (off[drawn] > 90).mean(axis=0) > 0.5 if drawn.any() else np.zeros(3, bool)
    other = other[:-2] & other[1:-1] & other[2:]  # of one column there may be an outline's corner
    begins = int(np.argmax(other))
    if 4 <= begins <= 12 and (half is None or half > begins + 0.6):
        return float(begins)
    changes = _tone_changes_at(rows, line)
    if changes is not None and (half is None or half - changes > 1.2):
        return min(changes + 0.5, 8.0)
    return half


def _tone_changes_at(rows: NDArray[np.float32], line: Line) -> int | None:
    """Say where an exact line loses its tone for good, whatever is nearly as light beyond."""
    if not line.exact or line.plane == COLOUR_PLANE:
        return None
    tone = rows.max(axis=2) if line.plane == 0 else rows.min(axis=2)
    drawn, beyond = float(np.median(tone[:, :4])), float(np.median(tone[:, -6:]))
    room = max(12.0, 0.15 * abs(drawn - beyond))  # what JPEG makes of the last pixels
    same = (np.abs(tone - drawn) <= room).mean(axis=0) >= 0.5
    changes = int(np.flatnonzero(same[:8]).max(initial=-1)) + 1
    return changes if changes >= 3 else None


def _half_at(rows: NDArray[np.float32], ink: NDArray[Any], *, mean: bool) -> float | None:
    """Say where rows that run out of a line lose half their ink, the longest or the mean row."""
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
    drawn = share[:, :5].mean(axis=1)
    drawn_rows = share[(drawn > 0.7) & (drawn < _OTHER_INK)]
    if mean and len(drawn_rows):
        drawn_rows = drawn_rows.mean(axis=0, keepdims=True)
    for row in drawn_rows:
        beyond = np.flatnonzero((row < 0.5) | (row > _OTHER_INK))
        if beyond.size and beyond[0]:
            x = int(beyond[0])
            part = (row[x - 1] - 0.5) / (row[x - 1] - row[x])
            at.append(x if row[x] > 1 else x - 0.5 + float(part))
    return max(at) if at and abs(max(at) - 8) <= 3 else None


def moved(line: Line, right: int, down: int) -> Line:
    """Give a line that was found in a part of an image its place in the whole."""
    first, last = line.ticks
    return replace(
        line,
        box=_shifted(line.box, right, down),
        core=_shifted(line.core, right, down),
        gap=line.gap and _shifted(line.gap, right, down),
        ticks=(_with_tick(first, right, down), _with_tick(last, right, down)),
    )


def _shifted(box: Box, right: int, down: int) -> Box:
    return (box[0] + right, box[1] + down, box[2] + right, box[3] + down)


def _with_tick(tick: Box | None, right: int, down: int) -> Box | None:
    return tick and (tick[0] + right, tick[1] + right, tick[2] + down, tick[3] + down)


def distance(line: Line, place: Box) -> float | None:
    """Say how far a label is from being where this line's label would be, or None."""
    x0, y0, x1, y1 = line.box
    high = max(8, place[3] - place[1])
    if line.width < 0.7 * high:
        return None
    middle_x, middle_y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    penalty = (0.0 if line.exact else 0.3) + (1 - line.crisp)
    if line.gap is not None:
        room = 0.35 * high  # words are boxed with some room around them
        inside = line.gap[0] - room <= place[0] and place[2] <= line.gap[2] + room
        return 0.2 * penalty if inside and place[1] <= (y0 + y1) / 2 <= place[3] else None
    shared = min(x1, place[2]) - max(x0, place[0])
    beside = not x0 < middle_x < x1 and shared < 0.5 * (place[2] - place[0])
    if shared > 0.3 * high and not (beside and y0 - 0.3 * high <= middle_y <= y1 + 0.3 * high):
        through = min(y1, place[3] - 0.2 * high) - max(y0, place[1] + 0.2 * high)
        away = max(place[1] - y1, y0 - place[3], 0) / high
        if away > 2.5 or through > 0.15 * high:
            return None
        return away + 0.3 * abs(middle_x - (x0 + x1) / 2) / max(x1 - x0, 1) + penalty
    if y0 - 0.7 * high <= middle_y <= y1 + 0.7 * high:
        away = max(0, -shared) / high
        return 0.3 + away + penalty if away < 3 else None
    return None
