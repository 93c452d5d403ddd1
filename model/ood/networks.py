"""The frozen network in parts, as networks of PyTorch; the distances of cells are in `factors`.

They are run by PyTorch or converted to OpenVINO. No other module here needs PyTorch to serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from model.networks.architecture import IMAGENET_MEAN, IMAGENET_STD
from model.ood.frozen_pass import DARKEST
from model.ood.map_joiner import JOINED
from model.products import LARGEST_HALF

if TYPE_CHECKING:
    from model.networks.backbones import Backbone


def join_maps(finer: torch.Tensor, coarser: torch.Tensor) -> torch.Tensor:
    """Join two maps on the grid of the finer one, smoothed over neighbours.

    Args:
        finer: (1, c, rows, columns).
        coarser: (1, d, rows / 2, columns / 2).

    Returns:
        (1, c + d, rows, columns).
    """
    upsampled = functional.interpolate(coarser, size=finer.shape[2:], mode="bilinear")
    both = torch.cat([finer, upsampled], dim=1)
    return functional.avg_pool2d(both, 3, stride=1, padding=1, count_include_pad=False)


class Stages(nn.Module):
    """Backbone with its preprocessing: (1, h, w, 3) uint8 in, five feature maps out.

    Each channel is scaled to ImageNet's mean first, which removes brightness and white balance.
    Pixels without steel have the mean colour of the steel, so they change no mean. The fifth map
    joins two layers on the grid of the finer one, smoothed over neighbours.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.mean: torch.Tensor
        self.std: torch.Tensor

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the maps of an image."""
        light = pixels.permute(0, 3, 1, 2).float()
        mean = light.mean(dim=(2, 3), keepdim=True).clamp_min(DARKEST)
        normalized = (light / mean - 1.0) * (self.mean / self.std)
        maps = self.backbone.stages(normalized.contiguous(memory_format=torch.channels_last))
        return (*maps, join_maps(maps[JOINED], maps[JOINED + 1]))


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
    """Second and third map in, the joined one out: (1, rows, columns, c) float16."""

    def forward(self, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
        """Join the two maps."""
        return _round_to_half(join_maps(second, third))


class HalvedJoin(nn.Module):
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
