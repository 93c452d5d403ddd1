"""Augment frames for training: rotation, mirroring, brightness, contrast, blur."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from model.framing import Frame

if TYPE_CHECKING:
    from numpy.random import Generator


def augment(frame: Frame, rng: Generator, *, rotate: bool = True) -> Frame:
    """Show the same steel otherwise: turned, mirrored, lit and focused differently; same scale.

    Args:
        frame: What would be shown.
        rng: Where the chances come from.
        rotate: Whether it is also turned by any angle, with mirrored steel in the corners; quarter
            turns and mirroring happen in any case.

    Source:
        The kinds are the paper's (Durmaz et al. 2023): rotation, flips, slight contrast, blur.
        Ours adds brightness, white balance and gamma, as microscopes differ in them.
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
    """Turn (3, h, w) pixels and their (1, h, w) mask; mirrored steel comes into the corners."""
    height, width = pixels.shape[1:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # The grid counts in half sides, which are not equally long.
    turn = [[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]
    grid = functional.affine_grid(torch.tensor([turn]), [1, 1, height, width], align_corners=False)

    def turned(picture: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(
            picture[None].float(), grid, mode, padding_mode="reflection", align_corners=False
        )[0]

    seen = valid if valid.all() else turned(valid, "nearest").bool()
    return turned(pixels, "bilinear").round().to(torch.uint8), seen


def _change_light(pixels: torch.Tensor, rng: Generator) -> torch.Tensor:
    mean = float(pixels.float().mean())
    contrast, brightness = float(rng.uniform(0.8, 1.2)), float(rng.uniform(0.88, 1.12))
    balance = torch.from_numpy(rng.uniform(0.95, 1.05, (3, 1)))
    levels = (torch.arange(256.0) - mean) * contrast + mean * brightness
    levels = (levels[None] * balance).clamp(0, 255)  # (3, 256): what each value becomes
    levels = (255 * (levels / 255) ** float(rng.uniform(0.85, 1.18))).round().to(torch.uint8)
    light = torch.stack(
        [table[channel.int()] for table, channel in zip(levels, pixels, strict=True)]
    )
    sigma = float(rng.uniform(0.0, 1.0))
    if sigma > 0.3:  # noqa: PLR2004 - below it, a blur of five pixels changes nothing
        light = _blur(light.float(), sigma).round().to(torch.uint8)
    return light


def _blur(light: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (3, h, w) by a Gaussian of five pixels; shifted sums, four times torchvision's speed."""
    near, far = math.exp(-0.5 / sigma**2), math.exp(-2.0 / sigma**2)
    total = 1 + 2 * near + 2 * far
    x = functional.pad(light[None], (2, 2, 2, 2), mode="reflect")[0]
    x = x[:, :, 2:-2] + near * (x[:, :, 1:-3] + x[:, :, 3:-1]) + far * (x[..., :-4] + x[..., 4:])
    x = x[:, 2:-2] + near * (x[:, 1:-3] + x[:, 3:-1]) + far * (x[:, :-4] + x[:, 4:])
    return x / total**2
