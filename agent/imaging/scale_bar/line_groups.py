# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Reduce candidate lines to one per drawn line, and join those that a label breaks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.imaging.boxes import overlap, within
from agent.imaging.scale_bar.line import Line, have_one_colour, measure_colour
from agent.imaging.scale_bar.planes import COLOUR_PLANE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

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
