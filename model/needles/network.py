"""The network that maps a micrograph at 0.2 µm per px to needle axes, directions and lengths.

A U-Net with four levels. Its maps have one cell per 2 × 2 px. The distances to the two tips are
predicted as the nearer and the farther one: both are the same after turning or mirroring, so no
direction along the axis has to be chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


WIDTHS = (16, 32, 64, 96)
"""Channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution."""
STRIDE = 16
"""The sides of the input are multiples of this."""
CHANNELS = ("axis", "near", "far", "cosine", "sine", "structure", "spread", "body")
"""Output channels: logit of the axis; log(1 + µm) to the nearer and farther tip; double angle;
logit of "there are needles"; log of the relative error of the length; logit of a needle's body."""


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = _convolution(width, width, dilation=dilation)

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape, (n, c, h, w)."""
        inner: Tensor = self.second(functional.relu(self.first(values), inplace=True))
        return functional.relu(values + inner, inplace=True)


class NeedleNetwork(nn.Module):
    """(n, 1, h, w) normalised grey to (n, 8, h/2, w/2), see `CHANNELS`; sides multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth, deepest = WIDTHS
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stem = nn.Sequential(_convolution(4, half), nn.ReLU(inplace=True), Block(half))
        self.down4 = _down(half, quarter, (1, 1))
        self.down8 = _down(quarter, eighth, (1, 2))
        self.down16 = _down(eighth, deepest, (2, 4))
        self.merge8, self.up8 = _merge(deepest + eighth, eighth), Block(eighth)
        self.merge4, self.up4 = _merge(eighth + quarter, quarter), Block(quarter)
        self.merge2, self.up2 = _merge(quarter + half, half), Block(half)
        self.head = nn.Conv2d(half, len(CHANNELS), 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps of a batch."""
        half = self.stem(self.unshuffle(image))
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        deepest = self.down16(eighth)
        eighth = self.up8(self.merge8(_join(deepest, eighth)))
        quarter = self.up4(self.merge4(_join(eighth, quarter)))
        half = self.up2(self.merge2(_join(quarter, half)))
        maps: Tensor = self.head(half)
        return maps


def _convolution(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
    )


def _down(inputs: int, outputs: int, dilations: tuple[int, ...]) -> nn.Module:
    step = _convolution(inputs, outputs, stride=2)
    return nn.Sequential(step, nn.ReLU(inplace=True), *(Block(outputs, d) for d in dilations))


def _merge(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _join(coarse: Tensor, fine: Tensor) -> Tensor:
    larger = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return torch.cat([larger, fine], dim=1)


# --- bring a micrograph to the scale and the contrast on which the needle network was trained -----


WINDOW_PX = 255
"""Side of the square whose mean and standard deviation become 0 and 1, 51 µm."""
SMALLEST_DEVIATION = 1.0
"""Grey levels; below it a field is empty and its noise is not amplified further."""


def normalize_contrast(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local standard deviation.

    Args:
        grey: (h, w), 0 to 255.

    Returns:
        (h, w) float32, no unit.
    """
    values = grey.astype(np.float32)
    mean = uniform_filter(values, WINDOW_PX, mode="reflect")
    deviation = uniform_filter((values - mean) ** 2, WINDOW_PX, mode="reflect")
    # the running sum leaves a flat picture a little below 0
    scaled = (values - mean) / np.sqrt(np.maximum(deviation, SMALLEST_DEVIATION**2))
    return np.asarray(np.clip(scaled, -6, 6), np.float32)
