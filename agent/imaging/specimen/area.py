"""Segment a micrograph into specimen and mount.

First question: does a straight edge part a strip or a band whose tone, colour or roughness is not
the field's (`strips`)? The network maps what is left: corners, curves, fillers, coatings. A zone
along the edge is cut where its profile over depth differs by more than the field's own spread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.specimen.bleeding import (
    EdgeZones,
    detect_along_edge,
    find_deviating,
    measure_evidence,
)
from agent.imaging.specimen.border_network import (
    CLASSES,
    MOUNT,
    STEEL,
    add_regions,
    find_unclean,
    map_border,
    name_zones,
    shrink,
)
from agent.imaging.specimen.grid import (
    OCTAVE,
    Cells,
    Mask,
    Plane,
    compute_cells,
    compute_deviation,
    compute_spread,
    count_cells,
    fill_holes,
    find_largest_part,
    grid_shape,
    label_parts,
    subsample,
)
from agent.imaging.specimen.strips import find_strips

# --- detect stains in the steel away from its edge, and what has no structure: a field, or a mount
# A stain is reported and kept, since the steel under it is steel.


_SPREADS = 7.0
_LEAST = {"light": 16.0, "red": 5.0, "blue": 5.0}
"""A stain deviates from the tone of the steel by `_SPREADS` spreads and at least `_LEAST`."""
_SMALLEST, _LARGEST = (
    0.004,
    0.25,
)  # share of the steel: less is a particle, more is the steel itself
_PATCH = 3.0  # cells, standard deviation of the blur: structure averages out, a stain does not
_ONE_TONE = 8.0  # range of L, 0 to 255, below which a field has one tone
_OPEN = np.ones((5, 5), np.uint8)
_FINE, _NOISE = 1.0, 0.8
"""Coarse roughness, in grey values and as a multiple of the fine one, from which a cell shows
structure; of pure noise, a 3-pixel blur leaves a third."""
_FAR, _FARTHER = 4, 2.0
"""Cells from the nearest structure at which a part without structure begins, and how much farther
from structure its midst is than any other cell of the field."""
_SPECK = 60
"""Cells of dust on a mount, with the rim that the windows of roughness give it."""
_SIDE, _EDGE, _MOST = 0.95, 1.4, 0.6
"""Share of a side of the frame that such a part takes, largest length of its edge as a share of its
contact with the frame, and largest share of the field. The rim of a pore is edge: a mount has no
pores."""
_HALO = 2
"""Cells from which the windows of roughness see the structure next to them."""


def find_stains(cells: Cells, steel: Mask) -> Mask:
    """Return the patches of steel that are discoloured, or much darker or brighter than usual."""
    stains = np.zeros(steel.shape, bool)
    total = int(steel.sum())
    if total < 400:  # noqa: PLR2004 - cells, too few for a reference tone
        return stains
    for name, least in _LEAST.items():
        off = compute_deviation(getattr(cells, name), steel, steel, _PATCH)
        limit = max(least, _SPREADS * compute_spread(off[subsample(steel)]))
        for deviates in (off > limit, off < -limit):
            if count_cells(deviates) < _SMALLEST * total:
                continue
            patch = cv2.morphologyEx((deviates & steel).astype(np.uint8), cv2.MORPH_OPEN, _OPEN)
            marks, areas = label_parts(patch, connectivity=8)
            large = areas >= _SMALLEST * total
            large[0] = False
            stains |= large[marks]
    return stains if stains.sum() <= _LARGEST * total else np.zeros(steel.shape, bool)


def is_structureless(cells: Cells) -> bool:
    """Return whether a field shows one tone and no structure beyond the camera's noise."""
    usable = cells.usable
    if not usable.any():
        return False
    low, high = np.percentile(cells.light[usable], [0.5, 99.5])
    if high - low > _ONE_TONE:
        return False
    coarse = _to_grey(np.percentile(cells.coarse[usable], 99))
    fine = _to_grey(np.median(cells.fine[usable]))
    return bool(coarse < 1.0 + 0.45 * fine)


def find_structureless(cells: Cells, steel: Mask) -> Mask:
    """Return the part along a side of the field that shows no structure, if only one part is so.

    A polished mount has no grain, carbide or pore. Whatever its tone, curve or shading, its midst
    is farther from any structure than a cell of the specimen is.

    Args:
        cells: Features of the cells.
        steel: (gh, gw) bool, what is not known to lie outside.
    """
    nothing = np.zeros(steel.shape, bool)
    fine, coarse = (cv2.blur(_to_grey(plane), (3, 3)) for plane in (cells.fine, cells.coarse))
    free = (coarse <= _FINE + _NOISE * fine) | ~cells.usable
    far = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 5) * steel
    marks, areas = label_parts(far > _FAR)
    deepest = np.zeros(len(areas))
    np.maximum.at(deepest, marks.ravel(), far.ravel())
    if len(areas) < 2:  # noqa: PLR2004 - label 0 is the rest
        return nothing
    best = int(np.argmax(deepest[1:])) + 1
    rest = max(_FAR, float(np.delete(deepest, [0, best]).max(initial=0)))
    if deepest[best] < _FARTHER * rest:
        return nothing
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _FAR + 1,) * 2)
    grown: Mask = cv2.dilate((marks == best).astype(np.uint8), disc) > 0
    part = fill_holes(steel & grown, below=_SPECK)
    contact = part & cells.frame
    sides = max(
        float(contact.any(axis=axis).sum() / cells.usable.any(axis=axis).sum()) for axis in (0, 1)
    )
    wide = cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    edge = count_cells(wide & cells.usable & ~part)
    if sides < _SIDE or edge > _EDGE * count_cells(contact) or part.mean() > _MOST:
        return nothing
    closed = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    return steel & (cv2.dilate(closed, np.ones((2 * _HALO + 1,) * 2, np.uint8)) > 0)


