"""Describe how dark, bright and coloured each cell of a field is, against the field's own median.

In:  a `Frame`. Out: six numbers per cell. Next: `impression`. No network: a possible inclusion or a
crack is dark whatever its texture. Only ratios are compared, so a brighter lamp or another white
balance changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.block_statistics import block_colours, box_sums, compute_lightness, split_into_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.framing import Frame

TONE_PX = 8
"""Side of a cell in pixels of the frame."""

_SUMS = 27
"""Numbers in a sum: three channels over three by three pixels, since single ones are noisy."""

_DARKEST_SHARE = 0.1
"""Of the median light, added before any ratio: black against nearly black is no large ratio."""


def intensity_features(frame: Frame) -> NDArray[np.float32]:
    """Describe each cell's light, (6, rows, columns).

    Returns:
        Mean, darkest, brightest and spread of the logarithm of the grey value, and two colours:
        logarithms of red and of blue over green. Cells are not smoothed over their neighbours:
        MEASURED, a crack is as thin as a cell (AUROC 0.91 → 0.97 on the second drawing).
    """
    valid = frame.valid if frame.valid.any() else np.ones_like(frame.valid)
    sums = box_sums(compute_lightness(frame.pixels), 3)
    usual = float(np.median(sums[::4, ::4][_some(valid)]))
    light = np.arange(3 * 255 * 9 + 1, dtype=np.float32)
    table = np.log(light / max(usual, _SUMS) + _DARKEST_SHARE)
    blocks = split_into_blocks(table[sums], TONE_PX)
    mean = blocks.sum(axis=1).sum(axis=-1) / TONE_PX**2
    square = np.square(blocks).sum(axis=1).sum(axis=-1) / TONE_PX**2
    red, green, blue = _shares(block_colours(frame.pixels, TONE_PX), valid)
    return np.stack(
        [
            mean,
            blocks.min(axis=1).min(axis=-1),
            blocks.max(axis=1).max(axis=-1),
            np.sqrt(np.maximum(square - np.square(mean), 0.0)),
            red - green,
            blue - green,
        ]
    ).astype(np.float32)


def _some(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    some = valid[::4, ::4]
    return some if some.any() else np.ones_like(some)


def _shares(
    colours: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], ...]:
    """Give the logarithm of each channel over its own median, so that no white balance is seen."""
    steel = split_into_blocks(valid, TONE_PX).all(axis=(1, 3))
    kept = colours[steel] if steel.any() else colours.reshape(-1, 3)
    usual = np.maximum(np.median(kept, axis=0), 1.0)
    red, green, blue = np.moveaxis(np.log(colours / usual + _DARKEST_SHARE), 2, 0)
    return red, green, blue
