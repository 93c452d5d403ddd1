# ruff: noqa: PLR2004 - shares and cells, measured on real borders, explained in place
"""Segment a micrograph into specimen and mount.

The outside is a region in contact with the frame, separated from the rest by one edge no longer
than that contact, even, smoother than the rest or of another tone, without similar patches
inside. A dark phase fails by its shape, by similar patches inside, or by its own structure, so it
stays in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen.bleeding import detect_along_edge, find_deviating
from agent.imaging.specimen.border_map import add_regions, find_unclean, name_zones, return_steel
from agent.imaging.specimen.border_network import map_border
from agent.imaging.specimen.grid import compute_cells, grid_shape
from agent.imaging.specimen.masks import erode, fill_holes, find_largest_part
from agent.imaging.specimen.region_features import compute_cell_odds
from agent.imaging.specimen.segmentation import find_outside
from agent.imaging.specimen.stain import find_stains, is_structureless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.specimen.grid import Cells, Mask


SURELY_STEEL = 7.0
"""Log odds from which a cell well inside the outside returns to the steel: a bubble, a coating or
a scratch there may slightly resemble steel."""


@dataclass(frozen=True, slots=True)
class Border:
    """The segmentation of the cells.

    Args:
        steel: (gh, gw) bool: clean steel; False for outside, bleeding and safety margin.
        outside: (gh, gw) bool: outside the specimen's edge, bleeding not included.
        bleeding: (gh, gw) bool: inside the edge, discoloured by the gap.
        surface: (gh, gw) bool: a deeper rim of the specimen: coating, nitriding, decarburisation.
        stain: (gh, gw) bool: steel discoloured away from the edge; it stays.
        warnings: Stable words: "bleeding", "surface_layer", "second_material", "stain".
        blank: The field has one tone and no structure.
    """

    steel: Mask
    outside: Mask
    bleeding: Mask
    surface: Mask
    stain: Mask
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
    outside, second = find_outside(cells)
    shares = map_border(pixels, usable)
    if outside is not None:
        outside = return_steel(outside, shares)
    outside = add_regions(cells, outside, shares)
    if outside is None:
        stain = find_stains(cells, usable)
        warnings = _iter_warnings(bleeding=nothing, surface=nothing, stain=stain, second=second)
        return Border(usable.copy(), nothing, nothing, nothing, stain, tuple(warnings))
    outside = _refine_edge(cells, outside)
    steel_side = find_largest_part(fill_holes(usable & ~outside) & usable)
    outside = usable & ~steel_side
    along = name_zones(detect_along_edge(cells, outside, steel_side), shares)
    outside |= along.layer
    unclean = outside | along.bleeding
    if not keep_surface:
        unclean |= along.surface
    clean = steel_side & ~unclean & ~along.surface
    unclean |= find_unclean(shares, unclean, clean, keep_surface=keep_surface)
    deviating = find_deviating(cells, unclean, steel_side & ~unclean)
    unclean |= deviating & ~along.surface
    margin = cv2.dilate(unclean.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    steel = steel_side & ~margin
    stain = find_stains(cells, steel)
    return Border(
        steel=steel,
        outside=outside,
        bleeding=along.bleeding,
        surface=along.surface,
        stain=stain,
        warnings=tuple(
            _iter_warnings(
                bleeding=along.bleeding,
                surface=along.surface,
                stain=stain,
                second=second or along.coated,
            )
        ),
    )


def _iter_warnings(*, bleeding: Mask, surface: Mask, stain: Mask, second: bool) -> Iterator[str]:
    if bleeding.any():
        yield "bleeding"
    if surface.any():
        yield "surface_layer"
    if stain.any():
        yield "stain"
    if second:
        yield "second_material"


# ------------------------------------------------------------------------------- the exact edge


def _refine_edge(cells: Cells, outside: Mask) -> Mask:
    """Refine the edge cell by cell from the inner cells of both sides."""
    usable = cells.usable
    deep_out, deep_in = erode(outside), erode(usable & ~outside)
    if min(deep_out.sum(), deep_in.sum()) < 25:
        return outside
    sharp = [cv2.blur(plane, (3, 3)) for plane in (cells.sharp_fine, cells.sharp_coarse)]
    looks = np.stack([cells.light, *sharp, cells.red, cells.blue], axis=-1)
    within = erode(outside, 4)
    for _ in range(2):
        odds = compute_cell_odds(looks, deep_out, deep_in)
        smooth = cv2.GaussianBlur(np.where(usable, odds, 0).astype(np.float32), (0, 0), 1.5)
        near = cv2.dilate(outside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        redrawn = cv2.morphologyEx(
            (near & usable & (smooth > np.where(within, -SURELY_STEEL, 0))).astype(np.uint8),
            cv2.MORPH_OPEN,
            np.ones((3, 3), np.uint8),
        )
        steel = find_largest_part(fill_holes(usable & (redrawn == 0)) & usable)
        updated = usable & ~steel
        if not 0.3 * outside.sum() < updated.sum() < 3 * outside.sum():
            return outside
        outside = updated
        deep_out, deep_in = erode(outside), erode(steel)
        if min(deep_out.sum(), deep_in.sum()) < 25:
            break
    return outside
