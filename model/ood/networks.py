"""The frozen network in parts, as networks of PyTorch; the distances of cells are in `factors`.

They are run by PyTorch or converted to OpenVINO. No other module here needs PyTorch to serve.
"""

from __future__ import annotations

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
