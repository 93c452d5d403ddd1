# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn bars, explained in place
"""Measure bars of alternately full and outlined cells, also where blur pales the outlines.

The full cells define ink and height. A bar ends with a full cell, or with the side of an outlined
one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs
from agent.imaging.scale_bar.bars.line import Line
from agent.imaging.scale_bar.bars.planes import compute_median, compute_share

Plane = NDArray[Any]  # (h, w) grey
Run = tuple[int, int]  # first column and end

_AROUND_PX = 8  # by which the ends of a sampled box may be off
_LEAST_PX = 30  # of a bar
_CONTRAST = 70  # grey values between full and outlined cells, and between full ones and the steel
_SIDE = 0.3  # of a cell's width: a run shorter than that is the side of an outlined cell
_LEAST_CELL_PX = 8
_SHARE = (0.3, 0.8)  # of a row of cells that is full
_ROOM = 5  # rows above and below a box that are compared with it
_RIM_SHARE = 0.3  # of the ink of full cells that blur leaves of an outline
_AS_CLEAR = 0.7  # of the clearest outline of a bar, which texture next to it does not reach
_RIMMED = 0.85  # share of an outlined cell's columns that have a rim
_MOST_CELLS = 12
_UNEVEN_CELLS = 0.02  # of the length of a bar, by which it may differ from that of its cells


def measure_chequered(plane: Plane, box: Box, number: int) -> Line | None:
    """Return the bar of full and outlined cells in a box, or None.

    Args:
        plane: (h, w) grey, graphics bright.
        box: Where it was sampled, pixels; its ends may be off.
        number: Index of the plane.
    """
    x0, y0, x1, y1 = box
    tall = y1 - y0
    if tall < 4 or x1 - x0 < max(_LEAST_PX, 4 * tall) or y0 < _ROOM or y1 + _ROOM > len(plane):
        return None
    sampled = plane[(y0 + y1) // 2, x0:x1:4]
    least = int(sampled.max()) // 2 + int(sampled.min()) // 2
    if not _SHARE[0] <= np.count_nonzero(sampled >= least) / len(sampled) <= _SHARE[1]:
        return None  # nearly all parts of texture end here
    reach = (x1 - x0) + _AROUND_PX  # of two cells, only the full one may have been sampled
    left, right = max(0, x0 - reach), min(plane.shape[1], x1 + reach)
    rows = plane[y0 + tall // 3 : y1 - tall // 3, left:right]
    inside = np.sort(rows[:, x0 - left : x1 - left].min(axis=0))
    level, paper = (int(inside[int(len(inside) * share)]) for share in (0.8, 0.2))
    if level - paper < _CONTRAST:
        return None
    middle = rows.min(axis=0).astype(np.int16)
    runs = find_runs(middle >= (level + paper) / 2)
    full = _find_full_cells(runs, (x0 - left, x1 - left))
    columns = np.array([x for first, end in full for x in range(first, end)], int) + left
    filled = _find_rows(plane[y0 - 3 : y1 + 3, columns], (level + paper) / 2) if full else None
    if filled is None:
        return None
    top, foot = y0 - 3 + filled[0], y0 - 3 + filled[1]
    rims = (_measure_rims(plane[top:foot, left:right]) - paper) / (level - paper)
    ends = _find_ends(full, runs, rims)
    if ends is None:
        return None
    first, last = (
        _find_end(middle, at, way) + left for at, way in ((ends[0], -1), (ends[1] - 1, 1))
    )
    bar = (round(first), top, round(last), foot)
    line = Line(bar, last - first, exact=False, contrast=0.0, plane=number)
    return _build_line(plane, bar, columns, level, line)


def _build_line(
    plane: Plane, bar: Box, columns: NDArray[np.intp], level: int, line: Line
) -> Line | None:
    """Return the line with its contrast, which its full cells have above and below; None: none.

    Args:
        plane: (h, w) grey.
        bar: Box of the bar.
        columns: (n,) columns of its full cells.
        level: Grey value of its full cells.
        line: The line without contrast.
    """
    _, top, _, foot = bar
    flanks = [plane[row, columns].astype(np.int16) for row in (top - 2, foot + 1)]
    drops = [level - compute_median(side) for side in flanks]
    if min(drops) < _CONTRAST // 2:
        return None
    crisp = min(
        compute_share(side < level - 0.5 * drop) for side, drop in zip(flanks, drops, strict=True)
    )
    drawn = plane[(top + foot) // 2, columns].astype(np.int16)
    return replace(
        line,
        exact=compute_share(np.abs(drawn - level) <= 1) > 0.9,
        contrast=sum(drops) / 2,
        crisp=crisp,
        kind="checker",
        core=bar,
    )


def _find_full_cells(runs: list[Run], inside: Run) -> list[Run]:
    """Return the full cells among the runs of a row: of one width, as far apart; none: empty."""
    near = [run for run in runs if run[1] > inside[0] and run[0] < inside[1]]
    wide = max((end - first for first, end in near), default=0)
    if wide < _LEAST_CELL_PX:
        return []
    full = [(first, end) for first, end in near if _are_equal(end - first, wide)]
    others = [run for run in near if run not in full and run[1] - run[0] > _SIDE * wide]
    gaps = [after[0] - before[1] for before, after in pairwise(full)]
    even = all(_are_equal(gap, wide) for gap in gaps)
    return full if even and not others and len(full) <= _MOST_CELLS else []


def _find_ends(full: list[Run], runs: list[Run], rims: NDArray[Any]) -> Run | None:
    """Return where a bar begins and ends, or None without outlined cells.

    Args:
        full: Its full cells.
        runs: All runs of its middle row.
        rims: (w,) share of the ink at top and foot of every column.
    """
    start, stop = full[0][0], full[-1][1]
    wide = max(end - first for first, end in full)
    sides = [run for run in runs if run[1] - run[0] <= max(3, _SIDE * wide)]
    cells = [(before[1], after[0]) for before, after in pairwise(full)]
    before = [(run[0], start) for run in sides if run[1] < start]
    after = [(stop, run[1]) for run in sides if run[0] > stop]
    outer = [
        next(
            (c for c in near if _are_equal(c[1] - c[0], wide) and _has_rims(rims[slice(*c)])), None
        )
        for near in (_sort_by_width(before, wide), _sort_by_width(after, wide))
    ]
    clear = max((_compute_rim(rims, cell) for cell in [*cells, *outer] if cell), default=0.0)
    outer = [cell for cell in outer if cell and _compute_rim(rims, cell) >= _AS_CLEAR * clear]
    cells += [cell for cell in outer if cell]
    if not cells or not all(_has_rims(rims[slice(*cell)]) for cell in cells):
        return None
    first, end = min(start, *(c[0] for c in cells)), max(stop, *(c[1] for c in cells))
    return (first, end) if _is_even(end - first, [b - a for a, b in full]) else None


def _sort_by_width(cells: list[Run], wide: int) -> list[Run]:
    """Return cells, those as wide as a full one first: a frame is farther away."""
    return sorted(cells, key=lambda cell: abs(cell[1] - cell[0] - wide))


def _is_even(long: float, widths: list[int]) -> bool:
    """Return whether a length is that of whole cells; else texture hides where the last one ends.

    The side of an outlined cell may be part of the full one next to it.
    """
    wide = float(np.mean(widths))
    count = round(long / wide)
    return abs(long - count * wide) <= 2 * count + _UNEVEN_CELLS * long


def _has_rims(rims: NDArray[Any]) -> bool:
    """Return whether a cell is outlined at top and foot."""
    return rims.size > 0 and compute_share(rims >= _RIM_SHARE) >= _RIMMED


def _compute_rim(rims: NDArray[Any], cell: Run) -> float:
    """Return how much ink the outline of a cell has, of the ink of a full cell."""
    return float(np.median(rims[slice(*cell)]))


def _measure_rims(rows: Plane) -> NDArray[Any]:
    """Return the grey value that every column of a bar has both at its top and at its foot."""
    edges = (rows[:2].max(axis=0), rows[-2:].max(axis=0))
    return np.asarray(np.minimum(*edges).astype(float))


def _are_equal(width: float, other_width: float) -> bool:
    return abs(width - other_width) <= 0.1 * other_width + 2


def are_cells(full: NDArray[np.bool_]) -> bool:
    """Return whether a row alternates between full and empty in 3 or more cells of one width."""
    cells = sorted(find_runs(full) + find_runs(~full))
    widths = np.array([end - start for start, end in cells if end - start > 2])
    usual = float(np.median(widths)) if widths.size else 0.0
    even = np.abs(widths - usual) <= 0.15 * usual + 2
    return 3 <= len(widths) <= 24 and usual >= 6 and bool(even.all())


def _find_rows(columns: Plane, least: float) -> tuple[int, int] | None:
    """Return first row and end of the rows that the full cells fill, or None."""
    runs = find_runs((columns >= least).mean(axis=1) > 0.8)
    if len(runs) != 1 or runs[0][0] < 1 or runs[0][1] > len(columns) - 1:
        return None
    return runs[0] if runs[0][1] - runs[0][0] >= 3 else None


def _find_end(middle: NDArray[np.int16], at: int, outwards: int) -> float:
    """Return to subpixels where a row loses half of what its outermost ink has."""
    beyond = at + outwards * 3
    if not 0 <= beyond < len(middle):
        return float(at + (outwards > 0))
    drawn = float(max(middle[at], middle[at - outwards], middle[max(0, at - 2 * outwards)]))
    half = (drawn + float(middle[beyond])) / 2
    last = at
    while 0 <= last + outwards < len(middle) and middle[last + outwards] >= half:
        last += outwards
        if abs(last - at) > 2:
            break
    inner, outer = float(middle[last]), float(middle[min(max(last + outwards, 0), len(middle) - 1)])
    part = (inner - half) / (inner - outer) if inner > outer else 0.5
    return last + 0.5 + outwards * min(max(part, 0.0), 1.0)
