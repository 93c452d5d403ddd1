"""Detect stains in the steel away from its edge, and fields without any structure.

A stain is reported and kept, since the steel under it is steel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen.grid import OCTAVE
from agent.imaging.specimen.masks import count_cells, label_parts
from agent.imaging.specimen.tones import compute_deviation, compute_spread, subsample

if TYPE_CHECKING:
    from agent.imaging.specimen.grid import Cells, Mask

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
    # Roughness in grey levels; of pure noise, a 3-pixel blur leaves about a third.
    coarse = 2 ** (np.percentile(cells.coarse[usable], 99) / OCTAVE) - 0.5
    fine = 2 ** (np.median(cells.fine[usable]) / OCTAVE) - 0.5
    return bool(coarse < 1.0 + 0.45 * fine)
