"""Join the dashes of a dashed bar."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.imaging.scale_bar.line import Line, have_one_colour, measure_colour

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_COUNT = 4  # dashes; three may be a cell and its neighbours
_GAP = (0.3, 2.5)  # between two dashes, in widths of a dash
_LEVEL_PX = 2  # by which the edges of two dashes may differ
_LIKE_INK, _OF_DASH = 0.35, 0.5  # share of a contrast; of the place of a dash
_MOST = 80  # dashes looked at, the clearest first


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
