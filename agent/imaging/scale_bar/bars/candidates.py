# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Find and rank the lines of a micrograph that can be bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap
from agent.imaging.scale_bar.bars.chequered import are_cells
from agent.imaging.scale_bar.bars.line import (
    EVEN,
    Line,
    are_alike,
    compute_evenness,
    drop_duplicates,
    join_broken,
    join_dashes,
    measure_colour,
)
from agent.imaging.scale_bar.bars.lines import find_lines
from agent.imaging.scale_bar.bars.planes import COLOUR_PLANE

_LOOKED_AT = 2.5  # rank above which a candidate's evenness is measured
_MIDDLING = 0.6  # evenness between that of needles (half of them below 0.35) and of bars
_UNEVEN = 0.5  # three needles in four are less even, one bar in twenty
_LIKE_A_BAR = 4.8  # rank that no line of 110 real textures reaches, and 108 of 109 bars do
_OF_ONE_INK, _OUTLINE_PX = 60, 6  # grey values that blur leaves; widest outline
_EVEN_FILL = 12  # grey values within which a fill is even …
_OF_FILL, _OF_PAPER = 0.9, 0.5  # … in this share of it, and in less of what is around it
_OF_OUTLINE = 0.4  # of the paper-to-ink distance that blur leaves of an outline
_WITH_TICKS, _OF_FRAME = 0.8, 1.5  # crispness of a bar; longest side of its plate, in bars
_SHADOW_PX = 3  # height of the shadow of a line
_OF_ONE_RUN = (
    "plain",
    "caps",
    "ruler",
    "broken",
    "hollow",
    "dashed",
)  # kinds with two measurable edges


def find_candidates(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]], band: Box | None
) -> list[Line]:
    """Return the candidate lines of bars."""
    every = (line for number in range(len(planes)) for line in find_lines(planes, number))
    lines = drop_duplicates([line for line in every if not _is_filled(pixels, line)])
    lines = [_strip_outline(pixels, line) for line in lines if not _is_paper(pixels, line, band)]
    lines = [line for line in lines if not any(surrounds(line.box, bar) for bar in lines)]
    lines = [line for line in lines if not any(_is_outline(pixels, line, o) for o in lines)]
    lines = [line for line in lines if not any(_is_shadow(pixels, line, o) for o in lines)]
    lines = _drop_cells([_mark_chequered(pixels, line) for line in lines])
    lines = [line for line in lines if not _is_written_on(pixels, line)]
    return join_broken(join_dashes(lines, pixels), pixels)


def _is_paper(pixels: NDArray[np.uint8], line: Line, band: Box | None) -> bool:
    """Return whether a line is a strip of an info band's background between ticks and rules."""
    if band is None or line.box[3] <= band[1] - 2 or line.box[1] >= band[3] + 2:
        return False
    rows = pixels[band[1] : band[3], ::8].reshape(-1, 3)
    return are_alike(measure_colour(pixels, line), np.median(rows, axis=0), 40)


def surrounds(side: Box, bar: Line) -> bool:
    """Return whether a line is a side of the plate of a bar with ticks: longer, close to them."""
    if bar.kind != "caps" or bar.framed or bar.contrast < 80 or bar.crisp < _WITH_TICKS:
        return False
    (x0, y0, x1, y1), (a0, b0, a1, b1) = side, bar.box
    wide, tall = a1 - a0, b1 - b0
    longer = x0 <= a0 + 1 and a1 - 1 <= x1 and wide + 4 <= x1 - x0 < _OF_FRAME * wide + 2 * tall
    apart = max(b0 - y0 - tall, y1 - b1 - tall)
    return longer and apart <= 2 * tall and (y0 < b0 or y1 > b1)


