# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""A candidate line, with its colour, its evenness and its distance to a label."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap, union, within
from agent.imaging.readers.channels import largest
from agent.imaging.scale_bar.bars.planes import COLOUR_PLANE

LUMA = np.array([0.299, 0.587, 0.114])  # JPEG keeps it to the pixel, colour to two
_LUMA_CONTRAST = 60  # grey values below which only colour shows a line
_LEAST_ROOM_PX = 9  # height of the lowest words between ticks
_OFF_MIDDLE = 0.2  # of the height of words, by which a line that they break is off their middle
EVEN = 0.8  # evenness that 1 in 20 needles and 4 in 5 bars reach


@dataclass(frozen=True, slots=True)
class FoundBar:
    """A bar with its label.

    Args:
        line: The line with its ticks, pixels.
        label_box: The words, or None.
        line_px: The length that the label states, pixels.
        label: "20 µm", or "".
        um: The length in µm, or None.
        contrast: Of the line to its surroundings, grey values.
        ink: (r, g, b) of the line.
        kind: Kind of the line.
        in_doubt: Its length is in doubt, so that no other method may state one.
    """

    line: Box
    label_box: Box | None
    line_px: float
    label: str
    um: float | None
    contrast: float = 0.0
    ink: tuple[float, ...] = ()
    kind: str = "plain"
    in_doubt: bool = False

    @property
    def number(self) -> float:
        """The number of its label, without the unit; it has a label."""
        return float(self.label.split()[0])

    @property
    def bbox(self) -> Box:
        """The box around line and label."""
        return self.line if self.label_box is None else union(self.line, self.label_box)


@dataclass(frozen=True, slots=True)
class Line:
    """A candidate line: straight, of one colour, sharp.

    Args:
        box: The line with its ticks, pixels.
        line_px: The length that a label would state, pixels.
        exact: All pixels have one value, as only a program draws.
        contrast: To its surroundings, grey values.
        crisp: Share of its columns that fall off within two pixels above and below.
        kind: "plain", "caps", "ruler", "comb", "checker", "hollow", "broken" or
            "dashed".
        framed: It is the side of a box.
        gap: Where a broken line leaves room for its label.
        core: The line without its ticks; the first dash of a dashed one.
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


def find_room(line: Line) -> Box | None:
    """Return the box between the ticks at the ends of a line, None where no words fit into it."""
    left, right = line.ticks
    if line.kind not in ("caps", "ruler") or left is None or right is None:
        return None
    (x0, top), (x1, foot) = (left[1] + 1, line.box[1]), (right[1], line.box[3])
    above, below = line.core[1] - top, foot - line.core[3]
    if max(above, below) < _LEAST_ROOM_PX or min(above, below) > 2:
        return None
    return (x0, top, x1, line.core[1]) if above > below else (x0, line.core[3], x1, foot)


def is_in_room(line: Line, place: Box) -> bool:
    """Return whether words stand between the ticks of a line, higher than those or not."""
    room = find_room(line)
    if room is None:
        return False
    slack = 0.25 * (place[3] - place[1])
    if room[1] < line.core[1]:
        level = room[1] < place[3] <= room[3] + slack
    else:
        level = room[1] - slack <= place[1] < room[3]
    return level and room[0] <= place[0] and place[2] <= room[2]


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


def is_pale(ink: NDArray[Any], paper: NDArray[Any]) -> bool:
    """Return whether only colour separates an ink (3,) from its paper (3,), not brightness."""
    return abs(float((ink - paper) @ LUMA)) < _LUMA_CONTRAST


def are_alike(colour: NDArray[Any], other_colour: NDArray[Any], within: float) -> bool:
    """Return whether two colours (3,) differ by less than `within` grey values in every channel."""
    return bool(np.abs(colour - other_colour).max() < within)


def _measure_tick_colour(pixels: NDArray[np.uint8], line: Line) -> NDArray[Any]:
    """Return the mean colour of the fullest columns of the ticks at a ruler's ends."""
    inks = []
    for left, right, top, foot in (tick for tick in line.ticks if tick is not None):
        columns = np.median(pixels[top:foot, left : right + 1], axis=0)
        next_columns = [max(0, left - 3), min(pixels.shape[1] - 1, right + 3)]
        paper = np.median(pixels[top:foot, next_columns], axis=(0, 1))
        inks.append(columns[int(np.argmax(np.abs(columns - paper).max(axis=1)))])
    colour: NDArray[Any] = np.mean(inks, axis=0)
    return colour


