"""Find the strangest place of a field: a heat map in units of its alarm level, a box, an area.

In:  `Distances` and the level of each look. Out: the map, and a `Place` where it is reached. Next:
`strangeness`. Units are absolute, never a field's own least and most: else every field had a red
spot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.framing import Field
    from model.ood.features import CellFeatures
    from model.ood.mahalanobis import Distances


_OTHERS = 0.02
"""How much the looks that do not decide weigh in a cell."""


@dataclass(frozen=True, slots=True)
class OodRegion:
    """The strangest place.

    Args:
        box: (x0, y0, x1, y1) in pixels of the field, x1/y1 exclusive.
        area_um2: In µm², None without a scale.
    """

    box: tuple[int, int, int, int]
    area_um2: float | None


def compute_heat_map(one: Distances, levels: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lay the maps over one another on the fine grid, each in units of its alarm level.

    The highest counts; a little of the others says where in a broad cell the strangest place is.
    """
    shape = one.places[0].shape
    laid = [_on_grid(away, shape) / level for away, level in zip(one.places, levels, strict=True)]
    heat: NDArray[np.float32] = (
        (1 - _OTHERS) * np.max(laid, axis=0) + _OTHERS * np.mean(laid, axis=0)
    ).astype(np.float32)
    return heat


def over_field(heat: NDArray[np.float32], part: CellFeatures, field: Field) -> NDArray[np.float16]:
    """Give the map over the whole field; 0 where a very large field was not looked at."""
    left, top = (round(start / part.side_px) for start in part.origin_px)
    if not left and not top:
        return heat.astype(np.float16)
    rows, columns = (round(length / part.side_px) for length in field.valid.shape)
    whole = np.zeros((max(rows, top + len(heat)), max(columns, left + heat.shape[1])), np.float16)
    whole[top : top + len(heat), left : left + heat.shape[1]] = heat
    return whole


def find_region(heat: NDArray[np.float32], part: CellFeatures, field: Field) -> OodRegion | None:
    """Give the strangest place, or None where nothing reaches the alarm level.

    Args:
        heat: From `heat_of`.
        part: The cells of its grid.
        field: What was looked at.
    """
    if heat.max() < 1.0:
        return None
    spot = _around(heat >= 1.0, tuple(int(i) for i in np.unravel_index(heat.argmax(), heat.shape)))
    rows, columns = np.flatnonzero(spot.any(axis=1)), np.flatnonzero(spot.any(axis=0))
    height, width = field.valid.shape
    side, (left, top) = part.side_px, part.origin_px
    box = (
        min(int(left + columns[0] * side), width - 1),
        min(int(top + rows[0] * side), height - 1),
        min(int(np.ceil(left + (columns[-1] + 1) * side)), width),
        min(int(np.ceil(top + (rows[-1] + 1) * side)), height),
    )
    return OodRegion(box, None if part.um2 is None else float(spot.sum() * part.um2))


def _on_grid(away: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    times = max(1, round(shape[0] / away.shape[0]))
    rows, columns = (
        np.minimum(np.arange(length) // times, cells - 1)
        for length, cells in zip(shape, away.shape, strict=True)
    )
    found: NDArray[np.float32] = away[np.ix_(rows, columns)]
    return found


def _around(mask: NDArray[np.bool_], start: tuple[int, ...]) -> NDArray[np.bool_]:
    """Give the connected part of a mask that holds one cell."""
    spot = np.zeros_like(mask)
    spot[start] = True
    while True:
        wider = spot.copy()
        wider[1:] |= spot[:-1]
        wider[:-1] |= spot[1:]
        wider[:, 1:] |= spot[:, :-1]
        wider[:, :-1] |= spot[:, 1:]
        wider &= mask
        if (wider == spot).all():
            return spot
        spot = wider
