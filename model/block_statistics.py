"""Block means, box sums and histograms of grey and colour planes.

Sums are integers and therefore exact, so a plane and a crop of it give equal values where the
windows cover the same pixels. This is the only module of `model` that uses OpenCV.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

LIGHTEST = 3 * 255
"""Lightness of white."""


def compute_lightness(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Compute the sum of red, green and blue: (h, w, 3) uint8 to (h, w) uint16, 0 to 765."""
    # Sums of separate planes take half the time.
    red, green, blue = (np.asarray(plane, np.uint8) for plane in cv2.split(pixels))
    lightness: NDArray[np.uint16] = np.add(red, green, dtype=np.uint16)
    lightness += blue
    return lightness


class GreySums(NamedTuple):
    """Sums of grey values that several measures of one frame need.

    Attributes:
        lightness: (h, w) uint16, from `compute_lightness`.
        around: (h, w) uint16, its sums over 3 × 3 pixels, with edge padding.
    """

    lightness: NDArray[np.uint16]
    around: NDArray[np.uint16]

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> GreySums:
        """Compute the sums of (h, w, 3) uint8 pixels."""
        lightness = compute_lightness(pixels)
        return cls(lightness, box_sums(lightness, 3).astype(np.uint16))

    def sample(self) -> GreySums:
        """Return the sums at every second pixel in both directions; those around leave none out."""
        return GreySums(*(np.ascontiguousarray(plane[::2, ::2]) for plane in self))

    def crop(self, extent: tuple[int, int]) -> GreySums:
        """Return the sums of the first rows and columns.

        They are those of the cropped pixels if the rest repeats or mirrors its edge.
        """
        rows, columns = extent
        return GreySums(self.lightness[:rows, :columns], self.around[:rows, :columns])


def map_values(pixels: NDArray[np.uint8], tables: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace each value of each channel by its entry in a table.

    Args:
        pixels: (h, w, 3) uint8.
        tables: (3, 256) float32, per channel.

    Returns:
        (3, h, w) float32.
    """
    mapped = np.empty((3, *pixels.shape[:2]), np.float32)
    for channel, table in enumerate(tables):
        cv2.LUT(cv2.extractChannel(pixels, channel), table, dst=mapped[channel])
    return mapped


def swap_axes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Swap rows and columns: (h, w, 3) to (w, h, 3), in a fifth of NumPy's time."""
    return np.asarray(cv2.transpose(pixels), np.uint8)


def box_sums(plane: NDArray[np.uint16], side: int) -> NDArray[np.float32]:
    """Compute the sum over the square around each pixel, with edge padding.

    Args:
        plane: (h, w) uint16.
        side: Side of the square in pixels, odd. Sums from 2²⁴ on are not exact in float32: those of
            lightness from a side of 149 on, those around it from 49 on.

    Returns:
        (h, w) float32, whole numbers: `side`² times the mean.
    """
    sums = cv2.boxFilter(
        plane, cv2.CV_32F, (side, side), normalize=False, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(sums, np.float32)


def count_values(plane: NDArray[np.uint16], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count how often each value of a plane occurs.

    Args:
        plane: (h, w) uint16, at most 765; at most 2²⁴ pixels, beyond which float32 cannot count.
        valid: (h, w) bool, the pixels that are counted.

    Returns:
        (766,) float64.
    """
    mask = None if valid.all() else valid.view(np.uint8)
    counts = cv2.calcHist([plane], [0], mask, [LIGHTEST + 1], [0, LIGHTEST + 1])
    return np.asarray(counts, np.float64).ravel()


def compute_std(plane: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Compute the standard deviation of a plane over the valid pixels, in float64.

    Args:
        plane: (h, w) float32.
        valid: (h, w) bool, at least one pixel set.
    """
    return float(cv2.meanStdDev(plane, mask=valid.view(np.uint8))[1][0, 0])


def mean_colour(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the mean red, green and blue of the valid pixels, (3,) float64; 0 if there are none.

    Args:
        pixels: (h, w, 3) uint8.
        valid: (h, w) bool.
    """
    mask = None if valid.all() else valid.view(np.uint8)
    return np.array(cv2.mean(pixels, mask=mask)[:3])


def count_within(
    pixels: NDArray[np.uint8], lowest: int, highest: int, valid: NDArray[np.bool_]
) -> int:
    """Count the valid pixels whose three channels all lie in a range.

    Args:
        pixels: (h, w, 3) uint8.
        lowest: Least value.
        highest: Largest value.
        valid: (h, w) bool.
    """
    within = cv2.inRange(pixels, (lowest,) * 3, (highest,) * 3)
    return int(cv2.countNonZero(cv2.bitwise_and(within, valid.view(np.uint8))))


def are_all(valid: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return per whole block whether all of its pixels are set, (rows, columns) bool."""
    return np.asarray(split_into_blocks(valid, side).all(axis=1).all(axis=-1), np.bool_)


def share_of_blocks(valid: NDArray[np.bool_], side: int) -> NDArray[np.float32]:
    """Compute the share of set pixels of each whole block, (rows, columns) float32 in [0, 1].

    Args:
        valid: (h, w) bool.
        side: Side of a block in pixels, at most 15.
    """
    rows, columns = len(valid) // side, valid.shape[1] // side
    pixels = valid[: rows * side, : columns * side].view(np.uint8)
    tall, counts = np.zeros_like(pixels[::side]), np.zeros((rows, columns), np.uint8)
    for start in range(side):
        tall += pixels[start::side]
    for start in range(side):
        counts += tall[:, start::side]
    return np.asarray(counts / np.float32(side**2), np.float32)


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
    tall = cropped[:, 0].astype(np.uint16)
    for row in range(1, side):  # twice as fast as NumPy's sum over an axis
        tall += cropped[:, row]
    wide = tall.reshape(rows, columns, side, 3)
    total = wide[:, :, 0].astype(np.uint32)
    for column in range(1, side):
        total += wide[:, :, column]
    mean: NDArray[np.float32] = (total / np.float32(side * side)).astype(np.float32)
    return mean


def sum_neighbours(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of each cell and its eight neighbours: (rows, columns) or (rows, columns, d).

    Outside there is nothing.
    """
    padded = np.pad(plane, [(1, 1), (1, 1), *[(0, 0)] * (plane.ndim - 2)])
    columns = padded[:-2] + padded[1:-1] + padded[2:]
    sums: NDArray[np.float32] = columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:]
    return sums