def have_one_colour(pixels: NDArray[np.uint8], line: Line, other_line: Line) -> bool:
    """Return whether two lines have the same ink."""
    inks = [
        np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
        for x0, y0, x1, y1 in (line.core, other_line.core)
    ]
    return bool(np.abs(inks[0] - inks[1]).max() < 50)


def compute_evenness(pixels: NDArray[np.uint8], line: Line) -> float:
    """Return the share of a line's columns with the most frequent upper and lower edge.

    A drawn line keeps both edges to the pixel from end to end, also where a needle crosses it; a
    needle tapers and is inclined, and a grain boundary wanders.
    """
    return float(find_even_columns(pixels, line).mean())


def find_even_columns(
    pixels: NDArray[np.uint8], line: Line, room: float = 75.0
) -> NDArray[np.bool_]:
    """Return which columns of a line, (n,), have its most frequent upper and lower edge.

    What differs from its colour by less than `room` grey values counts as the line.
    """
    x0, y0, x1, y1 = line.core
    top = max(0, y0 - 4)
    ink = measure_colour(pixels, line)
    rows = pixels[top : y1 + 4, x0:x1]
    if line.gap is not None:
        rows = np.hstack([rows[:, : line.gap[0] - x0], rows[:, line.gap[2] - x0 :]])
    off = largest(cv2.absdiff(rows, np.full_like(rows, np.rint(ink))))
    drawn = off < min(room, 0.5 * line.contrast)
    middle = (y0 + y1) // 2 - top
    above, below = count_from_top(drawn[: middle + 1][::-1]), count_from_top(drawn[middle:])
    edges = above * len(rows) + below
    return np.asarray(edges == np.bincount(edges).argmax())


