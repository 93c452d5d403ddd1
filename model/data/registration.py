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
    orientations = [
        torch.rot90(mirrored, turns) for mirrored in (second, second.flip(1)) for turns in range(4)
    ]
    own = _compute_spectra(first, side)
    return max(
        float(_correlate(own, _compute_spectra(oriented, side), side).max())
        for oriented in orientations
    )


def _compute_spectra(texture: Tensor, side: int) -> Tensor:
    """Transform a texture, its square and its support: (3, side, side / 2 + 1) complex."""
    planes = torch.stack([texture, texture**2, torch.ones_like(texture)])
    spectra: Tensor = torch.fft.rfft2(planes, (side, side))
    return spectra


def _correlate(first: Tensor, second: Tensor, side: int) -> Tensor:
    """Compute the normalised cross-correlation for every shift; 0 where the overlap is too small.

    Returns:
        (side, side) float32.
    """
    pairs = first[[0, 1, 2, 2]] * second[[0, 2, 1, 2]].conj()
    product, first_square, second_square, overlap = torch.fft.irfft2(pairs, (side, side)).unbind()
    # The zero frequency of the support is its number of cells.
    smaller = min(float(spectra[2, 0, 0].real) for spectra in (first, second))
    is_enough = overlap > max(_MIN_OVERLAP_CELLS, _MIN_OVERLAP * smaller)
    norm = (first_square.clamp_min(1.0) * second_square.clamp_min(1.0)).sqrt()
    correlation: Tensor = torch.where(is_enough, product / norm, torch.zeros_like(product))
    return correlation
