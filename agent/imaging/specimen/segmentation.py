# ruff: noqa: PLR2004 - shares and cells, measured on drawn and real borders
"""Segment the cells that lie outside the specimen.

Every two-way split of the cells is tried. A region is a candidate if it touches the frame and its
edge is hardly longer than that contact. Smoothness, evenness, separability from the rest, the
step at the edge, size and shape give its log odds (fitted, see `belief`). A dark phase fails by
its shape, by similar patches inside, or by its own structure, so it stays in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from agent.imaging.specimen import log_odds
from agent.imaging.specimen.grid import OCTAVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.specimen.grid import Cells, Mask, Plane

BELIEVED = 0.6
"""Log odds from which a region counts as outside."""
SECOND_MATERIAL = 2.0
"""Log odds from which a field without outside counts as two materials."""

KNOWN_KIND = 2.0
"""Log odds added for similarity to an outside already found."""
AS_LIKELY = 2.0
"""A larger region replaces a smaller one unless its log odds are lower by more than this."""
GATHERED = 0.9
"""Unevenness of pores, particles and cracks from which a large region is material. Set by hand for
real layers (1.0 to 1.5): drawn ones are too few and too regular to fit it. A drawn filler mostly
has 0.6 to 0.85."""
STREWN = 2.0
"""Log odds subtracted for evenly distributed spots: of two outsides, the one without wins."""
ROUGH_SPOT, HARD_SPOT = (OCTAVE * float(np.log2(grey + 0.5)) for grey in (7.0, 18.0))
"""Log roughness of pores, particles and cracks: scratches are below the first, the grains of a
filler, which are out of focus, below the second."""


def compute_log_odds(
    cells: Cells, region: Mask, rivals: Mask, *, least: float = BELIEVED
) -> float | None:
    """Return the log odds that a region is outside.

    Args:
        cells: Features of the cells.
        region: (gh, gw) bool.
        rivals: (gh, gw) bool, other possible outside; excluded from the rest.
        least: Lower log odds return None.

    Returns:
        Log odds; None where they are too low, or the region or the rest is too small.
    """
    sides = Sides.of(cells, region, rivals)
    return (
        None if sides is None else _compute_odds(cells, sides, quick_features(cells, sides), least)
    )


def _compute_odds(
    cells: Cells, sides: Sides, quick: NDArray[np.float64], least: float
) -> float | None:
    """Return the log odds, computing costlier features only while the result is open."""
    odds = log_odds.OUTSIDE_CONSTANT + log_odds.sum_log_odds(
        log_odds.OUTSIDE, log_odds.QUICK_FEATURES, quick
    )
    if (
        odds + log_odds.compute_max_log_odds(log_odds.EDGE_FEATURES + log_odds.FINE_FEATURES)
        <= least
    ):
        return None
    odds += log_odds.sum_log_odds(
        log_odds.OUTSIDE, log_odds.EDGE_FEATURES, edge_features(cells, sides)
    )
    if odds + log_odds.compute_max_log_odds(log_odds.FINE_FEATURES) <= least:
        return None
    odds += log_odds.sum_log_odds(
        log_odds.OUTSIDE, log_odds.FINE_FEATURES, fine_features(cells, sides)
    )
    return odds if odds > least else None


def find_outside(cells: Cells) -> tuple[Mask | None, bool]:
    """Segment the regions outside the specimen.

    Half the grid resolution is sufficient for this step, and four times as fast.

    Returns:
        The outside, or None where the field is all specimen; and whether such a field shows a
        second material.
    """
    shape = cells.usable.shape
    cells = cells.halved()
    judged: list[tuple[float, Mask]] = []
    second = False
    for region, rivals in iter_candidates(cells):
        sides = Sides.of(cells, region, rivals)
        if sides is None:
            continue
        quick = quick_features(cells, sides)
        second = second or log_odds.compute_two_materials_odds(quick) > SECOND_MATERIAL
        odds = _compute_odds(cells, sides, quick, BELIEVED)
        if odds is None:
            continue
        spots = _classify_spots(cells, sides)
        if spots == "gathered":
            second = True  # it is material, whatever its other features
        else:
            judged.append((odds - (STREWN if spots else 0.0), region))
    judged.sort(key=lambda pair: -pair[0])
    outside = _join_regions(cells, judged)
    if not outside.any() or count_cells(outside) > 0.95 * count_cells(cells.usable):
        return None, second or bool(judged)
    outside = _add_same_kind(cells, outside)
    large = cv2.resize(outside.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
    return large > 0, False


def _join_regions(cells: Cells, judged: list[tuple[float, Mask]]) -> Mask:
    """Join regions in order of their log odds to one outside."""
    outside = np.zeros(cells.usable.shape, bool)
    for odds, region in judged:
        shared, area = count_cells(region & outside), count_cells(outside)
        as_likely = odds > judged[0][0] - AS_LIKELY
        if not area or (as_likely and shared > 0.8 * area and count_cells(region) > area):
            outside = region  # the same outside, with its darker or smoother half
        elif shared < 0.1 * count_cells(region):
            own = region & ~outside
            if compute_log_odds(cells, own, outside) is not None and _is_alike(cells, own, outside):
                outside = outside | own
    return outside


def _add_same_kind(cells: Cells, outside: Mask) -> Mask:
    """Add what is of the same kind: at another side, in a corner, as a sliver."""
    inside = cells.usable & ~outside
    deep_out, deep_in = erode(outside, 2), erode(inside, 2)
    if min(count_cells(deep_out), count_cells(deep_in)) < 12:
        return outside
    alike = compute_cell_odds(cells.looks, deep_out, deep_in) > 0
    extended = outside.copy()
    for part in _iter_parts(alike & inside, cells, least=0.06):
        if compute_log_odds(cells, part, outside, least=BELIEVED - KNOWN_KIND) is not None:
            extended |= part
    return extended if count_cells(extended) <= 0.95 * count_cells(cells.usable) else outside


# --------------------------------------------------------------------------------- candidates


def iter_candidates(cells: Cells) -> Iterator[tuple[Mask, Mask]]:
    """Yield possible outside regions, each with its rivals."""
    known: list[tuple[int, Mask]] = []
    for plane in _iter_planes(cells):
        for mask in _iter_cuts(plane, cells.usable):
            parts = list(_iter_parts(mask, cells))
            if not parts:
                continue
            together = np.logical_or.reduce(parts)
            for part in [*parts, together] if len(parts) > 1 else parts:
                area = count_cells(part)
                if not any(_is_same(part, area, *previous) for previous in known):
                    known.append((area, part))
                    yield part, together & ~part


def _iter_planes(cells: Cells) -> Iterator[Plane]:
    """Yield planes that separate cells: each feature, focus, and two principal components."""
    yield from np.moveaxis(cells.looks, -1, 0)
    yield cells.coarse - cells.fine
    values = cells.looks[cells.usable]
    if len(values) < 2:
        return
    scaled = (cells.looks - values.mean(axis=0)) / np.maximum(NOISE, values.std(axis=0))
    _, axes = np.linalg.eigh(np.cov(scaled[cells.usable].T))
    for axis in (-1, -2):
        yield 20 * (scaled @ axes[:, axis].astype(np.float32))


def _iter_cuts(plane: Plane, usable: Mask) -> Iterator[Mask]:
    """Yield both sides of the cuts that split the values of a plane best."""
    values = plane[usable]
    if not values.size:
        return
    low, high = np.percentile(values, [0.5, 99.5])
    if high - low < 4:
        return
    scaled = np.clip((plane - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    flat = scaled[usable].reshape(1, -1)
    first = _compute_otsu(flat)
    cuts = {first}
    for part in (flat[flat <= first], flat[flat > first]):
        if part.size > 0.05 * flat.size:
            cuts.add(_compute_otsu(part.reshape(1, -1)))
    for cut in sorted(cuts):
        yield (scaled <= cut) & usable
        yield (scaled > cut) & usable


def _compute_otsu(values: Plane) -> int:
    cut, _ = cv2.threshold(values, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return int(cut)


_MOST = 0.88
"""Largest share: beyond it the rest is rather the plate of a micron bar than a specimen."""


def _iter_parts(mask: Mask, cells: Cells, least: float = 0.12) -> Iterator[Mask]:
    """Yield the parts of a mask that touch the frame and have an edge no longer than that contact.

    Args:
        mask: (gh, gw) bool.
        cells: Usable cells and frame.
        least: Shortest contact with the frame, as a share of the shorter side.
    """
    usable = cells.usable
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    marks, areas = label_parts(cleaned)
    contacts = np.bincount(marks[cells.frame], minlength=len(areas))
    shares = areas / max(1, count_cells(usable))
    likely = (contacts >= least * min(mask.shape)) & (shares >= 0.004) & (shares <= _MOST)
    for mark in np.flatnonzero(likely[1:]) + 1:
        part = fill_holes(marks == mark, below=0.04 * usable.size) & usable
        if _measure_edge(part, cells) <= 1.35 * contacts[mark]:
            yield part


def _measure_edge(part: Mask, cells: Cells) -> float:
    """Return the length in cells of the edge between a part and the rest, smoothed over 3 cells."""
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.0)
    across, down = (cv2.Sobel(soft, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5) for dx in (1, 0))
    return float(cv2.magnitude(across, down)[cells.amid].sum())


def _is_same(mask: Mask, area: int, other_area: int, other_mask: Mask) -> bool:
    return abs(area - other_area) < 0.03 * area and count_cells(mask ^ other_mask) < 0.03 * area


# ------------------------------------------------------------------------------------ evidence


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
    edge = _measure_edge(sides.region, cells)
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


def _classify_spots(cells: Cells, sides: Sides) -> Literal["", "strewn", "gathered"]:
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


def _is_alike(cells: Cells, part: Mask, outside: Mask) -> bool:
    """Return whether a second region is a mount of the same kind as the first, if shaded."""
    part_look, outside_look = (
        LookQuantiles.of(cells.looks[subsample(mask)]) for mask in (part, outside)
    )
    room = np.maximum(
        [25.0, 24.0, 24.0, 8.0, 8.0],
        part_look.high - part_look.low + outside_look.high - outside_look.low,
    )
    return bool((np.abs(part_look.middle - outside_look.middle) <= room).all())


# ---------------------------------------------------------------------------- shapes of regions


def count_cells(mask: Mask) -> int:
    """Return the number of cells in a mask."""
    return int(np.count_nonzero(mask))


def compute_convexity(mask: Mask) -> float:
    """Return the share of its convex hull that a mask fills; holes count as filled."""
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    area = sum(cv2.contourArea(outline) for outline in outlines)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    return float((area + 1) / (hull + 1))


def erode(mask: Mask, by: int = 3) -> Mask:
    """Return a mask eroded by a number of cells; the image's edge does not erode."""
    kernel = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), kernel, borderValue=1)
    return eroded > 0


def label_parts(mask: Plane, connectivity: int = 4) -> tuple[Plane, NDArray[np.intp]]:
    """Return the labels of the connected parts of a mask, from 1, and areas by label."""
    _, marks = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return marks, np.bincount(marks.ravel())


def fill_holes(mask: Mask, below: float = np.inf) -> Mask:
    """Return a mask with enclosed holes of fewer than `below` cells filled."""
    marks, areas = label_parts(~mask)
    closed = areas < below
    closed[0] = False
    for rim in (marks[0], marks[-1], marks[:, 0], marks[:, -1]):
        closed[rim] = False
    return mask | closed.take(marks) if closed.any() else mask


def find_largest_part(mask: Mask) -> Mask:
    """Return the largest connected part of a mask."""
    marks, areas = label_parts(mask)
    if len(areas) <= 2:
        return mask
    best: Mask = marks == 1 + int(np.argmax(areas[1:]))
    return best
