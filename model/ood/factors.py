"""Networks that compute Mahalanobis distances of cells by factors of the precision matrices.

Product, lengths and minimum are one graph, which a runner compiles.
"""

from __future__ import annotations

from itertools import pairwise

import torch

_FACTOR_BLOCK = 80
"""Columns of a triangular factor that are multiplied at a time, by the rows that are not zero.
MEASURED against a square factor: 152 numbers in five sixths of the time, 320 in three quarters."""


class TriangularFactors(torch.nn.Module):
    """Distances of (n, d) float16 vectors to the nearest of k means, (n,) float32.

    Factors of the precision matrices are zero below their diagonal.

    Args:
        means: (k, d) float32.
        whitens: (k, d, d) float32.
    """

    def __init__(self, means: torch.Tensor, whitens: torch.Tensor) -> None:
        super().__init__()
        self.count, self.size = means.shape
        exact = whitens.double()
        precision = exact @ exact.transpose(1, 2)
        upper = torch.linalg.cholesky(precision.flip(1, 2)).flip(1, 2)  # upper @ upper.T
        centres = torch.einsum("kd,kde->ke", means.double(), upper)
        self._ends = [*range(_FACTOR_BLOCK, self.size, _FACTOR_BLOCK), self.size]
        for index, (start, end) in enumerate(pairwise([0, *self._ends])):
            factor = upper[:, :end, start:end].transpose(0, 1).reshape(end, -1)
            self.register_buffer(f"factor{index}", factor.float().contiguous())
            self.register_buffer(f"centre{index}", centres[:, start:end].flatten().float())

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the distances."""
        rows = vectors.float()
        squares = []
        for index, end in enumerate(self._ends):
            whitened = rows[:, :end] @ self.get_buffer(f"factor{index}")
            whitened = whitened - self.get_buffer(f"centre{index}")  # (n, k block)
            by_subtype = whitened.reshape(-1, self.count, whitened.shape[1] // self.count)
            squares.append(by_subtype.square().sum(dim=2))
        return torch.stack(squares).sum(dim=0).amin(dim=1).sqrt()
