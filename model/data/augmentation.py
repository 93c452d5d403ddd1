"""Training augmentation: rotation, mirroring, brightness, contrast, white balance, gamma, blur."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from model.framing import Frame

if TYPE_CHECKING:
    from numpy.random import Generator


VERSION = 1
"""Raise it when the same frame and random numbers would give another view."""


def augment(frame: Frame, rng: Generator, *, rotate: bool = True) -> Frame:
    """Augment a frame without changing its scale, which determines the size class.

    Args:
        frame: The frame; it is not changed.
        rng: Random generator.
        rotate: Whether to rotate by up to ±45° with reflection padding, in addition to the quarter
            turns and mirroring that are always applied.

    Source:
        Durmaz et al. 2023: rotation, flips, slight contrast, blur. Brightness, white balance and
        gamma are added, because microscopes differ in them.
    """
    pixels = torch.from_numpy(frame.pixels).permute(2, 0, 1)  # (3, h, w)
    valid = torch.from_numpy(frame.valid)[None]
    if rotate:
        pixels, valid = _rotate(pixels, valid, float(rng.uniform(-45.0, 45.0)))
    quarters = int(rng.integers(4)) if pixels.shape[1] == pixels.shape[2] else 2 * rng.integers(2)
    pixels, valid = (torch.rot90(t, int(quarters), (1, 2)) for t in (pixels, valid))
    if rng.random() < 0.5:  # noqa: PLR2004 - a coin
        pixels, valid = pixels.flip(2), valid.flip(2)
    return Frame(
        np.ascontiguousarray(_change_light(pixels, rng).permute(1, 2, 0).numpy()),
        np.ascontiguousarray(valid[0].numpy()),
        frame.extent,
        frame.box,
    )


def _rotate(
    pixels: torch.Tensor, valid: torch.Tensor, degrees: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate (3, h, w) pixels and their (1, h, w) mask with reflection padding."""
    height, width = pixels.shape[1:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Grid units are half the height and half the width, which differ.
    matrix = [[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]
    grid = functional.affine_grid(
        torch.tensor([matrix]), [1, 1, height, width], align_corners=False
    )

    def sample(image: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(
            image[None].float(), grid, mode, padding_mode="reflection", align_corners=False
        )[0]

    mask = valid if valid.all() else sample(valid, "nearest").bool()
    return sample(pixels, "bilinear").round().to(torch.uint8), mask


def _change_light(pixels: torch.Tensor, rng: Generator) -> torch.Tensor:
    mean = float(pixels.float().mean())
    contrast, brightness = float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.88, 1.12))
    balance = torch.from_numpy(rng.uniform(0.95, 1.05, (3, 1)))
    levels = (torch.arange(256.0) - mean) * contrast + mean * brightness
    levels = (levels[None] * balance).clamp(0, 255)  # (3, 256), a lookup table per channel
    levels = (255 * (levels / 255) ** float(rng.uniform(0.85, 1.18))).round().to(torch.uint8)
    changed = torch.stack(
        [table[channel.int()] for table, channel in zip(levels, pixels, strict=True)]
    )
    sigma = float(rng.uniform(0.0, 1.0))
    if sigma > 0.3:  # noqa: PLR2004 - a blur below that has no effect on a kernel of five pixels
        changed = _blur(changed.float(), sigma).round().to(torch.uint8)
    return changed


def _blur(pixels: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (3, h, w) by a Gaussian kernel of 5 × 5 pixels.

    Sums of shifted images take a quarter of the time of torchvision's convolution.
    """
    near, far = math.exp(-0.5 / sigma**2), math.exp(-2.0 / sigma**2)
    total = 1 + 2 * near + 2 * far
    x = functional.pad(pixels[None], (2, 2, 2, 2), mode="reflect")[0]
    x = x[:, :, 2:-2] + near * (x[:, :, 1:-3] + x[:, :, 3:-1]) + far * (x[..., :-4] + x[..., 4:])
    x = x[:, 2:-2] + near * (x[:, 1:-3] + x[:, 3:-1]) + far * (x[:, :-4] + x[:, 4:])
    return x / total**2
