# ruff: noqa: PLR2004 - shares and cells, measured on drawn and real borders
"""Features of a region of cells, and how far its cells look like those of the steel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from agent.imaging.specimen.grid import OCTAVE
from agent.imaging.specimen.masks import (
    compute_convexity,
    count_cells,
    erode,
    find_largest_part,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.specimen.grid import Cells, Mask, Plane


GATHERED = 0.9
"""Unevenness of pores, particles and cracks from which a large region is material. Set by hand for
real layers (1.0 to 1.5): drawn ones are too few and too regular to fit it. A drawn filler mostly
has 0.6 to 0.85."""
STREWN = 2.0
"""Log odds subtracted for evenly distributed spots: of two outsides, the one without wins."""
ROUGH_SPOT, HARD_SPOT = (OCTAVE * float(np.log2(grey + 0.5)) for grey in (7.0, 18.0))
"""Log roughness of pores, particles and cracks: scratches are below the first, the grains of a
filler, which are out of focus, below the second."""


def measure_edge(part: Mask, cells: Cells) -> float:
    """Return the length in cells of the edge between a part and the rest, smoothed over 3 cells."""
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.0)
    across, down = (cv2.Sobel(soft, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5) for dx in (1, 0))
    return float(cv2.magnitude(across, down)[cells.amid].sum())


_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9


@dataclass(frozen=True, slots=True)
class Sides:
    """A region and the rest, and the inner cells of either, each (gh, gw) bool."""

    region: Mask
    rest: Mask
    deep_out: Mask
    deep_in: Mask

    @classmethod
    def of(cls, cells: Cells, region: Mask, rivals: Mask) -> Sides | None:
        """Build the sides as for `compute_log_odds`; None where one is too small."""
        rest = cells.usable & ~region & ~rivals
        if count_cells(rest) < 0.04 * count_cells(cells.usable):
            return None
        deep_out, deep_in = erode(region, 2), erode(rest, 2)
        if min(count_cells(deep_out), count_cells(deep_in)) < 12:
            return None
        return cls(region, rest, deep_out, deep_in)


def quick_features(cells: Cells, sides: Sides) -> NDArray[np.float64]:
    """Return the quick features (`belief.QUICK_FEATURES`): looks, size and shape."""
    out, into = (
        LookQuantiles.of(cells.looks[subsample(deep)]) for deep in (sides.deep_out, sides.deep_in)
    )
    gap = max(out.low[2] - into.high[2], into.low[2] - out.high[2])
    usable = count_cells(cells.usable)
    edge = measure_edge(sides.region, cells)
    return np.array(
        [
            (into.high[2] - out.high[2]) / OCTAVE,
            out.middle[0] - into.middle[0],
            gap / OCTAVE,
            out.middle[1] / OCTAVE,
            out.high[0] - out.low[0],
            (out.high[1] - out.low[1]) / OCTAVE,
            np.log(count_cells(sides.region) / usable),
            np.log(count_cells(sides.deep_in) / usable),
            edge / max(1, count_cells(sides.region & cells.frame)),
            compute_convexity(find_largest_part(sides.rest)),
        ]
    )


def edge_features(cells: Cells, sides: Sides) -> NDArray[np.float64]:
    """Return the features of the edge and of spots (`belief.EDGE_FEATURES`)."""
    brighter, rougher = _measure_steps(cells, sides.region, sides.rest)
    spots, fineness = _measure_spots(cells, sides.deep_out)
    spots_beside, _ = _measure_spots(cells, sides.deep_in)
    return np.array([brighter, rougher / OCTAVE, spots, spots_beside, fineness])


def fine_features(cells: Cells, sides: Sides) -> NDArray[np.float64]:
    """Return the costly features (`belief.FINE_FEATURES`): which cell resembles which side."""
    odds = compute_cell_odds(cells.looks, sides.deep_out, sides.deep_in)
    mistaken = (sides.deep_in & (odds > 0)).astype(np.uint8)
    kin = cv2.morphologyEx(mistaken, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    own = odds[sides.deep_out]
    rim = erode(sides.region, 1) & ~erode(sides.region)
    return np.array(
        [
            (own > 0).mean(),
            _get_quantile(np.sort(own), 0.05),
            (np.abs(odds[cells.usable]) < 1.5).mean(),
            np.sqrt(cv2.countNonZero(kin) / count_cells(sides.deep_in)),
            (odds[rim] < 0).mean() if rim.any() else 0.0,
        ]
    )


def classify_spots(cells: Cells, sides: Sides) -> Literal["", "strewn", "gathered"]:
    """Return how pores, particles or cracks are distributed in a large region; "" without any.

    Scratches and the grains of a filler are similar. But scratches are faint, and the grains are
    soft and, as a filler is mixed, evenly dense; pores and cracks cluster.
    """
    if count_cells(sides.region) <= 0.35 * count_cells(cells.usable):
        return ""
    deep = sides.deep_out
    own = np.sort(cells.sharp_coarse[subsample(deep)])
    rough = _get_quantile(own, 0.95)
    if rough <= _get_quantile(own, _MIDDLE) + 1.8 * OCTAVE:
        return ""
    gather = _compute_unevenness(deep & (cells.sharp_coarse >= rough), deep) > GATHERED
    return "gathered" if rough > (ROUGH_SPOT if gather else HARD_SPOT) else "strewn"


def _compute_unevenness(spots: Mask, among: Mask, block: int = 8) -> float:
    """Return the coefficient of variation of the density of spots between blocks.

    Args:
        spots: (gh, gw) bool.
        among: (gh, gw) bool, the region.
        block: Side of a block, cells.
    """
    size = tuple(max(1, round(cells / block)) for cells in among.shape[::-1])
    region_share, spot_share = (
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for mask in (among, spots)
    )
    density = spot_share[region_share > 0.5] / region_share[region_share > 0.5]
    return float(density.std() / max(1e-6, float(density.mean()))) if density.size else 0.0


def _measure_spots(cells: Cells, deep: Mask) -> tuple[float, float]:
    """Return the excess roughness of the roughest cells of a side, and their fineness, in octaves.

    Pores, particles and lines are such cells; out of focus they are not fine.
    """
    sample = subsample(deep)
    fine, coarse = cells.sharp_fine[sample], cells.sharp_coarse[sample]
    ordered = np.sort(coarse)
    fineness = np.sort((fine - coarse)[coarse >= _get_quantile(ordered, _HIGH)])
    stand_out = _get_quantile(ordered, 0.95) - _get_quantile(ordered, _MIDDLE)
    return float(stand_out) / OCTAVE, float(_get_quantile(fineness, _MIDDLE)) / OCTAVE


@dataclass(frozen=True, slots=True)
class LookQuantiles:
    """Median and outer tenths of each plane of `Cells.looks` over a region, (5,) each."""

    low: NDArray[Any]
    middle: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def of(cls, values: Plane) -> LookQuantiles:
        """Compute the quantiles of looks, (n, 5)."""
        ordered = np.sort(values, axis=0)
        return cls(*(_get_quantile(ordered, share) for share in (_LOW, _MIDDLE, _HIGH)))


def _get_quantile(ordered: Plane, share: float) -> Plane:
    value: Plane = ordered[int(share * (len(ordered) - 1))]
    return value


NOISE = np.array([2.0, 3.0, 3.0, 1.0, 1.0])
"""Noise of light, roughness and colour: smaller differences do not count."""


def compute_cell_odds(looks: Plane, out: Mask, into: Mask, limit: float = 12.0) -> Plane:
    """Return per cell the log odds of the first of two kinds.

    Args:
        looks: (gh, gw, 5) float32, as `Cells.looks`.
        out: (gh, gw) bool, cells certainly of the first kind.
        into: (gh, gw) bool, cells certainly of the second kind.
        limit: Largest absolute log odds of a cell.

    Returns:
        (gh, gw): log odds of the first kind.

    Source:
        Quadratic discriminant. Ours is trimmed, since either region may hold a little of the other,
        and corrects slow shading of the first kind's light.
    """
    looks = looks.copy()
    looks[:, :, 0] -= fit_shading(looks[:, :, 0], out)
    each = [_compute_distance(looks, mask) for mask in (into, out)]
    return np.clip(0.5 * (each[0] - each[1]), -limit, limit)


def _compute_distance(looks: Plane, kind: Mask) -> Plane:
    """Return the squared Mahalanobis distance of every cell from a kind, plus log determinant."""
    values = np.ascontiguousarray(looks[subsample(kind)].T)  # (5, n), twice as fast as (n, 5)
    apart = np.abs(values - _compute_medians(values))
    width = np.maximum(NOISE[:, None], 1.5 * _compute_medians(apart))
    ordinary = values[:, (apart <= 3.5 * width).all(axis=0)]
    if ordinary.shape[1] < max(16, 0.5 * values.shape[1]):
        ordinary = values
    centre = ordinary.mean(axis=1)
    spread = np.cov(ordinary) + np.diag(NOISE**2)
    half = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
    off = (looks - centre.astype(np.float32)) @ half
    distance: Plane = np.einsum("...i,...i", off, off) + np.linalg.slogdet(spread)[1]
    return distance


def subsample(mask: Mask, to: int = 1500) -> Mask:
    """Return about `to` cells of a mask, enough for a median; the same ones in a turned field."""
    share = count_cells(mask) // to
    return mask & _scatter(*mask.shape, share) if share > 1 else mask


@cache
def _scatter(rows: int, columns: int, share: int) -> Mask:
    """Return a pseudo-random mask of one cell in `share`, invariant to rotation and mirroring."""
    y, x = np.minimum(np.arange(rows), np.arange(rows)[::-1])[:, None], np.arange(columns)
    x = np.minimum(x, x[::-1])
    numbers = ((x + y) * 73856093 ^ (x * y) * 19349663) >> 4
    chosen: Mask = numbers % share == 0
    return chosen


def _compute_medians(values: Plane) -> Plane:
    """Return the median of each row, (rows, 1)."""
    middle: Plane = np.sort(values)[:, values.shape[1] // 2, None]
    return middle


@cache
def _compute_terms(rows: int, columns: int) -> Plane:
    """Return the terms of a second-order surface at every cell, (rows, columns, 6)."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def fit_shading(light: Plane, kind: Mask) -> Plane:
    """Fit a second-order surface to the light of a kind; return it for all cells."""
    terms = _compute_terms(*light.shape)
    sample = subsample(kind)
    known, values = terms[sample], light[sample]
    off = np.abs(known @ _fit_surface(known, values) - values)
    near = off <= max(3.0, 3 * float(np.median(off)))
    surface = terms @ _fit_surface(known[near], values[near]).astype(np.float32)
    of_kind = surface[kind]
    bounded: Plane = np.clip(surface, of_kind.min(), of_kind.max())
    return bounded


