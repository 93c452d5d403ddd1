"""Average and sum up planes of light, exactly and in a fraction of what a convolution takes.

In:  pixels or one plane of whole numbers. Out: planes. Next: `tone` and `defects`.
Sums of whole numbers are exact, so a plane and a part of it agree wherever both have seen the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compute_lightness(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Add up red, green and blue: (h, w, 3) uint8 to (h, w) uint16, 0 to 765."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    summed: NDArray[np.uint16] = np.add(red, green, dtype=np.uint16)
    summed += blue
    return summed


def box_sums(plane: NDArray[np.uint16], side: int) -> NDArray[np.int32]:
    """Sum over the square around each pixel; beyond the edge the outermost pixels are repeated.

    Args:
        plane: (h, w) uint16, at most 765.
        side: Of the square, odd.

    Returns:
        (h, w) int32: `side`² times the mean.
    """
    wide = np.pad(plane, side // 2, mode="edge")
    return _running(_running(wide, side, 0), side, 1)


def _running(plane: NDArray[np.integer], side: int, axis: int) -> NDArray[np.int32]:
    total = np.cumsum(plane, axis=axis, dtype=np.int32)
    if axis == 0:
        sums: NDArray[np.int32] = total[side - 1 :].copy()
        sums[1:] -= total[:-side]
        return sums
    sums = total[:, side - 1 :].copy()
    sums[:, 1:] -= total[:, :-side]
    return sums


def block_means(plane: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """Cut a plane into whole blocks, as (rows, side, columns, side); what is left over is left out.

    Planes of vectors, (h, w, d), become (rows, side, columns, side, d).

    Reduce over axis 1 first, then over the last: a quarter of the time of both at once.
    """
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    kept = plane[: rows * side, : columns * side]
    return kept.reshape(rows, side, columns, side, *plane.shape[2:])


def block_colours(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Give each whole block's mean red, green and blue, (rows, columns, 3) float32."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    kept = pixels[: rows * side, : columns * side].reshape(rows, side, columns * side * 3)
    tall = np.add.reduce(kept, axis=1, dtype=np.uint16).reshape(rows, columns, side, 3)
    total = np.add.reduce(tall, axis=2, dtype=np.uint32)
    mean: NDArray[np.float32] = (total / np.float32(side * side)).astype(np.float32)
    return mean