def _to_grey(log_roughness: Plane) -> Plane:
    """Return a roughness in grey values."""
    roughness: Plane = 2 ** (log_roughness / OCTAVE) - 0.5
    return roughness


# --- segment a micrograph into specimen and mount -------------------------------------------------


LAYERED, UNLIKE_MOUNT = 0.1, 0.3
"""Share of the field from which what a straight edge parts from the steel is a second material, and
the mean probability of a mount up to which it is."""
SPECIMEN = 0.04
"""Share of the steel from which a part that a mount separates is a specimen."""


@dataclass(frozen=True, slots=True)
class Border:
    """The segmentation of the cells.

    Args:
        steel: (gh, gw) bool: clean steel; False for outside, bleeding and safety margin.
        outside: (gh, gw) bool: outside the specimen's edge, bleeding not included.
        bleeding: (gh, gw) bool: inside the edge, discoloured by the gap.
        surface: (gh, gw) bool: a deeper rim of the specimen: coating, nitriding, decarburisation.
        stain: (gh, gw) bool: steel discoloured away from the edge; it stays.
        others: (gh, gw) bool: further specimens, which are not kept, or None.
        evidence: Depth in cells of the zone cut along the edge, and the spreads of the field
            by which it differs from the steel behind it; None without one.
        warnings: Stable words: "bleeding", "surface_layer", "second_material", "several_specimens",
            "stain".
        blank: The field has one tone and no structure.
    """

    steel: Mask
    outside: Mask
    bleeding: Mask
    surface: Mask
    stain: Mask
    others: Mask | None = None
    evidence: tuple[int, float] | None = None
    warnings: tuple[str, ...] = ()
    blank: bool = False


def find_border(
    pixels: NDArray[np.uint8], covered: Mask | None = None, *, keep_surface: bool = False
) -> Border:
    """Segment steel and the outside of the specimen.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        covered: (gh, gw) bool, the cells of `grid_shape` that graphics cover; None: no graphics.
        keep_surface: A deeper rim of the specimen counts as steel.

    Returns:
        The border on a grid of `grid_shape(h, w)` cells.
    """
    shape = grid_shape(pixels.shape[0], pixels.shape[1])
    # A sliver that an info band cuts off from the field does not count.
    usable = np.ones(shape, bool) if covered is None else find_largest_part(~covered)
    cells = compute_cells(pixels, usable)
    nothing = np.zeros(shape, bool)
    if is_structureless(cells):
        return Border(nothing, nothing, nothing, nothing, nothing, blank=True)
    small = shrink(pixels, shape)
    shares = map_border(small, usable)
    outside, further = find_strips(small, usable, shares[:, :, MOUNT])
    shares[further] = np.eye(len(CLASSES), dtype=np.float32)[STEEL]
    second = bool(outside.mean() > LAYERED and shares[outside, MOUNT].mean() < UNLIKE_MOUNT)
    outside = add_regions(cells, outside, shares)
    outside |= find_structureless(cells, usable & ~outside)
    if not outside.any():
        stain = find_stains(cells, usable)
        warnings = _iter_warnings(bleeding=nothing, surface=nothing, stain=stain)
        return Border(usable.copy(), nothing, nothing, nothing, stain, warnings=tuple(warnings))
    steel_side, others = _find_specimen(fill_holes(usable & ~outside) & usable)
    outside = usable & ~steel_side
    along = name_zones(detect_along_edge(cells, outside, steel_side), shares)
    zone = along.bleeding | along.surface | along.layer
    evidence = measure_evidence(cells, zone, outside, steel_side)
    if evidence is None:
        along = EdgeZones(nothing, nothing, nothing, coated=False)
    outside |= along.layer
    unclean = outside | along.bleeding
    if not keep_surface:
        unclean |= along.surface
    clean = steel_side & ~unclean & ~along.surface
    unclean |= find_unclean(shares, unclean, clean, keep_surface=keep_surface)
    deviating = find_deviating(cells, unclean, steel_side & ~unclean)
    unclean |= deviating & ~along.surface
    margin = cv2.dilate(unclean.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    steel = steel_side & ~margin
    stain = find_stains(cells, steel)
    return Border(
        steel=steel,
        outside=outside,
        bleeding=along.bleeding,
        surface=along.surface,
        stain=stain,
        others=others,
        evidence=evidence,
        warnings=tuple(
            _iter_warnings(
                bleeding=along.bleeding,
                surface=along.surface,
                stain=stain,
                second=second or along.coated,
                several=bool(others.any()),
            )
        ),
    )


def _iter_warnings(
    *, bleeding: Mask, surface: Mask, stain: Mask, second: bool = False, several: bool = False
) -> Iterator[str]:
    if bleeding.any():
        yield "bleeding"
    if surface.any():
        yield "surface_layer"
    if stain.any():
        yield "stain"
    if second:
        yield "second_material"
    if several:
        yield "several_specimens"


# -------------------------------------------------------------------------------- the specimen


def _find_specimen(steel: Mask) -> tuple[Mask, Mask]:
    """Return the largest connected part of the steel, and the parts that are other specimens."""
    marks, areas = label_parts(steel)
    areas[0] = 0
    largest: Mask = marks == int(np.argmax(areas))
    others: Mask = (areas >= SPECIMEN * areas.sum())[marks] & ~largest
    return steel & largest, others
