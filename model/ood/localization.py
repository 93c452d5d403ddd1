"""Locate the most unusual region of a field by a heat map in units of the alarm level.

Units are absolute, not scaled to each field's own range; else every field would have a red spot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.framing import Field
    from model.ood.feature_arrays import CellFeatures


_OTHERS = 0.02
"""Weight of the mean over all maps in a cell; the rest is the weight of their maximum."""


@dataclass(frozen=True, slots=True)
class OodRegion:
    """Most unusual region of a field.

    Args:
        box: (x0, y0, x1, y1) in pixels of the field, x1/y1 exclusive.
        area_um2: Area in µm², or None without a scale.
    """

    box: tuple[int, int, int, int]
    area_um2: float | None


def compute_heat_map(
    distances: Sequence[NDArray[np.float32]], shape: tuple[int, ...], levels: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Combine maps of distances on one grid, each in units of its alarm level.

    The largest decides; a small share of the mean locates the maximum inside a broad cell.

    Args:
        distances: Maps of one field, (rows, columns) each.
        shape: Rows and columns of the finest of them.
        levels: (maps,) distance of the alarm level.

    Returns:
        (rows, columns) float32; 1 is the alarm level.
    """
    maps = [_resample(own, shape) / level for own, level in zip(distances, levels, strict=True)]
    heat: NDArray[np.float32] = (
        (1 - _OTHERS) * np.max(maps, axis=0) + _OTHERS * np.mean(maps, axis=0)
    ).astype(np.float32)
    return heat


def expand_to_field(
    heat: NDArray[np.float32], cells: CellFeatures, field: Field
) -> NDArray[np.float16]:
    """Return the heat map over the whole field; 0 outside the part that was evaluated.

    Args:
        heat: (rows, columns), from `compute_heat_map`.
        cells: Cells of its grid.
        field: The field they were computed from.
    """
    left, top = (round(start / cells.side_px) for start in cells.origin_px)
    if not left and not top:
        return heat.astype(np.float16)
    rows, columns = (round(length / cells.side_px) for length in field.valid.shape)
    whole = np.zeros((max(rows, top + len(heat)), max(columns, left + heat.shape[1])), np.float16)
    whole[top : top + len(heat), left : left + heat.shape[1]] = heat
    return whole


def find_region(heat: NDArray[np.float32], cells: CellFeatures, field: Field) -> OodRegion | None:
    """Return the most unusual region, or None if no cell reaches the alarm level.

    Args:
        heat: (rows, columns), from `compute_heat_map`.
        cells: Cells of its grid.
        field: The field they were computed from.
    """
    if heat.max() < 1.0:
        return None
    peak = tuple(int(i) for i in np.unravel_index(heat.argmax(), heat.shape))
    region = _connected_region(heat >= 1.0, peak)
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    height, width = field.valid.shape
    side, (left, top) = cells.side_px, cells.origin_px
    box = (
        min(int(left + columns[0] * side), width - 1),
        min(int(top + rows[0] * side), height - 1),
        min(int(np.ceil(left + (columns[-1] + 1) * side)), width),
        min(int(np.ceil(top + (rows[-1] + 1) * side)), height),
    )
    return OodRegion(box, None if cells.um2 is None else float(region.sum() * cells.um2))


def _resample(distances: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Repeat the cells of a coarser map to fill the finest grid."""
    times = max(1, round(shape[0] / distances.shape[0]))
    rows, columns = (
        np.minimum(np.arange(length) // times, cells - 1)
        for length, cells in zip(shape, distances.shape, strict=True)
    )
    resampled: NDArray[np.float32] = distances[np.ix_(rows, columns)]
    return resampled


def _connected_region(mask: NDArray[np.bool_], start: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the 4-connected part of a mask that contains one cell."""
    region = np.zeros_like(mask)
    region[start] = True
    while True:
        wider = region.copy()
        wider[1:] |= region[:-1]
        wider[:-1] |= region[1:]
        wider[:, 1:] |= region[:, :-1]
        wider[:, :-1] |= region[:, 1:]
        wider &= mask
        if (wider == region).all():
            return region
        region = wider
