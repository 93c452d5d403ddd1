"""Detect stains in the steel away from its edge, and what has no structure: a field, or a mount.

A stain is reported and kept, since the steel under it is steel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen.grid import OCTAVE
from agent.imaging.specimen.masks import count_cells, fill_holes, label_parts
from agent.imaging.specimen.tones import compute_deviation, compute_spread, subsample

if TYPE_CHECKING:
    from agent.imaging.specimen.grid import Cells, Mask, Plane

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
