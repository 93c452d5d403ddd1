# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect straight lines drawn by a program: of one colour, sharp, much thinner than long.

A bright needle has none of this to the pixel; a drawn line falls off within two pixels above and
below along nearly all of its length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.boxes import Box, find_runs, overlap
from agent.imaging.readers.channels import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey

_STEP = 4  # columns: search in every fourth, measurement in all
_FURTHER = 0.35  # of a pixel: largest extension of a detected end
_OTHER_INK = 1.4  # of the paper-to-ink distance: beyond it is an outline
ROWS = 64  # per block, so that a block stays in the processor's cache
COLOUR_PLANE = 2  # the plane of coloured lines
EVEN = 0.8  # evenness that 1 in 20 needles and 4 in 5 bars reach
_MOST = 160  # measured candidates of one mask, the longest first
_CONTRAST = 40  # grey values between a line and the rows above and below it
_FULL = 220  # grey value that most lines have in the plane where they are bright


@dataclass(frozen=True, slots=True)
class Line:
    """A candidate line: straight, of one colour, sharp.

    Args:
        box: The line with its ticks, pixels.
        line_px: The length that a label would state, pixels.
        exact: All pixels have one value, as only a program draws.
        contrast: To its surroundings, grey values.
        crisp: Share of its columns that fall off within two pixels above and below.
        kind: "plain", "caps", "ruler", "comb", "checker" or "broken".
        framed: It is the side of a box.
        gap: Where a broken line leaves room for its label.
        core: The line without its ticks.
        ticks: (outer x, inner x, top, bottom) of the upright at its left and right end.
        plane: Index of the plane in which it was found.
        rank: Similarity to a bar; larger is better.
        even: Share of its columns with the most frequent edges; see `compute_evenness`.
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
        """Width in pixels, ticks included."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """Height in pixels, ticks included."""
        return self.box[3] - self.box[1]


def compute_planes(pixels: NDArray[np.uint8]) -> list[Plane]:
    """Return the planes in which drawn lines are bright: light ones, dark ones, coloured ones.

    Red on grey is as bright as grey, but its largest channel is bright and its smallest dark.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        Two or three planes, (h, w) uint8.
    """
    light, dark = np.empty((2, *pixels.shape[:2]), np.uint8)
    channels = np.empty(
        (3, ROWS, pixels.shape[1]), np.uint8
    )  # reused, so that it stays in the cache
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
        for x, y, wide, high in _select_likely(find_parts(mask), thick, plane.shape):
            line = _measure(plane, (x, y, min(width, x + wide - _STEP + 1), y + high), number)
            if line is not None:
                yield line


def _iter_masks(runs: Plane, thick: int) -> Iterator[Plane]:
    """Yield masks of thin contrasting parts: all, those of high contrast, those also full."""
    upright = np.ones((thick, 1), np.uint8)
    thin = cv2.subtract(runs, cv2.morphologyEx(runs, cv2.MORPH_OPEN, upright))
    stands_out = cv2.inRange(thin, _CONTRAST, 255)
    yield stands_out
    yield cv2.inRange(thin, 3 * _CONTRAST, 255)
    yield cv2.bitwise_and(stands_out, cv2.inRange(runs, _FULL, 255))


def compute_max_thickness(height: int) -> int:
    """Return the largest line thickness in an image of this height, both in pixels; odd."""
    return int(np.clip(0.04 * height, 12, 60)) | 1


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


def find_parts(mask: Plane) -> NDArray[Any]:
    """Return x, y, width, height and area of every part of a mask, (n, 5), from top to bottom.

    OpenCV's statistics visit every pixel, which takes four times as long as labelling; here only
    the ends of runs are visited. Empty rows cost nothing.
    """
    is_used = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] > 0
    is_used[1:] |= is_used[:-1]  # and the row below, so that the next part does not touch
    rows = np.flatnonzero(is_used)
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


def _measure(plane: Plane, box: Box, number: int) -> Line | None:
    """Return the candidate measured to the pixel, or None."""
    tone = _find_tone(plane, box)
    if tone is None:
        return None
    level, exact = tone
    box = _drop_needles(plane, box, level)
    contrast = _compute_contrast(plane, box, level)
    if contrast < _CONTRAST:
        return None
    x0, y0, x1, y1 = box
    least = level - 0.55 * contrast
    filled = _compute_share(plane[(y0 + y1) // 2, x0:x1] >= least)
    rim = box if filled > 0.8 else (x0, y0, x1, y0 + 2)  # an outlined cell is empty in its middle
    ends = _find_ends(plane, rim, level, 0.1) if exact else None
    if ends is None or not _are_hard(plane, ends, (rim[1] + rim[3]) // 2, level - contrast):
        ends = _find_ends(plane, rim, level, 0.45 if number == COLOUR_PLANE else 0.4)
    if ends is None:
        return None
    crisp = _compute_crispness(plane, box, level - 0.6 * contrast)
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


def _find_tone(plane: Plane, box: Box) -> tuple[float, bool] | None:
    """Return the tone of a line and whether all of it has exactly that tone, or None.

    What is as bright three rows above and below is no line; most candidates end there.
    """
    x0, y0, x1, y1 = box
    inside = plane[y0:y1, x0:x1]
    sampled = inside[:, :: max(1, (x1 - x0) // 12)]
    core = inside[int(np.argmax(sampled.sum(axis=1)))]
    above, below = max(0, y0 - 3), min(len(plane) - 1, y1 + 2)
    beside = plane[above : below + 1 : below - above, x0:x1:3]
    if _compute_share(beside < int(core[0]) // 2 + int(core[-1]) // 2 - 18) < 0.5:
        return None
    core = core.astype(np.int16)
    level = _compute_median(core)
    spread = np.abs(core - level)
    if level < 90 or _compute_share(spread > 0.18 * level) > 0.07:
        return None
    return level, _compute_share(spread <= 1) > 0.97


def _compute_contrast(plane: Plane, box: Box, level: float) -> float:
    """Return the contrast to four rows above and below in nearly every column; 0: none."""
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 4) : y0, x0:x1], plane[y1 : y1 + 4, x0:x1])
    drops = [level - side.min(axis=0).astype(np.int16) for side in sides if side.size]
    if not drops or min(_compute_share(drop > 25) for drop in drops) < 0.7:
        return 0.0
    return sum(_compute_median(drop) for drop in drops) / len(drops)


def _compute_crispness(plane: Plane, box: Box, least: float) -> float:
    """Return the share of columns in which a line falls off within two rows above and below."""
    x0, y0, x1, y1 = box
    sides = (plane[max(0, y0 - 2) : y0, x0:x1], plane[y1 : y1 + 2, x0:x1])
    return min(_compute_share(side.min(axis=0) < least) for side in sides if side.size)


def _compute_share(flags: NDArray[np.bool_]) -> float:
    """Return the share of true flags; `np.mean` takes five times as long for a few pixels."""
    return np.count_nonzero(flags) / flags.size


def _compute_median(row: NDArray[Any]) -> float:
    """Return the median of a row; `np.median` takes ten times as long for a few pixels."""
    ordered = np.sort(row)
    half = len(row) // 2
    return (float(ordered[half]) + float(ordered[~half])) / 2


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
    return box if _compute_share(rims) > 0.9 and are_cells(middle) else None


def are_cells(full: NDArray[np.bool_]) -> bool:
    """Return whether a row alternates between full and empty in 3 or more cells of one width."""
    cells = sorted(find_runs(full) + find_runs(~full))
    widths = np.array([end - start for start, end in cells if end - start > 2])
    usual = float(np.median(widths)) if widths.size else 0.0
    even = np.abs(widths - usual) <= 0.15 * usual + 2
    return 3 <= len(widths) <= 24 and usual >= 6 and bool(even.all())


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
    left = _find_upright(plane, range(x0 - 1, x0 + 9), y0, y1, least)
    right = _find_upright(plane, range(x1, x1 - 10, -1), y0, y1, least)
    left = None if left is None or left[0] > x0 + (4 if left[3] - left[2] > 11 else 2) else left
    reach = 5 if right is not None and right[3] - right[2] > 11 else 3
    right = None if right is None or right[0] < x1 - reach else right
    line = replace(line, ticks=(left, right))  # but for the head of an arrow, a ruler's second
    if left is None or right is None:
        return line
    (la, lb, ltop, lbottom), (rb, ra, rtop, rbottom) = left, right
    tall = max(lbottom, rbottom) - min(ltop, rtop)
    line = replace(line, line_px=(ra + rb) / 2 - (la + lb) / 2)
    is_alike = abs(ltop - rtop) <= 4 and abs(lbottom - rbottom) <= 4
    if not is_alike or tall > min(0.12 * plane.shape[0] + 20, 1.1 * line.width):
        return replace(line, framed=True)
    one_sided = ltop >= y0 - 1 or lbottom <= y1 + 1
    far = slice(lbottom - 4, lbottom) if ltop >= y0 - 1 else slice(ltop, ltop + 4)
    if one_sided and _is_closed(plane[far, x0:x1], level):
        return replace(line, framed=True)
    box = (min(x0, la), min(ltop, rtop), max(x1, rb + 1), max(lbottom, rbottom))
    return replace(line, box=box, kind="ruler" if one_sided else "caps")


def _is_closed(rows: Plane, level: float) -> bool:
    """Return whether a row is bright along nearly all columns."""
    return bool(np.mean(rows >= level - 40, axis=1).max() > 0.9)


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
    tops = middle + 1 - _count_from_top(bright[: middle - first + 1][::-1])
    feet = middle + _count_from_top(bright[middle - first :])
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


def drop_duplicates(lines: list[Line]) -> list[Line]:
    """Return the best of the candidates that several planes and levels produced."""
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
    """Return whether two candidates are one; a ruler and its outline or frame are two."""
    if min(overlap(line.box, other.box), overlap(other.box, line.box)) <= 0.6:
        return False
    if line.framed != other.framed and {line.kind, other.kind} & {"caps", "ruler"}:
        return False
    thin, thick = sorted(candidate.core[3] - candidate.core[1] for candidate in (line, other))
    return (line.plane == 1) == (other.plane == 1) or thin > 2 or thick < 3 * thin


def _is_halo(line: Line, other: Line) -> bool:
    """Return whether a line is only the outline of another, or its JPEG artefact."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, other.core
    room = max(4, 0.03 * (a1 - a0))
    along = abs(x0 - a0) <= room and abs(x1 - a1) <= room
    touching = min(y1, b1) - max(y0, b0) >= -1
    return along and touching and other.contrast > 1.25 * line.contrast and other.crisp >= 0.8


