"""The encoder: a backbone cut at one or more stages, with masked pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.networks.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone

if TYPE_CHECKING:
    from collections.abc import Sequence


def cell_weights(valid: Tensor, stride: int) -> Tensor:
    """Say how much each cell of a feature map counts: its share of steel.

    Args:
        valid: (n, h, w) bool or float, 1 where a pixel is steel; h and w multiples of `stride`.
        stride: Pixels per cell.

    Returns:
        (n, h / stride, w / stride) float32 in [0, 1]; all 1 where there is no steel at all. So a
        mean over cells is the mean over the steel's pixels of the map drawn in full size.
    """
    share = functional.avg_pool2d(valid.float().unsqueeze(1), stride).squeeze(1)
    bare = share.flatten(1).sum(1) == 0
    return torch.where(bare[:, None, None], torch.ones_like(share), share)


def pool_features(features: Tensor, weights: Tensor) -> Tensor:
    """Average a feature map over its valid cells.

    Args:
        features: (n, c, rows, columns).
        weights: (n, rows, columns) from `cells`.

    Returns:
        (n, c), in the dtype of `features`.
    """
    weights = weights.to(features.dtype)
    total = torch.einsum("nchw,nhw->nc", features, weights)
    return total / weights.flatten(1).sum(1, keepdim=True)


class Encoder(nn.Module):
    """A backbone as a classifier looks through it: pixels in, one feature map out.

    Everything after it is a mean over valid cells and a linear head, which is what makes saliency
    a closed form. Several maps are averaged onto the coarsest of their grids, which leaves their
    means, and so the answer, as they are.

    Args:
        backbone: What it looks through.
        taps: Indices of the backbone's maps that are used, ascending.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[int] = (3,)) -> None:
        super().__init__()
        self.backbone = backbone
        self.taps = tuple(taps)
        self.stride = backbone.strides[self.taps[-1]]
        self.channels = sum(backbone.channels[tap] for tap in self.taps)
        mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", 1 / (255.0 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Give the feature map of a batch.

        Args:
            pixels: (n, h, w, 3) uint8, RGB, h and w multiples of 32.

        Returns:
            (n, channels, h / stride, w / stride) float32.
        """
        images = pixels.permute(0, 3, 1, 2) * self.scale + self.shift  # channels last, as it came
        maps = self.backbone.stages(images, self.taps[-1])
        size = maps[self.taps[-1]].shape[-2:]
        onto = [
            maps[tap]
            if maps[tap].shape[-2:] == size
            else _average_pool(maps[tap], self._factor(tap))
            for tap in self.taps
        ]
        return torch.cat(onto, dim=1) if len(onto) > 1 else onto[0]

    def _factor(self, tap: int) -> int:
        return self.stride // self.backbone.strides[tap]


def _average_pool(features: Tensor, factor: int) -> Tensor:
    return functional.avg_pool2d(features, factor)
