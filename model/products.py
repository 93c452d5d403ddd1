"""Sums and products over the cells of a map, in NumPy or in PyTorch.

They differ in rounding, so a bundle names which of the two it was fitted with: its answers stay the
same to the bit. Bundles of earlier versions name none, and need PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

import numpy as np

from model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

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


class Products(Protocol):
    """Sums and products of one library."""

    @property
    def name(self) -> str:
        """Name in a bundle."""
        ...

    def describe(
        self, features: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> MapStatistics:
        """Compute mean and standard deviation over cells.

        Args:
            features: (c, rows, columns) float32.
            weights: (rows, columns) float32, weight of each cell, at least 0.
        """
        ...

    def describe_each(
        self, maps: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return `MapStatistics.moments` of each of several maps, (n, 2c) float32.

        Args:
            maps: (n, c, cells) float32; may be overwritten.
            weights: (n, cells) float32.
        """
        ...

    def apply(
        self, weight: NDArray[np.float64], features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Apply a linear layer to every cell.

        Args:
            weight: (k, c); rounded to float32.
            features: (c, rows, columns) float32.

        Returns:
            (k, rows, columns) float32.
        """
        ...

    def multiply(
        self, first: NDArray[np.floating], second: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Multiply two matrices in float64, (n, d) and (d, m)."""
        ...


class NumpyProducts:
    """Sums and products in NumPy, on one thread."""

    name: Final = "numpy"

    def describe(
        self, features: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> MapStatistics:
        """Compute mean and standard deviation over cells."""
        flat = features.reshape(len(features), -1)  # (c, cells)
        share = (weights / max(float(weights.sum()), 1e-6)).astype(np.float32).ravel()
        mean = _sum_weighted(flat, share)
        squares = flat - mean[:, None]
        np.square(squares, out=squares)
        return MapStatistics(mean, np.sqrt(np.maximum(_sum_weighted(squares, share), 0)))

    def describe_each(
        self, maps: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the moments of each of several maps."""
        pairs = zip(maps[:, :, None], weights[:, None], strict=True)
        return np.stack([self.describe(*pair).moments for pair in pairs])

    def apply(
        self, weight: NDArray[np.float64], features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Apply a linear layer to every cell."""
        flat = features.reshape(len(features), -1)
        logits = multiply_on_one_thread(weight.astype(np.float32), flat)
        return logits.reshape(len(weight), *features.shape[1:])

    def multiply(
        self, first: NDArray[np.floating], second: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Multiply two matrices in float64."""
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


class TorchProducts:
    """Sums and products in PyTorch, as in bundles of earlier versions."""

    name: Final = "torch"

    def describe(
        self, features: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> MapStatistics:
        """Compute mean and standard deviation over cells."""
        import torch  # noqa: PLC0415 - most bundles do without

        flat = torch.from_numpy(features.reshape(len(features), -1))  # (c, cells)
        share = torch.from_numpy((weights / max(float(weights.sum()), 1e-6)).ravel())
        mean = torch.mv(flat, share)
        variance = torch.mv((flat - mean[:, None]).square_(), share)
        return MapStatistics(mean.numpy(), variance.clamp_min_(0.0).sqrt_().numpy())

    def describe_each(
        self, maps: NDArray[np.float32], weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the moments of each of several maps, to the bits of `describe`.

        MEASURED, 63 windows: half of the time of one after the other.
        """
        import torch  # noqa: PLC0415 - most bundles do without

        shares = torch.from_numpy(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-6))
        cells = torch.from_numpy(maps)
        means = torch.stack(list(map(torch.mv, cells, shares)))  # a product of all has other bits
        cells.sub_(means[:, :, None]).square_()
        variances = torch.stack(list(map(torch.mv, cells, shares))).clamp_min_(0.0).sqrt_()
        moments: NDArray[np.float32] = torch.cat([means, variances], 1).numpy()
        return moments

    def apply(
        self, weight: NDArray[np.float64], features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Apply a linear layer to every cell."""
        import torch  # noqa: PLC0415 - most bundles do without

        flat = torch.from_numpy(features).flatten(1)
        product = torch.from_numpy(weight).to(flat.dtype) @ flat
        logits: NDArray[np.float32] = product.numpy().reshape(-1, *features.shape[1:])
        return logits

    def multiply(
        self, first: NDArray[np.floating], second: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Multiply two matrices in float64."""
        import torch  # noqa: PLC0415 - most bundles do without

        product: NDArray[np.float64] = (
            torch.from_numpy(first).double() @ torch.from_numpy(second).double()
        ).numpy()
        return product


NUMPY: Final = NumpyProducts()
TORCH: Final = TorchProducts()

_PRODUCTS: Final[Mapping[str, Products]] = {NUMPY.name: NUMPY, TORCH.name: TORCH}


def get_products(name: str) -> Products:
    """Return the sums and products that a bundle names.

    Raises:
        ModelError: A newer version made the bundle.
    """
    if name not in _PRODUCTS:
        raise ModelError(
            f"There is no arithmetic {name!r} in this version; known are {', '.join(_PRODUCTS)}. "
            "Update this agent."
        )
    return _PRODUCTS[name]
