"""Block means and box sums of grey and colour planes, faster than a convolution.

Sums are integers and therefore exact, so a plane and a crop of it give equal values where the
windows cover the same pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compute_lightness(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Compute the sum of red, green and blue: (h, w, 3) uint8 to (h, w) uint16, 0 to 765."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    lightness: NDArray[np.uint16] = np.add(red, green, dtype=np.uint16)
    lightness += blue
    return lightness


def box_sums(plane: NDArray[np.uint16], side: int) -> NDArray[np.int32]:
    """Compute the sum over the square around each pixel, with edge padding.

    Args:
        plane: (h, w) uint16, at most 765.
        side: Side of the square in pixels, odd.

    Returns:
        (h, w) int32: `side`² times the mean.
    """
    padded = np.pad(plane, side // 2, mode="edge")
    return _running_sums(_running_sums(padded, side, 0), side, 1)


def _running_sums(plane: NDArray[np.integer], side: int, axis: int) -> NDArray[np.int32]:
    cumulative = np.cumsum(plane, axis=axis, dtype=np.int32)
    if axis == 0:
        sums: NDArray[np.int32] = cumulative[side - 1 :].copy()
        sums[1:] -= cumulative[:-side]
        return sums
    sums = cumulative[:, side - 1 :].copy()
    sums[:, 1:] -= cumulative[:, :-side]
    return sums


def split_into_blocks(plane: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    """Reshape a plane to whole blocks; incomplete blocks at right and bottom are dropped.

    Reduce the result over axis 1 first, then over the last one of the block: that takes a quarter
    of the time of both at once.

    Args:
        plane: (h, w) or (h, w, d).
        side: Side of a block in pixels.

    Returns:
        (rows, side, columns, side) or (rows, side, columns, side, d), a view if possible.
    """
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    cropped = plane[: rows * side, : columns * side]
    return cropped.reshape(rows, side, columns, side, *plane.shape[2:])


def block_colours(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Compute the mean red, green and blue of each whole block, (rows, columns, 3) float32."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    cropped = pixels[: rows * side, : columns * side].reshape(rows, side, columns * side * 3)
    tall = np.add.reduce(cropped, axis=1, dtype=np.uint16).reshape(rows, columns, side, 3)
    total = np.add.reduce(tall, axis=2, dtype=np.uint32)
    mean: NDArray[np.float32] = (total / np.float32(side * side)).astype(np.float32)
    return mean
