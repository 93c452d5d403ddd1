"""Registration: whether two fields show the same place, shifted, rotated, mirrored or cropped.

Embeddings are nearly invariant to rotation, but other places of the same specimen are just as
similar. Only a match of the texture cell by cell is conclusive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from model.framing import Field, fill_invalid, resample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CELL_UM = 0.8
"""Side of a cell; finer texture does not survive another resampling."""

_DEFAULT_UM_PER_PX = 0.2
"""Pixel size that is assumed for a field without one."""

_MAX_CELLS = 192
"""Cells per side; of a larger field the middle is compared."""

_BACKGROUND_CELLS = 9
"""Side of the window whose mean is subtracted as illumination."""

_MIN_STD = 1e-3

_MIN_OVERLAP = 0.25
"""Least overlap, as a share of the smaller field's area."""

_MIN_OVERLAP_CELLS = 900
"""Least overlap; a square of 24 µm. A smaller one can match by chance."""

SAME_PLACE = 0.6
"""Least correlation of two fields of the same place. MEASURED on tiles of 51 real and 60 drawn
micrographs: at most 0.49 for 477 pairs of different places; at least 0.76 for 81 pairs each after
JPEG at quality 60, brightening, rotation, mirroring, cropping to 0.9 or 0.6, scaling by a half, or
a shift that leaves half in common."""


def compute_texture(field: Field) -> Tensor:
    """Compute the fine texture of a field at a common scale, without its illumination.

    Args:
        field: Any size; a field without a pixel size counts as 0.2 µm per pixel.

    Returns:
        (rows, columns) float32 of unit standard deviation, clipped to ±3; all 0 for a field
        without texture.
    """
    factor = (field.um_per_px or _DEFAULT_UM_PER_PX) / CELL_UM
    height, width = field.valid.shape
    max_px = max(1, int(_MAX_CELLS / factor))
    top, left = max(0, (height - max_px) // 2), max(0, (width - max_px) // 2)
    middle = np.s_[top : top + max_px, left : left + max_px]
    cropped = fill_invalid(Field(field.pixels[middle], field.valid[middle], field.um_per_px))
    rows, columns = (max(1, round(side * factor)) for side in cropped.valid.shape)
    small = resample(cropped, (rows, columns)).pixels.mean(axis=2, dtype=np.float32)
    grey = torch.from_numpy(small)
    background = torch.nn.functional.avg_pool2d(
        grey[None],
        _BACKGROUND_CELLS,
        stride=1,
        padding=_BACKGROUND_CELLS // 2,
        count_include_pad=False,
    )[0]
    texture = grey - background
    std = float(texture.std(correction=0))
    return (texture / std).clamp(-3, 3) if std > _MIN_STD else torch.zeros_like(texture)


def compute_overlap_similarity(first: Tensor, second: Tensor) -> float:
    """Compute the largest correlation of two textures over shifts, quarter turns and mirroring.

    Args:
        first: (rows, columns) float32 from `compute_texture`.
        second: The same of the other field.

    Returns:
        Correlation in [-1, 1]; 0 where the overlap is too small.
    """
    # Without wrap-around, and a multiple of 32 for a fast FFT.
    side = -(-(max(first.shape) + max(second.shape)) // 32) * 32
    own = _compute_spectra(first, side)
    smaller = float(min(first.numel(), second.numel()))
    return max(
        _find_largest_correlation(own, _mirror(turned), smaller) for turned in (second, second.T)
    )


def _mirror(texture: Tensor) -> tuple[Tensor, ...]:
    """Return the texture, both its mirror images and its half turn."""
    return texture, texture.flip(0), texture.flip(1), texture.flip(0, 1)


def _find_largest_correlation(own: Tensor, oriented: Sequence[Tensor], smaller: float) -> float:
    """Return the largest normalised cross-correlation over shifts and orientations.

    What depends on the shape alone is computed once for orientations of one shape.

    Args:
        own: From `_compute_spectra` of one texture.
        oriented: The other texture, in orientations of the same shape.
        smaller: Cells of the smaller texture.
    """
    side = own.shape[1]
    support = torch.fft.rfft2(torch.ones_like(oriented[0]), (side, side))
    first_square, overlap = torch.fft.irfft2(own[1:] * support.conj(), (side, side))
    is_enough = overlap > max(_MIN_OVERLAP_CELLS, _MIN_OVERLAP * smaller)
    first_norm = first_square.clamp_min_(1.0)
    largest = 0.0  # where the overlap is too small
    for texture in oriented:
        spectra = torch.fft.rfft2(torch.stack([texture, texture**2]), (side, side))
        product, square = torch.fft.irfft2(own[[0, 2]] * spectra.conj(), (side, side))
        correlation = product / square.clamp_min_(1.0).mul_(first_norm).sqrt_()
        largest = max(largest, float(torch.where(is_enough, correlation, 0.0).max()))
    return largest


def _compute_spectra(texture: Tensor, side: int) -> Tensor:
    """Transform a texture, its square and its support: (3, side, side / 2 + 1) complex."""
    planes = torch.stack([texture, texture**2, torch.ones_like(texture)])
    spectra: Tensor = torch.fft.rfft2(planes, (side, side))
    return spectra
