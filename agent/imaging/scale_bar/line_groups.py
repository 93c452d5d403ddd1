# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Reduce candidate lines to one per drawn line, and join those that a label breaks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.imaging.boxes import overlap, within
from agent.imaging.scale_bar.line import Line, have_one_colour
from agent.imaging.scale_bar.planes import COLOUR_PLANE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box


_OF_WORDS = 0.6  # share of words that each side of their frame covers
_OF_FRAME_PX = 3  # by which the sides of one frame differ


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