def count_from_top(flags: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of set flags from the top of every column."""
    ends = np.argmin(flags, axis=0)
    return np.where(flags[0] & (ends == 0), len(flags), ends)


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
    is_inside = is_in_room(line, place) or _is_in_gap(line, place, 0.35 * high)
    if line.gap is not None or is_inside:
        return 0.2 * penalty if is_inside else None
    shared = min(x1, place[2]) - max(x0, place[0])
    is_at_end = not x0 < middle_x < x1 and shared < 0.5 * (place[2] - place[0])
    if shared > 0.3 * high and not (is_at_end and y0 - 0.3 * high <= middle_y <= y1 + 0.3 * high):
        through = min(y1, place[3] - 0.2 * high) - max(y0, place[1] + 0.2 * high)
        away = max(place[1] - y1, y0 - place[3], 0) / high
        if away > 2.5 or through > 0.15 * high:
            return None
        return away + 0.3 * abs(middle_x - (x0 + x1) / 2) / max(x1 - x0, 1) + penalty
    if y0 - 0.7 * high <= middle_y <= y1 + 0.7 * high:
        away = max(0, -shared) / high
        return 0.3 + away + penalty if away < 3 else None
    return None


def _is_in_gap(line: Line, place: Box, room: float) -> bool:
    """Return whether words break a line; they are boxed with some room around them, pixels."""
    if line.gap is None:
        return False
    inside = line.gap[0] - room <= place[0] and place[2] <= line.gap[2] + room
    off_middle = abs(line.box[1] + line.box[3] - place[1] - place[3]) / 2
    return inside and off_middle <= _OFF_MIDDLE * (place[3] - place[1])  # else of letters' feet


# --- reduce candidate lines to one per drawn line, and join those that a label breaks

_OF_WORDS = 0.6  # share of words that each side of their frame covers
_OF_FRAME_PX = 3  # by which the sides of one frame differ
_LEAST_COUNT = 4  # dashes; three may be a cell and its neighbours
_GAP = (0.3, 2.5)  # between two dashes, in widths of a dash
_LEVEL_PX = 2  # by which the edges of two dashes may differ
_LIKE_INK, _OF_DASH = 0.35, 0.5  # share of a contrast; of the place of a dash
_MOST = 80  # dashes looked at, the clearest first


def drop_duplicates(lines: list[Line]) -> list[Line]:
    """Return the best of the candidates that several planes and levels produced."""
    kept: list[Line] = []
    order = sorted(
        lines,
        # Steel lengthens no line in the plane of colours, but compression blurs ticks there.
        key=lambda line: (
            line.exact,
            line.crisp > 0.9,
            min(line.contrast, 120),
            2 * (line.kind in ("caps", "ruler")) + (line.plane == COLOUR_PLANE),
            line.width,
        ),
        reverse=True,
    )
    for line in order[:400]:
        if not any(_are_the_same(line, known) for known in kept):
            kept.append(line)
    kept = [line for line in kept if not any(_is_rim(line, other) for other in kept)]
    return [line for line in kept if not any(_is_halo(line, other) for other in kept)]


def _is_rim(line: Line, other: Line) -> bool:
    """Return whether a line is a rim of a hollow bar, or the paper between its rims."""
    x0, y0, x1, y1 = other.box
    inside = within(line.box, (x0 - 3, y0 - 2, x1 + 3, y1 + 2))
    return other.kind == "hollow" and line.kind != "hollow" and inside


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


def find_frame(lines: list[Line], words: Box) -> list[Line]:
    """Return the upper and lower sides of a frame around words: alike, as long as the words."""
    wide = words[2] - words[0]
    plain = [
        line
        for line in lines
        if line.kind in ("plain", "caps", "ruler")
        and min(line.core[2], words[2]) - max(line.core[0], words[0]) > _OF_WORDS * wide
    ]
    above = [line for line in plain if line.core[3] <= words[1] + 2]
    below = [line for line in plain if line.core[1] >= words[3] - 2]
    return [
        line
        for top, foot in itertools.product(above, below)
        if max(abs(top.core[side] - foot.core[side]) for side in (0, 2)) <= _OF_FRAME_PX
        and abs((top.core[3] - top.core[1]) - (foot.core[3] - foot.core[1])) <= 1
        for line in (top, foot)
    ]


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
            if is_alike and level and long and have_one_colour(pixels, left_half, right_half):
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


def join_dashes(lines: list[Line], pixels: NDArray[np.uint8]) -> list[Line]:
    """Return the lines, with equal ones in a row, equally far apart, joined to a dashed one.

    Its core is its first dash, so that colour and edges are those of ink.

    Args:
        lines: Candidate lines, in pixels of the picture.
        pixels: (h, w, 3) uint8, RGB.
    """
    plain = [line for line in lines if line.kind == "plain" and not line.framed]
    plain = sorted(plain, key=lambda line: -line.contrast)[:_MOST]
    plain.sort(key=lambda line: line.core[0])
    joined: list[Line] = []
    used: list[Line] = []
    for first in plain:
        if any(first is line for line in used):
            continue
        row = _collect_row(first, plain, pixels)
        if len(row) >= _LEAST_COUNT and not _has_another(row, pixels):
            used += row
            joined.append(_join(row))
    return [line for line in lines if not any(line is dash for dash in used)] + joined


def _collect_row(first: Line, lines: list[Line], pixels: NDArray[np.uint8]) -> list[Line]:
    """Return the dashes from a first one on; `lines` are sorted from left to right."""
    row, gap = [first], None
    for line in lines:
        apart = line.core[0] - row[-1].core[2]
        if not _GAP[0] * first.width <= apart <= _GAP[1] * first.width:
            continue
        room = max(2.0, 0.12 * first.width)
        is_alike = abs((line.core[2] - line.core[0]) - (first.core[2] - first.core[0])) <= room
        level = max(abs(line.core[side] - first.core[side]) for side in (1, 3)) <= _LEVEL_PX
        spaced = gap is None or abs(apart - gap) <= room
        if is_alike and level and spaced and have_one_colour(pixels, first, line):
            gap = apart if gap is None else gap
            row.append(line)
    return row


def _has_another(row: list[Line], pixels: NDArray[np.uint8]) -> bool:
    """Return whether ink is where the dash before or after a row would be: one was not found."""
    first, last = row[0].core, row[-1].core
    step = (last[0] - first[0]) / (len(row) - 1)
    ink = measure_colour(pixels, row[0])
    room = _LIKE_INK * min(line.contrast for line in row)
    for core, by in ((first, -step), (last, step)):
        left, right = round(core[0] + by), round(core[2] + by)
        place = pixels[core[1] : core[3], max(0, left) : max(0, right)]
        if place.size and float((np.abs(place - ink).max(axis=2) < room).mean()) > _OF_DASH:
            return True
    return False


def _join(row: list[Line]) -> Line:
    first, last = row[0].core, row[-1].core
    box = (first[0], min(line.core[1] for line in row), last[2], max(line.core[3] for line in row))
    return replace(
        row[0],
        box=box,
        line_px=float(box[2] - box[0]),
        exact=all(line.exact for line in row),
        contrast=min(line.contrast for line in row),
        crisp=min(line.crisp for line in row),
        kind="dashed",
        ticks=(None, None),
    )
