"""Encoder: a backbone tapped at one or more stages, and mask-weighted average pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.networks.architecture import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.networks.backbones import Backbone


def cell_weights(valid: Tensor, stride: int) -> Tensor:
    """Compute the weight of each feature-map cell: the share of its pixels that show steel.

    The weighted mean over cells equals the mean of the upsampled map over the pixels of the steel.

    Args:
        valid: (n, h, w) bool or float, 1 where a pixel is steel; h and w multiples of `stride`.
        stride: Pixels per cell.

    Returns:
        (n, h / stride, w / stride) float32 in [0, 1]; all 1 for an image without any steel.
    """
    share = functional.avg_pool2d(valid.float().unsqueeze(1), stride).squeeze(1)  # (n, rows, cols)
    is_empty = share.flatten(1).sum(1) == 0
    return torch.where(is_empty[:, None, None], torch.ones_like(share), share)


def pool_features(features: Tensor, weights: Tensor) -> Tensor:
    """Compute the weighted mean of a feature map over its cells.

    Args:
        features: (n, c, rows, columns).
        weights: (n, rows, columns) from `cell_weights`.

    Returns:
        (n, c), in the dtype of `features`.
    """
    weights = weights.to(features.dtype)
    total = torch.einsum("nchw,nhw->nc", features, weights)
    return total / weights.flatten(1).sum(1, keepdim=True)


class Encoder(nn.Module):
    """Input normalisation and a backbone: pixels in, one feature map out.

    Only a mean over valid cells and a linear head may follow it, since that makes saliency exact.
    Several maps are average-pooled to the coarsest of their grids, which preserves their means and
    therefore the logits.

    Args:
        backbone: The network that is tapped.
        taps: Indices of the backbone's feature maps that are used, ascending.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[int] = (3,)) -> None:
        super().__init__()
        self.backbone = backbone
        self.taps = tuple(taps)
        self.stride = backbone.strides[self.taps[-1]]
        self.channels = sum(backbone.channels[tap] for tap in self.taps)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", 1 / (255.0 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute the feature map of a batch.

        Args:
            pixels: (n, h, w, 3) uint8, RGB, h and w multiples of 32.

        Returns:
            (n, channels, h / stride, w / stride) float32.
        """
        # Permuting the uint8 input already yields channels-last strides.
        images = pixels.permute(0, 3, 1, 2) * self.scale + self.shift  # (n, 3, h, w)
        maps = self.backbone.stages(images, self.taps[-1])
        size = maps[self.taps[-1]].shape[-2:]
        same_size = [
            maps[tap]
            if maps[tap].shape[-2:] == size
            else _average_pool(maps[tap], self._pooling_factor(tap))
            for tap in self.taps
        ]
        return torch.cat(same_size, dim=1) if len(same_size) > 1 else same_size[0]

    def _pooling_factor(self, tap: int) -> int:
        return self.stride // self.backbone.strides[tap]


def _average_pool(features: Tensor, factor: int) -> Tensor:
    return functional.avg_pool2d(features, factor)
