"""Segment a micrograph into specimen and mount.

First question: does a straight edge part a strip or a band whose tone, colour or roughness is not
the field's (`strips`)? The network maps what is left: corners, curves, fillers, coatings. A zone
along the edge is cut where its profile over depth differs by more than the field's own spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen.bleeding import (
    EdgeZones,
    detect_along_edge,
    find_deviating,
    measure_evidence,
)
from agent.imaging.specimen.border_map import (
    MOUNT,
    STEEL,
    add_regions,
    find_unclean,
    name_zones,
)
from agent.imaging.specimen.border_network import CLASSES, map_border, shrink
from agent.imaging.specimen.grid import compute_cells, grid_shape
from agent.imaging.specimen.masks import fill_holes, find_largest_part, label_parts
from agent.imaging.specimen.stain import find_stains, find_structureless, is_structureless
from agent.imaging.specimen.strips import find_strips

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.specimen.grid import Mask


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