def _fit_surface(terms: Plane, values: Plane) -> Plane:
    """Fit a surface to values (n,) with terms (n, 6), regularised against noise."""
    bend = terms.T @ terms + np.diag([1e-3, 1, 1, 1, 1, 1]) * 0.002 * len(terms)
    return np.linalg.solve(bend, terms.T @ values)


def compute_deviation(plane: Plane, steel: Mask, kind: Mask, patch: float) -> Plane:
    """Return the deviation of each patch of steel from the tone of a kind, shading removed.

    Args:
        plane: (gh, gw), a tone.
        steel: (gh, gw) bool, cells that are averaged.
        kind: (gh, gw) bool, cells of the reference tone.
        patch: Sigma of the blur, cells.
    """
    weight = steel.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), patch), 1e-3)
    level = plane - fit_shading(plane, kind)
    smooth: Plane = cv2.GaussianBlur(level * weight, (0, 0), patch) / share
    return smooth - float(np.median(smooth[kind]))


def _measure_steps(cells: Cells, outside: Mask, inside: Mask) -> tuple[float, float]:
    """Return the steps of light and coarse roughness at the edge; a shaded mount has no tone."""
    weights = [cv2.blur(mask.astype(np.float32), (5, 5)) for mask in (outside, inside)]
    edge = (weights[0] > 0.25) & (weights[1] > 0.25)
    if count_cells(edge) < 10:
        return 0.0, 0.0
    light, coarse = (
        float(
            np.subtract(
                *(
                    (cv2.blur(plane * mask, (5, 5))[edge] / weight[edge]).mean()
                    for mask, weight in zip((outside, inside), weights, strict=True)
                )
            )
        )
        for plane in (cells.light, cells.coarse)
    )
    return light, coarse


def compute_spread(values: Plane) -> float:
    """Return half the width of the middle two thirds: a standard deviation robust to outliers."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[int(0.84 * last)] - ordered[int(0.16 * last)]) / 2
