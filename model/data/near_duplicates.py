"""Near-duplicates: micrographs of the same place, above all across the sides of a split.

A re-exported or brightened copy has another content hash but the same fine texture, which is
compared before training. A rotated, mirrored, cropped or shifted copy is found after the
evaluation, by registering each test image with the images whose embeddings are nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.data import registration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.framing import Field

_FINE, _BROAD = 64, 8
"""Cells per side of the fine texture, and of the illumination that is subtracted from it."""

_MIN_NORM = 1e-3
"""Lower limit of the norm: a uniform image keeps a signature near 0 and matches no other."""

SAME_PLACE = 0.9
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
    return [(training[j].key, test[i].key) for i, j in np.argwhere(correlation >= SAME_PLACE)]


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
    texture = lru_cache(_CHUNK)(lambda key: registration.compute_texture(training[key].load()))
    for case in cases:
        own = registration.compute_texture(test[case.key].load())
        near = [key for key in case.nearest if key in training]
        yield [
            (key, case.key)
            for key in near
            if registration.compute_overlap_similarity(own, texture(key)) >= registration.SAME_PLACE
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
        for row, other in np.argwhere(correlation >= SAME_PLACE).tolist():
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
