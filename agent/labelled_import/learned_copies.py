"""Find micrographs that a bundle learned from in another file: saved again, in another format.

Such a copy has another hash, so that it would count as a test of the bundle. The thumbnails of
both are compared: that of the archive of the lab and that of the image to be evaluated. A copy that
is cropped otherwise, rotated or mirrored is not found.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.files import pictures
from agent.labelled_import.importer import get_key
from model.data.near_duplicates import SAME_PLACE, compute_signature

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from agent.archive import Archive
    from model import Example

_LONG = 0.5
"""A nearly uniform thumbnail has a shorter signature: it tells nothing."""


class LearnedCopies:
    """The micrographs that a bundle learned from, as far as the archive of the lab has them.

    Args:
        archive: Of the lab.
        learned: Keys of the images that the bundle learned from.
    """

    def __init__(self, archive: Archive, learned: Collection[str]) -> None:
        self._archive, self._learned = archive, sorted(learned)

    def name(self, example: Example, archive: Archive, sha256: str, page: int) -> Example:
        """Return an example with the key of the learned image that it is a copy of, if any.

        Args:
            example: The image to be evaluated.
            archive: Has its thumbnail.
            sha256: Hash of its file.
            page: Page of the file.
        """
        keys, signatures = self._known
        own = _sign(archive, sha256, page) if keys else None
        if own is None:
            return example
        likeness = signatures @ own
        best = int(likeness.argmax())
        return replace(example, key=keys[best]) if likeness[best] >= SAME_PLACE else example

    @cached_property
    def _known(self) -> tuple[list[str], NDArray[np.float32]]:
        keys, signatures = [], []
        for key in self._learned:
            sha256, _, page = key.partition("-p")
            signature = _sign(self._archive, sha256, int(page or 1) - 1)
            if signature is not None:
                keys.append(get_key(sha256, int(page or 1) - 1))
                signatures.append(signature)
        return keys, np.stack(signatures) if keys else np.zeros((0, 0), np.float32)


def _sign(archive: Archive, sha256: str, page: int) -> NDArray[np.float32] | None:
    """Return the signature of a thumbnail; None where it is gone, damaged or nearly uniform."""
    from model import Field  # noqa: PLC0415 - PyTorch takes seconds

    try:
        pixels = pictures.decode(archive.read(archive.thumbnail_path(sha256, page)))
    except (OSError, ValueError):
        return None
    signature = compute_signature(Field(pixels, np.ones(pixels.shape[:2], bool), None))
    return signature if float(np.linalg.norm(signature)) > _LONG else None