def _have_one_colour(pixels: NDArray[np.uint8], line: Line, other_line: Line) -> bool:
    """Return whether two lines have the same ink."""
    inks = [
        np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
        for x0, y0, x1, y1 in (line.core, other_line.core)
    ]
    return bool(np.abs(inks[0] - inks[1]).max() < 50)


def measure_colour(pixels: NDArray[np.uint8], line: Line) -> NDArray[Any]:
    """Return the most frequent colour of a line, (3,)."""
    x0, y0, x1, y1 = line.core
    rows = pixels[y0:y1, x0:x1]
    if line.gap is not None:
        rows = rows[:, : max(1, line.gap[0] - x0)]
    if line.kind == "comb":
        return _measure_tick_colour(pixels, line)
    colour: NDArray[Any] = np.median(rows.reshape(-1, 3), axis=0)
    return colour


def are_alike(colour: NDArray[Any], other_colour: NDArray[Any], within: float) -> bool:
    """Return whether two colours (3,) differ by less than `within` grey values in every channel."""
    return bool(np.abs(colour - other_colour).max() < within)


def _measure_tick_colour(pixels: NDArray[np.uint8], line: Line) -> NDArray[Any]:
    """Return the mean colour of the fullest columns of the ticks at a ruler's ends."""
    inks = []
    for left, right, top, foot in (tick for tick in line.ticks if tick is not None):
        columns = np.median(pixels[top:foot, left : right + 1], axis=0)
        beside = [max(0, left - 3), min(pixels.shape[1] - 1, right + 3)]
        paper = np.median(pixels[top:foot, beside], axis=(0, 1))
        inks.append(columns[int(np.argmax(np.abs(columns - paper).max(axis=1)))])
    colour: NDArray[Any] = np.mean(inks, axis=0)
    return colour


