"""The frozen network in parts, and the distances of cells, as networks of PyTorch.

They are run by PyTorch or converted to OpenVINO. No other module here needs PyTorch to serve.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from model.products import LARGEST_HALF

if TYPE_CHECKING:
    from model.networks.backbones import Backbone


class LastStage(nn.Module):
    """Last stage of a backbone: (n, c, rows, columns) float32 in, one feature map out."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the last feature map."""
        return self.backbone.last_stage(features)


class StagePart(nn.Module):
    """Part of the early stages: (1, c, rows, columns) float32 in, its maps out.

    Args:
        backbone: In eval mode.
        index: Which part.
    """

    def __init__(self, backbone: Backbone, index: int) -> None:
        super().__init__()
        self.backbone, self.index = backbone, index

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the maps of the part."""
        images = maps.contiguous(memory_format=torch.channels_last)
        return self.backbone.compute_part(self.index, images)


class Join(nn.Module):
    """Second and third map in, the mean of every 2 × 2 cells of the joined one out.

    The cells are those of the third map, as (1, rows, columns, c) float16. Next to an edge of the
    maps their cells are repeated, in place of being left out.

    Args:
        channels: Of the second and of the third map.
    """

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        # Upsampling, the mean of three cells and the mean of two, along one side.
        finer, coarser = torch.tensor([1.0, 2, 2, 1]) / 6, torch.tensor([5.0, 14, 5]) / 24
        for name, kernel, count in zip(
            ("finer", "coarser"), (finer, coarser), channels, strict=True
        ):
            self.register_buffer(name, torch.outer(kernel, kernel).expand(count, 1, -1, -1).clone())
        self.finer: torch.Tensor
        self.coarser: torch.Tensor

    def forward(self, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
        """Join the two maps."""
        parts = [
            functional.conv2d(
                functional.pad(own, (1, 1, 1, 1), mode="replicate"),
                kernel,
                stride=stride,
                groups=len(kernel),
            )
            for own, kernel, stride in ((second, self.finer, 2), (third, self.coarser, 1))
        ]
        return _round_to_half(torch.cat(parts, dim=1))


def _round_to_half(joined: torch.Tensor) -> torch.Tensor:
    """Return a map as (1, rows, columns, c) float16."""
    return joined.permute(0, 2, 3, 1).clamp(-LARGEST_HALF, LARGEST_HALF).half()


_FACTOR_BLOCK = 80
"""Columns of a triangular factor that are multiplied at a time, by the rows that are not zero.
MEASURED against a square factor: 152 numbers in five sixths of the time, 320 in three quarters."""


class TriangularFactors(nn.Module):
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
