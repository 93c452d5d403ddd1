# ruff: noqa: PLR2004 - shares and cells, measured on real borders and said where they stand
"""Say where in a micrograph the specimen ends and the mount begins.

In:  the pixels, and what graphics cover. Out: `Border`: which cells are steel. Next: `crop`.
The outside is known by what it is: a region in contact with the frame, parted from the rest by
one edge no longer than that contact, even in itself, smoother than the rest or of another
tone, and with none of its kind inside. A dark phase fails that by its shape, by its kin or by
its own structure, so it stays in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.bleeding import along_edge, doubtful
from agent.imaging.cells import grid_shape, look
from agent.imaging.outside import filled, largest, outside_of, shrunk, told_apart
from agent.imaging.stain import stained, structureless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.cells import Cells, Mask


SURELY_STEEL = 7.0
"""Logarithm of the odds from which a cell well within the outside is given back to the steel: a
bubble, a coating or a scratch there may look a little like it."""


@dataclass(frozen=True, slots=True)
class Border:
    """Where the steel is, cell by cell.

    Args:
        steel: (gh, gw) bool: cells of clean steel; outside, bleeding and safety are False.
        outside: (gh, gw) bool: cells beyond the specimen's edge, bleeding not included.
        bleeding: (gh, gw) bool: cells inside the edge that are discoloured by the gap.
        stain: (gh, gw) bool: cells of steel that are discoloured away from the edge; they stay.
        warnings: Stable words: "bleeding", "second_material", "stain".
        blank: Nothing is seen at all: one tone, and no structure.
    """

    steel: Mask
    outside: Mask
    bleeding: Mask
    stain: Mask
    warnings: tuple[str, ...] = ()
    blank: bool = False


def find_border(pixels: NDArray[np.uint8], covered: Mask | None = None) -> Border:
    """Tell steel from what is beyond the specimen's edge.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        covered: (gh, gw) bool, the cells of `grid_shape` that graphics cover; None: none are.

    Returns:
        The border on a grid of `grid_shape(h, w)` cells.
    """
    shape = grid_shape(pixels.shape[0], pixels.shape[1])
    # What an info band cuts off from the field, as a sliver beyond it, is no field.
    usable = np.ones(shape, bool) if covered is None else largest(~covered)
    cells = look(pixels, usable)
    nothing = np.zeros(shape, bool)
    if structureless(cells):
        return Border(nothing, nothing, nothing, nothing, blank=True)
    outside, second = outside_of(cells)
    if outside is None:
        stain = stained(cells, usable)
        said = _warnings(bleeding=nothing, stain=stain, second=second)
        return Border(usable.copy(), nothing, nothing, stain, tuple(said))
    outside = _refined(cells, outside)
    steel_side = largest(filled(usable & ~outside) & usable)
    outside = usable & ~steel_side
    along = along_edge(cells, outside, steel_side)
    outside |= along.layer
    unclean = outside | along.bleeding
    unclean |= doubtful(cells, unclean, steel_side & ~unclean)
    margin = cv2.dilate(unclean.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    steel = steel_side & ~margin
    stain = stained(cells, steel)
    return Border(
        steel=steel,
        outside=outside,
        bleeding=along.bleeding,
        stain=stain,
        warnings=tuple(
            _warnings(bleeding=along.bleeding, stain=stain, second=second or along.coated)
        ),
    )


def _warnings(*, bleeding: Mask, stain: Mask, second: bool) -> Iterator[str]:
    if bleeding.any():
        yield "bleeding"
    if stain.any():
        yield "stain"
    if second:
        yield "second_material"


# ------------------------------------------------------------------------------- the exact edge


def _refined(cells: Cells, outside: Mask) -> Mask:
    """Draw the edge anew, cell by cell, from what both sides look like further in."""
    usable = cells.usable
    deep_out, deep_in = shrunk(outside), shrunk(usable & ~outside)
    if min(deep_out.sum(), deep_in.sum()) < 25:
        return outside
    sharp = [cv2.blur(plane, (3, 3)) for plane in (cells.sharp_fine, cells.sharp_coarse)]
    looks = np.stack([cells.light, *sharp, cells.red, cells.blue], axis=-1)
    within = shrunk(outside, 4)
    for _ in range(2):
        odds = told_apart(looks, deep_out, deep_in)
        smooth = cv2.GaussianBlur(np.where(usable, odds, 0).astype(np.float32), (0, 0), 1.5)
        near = cv2.dilate(outside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        redrawn = cv2.morphologyEx(
            (near & usable & (smooth > np.where(within, -SURELY_STEEL, 0))).astype(np.uint8),
            cv2.MORPH_OPEN,
            np.ones((3, 3), np.uint8),
        )
        steel = largest(filled(usable & (redrawn == 0)) & usable)
        anew = usable & ~steel
        if not 0.3 * outside.sum() < anew.sum() < 3 * outside.sum():
            return outside
        outside = anew
        deep_out, deep_in = shrunk(outside), shrunk(steel)
        if min(deep_out.sum(), deep_in.sum()) < 25:
            break
    return outside
