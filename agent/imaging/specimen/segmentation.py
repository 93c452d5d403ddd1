# ruff: noqa: PLR2004 - shares and cells, measured on drawn and real borders
"""Segment the cells that lie outside the specimen.

Every two-way split of the cells is tried. A region is a candidate if it touches the frame and its
edge is hardly longer than that contact. Smoothness, evenness, separability from the rest, the
step at the edge, size and shape give its log odds (fitted, see `belief`). A dark phase fails by
its shape, by similar patches inside, or by its own structure, so it stays in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen import log_odds
from agent.imaging.specimen.masks import (
    count_cells,
    erode,
    fill_holes,
    label_parts,
)
from agent.imaging.specimen.region_features import (
    NOISE,
    STREWN,
    LookQuantiles,
    Sides,
    classify_spots,
    compute_cell_odds,
    edge_features,
    fine_features,
    measure_edge,
    quick_features,
    subsample,
)

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
SAME_LOOK = np.array([6.0, 10.0, 10.0, 3.0, 3.0])
"""Differences of light, fine and coarse roughness and colour up to which two regions are one steel.
Of 107 mounts next to real steel the closest differ by 28 in light, or by 52 in fine roughness."""
AS_LIKELY = 2.0
"""A larger region replaces a smaller one unless its log odds are lower by more than this."""


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
        spots = classify_spots(cells, sides)
        if spots == "gathered":
            second = True  # it is material, whatever its other features
        else:
            judged.append((odds - (STREWN if spots else 0.0), region))
    judged.sort(key=lambda pair: -pair[0])
    outside = _join_regions(cells, judged)
    share = count_cells(outside) / max(1, count_cells(cells.usable))
    if not 0 < share <= 0.95 or _is_same_steel(cells, outside):
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


def _is_same_steel(cells: Cells, outside: Mask) -> bool:
    """Return whether an outside looks like the rest: a carbide parts the steel there, no edge.

    A region is judged without its rivals, so that such a part is compared with the carbide alone.
    """
    sides = Sides.of(cells, outside, np.zeros_like(outside))
    if sides is None:
        return False
    out, into = (
        LookQuantiles.of(cells.looks[subsample(deep)]) for deep in (sides.deep_out, sides.deep_in)
    )
    return bool((np.abs(out.middle - into.middle) <= SAME_LOOK).all())


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
        if measure_edge(part, cells) <= 1.35 * contacts[mark]:
            yield part


def _is_same(mask: Mask, area: int, other_area: int, other_mask: Mask) -> bool:
    return abs(area - other_area) < 0.03 * area and count_cells(mask ^ other_mask) < 0.03 * area


# ------------------------------------------------------------------------------------ evidence


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
