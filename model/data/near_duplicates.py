"""Find micrographs that are on two sides of a split in other clothes.

In:  fields with their keys, groups and sides. Out: pairs that show the same place.
Next: `training` says so. A re-exported or slightly brightened copy has another content hash, so
the hash alone does not find it; its fine texture does, before anything is taught. One that is
turned, mirrored, cropped or shifted is found after the test: among the known images whose
embeddings are nearest to it, by laying both upon each other.
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
"""Cells per side of the fine texture, and of the broad light that is taken out of it."""

_NO_TEXTURE = 1e-3
"""An even picture stays all but zero, and so is like nothing."""

SAME = 0.9
"""Correlation from which two textures are one; those of different places stay below 0.2."""


_TOGETHER = 512
"""Signatures that are compared with all others at a time, and textures that are kept."""


@dataclass(frozen=True, slots=True)
class ComparedImage:
    """One micrograph as it is compared.

    Args:
        key: Its content hash.
        group: Its specimen.
        side: "train", "validation" or "test".
        signature: From `signature`.
    """

    key: str
    group: str
    side: str
    signature: NDArray[np.float32]


def signature(field: Field) -> NDArray[np.float32]:
    """Give the fine texture of a field as (4096,) float32 of length 1, whatever its light."""
    grey = field.pixels.mean(axis=2, dtype=np.float32)
    fine = _block_means(grey, _FINE)
    broad = np.kron(_block_means(fine, _BROAD), np.ones((_FINE // _BROAD,) * 2, np.float32))
    texture = np.asarray(fine - broad, dtype=np.float32).ravel()
    return texture / max(float(np.linalg.norm(texture)), _NO_TEXTURE)


def near_duplicates(looked: Sequence[ComparedImage]) -> list[tuple[str, str]]:
    """Give pairs (learned from or validated on, tested on) that show the same place.

    Images of one specimen are always on one side, so every pair found is of two specimens, or of
    one specimen that got two names.
    """
    learned = [one for one in looked if one.side != "test"]
    tested = [one for one in looked if one.side == "test"]
    if not learned or not tested:
        return []
    likeness = np.stack([o.signature for o in tested]) @ np.stack([o.signature for o in learned]).T
    return [(learned[j].key, tested[i].key) for i, j in np.argwhere(likeness >= SAME)]


class HasNearest(Protocol):
    """A tested image, and which known ones are most like it."""

    @property
    def key(self) -> str:
        """Its content hash."""

    @property
    def nearest(self) -> tuple[str, ...]:
        """Keys of the known images most like it."""


def iter_overlaps(
    cases: Iterable[HasNearest], tested: Mapping[str, Example], learned: Mapping[str, Example]
) -> Iterator[list[tuple[str, str]]]:
    """Lay tested images upon the known ones that look most like them.

    Args:
        cases: What was said of the tested images.
        tested: The images tested on, by key.
        learned: The images learned from or validated on, by key.

    Yields:
        After each case its pairs (learned from, tested on) that show the same place.
    """
    texture = lru_cache(_TOGETHER)(lambda key: registration.compute_texture(learned[key].load()))
    for case in cases:
        own = registration.compute_texture(tested[case.key].load())
        near = [key for key in case.nearest if key in learned]
        yield [
            (key, case.key)
            for key in near
            if registration.compute_overlap_similarity(own, texture(key)) >= registration.SAME
        ]


def leak_warning(pairs: Sequence[tuple[str, str]]) -> str:
    """Say which test images show the same place as one that is learned from, or ""."""
    if not pairs:
        return ""
    learned, tested = pairs[0]
    return (
        f"{len({t for _, t in pairs})} test micrographs show the same place as one that is "
        f"learned from ({tested[:16]} and {learned[:16]} first): the test is too easy by "
        "them; give both the same specimen."
    )


def find_near_duplicates(signatures: Sequence[NDArray[np.float32]]) -> Iterator[tuple[int, int]]:
    """Give the places of every two signatures that show the same place, the smaller first."""
    if not signatures:
        return
    all_of_them = np.stack(signatures)
    for start in range(0, len(all_of_them), _TOGETHER):
        likeness = all_of_them[start : start + _TOGETHER] @ all_of_them.T
        for row, other in np.argwhere(likeness >= SAME).tolist():
            if start + row < other:
                yield start + row, other


def merge_groups(examples: Sequence[Example], pairs: Iterable[tuple[int, int]]) -> list[Example]:
    """Give examples that show the same place one group, with all others of their specimens.

    Args:
        examples: Any.
        pairs: Places of two that show the same place, from `twins`.
    """
    leads_to: dict[str, str] = {}

    def first_of(group: str) -> str:
        while group in leads_to:
            group = leads_to[group]
        return group

    for one, other in pairs:
        ends = sorted({first_of(examples[one].group), first_of(examples[other].group)})
        for end in ends[1:]:
            leads_to[end] = ends[0]
    return [replace(example, group=first_of(example.group)) for example in examples]


def _block_means(grey: NDArray[np.float32], cells: int) -> NDArray[np.float32]:
    """Average a picture over cells × cells equal blocks; a smaller one is repeated first."""
    height, width = grey.shape
    rows, columns = -(-cells // height), -(-cells // width)
    if rows > 1 or columns > 1:
        grey = np.repeat(np.repeat(grey, rows, axis=0), columns, axis=1)
        height, width = grey.shape
    down, across = height // cells, width // cells
    cut = grey[: down * cells, : across * cells]
    means = cut.reshape(cells, down, cells, across).mean(axis=(1, 3))
    return np.asarray(means, dtype=np.float32)
