"""Compute brightness and colour of each cell of a field, relative to the field's own median.

No network: a possible inclusion or a crack is dark whatever its texture. Only ratios are compared,
so a brighter lamp or another white balance changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.block_statistics import GreySums, are_all, block_colours, split_into_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.framing import Frame

TONE_PX = 8
"""Side of a cell in pixels of the frame."""

_SUMS = 27
"""Numbers in a sum: three channels over 3 x 3 pixels, since single pixels are noisy."""

_DARKEST_SHARE = 0.1
"""Share of the median brightness, added before the logarithm: bounds the ratios of dark cells."""


def intensity_features(frame: Frame, grey: GreySums | None = None) -> NDArray[np.float32]:
    """Compute brightness and colour features of each cell.

    Brightness is that of every second pixel in both directions, each with its neighbours.

    Args:
        frame: What the network saw.
        grey: Sums of its pixels, where there are any.

    Returns:
        (6, rows, columns) float32: mean, darkest, brightest and standard deviation of the logarithm
        of the grey value, then the logarithms of red and of blue over green. Cells are not smoothed
        over their neighbours: MEASURED, a crack is as thin as a cell (AUROC 0.91 → 0.97 on the
        second synthetic style).
    """
    valid = frame.valid if frame.valid.any() else np.ones_like(frame.valid)
    sums = (grey or GreySums.of(frame.pixels)).around
    median = max(float(np.median(sums[::4, ::4][_subsample(valid)])), _SUMS)
    sums, side = np.ascontiguousarray(sums[::2, ::2]), TONE_PX // 2
    # Sums have half as many bytes as their logarithms, whose extremes are of the same pixels.
    by_block = split_into_blocks(sums, side)
    extremes = [_log_share(_reduce(by_block, each), median) for each in (np.minimum, np.maximum)]
    blocks = split_into_blocks(_log_share(sums, median), side)
    mean = blocks.sum(axis=1).sum(axis=-1) / side**2
    square = np.square(blocks).sum(axis=1).sum(axis=-1) / side**2
    red, green, blue = _log_channel_ratios(block_colours(frame.pixels, TONE_PX), valid)
    return np.stack(
        [
            mean,
            *extremes,
            np.sqrt(np.maximum(square - np.square(mean), 0.0)),
            red - green,
            blue - green,
        ]
    ).astype(np.float32)


def _log_share(sums: NDArray[np.generic], median: float) -> NDArray[np.float32]:
    """Return the logarithm of sums over their median."""
    shares = sums.astype(np.float32)
    shares /= np.float32(median)
    shares += np.float32(_DARKEST_SHARE)
    return np.log(shares, out=shares)


def _reduce(blocks: NDArray[np.generic], operation: np.ufunc) -> NDArray[np.generic]:
    """Return `operation.reduce(blocks, axis=(1, 3))`, which NumPy takes five times as long for."""
    tall = blocks[:, 0].copy()
    for row in range(1, blocks.shape[1]):
        operation(tall, blocks[:, row], out=tall)
    reduced = tall[..., 0].copy()
    for column in range(1, tall.shape[-1]):
        operation(reduced, tall[..., column], out=reduced)
    return reduced


def _subsample(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return every fourth pixel of a mask in both directions; all True if none of them is set."""
    sampled = valid[::4, ::4]
    return sampled if sampled.any() else np.ones_like(sampled)


def _log_channel_ratios(
    colours: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], ...]:
    """Return the logarithm of each channel over its own median: white balance cancels out."""
    on_steel = are_all(valid, TONE_PX)
    colours_on_steel = colours[on_steel] if on_steel.any() else colours.reshape(-1, 3)
    median = np.maximum(np.median(colours_on_steel, axis=0), 1.0)
    red, green, blue = np.moveaxis(np.log(colours / median + _DARKEST_SHARE), 2, 0)
    return red, green, blue
