"""Say whether two fields show the same steel: moved, turned, mirrored, cropped or lit otherwise.

In:  fields. Out: how well they lie upon each other at best. Next: `leakage`.
A network's embedding hardly changes when a picture is turned, but two places of one specimen are
as alike; only texture that fits cell by cell is a proof.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from model.framing import Field, fill_invalid, resample

if TYPE_CHECKING:
    from torch import Tensor

UM = 0.8
"""Side of a cell in µm: finer texture does not survive another resampling."""

_USUAL_UM_PER_PX = 0.2
"""Taken for a field that does not know its own."""

_LARGEST = 192
"""Cells in a side; of a larger field the middle is compared."""

_BROAD = 9
"""Cells in a side over which light is averaged, to be taken out."""

_NO_TEXTURE = 1e-3

_LEAST_OVERLAP = 0.25
"""Of the smaller one's area."""

_LEAST_CELLS = 900
"""Less may fit by chance; 24 µm a side."""

SAME = 0.6
"""Correlation from which two fields show one place. MEASURED on tiles of 51 real micrographs and on
60 drawn ones: 477 pairs of different places at most 0.49; of 81 each, kept as JPEG 60, brightened,
turned, mirrored, cropped to 0.9 or 0.6, halved, or sharing half: at least 0.76."""


def compute_texture(field: Field) -> Tensor:
    """Give the fine texture of a field, (rows, columns) float32, whatever its light and scale."""
    factor = (field.um_per_px or _USUAL_UM_PER_PX) / UM
    height, width = field.valid.shape
    most = max(1, int(_LARGEST / factor))
    top, left = max(0, (height - most) // 2), max(0, (width - most) // 2)
    middle = np.s_[top : top + most, left : left + most]
    shown = fill_invalid(Field(field.pixels[middle], field.valid[middle], field.um_per_px))
    rows, columns = (max(1, round(side * factor)) for side in shown.valid.shape)
    small = resample(shown, (rows, columns)).pixels.mean(axis=2, dtype=np.float32)
    grey = torch.from_numpy(small)
    broad = torch.nn.functional.avg_pool2d(
        grey[None], _BROAD, stride=1, padding=_BROAD // 2, count_include_pad=False
    )[0]
    texture = grey - broad
    spread = float(texture.std(correction=0))
    return (texture / spread).clamp(-3, 3) if spread > _NO_TEXTURE else torch.zeros_like(texture)


def compute_overlap_similarity(one: Tensor, other: Tensor) -> float:
    """Give the correlation of two textures where they fit best, over all shifts, turns and mirrors.

    Args:
        one: From `texture_of`.
        other: From `texture_of`.

    Returns:
        In [-1, 1]; 0 where too little of both can lie upon each other.
    """
    side = -(-(max(one.shape) + max(other.shape)) // 32) * 32  # a length that is transformed fast
    ways = [torch.rot90(way, turns) for way in (other, other.flip(1)) for turns in range(4)]
    own = _spectra(one, side)
    return max(float(_by_shift(own, _spectra(way, side), side).max()) for way in ways)


def _spectra(texture: Tensor, side: int) -> Tensor:
    """Transform a texture, its square, and where it is: (3, side, side / 2 + 1)."""
    planes = torch.stack([texture, texture**2, torch.ones_like(texture)])
    spectra: Tensor = torch.fft.rfft2(planes, (side, side))
    return spectra


def _by_shift(one: Tensor, other: Tensor, side: int) -> Tensor:
    """Correlate for every shift what then lies upon each other; 0 where that is too little."""
    pairs = one[[0, 1, 2, 2]] * other[[0, 2, 1, 2]].conj()
    both, own, theirs, common = torch.fft.irfft2(pairs, (side, side)).unbind()
    smaller = min(float(spectra[2, 0, 0].real) for spectra in (one, other))  # sums of ones
    enough = common > max(_LEAST_CELLS, _LEAST_OVERLAP * smaller)
    norm = (own.clamp_min(1.0) * theirs.clamp_min(1.0)).sqrt()
    found: Tensor = torch.where(enough, both / norm, torch.zeros_like(both))
    return found