def _is_outline(pixels: NDArray[np.uint8], line: Line, bar: Line) -> bool:
    """Return whether a thin line is the outline of a thicker one: its colour is on both sides."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, bar.core
    if bar.crisp < 0.8 or (bar.plane == 1) == (line.plane == 1) or line.kind == "caps":
        return False  # above a line with ticks is the paper of its plate
    if y1 - y0 > 2 or b1 - b0 < max(2, y1 - y0 + 1):
        return False
    if not (-1 <= y0 - b1 <= 1 or -1 <= b0 - y1 <= 1):
        return False
    around = a0 - 4 <= x0 <= a0 and a1 <= x1 <= a1 + 4
    if not around and not (x0 >= a0 and x1 <= a1):
        return False
    far, beyond = (b0 - 1, b0 - 4) if y0 >= b1 - 1 else (b1, b1 + 3)
    if not (beyond >= 0 and far < len(pixels) and beyond < len(pixels)):
        return False
    ink, columns = measure_colour(pixels, line), slice(max(x0, a0), min(x1, a1))
    paper = np.median(pixels[beyond, columns], axis=0)
    way = ink - paper
    rows = np.median(pixels[far - 1 : far + 2, columns], axis=1)  # blur may leave half of it
    progress = (rows - paper) @ way / max(1.0, float(way @ way))
    return not are_alike(paper, ink, 60) and float(progress.max()) > _OF_OUTLINE


def _is_shadow(pixels: NDArray[np.uint8], line: Line, bar: Line) -> bool:
    """Return whether a thin line is the shadow of one directly above it, of another ink.

    Below an outlined line there is its outline again, below a shadow the specimen.
    """
    (x0, y0, x1, y1), (a0, _, a1, b1) = line.core, bar.core
    below = -1 <= y0 - b1 <= 1 and y1 > b1 and (bar.plane == 1) != (line.plane == 1)
    along = a0 - 1 <= x0 <= a0 + 0.1 * (a1 - a0) and a1 - 0.1 * (a1 - a0) <= x1 <= a1 + 4
    if not (below and along and y1 - y0 <= _SHADOW_PX) or y1 + 2 > len(pixels):
        return False
    inks = (measure_colour(pixels, line), measure_colour(pixels, bar))
    under = np.median(pixels[y1 + 1, x0:x1], axis=0)
    return not are_alike(*inks, 100) and not are_alike(under, inks[1], 60)


def _is_filled(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a hollow bar is the outline of a filled one.

    Its inside is one even colour, which is not around it: paper is inside and outside.
    """
    x0, y0, x1, y1 = line.box
    if line.kind != "hollow" or y0 < 4 or y1 + 4 > len(pixels):
        return False
    rim = line.core[3] - line.core[1]
    inside = pixels[y0 + rim : y1 - rim, x0 + 4 : x1 - 4].astype(np.int16)
    around = pixels[[y0 - 4, y0 - 3, y1 + 2, y1 + 3], x0:x1].reshape(-1, 3).astype(np.int16)
    colour, paper = np.median(inside, axis=(0, 1)), np.median(around, axis=0)
    off = colour - paper
    if off.max() - off.min() > _OF_ONE_INK:  # steel has no colour, whatever its brightness
        return True
    fill = np.abs(inside[1:-1] - colour).max(axis=2) <= _EVEN_FILL  # its edges are blurred
    alike = np.abs(around - colour).max(axis=1) <= 2 * _EVEN_FILL
    return bool(fill.size and fill.mean() > _OF_FILL and alike.mean() < _OF_PAPER)


