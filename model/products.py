"""Sums and products over the cells of a map, in NumPy on one thread.

Their bits are the same with any number of processors.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.floating)

_BLOCK = 1024
"""Cells that are added one after the other in float32; the sums of blocks are added in pairs."""

LARGEST_HALF: Final = 65504.0
"""Largest float16."""

_SINGLE_THREADED = 200_000
"""Multiplications up to which OpenBLAS starts no threads, which would wait for each other. MEASURED
on a busy PC: 18 ms of processor time for a product of 1 ms."""


class MapStatistics(NamedTuple):
    """Weighted mean and standard deviation of each channel of a map, over the steel.

    Attributes:
        mean: (c,) float32.
        std: (c,) float32.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @property
    def moments(self) -> NDArray[np.float32]:
        """Both, (2c,) float32."""
        return np.concatenate([self.mean, self.std])

    @classmethod
    def from_moments(cls, moments: NDArray[np.float32]) -> MapStatistics:
        """Return the statistics that `moments` holds."""
        return cls(*np.split(moments, 2))


def describe_map(features: NDArray[np.float32], weights: NDArray[np.float32]) -> MapStatistics:
    """Compute mean and standard deviation over cells.

    Args:
        features: (c, rows, columns) float32.
        weights: (rows, columns) float32, weight of each cell, at least 0.
    """
    flat = features.reshape(len(features), -1)  # (c, cells)
    share = (weights / max(float(weights.sum()), 1e-6)).astype(np.float32).ravel()
    mean = _sum_weighted(flat, share)
    squares = flat - mean[:, None]
    np.square(squares, out=squares)
    return MapStatistics(mean, np.sqrt(np.maximum(_sum_weighted(squares, share), 0)))


def apply_layer(weight: NDArray[np.floating], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply a linear layer to every cell.

    Args:
        weight: (k, c); rounded to float32.
        features: (c, rows, columns) float32.

    Returns:
        (k, rows, columns) float32.
    """
    flat = features.reshape(len(features), -1)
    logits = multiply_on_one_thread(weight.astype(np.float32), flat)
    return logits.reshape(len(weight), *features.shape[1:])


def multiply(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Multiply two matrices in float64, (n, d) and (d, m)."""
    return multiply_on_one_thread(
        first.astype(np.float64, copy=False), second.astype(np.float64, copy=False)
    )


def _sum_weighted(values: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted sum of each row, (c,)."""
    whole = len(share) // _BLOCK * _BLOCK
    blocks = values[:, :whole].reshape(len(values), -1, _BLOCK)
    sums = np.einsum("cbp,bp->cb", blocks, share[:whole].reshape(-1, _BLOCK)).sum(axis=1)
    rest = np.einsum("cp,p->c", values[:, whole:], share[whole:])
    return np.asarray(sums + rest, np.float32)


def round_to_half(values: NDArray[np.floating]) -> NDArray[np.float16]:
    """Round to float16; what is beyond its range becomes its largest value."""
    half: NDArray[np.float16] = np.clip(values, -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
    return half


def multiply_on_one_thread(first: NDArray[T], second: NDArray[T]) -> NDArray[T]:
    """Multiply (n, d) and (d, m) in parts that take one thread."""
    count, size = first.shape
    if count == 1:  # a product with a vector takes threads much earlier
        return multiply_on_one_thread(np.repeat(first, 2, axis=0), second)[:1]
    product = np.empty((count, second.shape[1]), first.dtype)
    width = max(8, _SINGLE_THREADED // max(1, count * size))
    height = max(2, _SINGLE_THREADED // max(1, width * size))
    for top in range(0, count, height):
        rows = first[top : top + height]
        if len(rows) == 1:
            product[top:] = multiply_on_one_thread(rows, second)
            continue
        for left in range(0, second.shape[1], width):
            part = second[:, left : left + width]
            np.matmul(rows, part, out=product[top : top + height, left : left + width])
    return product
