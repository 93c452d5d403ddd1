"""Apparent length of needles in a section, from exact ownership masks.

The measurand: a needle's apparent length is the length of its axis from the first to the last
visible point. A hidden part is bridged if it is no longer than the shorter of the two visible
parts next to it; otherwise the parts count as two needles, because a metallographer could not
connect them either. Parts shorter than `SHORTEST_UM` do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from model.needles.instances import SHORTEST_UM

SHORTEST_RUN_PX = 3.0
STEP_PX = 0.5
AXIS_WIDTH = 0.8
"""Width of the axis' bell over a needle's half width: wide needles have no sharp axis."""
CELL_PX = 2
"""The maps have one cell for 2 × 2 px."""


@dataclass(frozen=True, slots=True)
class TrueNeedle:
    """One needle as it is visible in the section.

    Args:
        length_um: Apparent length.
        area_um2: Visible area.
        points: (n, 2) visible and bridged axis points, px, from tip to tip.
        is_cut: Whether the border of the field cuts it.
    """

    length_um: float
    area_um2: float
    points: NDArray[np.float64]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class NeedleTargets:
    """What the network has to predict, one value per cell of 2 × 2 px.

    Args:
        axis: (r, c) float32 in [0, 1], 1 on a needle's axis, falling towards its flanks.
        body: (r, c) bool, cells of needles that count.
        near_um: (r, c) float32, distance along the axis to the nearer tip.
        far_um: (r, c) float32, distance along the axis to the farther tip.
        direction: (2, r, c) float32, cosine and sine of twice the axis' angle.
        number: (r, c) int32, index of the visible needle plus 1, 0 is none.
    """

    axis: NDArray[np.float32]
    body: NDArray[np.bool_]
    near_um: NDArray[np.float32]
    far_um: NDArray[np.float32]
    direction: NDArray[np.float32]
    number: NDArray[np.int32]


def measure_truth(
    owner: NDArray[np.int32], axes: Sequence[NDArray[np.float64]], pixel_um: float
) -> tuple[list[TrueNeedle], NeedleTargets]:
    """Compute the visible needles of a drawn field and the network's targets.

    Args:
        owner: (h, w) int32, even sides, number of the needle visible at each pixel, 0 is none.
        axes: One (k, 2) array per needle, px; needle n is `axes[n - 1]`.
        pixel_um: µm per pixel.
    """
    rows, columns = owner.shape[0] // CELL_PX, owner.shape[1] // CELL_PX
    number = np.zeros((rows, columns), np.int32)
    values = np.zeros((4, rows, columns), np.float32)
    parts: list[tuple[NDArray[np.float64], float]] = []
    owners: list[int] = []
    for index in np.unique(owner[owner > 0]).tolist():
        points, steps = _sample(axes[index - 1])
        visible = _is_visible(points, owner, index)
        for first, last in _iter_parts(visible):
            start, end = steps[first], steps[last]
            if (end - start) * pixel_um < SHORTEST_UM:
                continue
            parts.append((points[first : last + 1], (end - start) * pixel_um))
            owners.append(index)
            seen = np.flatnonzero(visible[first : last + 1]) + first
            before, after = (steps[seen] - start) * pixel_um, (end - steps[seen]) * pixel_um
            _rasterise(
                points, seen, (before, after), number=number, values=values, label=len(parts)
            )
    owners_of_parts = np.array(owners, np.int32)
    return _spread(owner, parts, owners_of_parts, number=number, values=values, pixel_um=pixel_um)


def _sample(axis: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(axis, axis=0), axis=1))])
    steps = np.arange(0, length[-1], STEP_PX)
    points = np.stack([np.interp(steps, length, axis[:, 0]), np.interp(steps, length, axis[:, 1])])
    return points.T, steps


def _is_visible(
    points: NDArray[np.float64], owner: NDArray[np.int32], index: int
) -> NDArray[np.bool_]:
    height, width = owner.shape
    column, row = np.rint(points).astype(int).T
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    visible = np.zeros(len(points), bool)
    visible[inside] = owner[row[inside], column[inside]] == index
    return visible


def _iter_parts(visible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    change = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(np.int8)))
    shortest = SHORTEST_RUN_PX / STEP_PX
    runs = [
        (int(start), int(end) - 1)
        for start, end in change.reshape(-1, 2)
        if end - start >= shortest
    ]
    parts: list[tuple[int, int]] = []
    last_run = 0
    for start, end in runs:
        run = end - start + 1
        if parts and start - parts[-1][1] - 1 <= min(last_run, run):
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((start, end))
        last_run = run
    return parts


def _rasterise(
    points: NDArray[np.float64],
    seen: NDArray[np.intp],
    distances_um: tuple[NDArray[np.float64], NDArray[np.float64]],
    *,
    number: NDArray[np.int32],
    values: NDArray[np.float32],
    label: int,
) -> None:
    row, column = np.floor((points[seen][:, ::-1] + 0.5) / CELL_PX).astype(int).T
    keep = (row >= 0) & (column >= 0) & (row < number.shape[0]) & (column < number.shape[1])
    seen, row, column = seen[keep], row[keep], column[keep]
    number[row, column] = label
    before, after = (each[keep] for each in distances_um)
    tangent = np.gradient(points, axis=0)[seen]
    twice = 2 * np.arctan2(tangent[:, 1], tangent[:, 0])
    values[0, row, column] = np.minimum(before, after)
    values[1, row, column] = np.maximum(before, after)
    values[2, row, column] = np.cos(twice)
    values[3, row, column] = np.sin(twice)


def _spread(
    owner: NDArray[np.int32],
    parts: list[tuple[NDArray[np.float64], float]],
    owners: NDArray[np.int32],
    *,
    number: NDArray[np.int32],
    values: NDArray[np.float32],
    pixel_um: float,
) -> tuple[list[TrueNeedle], NeedleTargets]:
    """Extend the values from the axes to the bodies and measure each body's area."""
    if not parts:
        empty = np.zeros(number.shape, np.float32)
        return [], NeedleTargets(empty, empty > 0, empty, empty, values[2:], number)
    distance, (row, column) = distance_transform_edt(number == 0, return_indices=True)
    nearest = number[row, column]
    body = owner[::CELL_PX, ::CELL_PX] == owners[nearest - 1]
    body |= number > 0
    spread = values[:, row, column] * body
    whole = np.where(body, nearest, 0).astype(np.int32)
    areas = np.bincount(whole.ravel(), minlength=len(parts) + 1)[1:] * (CELL_PX * pixel_um) ** 2
    lengths_um = np.array([length for _, length in parts])
    half_width = areas / lengths_um / (2 * CELL_PX * pixel_um)  # cells
    reach = np.maximum(AXIS_WIDTH * half_width, 1.0)[nearest - 1]
    axis = np.where(body, np.exp(-((distance / reach) ** 2)), 0).astype(np.float32)
    needles = [
        TrueNeedle(length, float(area), points, _is_cut(points, owner.shape))
        for (points, length), area in zip(parts, areas, strict=True)
    ]
    return needles, NeedleTargets(axis, body, spread[0], spread[1], spread[2:], whole)


def _is_cut(points: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    ends = points[[0, -1]]
    return bool((ends < 1).any() or (ends > np.array(shape[::-1]) - 2).any())
