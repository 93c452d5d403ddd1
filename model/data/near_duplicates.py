"""Near-duplicates: micrographs of the same place, above all across the sides of a split.

A re-exported or brightened copy has another content hash but the same fine texture, which is
compared before training. A rotated, mirrored, cropped or shifted copy is found after the
evaluation, by registering each test image with the images whose embeddings are nearest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.dataset import Example
from model.framing import Field, fill_invalid, resample

# --- registration: whether two fields show the same place, shifted, rotated, mirrored or cropped
# Embeddings are nearly invariant to rotation, but other places of the same specimen are just as
# similar. Only a match of the texture cell by cell is conclusive.


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


# --- near-duplicates: micrographs of the same place, above all across the sides of a split --------


_FINE, _BROAD = 64, 8
"""Cells per side of the fine texture, and of the illumination that is subtracted from it."""

_MIN_NORM = 1e-3
"""Lower limit of the norm: a uniform image keeps a signature near 0 and matches no other."""

SAME_PICTURE = 0.9
"""Least correlation of two signatures of the same place; different places stay below 0.2."""


_CHUNK = 512
"""Signatures compared with all others at a time, and size of the texture cache."""


@dataclass(frozen=True, slots=True)
class ComparedImage:
    """A micrograph to be compared.

    Args:
        key: Content hash.
        group: Specimen.
        side: "train", "validation" or "test".
        signature: From `compute_signature`.
    """

    key: str
    group: str
    side: str
    signature: NDArray[np.float32]


def compute_signature(field: Field) -> NDArray[np.float32]:
    """Compute the fine texture of a field without its illumination, as a unit vector.

    Returns:
        (4096,) float32 of length 1, or shorter for a nearly uniform field.
    """
    grey = field.pixels.mean(axis=2, dtype=np.float32)
    fine = _block_means(grey, _FINE)
    broad = np.kron(_block_means(fine, _BROAD), np.ones((_FINE // _BROAD,) * 2, np.float32))
    texture = np.asarray(fine - broad, dtype=np.float32).ravel()
    return texture / max(float(np.linalg.norm(texture)), _MIN_NORM)


def find_leaks(images: Sequence[ComparedImage]) -> list[tuple[str, str]]:
    """Find pairs of a training or validation image and a test image that show the same place.

    A split keeps images of one specimen on one side, so a pair belongs to two specimens, or to one
    specimen with two names.

    Returns:
        Keys of the training or validation image and of the test image, one pair per leak.
    """
    training = [image for image in images if image.side != "test"]
    test = [image for image in images if image.side == "test"]
    if not training or not test:
        return []
    correlation = (  # (test, training)
        np.stack([t.signature for t in test]) @ np.stack([t.signature for t in training]).T
    )
    return [(training[j].key, test[i].key) for i, j in np.argwhere(correlation >= SAME_PICTURE)]


class HasNearest(Protocol):
    """A test image and its nearest reference images."""

    @property
    def key(self) -> str:
        """Content hash."""

    @property
    def nearest(self) -> tuple[str, ...]:
        """Keys of the nearest reference images."""


def iter_overlaps(
    cases: Iterable[HasNearest], test: Mapping[str, Example], training: Mapping[str, Example]
) -> Iterator[list[tuple[str, str]]]:
    """Register test images with their nearest training or validation images.

    Args:
        cases: The evaluated test images.
        test: Test images by key.
        training: Training and validation images by key.

    Yields:
        After each case, its pairs of training key and test key that show the same place.
    """
    texture = lru_cache(_CHUNK)(lambda key: compute_texture(training[key].load()))
    for case in cases:
        own = compute_texture(test[case.key].load())
        near = [key for key in case.nearest if key in training]
        yield [
            (key, case.key)
            for key in near
            if compute_overlap_similarity(own, texture(key)) >= SAME_PLACE
        ]


def format_leak_warning(pairs: Sequence[tuple[str, str]], examples: Iterable[Example]) -> str:
    """Format a warning that test images show the same place as training images, or return "".

    Args:
        pairs: Keys of a training or validation image and of a test image.
        examples: Images of both sides.
    """
    if not pairs:
        return ""
    labels = {example.key: example.label for example in examples}
    training, test = pairs[0]
    return (
        f"{len({t for _, t in pairs})} test micrographs show the same place as one that is "
        f"learned from ({labels[test]} and {labels[training]} first): the test is too easy by "
        "them; give both the same specimen."
    )


def find_near_duplicates(signatures: Sequence[NDArray[np.float32]]) -> Iterator[tuple[int, int]]:
    """Yield the indices of every two signatures of the same place, the smaller index first."""
    if not signatures:
        return
    stacked = np.stack(signatures)  # (n, 4096)
    for start in range(0, len(stacked), _CHUNK):
        correlation = stacked[start : start + _CHUNK] @ stacked.T
        for row, other in np.argwhere(correlation >= SAME_PICTURE).tolist():
            if start + row < other:
                yield start + row, other


def merge_groups(examples: Sequence[Example], pairs: Iterable[tuple[int, int]]) -> list[Example]:
    """Merge the groups of examples that show the same place.

    Args:
        examples: Labelled micrographs.
        pairs: Indices of two examples of the same place, from `find_near_duplicates`.

    Returns:
        The examples in the same order; a merged group takes its alphabetically first name.
    """
    parent: dict[str, str] = {}  # disjoint-set forest

    def find_root(group: str) -> str:
        while group in parent:
            group = parent[group]
        return group

    for first, second in pairs:
        roots = sorted({find_root(examples[first].group), find_root(examples[second].group)})
        for root in roots[1:]:
            parent[root] = roots[0]
    return [replace(example, group=find_root(example.group)) for example in examples]


def _block_means(grey: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Average an image over cells × cells blocks; smaller images are enlarged first."""
    height, width = grey.shape
    rows, columns = -(-cells // height), -(-cells // width)
    if rows > 1 or columns > 1:
        grey = np.repeat(np.repeat(grey, rows, axis=0), columns, axis=1)
        height, width = grey.shape
    down, across = height // cells, width // cells
    cropped = grey[: down * cells, : across * cells]
    means = cropped.reshape(cells, down, cells, across).mean(axis=(1, 3))
    return np.asarray(means, dtype=np.float32)