def compute_evenness(pixels: NDArray[np.uint8], line: Line) -> float:
    """Return the share of a line's columns with the most frequent upper and lower edge.

    A drawn line keeps both edges to the pixel from end to end, also where a needle crosses it; a
    needle tapers and is inclined, and a grain boundary wanders.
    """
    x0, y0, x1, y1 = line.core
    top = max(0, y0 - 4)
    ink = measure_colour(pixels, line)
    rows = pixels[top : y1 + 4, x0:x1]
    if line.gap is not None:
        rows = np.hstack([rows[:, : line.gap[0] - x0], rows[:, line.gap[2] - x0 :]])
    off = largest(cv2.absdiff(rows, np.full_like(rows, np.rint(ink))))
    drawn = off < min(75.0, 0.5 * line.contrast)
    middle = (y0 + y1) // 2 - top
    above, below = _count_from_top(drawn[: middle + 1][::-1]), _count_from_top(drawn[middle:])
    return float(np.bincount(above * len(rows) + below).max() / above.size)


def _count_from_top(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of set flags from the top of every column."""
    ends = np.argmin(flags, axis=0)
    return np.where(flags[0] & (ends == 0), len(flags), ends)


def join_broken(lines: list[Line], pixels: NDArray[np.uint8]) -> list[Line]:
    """Return the lines and those that a label breaks in two."""
    joined = []
    drawn = (line for line in lines if line.crisp > 0.6 and not line.framed)
    halves = sorted(drawn, key=lambda line: (line.exact, line.contrast), reverse=True)[:60]
    for left_half in halves:
        for right_half in halves:
            gap = right_half.box[0] - left_half.box[2]
            if not 8 < gap < 4 * (left_half.width + right_half.width):
                continue
            (_, a0, _, a1), (_, b0, _, b1) = left_half.core, right_half.core
            is_alike = abs(left_half.width - right_half.width) <= max(6, 0.25 * left_half.width)
            level = abs((a0 + a1) - (b0 + b1)) <= 4 and abs((a1 - a0) - (b1 - b0)) <= 4
            long = min(left_half.width, right_half.width) >= max(18, 5 * (a1 - a0))
            if is_alike and level and long and _have_one_colour(pixels, left_half, right_half):
                box = (left_half.box[0], min(a0, b0), right_half.box[2], max(a1, b1))
                length = float(box[2] - box[0])
                left, right = left_half.ticks[0], right_half.ticks[1]
                if left is not None and right is not None:
                    box = (box[0], min(left[2], right[2]), box[2], max(left[3], right[3]))
                    length = (right[0] + right[1] - left[0] - left[1]) / 2
                joined.append(
                    replace(
                        left_half,
                        box=box,
                        line_px=length,
                        exact=left_half.exact or right_half.exact,
                        contrast=min(left_half.contrast, right_half.contrast),
                        kind="broken",
                        ticks=(left, right),
                        framed=False,
                        gap=(left_half.box[2], box[1], right_half.box[0], box[3]),
                        core=(left_half.box[0], a0, right_half.box[2], a1),
                    )
                )
    return lines + joined


def measure_length(pixels: NDArray[np.uint8], line: Line) -> float:
    """Return the length of a line without ticks to subpixels, at half of its ink.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        line: The line as detected.

    Returns:
        Length in pixels; that of `line` where its ends cannot be refined.
    """
    if line.kind != "plain" or line.ticks != (None, None):
        return line.line_px
    between = _measure_between_ticks(pixels, line)
    if between is not None:
        return between
    x0, y0, x1, y1 = line.core
    rows = pixels[max(0, y0 - 1) : y1 + 1].astype(np.float32)
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    beyond = (rows[:, max(0, x0 - 16) : x0 + 8][:, ::-1], rows[:, x1 - 8 : x1 + 16])
    height = slice(min(y0, 1), min(y0, 1) + y1 - y0)
    left, right = (
        _find_tip(out, ink) if head else _find_end(out[height, :20], ink, line)
        for out, head in zip(beyond, _find_heads(pixels, line), strict=True)
    )
    if line.plane != COLOUR_PLANE:  # JPEG keeps light to the pixel, colour only to two or three
        left, right = (end and min(end, 8 + _FURTHER) for end in (left, right))
    return float(x1 - x0 + sum(end - 8 for end in (left, right) if end is not None))


def _measure_between_ticks(pixels: NDArray[np.uint8], line: Line) -> float | None:
    """Return the length of a ruler with ticks paler than its line, between the outer tick centres.

    Returns:
        Length in pixels; None where no row near the line shows evenly spaced ticks with the outer
        ones at the line's ends.
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
        ticks = find_runs(share > 0.25)
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


def _find_tip(rows: NDArray[np.float32], ink: NDArray[Any]) -> int | None:
    """Return where rows that leave an arrow end: a tip has ink in at least one row."""
    paper = np.median(rows[:, -6:].reshape(-1, 3), axis=0)
    way = ink - paper
    if rows.shape[1] < 16 or np.abs(way).max() < 40:
        return None
    share = (rows - paper) @ way / float(way @ way)
    end = int(np.argmax(share.max(axis=0) < 0.4))
    return min(end, 10) if end >= 3 else None


def is_arrow(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a line has an arrow head at both ends."""
    return line.kind == "plain" and all(_find_heads(pixels, line))


def _find_heads(pixels: NDArray[np.uint8], line: Line) -> tuple[bool, bool]:
    x0, _, x1, _ = line.core
    return _has_head(pixels, line.core, (x0, 1)), _has_head(pixels, line.core, (x1 - 1, -1))


def _has_head(pixels: NDArray[np.uint8], core: Box, end: tuple[int, int]) -> bool:
    """Return whether a line ends in an arrow head.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        core: Box of the line.
        end: Column of the end, and the inward direction (1 or -1).
    """
    x0, y0, x1, y1 = core
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    rows = pixels[max(0, y0 - 5) : y1 + 5].astype(np.int16)
    paper = np.median(rows[[0, -1], x0:x1].reshape(-1, 3), axis=0)
    least = 0.5 * float(np.abs(ink - paper).max())
    x, inwards = end
    columns = np.clip(x + inwards * np.array([0, *range(2, 10), 18]), 0, rows.shape[1] - 1)
    tip, *head, shaft = (np.abs(rows[:, columns] - ink).max(axis=2) < least).sum(axis=0).tolist()
    return bool(max(head) >= max(tip, shaft) + 2)


def _find_end(rows: NDArray[np.float32], ink: NDArray[Any], line: Line) -> float | None:
    """Return where rows that leave a line end: half of its ink is lost, or another ink begins.

    An outline, or a grain as light as the line, keeps the brightness and changes the colour.
    """
    if rows.shape[1] < 16:
        return None
    half = _find_half_ink(rows, ink, mean=line.plane == COLOUR_PLANE)
    off = np.abs(rows - ink).max(axis=2)
    drawn = off[:, :4].mean(axis=1) < 60
    other = (off[drawn] > 90).mean(axis=0) > 0.5 if drawn.any() else np.zeros(3, bool)
    other = other[:-2] & other[1:-1] & other[2:]  # of one column there may be an outline's corner
    begins = int(np.argmax(other))
    if 4 <= begins <= 12 and (half is None or half > begins + 0.6):
        return float(begins)
    changes = _find_tone_change(rows, line)
    if changes is not None and (half is None or half - changes > 1.2):
        return min(changes + 0.5, 8.0)
    return half


def _find_tone_change(rows: NDArray[np.float32], line: Line) -> int | None:
    """Return where an exact line loses its tone permanently, whatever is nearly as light beyond."""
    if not line.exact or line.plane == COLOUR_PLANE:
        return None
    tone = rows.max(axis=2) if line.plane == 0 else rows.min(axis=2)
    drawn, beyond = float(np.median(tone[:, :4])), float(np.median(tone[:, -6:]))
    room = max(12.0, 0.15 * abs(drawn - beyond))  # what JPEG makes of the last pixels
    same = (np.abs(tone - drawn) <= room).mean(axis=0) >= 0.5
    changes = int(np.flatnonzero(same[:8]).max(initial=-1)) + 1
    return changes if changes >= 3 else None


def _find_half_ink(rows: NDArray[np.float32], ink: NDArray[Any], *, mean: bool) -> float | None:
    """Return where rows that leave a line lose half of their ink: the longest or the mean row."""
    paper = np.median(rows[:, -6:].reshape(-1, 3), axis=0)
    off = ink - paper
    if not off.any():
        return None
    light = np.array([0.299, 0.587, 0.114])  # JPEG keeps it sharper than colour
    weights = light if abs(float(off @ light)) >= 40 else off * (np.abs(off) == np.abs(off).max())
    share = (rows - paper) @ weights / float(off @ weights)
    if float(share[:, -6:].std()) > 0.12:
        return None  # on an uneven background the line's colour is more reliable
    positions = []
    drawn = share[:, :5].mean(axis=1)
    drawn_rows = share[(drawn > 0.7) & (drawn < _OTHER_INK)]
    if mean and len(drawn_rows):
        drawn_rows = drawn_rows.mean(axis=0, keepdims=True)
    for row in drawn_rows:
        beyond = np.flatnonzero((row < 0.5) | (row > _OTHER_INK))
        if beyond.size and beyond[0]:
            x = int(beyond[0])
            part = (row[x - 1] - 0.5) / (row[x - 1] - row[x])
            positions.append(x if row[x] > 1 else x - 0.5 + float(part))
    return max(positions) if positions and abs(max(positions) - 8) <= 3 else None


def translate(line: Line, right: int, down: int) -> Line:
    """Return a line found in a part of an image in coordinates of the whole image."""
    first, last = line.ticks
    return replace(
        line,
        box=_translate_box(line.box, right, down),
        core=_translate_box(line.core, right, down),
        gap=line.gap and _translate_box(line.gap, right, down),
        ticks=(_translate_tick(first, right, down), _translate_tick(last, right, down)),
    )


def _translate_box(box: Box, right: int, down: int) -> Box:
    return (box[0] + right, box[1] + down, box[2] + right, box[3] + down)


def _translate_tick(tick: Box | None, right: int, down: int) -> Box | None:
    return tick and (tick[0] + right, tick[1] + right, tick[2] + down, tick[3] + down)


def compute_distance(line: Line, place: Box) -> float | None:
    """Return how far a label is from the usual place of this line's label, or None.

    Args:
        line: The line.
        place: Box of the label.

    Returns:
        Distance in label heights plus penalties; 0 is best.
    """
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