def _strip_outline(pixels: NDArray[np.uint8], line: Line) -> Line:
    """Return the line without an outline of another colour that is as bright in its plane.

    In the plane of dark lines, yellow and blue are as dark as a black outline.
    """
    x0, y0, x1, y1 = line.core
    if line.kind != "plain" or line.ticks != (None, None) or y1 - y0 < 3:
        return line
    rows = pixels[y0:y1, x0:x1].astype(np.int16)
    like = np.abs(rows - rows[(y1 - y0) // 2].mean(axis=0)).max(axis=2) < _OF_ONE_INK
    full_rows = np.flatnonzero(like.mean(axis=1) > 0.5)
    top, foot = (int(full_rows[0]), int(full_rows[-1]) + 1) if full_rows.size else (0, 0)
    columns = np.flatnonzero(like[top:foot].sum(axis=0) > (foot - top) / 2)
    if not columns.size:
        return line
    left, right = int(columns[0]), int(columns[-1]) + 1
    sides = (top, y1 - y0 - foot, left, x1 - x0 - right)
    if min(sides) < 1 or max(sides) > _OUTLINE_PX or not _is_ring(pixels, line, rows, like):
        return line
    box = (x0 + left, y0 + top, x0 + right, y0 + foot)
    return replace(line, box=box, core=box, line_px=float(right - left))


def _is_ring(
    pixels: NDArray[np.uint8], line: Line, rows: NDArray[np.int16], like: NDArray[np.bool_]
) -> bool:
    """Return whether the edge rows of a line have a third colour, not a blend of line and paper."""
    x0, y0, x1, y1 = line.core
    if y0 < 2 or y1 + 2 > len(pixels):
        return False
    ink = np.median(rows[like], axis=0)
    for edge, paper in ((rows[0], pixels[y0 - 2, x0:x1]), (rows[-1], pixels[y1 + 1, x0:x1])):
        ring, beyond = np.median(edge, axis=0), np.median(paper, axis=0)
        way = beyond - ink
        share = float(np.clip((ring - ink) @ way / max(1.0, float(way @ way)), 0, 1))
        if np.abs(ring - ink - share * way).max() < _OF_ONE_INK:
            return False
    return True


def _mark_chequered(pixels: NDArray[np.uint8], line: Line) -> Line:
    """Return the line, marked as chequered if it has cells of two colours that its plane merges."""
    x0, y0, x1, y1 = line.core
    if line.kind != "plain" or y1 - y0 < 3:
        return line
    row = pixels[(y0 + y1) // 2, x0:x1].astype(np.int16)
    low, high = row.min(axis=0), row.max(axis=0)
    widest = int(np.argmax(high - low))
    if high[widest] - low[widest] < 90:
        return line
    full = row[:, widest] > (int(low[widest]) + int(high[widest])) / 2
    return replace(line, kind="checker", ticks=(None, None)) if are_cells(full) else line


def _drop_cells(lines: list[Line]) -> list[Line]:
    """Return the lines without single cells of a chequered bar."""
    bars = [line.box for line in lines if line.kind == "checker"]
    return [
        line
        for line in lines
        if line.kind == "checker"
        or not any(
            overlap(line.box, bar) > 0.8 and line.width < bar[2] - bar[0] - 4 for bar in bars
        )
    ]


def drop_parts(combs: list[Line]) -> list[Line]:
    """Return the rulers without parts of wider ones."""
    return [
        comb
        for comb in combs
        if not any(o.width > comb.width and overlap(comb.box, o.box) > 0.8 for o in combs)
    ]


def _is_written_on(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a line is a plate: something else is drawn inside it."""
    x0, y0, x1, y1 = line.core
    if y1 - y0 < 8 or line.kind in ("checker", "hollow"):
        return False
    rows = pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].astype(np.int16)
    off = np.abs(rows - np.median(rows.reshape(-1, 3), axis=0)).max(axis=2)
    return float(np.mean(off > 60)) > 0.03


def rank_lines(pixels: NDArray[np.uint8], lines: list[Line], band: Box | None) -> list[Line]:
    """Return candidates best first; even ones, which no needle is, before the others."""
    ranked = []
    for line in lines:
        rank = _compute_rank(line, band, pixels.shape)
        even = (
            compute_evenness(pixels, line)
            if rank > _LOOKED_AT and line.kind in _OF_ONE_RUN
            else _MIDDLING
        )
        ranked.append(replace(line, even=even, rank=rank + 1.5 * (even - _MIDDLING)))
    return sorted(ranked, key=lambda line: line.rank, reverse=True)


def _compute_rank(line: Line, band: Box | None, shape: Sequence[int]) -> float:
    """Return how similar a candidate is to a bar; larger is better."""
    height, width = shape[:2]
    x0, y0, x1, y1 = line.box
    score = 1.5 * line.exact + min(line.contrast, 200) / 200 + 1.5 * line.crisp
    score += {
        "caps": 1.0,
        "ruler": 1.0,
        "comb": 1.0,
        "broken": 1.6,
        "hollow": 1.6,
        "dashed": 1.6,
    }.get(line.kind, 0.0)
    score -= 1.5 * line.framed
    share = (x1 - x0) / width
    score += 1.0 if 0.03 <= share <= 0.6 else 0.0
    if band is not None and band[1] - 3 <= y0 and y1 <= band[3] + 3:
        score += 1.0
    edge_y, edge_x = min(y0, height - y1) / height, min(x0, width - x1) / width
    score += 0.5 * (edge_y < 0.12) + 0.5 * (edge_x < 0.12)
    return score + min(line.width, 100) / 100


def is_convincing(line: Line) -> bool:
    """Return whether a line is similar enough to a bar for text detection."""
    if line.rank >= _LIKE_A_BAR and line.width >= 28 and line.contrast >= 80:
        return True
    if line.exact:
        sharp = max(line.crisp, line.even) >= 0.7
        return sharp and line.contrast >= 80 and line.width >= 16
    if line.even > EVEN:
        return line.rank >= 5 and line.contrast >= 80 and line.width >= 16
    if line.even < _UNEVEN and line.plane != COLOUR_PLANE:  # steel has no colour
        return False
    if line.kind in ("caps", "ruler"):
        least = 0.7 if line.kind == "caps" else 0.85
        return line.crisp >= least and line.contrast >= 100 and line.rank >= 5 and line.width >= 28
    near_edge = line.rank >= (4.6 if line.crisp >= 0.93 else 4.8)
    return near_edge and line.crisp >= 0.85 and line.contrast >= 90 and line.width >= 28


def is_worth_reading(line: Line) -> bool:
    """Return whether a candidate is sharp enough to read its surroundings."""
    if line.framed or line.rank < 3.2:
        return False
    crisp = max(line.crisp, line.even if line.even > EVEN else 0.0)
    if line.exact:
        return crisp >= 0.5 and line.contrast >= 50
    least = 0.55 if line.kind == "caps" and line.contrast > 120 else 0.75
    if line.rank >= 4.8 and line.contrast > 150:
        least = 0.6
    return crisp >= least and crisp * line.contrast >= 68
