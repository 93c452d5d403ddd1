"""Features of labelled fields, extracted once for heads and out-of-distribution check together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.ood.feature_arrays import PLACES, VERSION, from_arrays, to_arrays
from model.ood.field_size import crop_middle_quarter

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.data.feature_cache import FeatureCache
    from model.framing import Field
    from model.ood.feature_arrays import OodFeatures
    from model.ood.features import OodFeatureExtractor

_CACHE_BYTES = 1_500_000_000
"""Features of cells that are held during a training; those of other examples are extracted again,
or read again from the cache."""


class ReferenceFeatures:
    """Features of examples by their position: held while they fit into memory.

    Args:
        examples: Labelled fields, in any order; they are sorted by key.
        extractor: Runs the frozen network.
        cache: Keeps features for the next training, or None.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        extractor: OodFeatureExtractor,
        cache: FeatureCache | None = None,
    ) -> None:
        self.extractor = extractor
        self._examples = sorted(examples, key=lambda example: example.key)
        self._cache = cache
        self._held: dict[int, OodFeatures] = {}
        self._free_bytes = _CACHE_BYTES
        self._quality: dict[int, dict[str, float]] = {}
        self.keys = [example.key for example in self._examples]
        self.labels = [example.label for example in self._examples]
        self.codes = [example.code for example in self._examples]
        self.groups = [example.group for example in self._examples]
        self.microscopes = [example.slices.get("microscope", "") for example in self._examples]
        self._index_of = {key: index for index, key in enumerate(self.keys)}

    def __len__(self) -> int:
        return len(self._examples)

    def __contains__(self, key: str) -> bool:
        return key in self._index_of

    def __getitem__(self, index: int) -> OodFeatures:
        if index in self._held:
            return self._held[index]
        field = self._examples[index].load()
        features = self.extract(field)
        if index not in self._quality:
            self._quality[index] = self.extractor.measure_quality(field)
        size = sum(getattr(features, name).features.nbytes for name in PLACES)
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._held[index] = features
        return features

    def release_memory(self) -> None:
        """Forget the features of cells that are held; they are extracted again when needed."""
        self._held.clear()
        self._free_bytes = _CACHE_BYTES

    @property
    def quality(self) -> list[dict[str, float]]:
        """The image quality of every example; complete once each was extracted."""
        return [self._quality[index] for index in range(len(self))]

    def get_embedding(self, key: str) -> NDArray[np.float32]:
        """Return the (d,) embedding of the example of a key."""
        return self[self._index_of[key]].embedding

    def extract_piece(self, index: int) -> OodFeatures | None:
        """Extract the features of a field's middle quarter; None if it has too little steel."""
        piece = crop_middle_quarter(self._examples[index].load())
        return None if piece is None else self.extract(piece)

    def extract(self, field: Field) -> OodFeatures:
        """Extract the features of any field, or read them from the cache."""
        if self._cache is None:
            return self.extractor.extract(field)
        made_by = f"ood {VERSION} {self.extractor.made_by}"
        frozen_pass = self.extractor.frozen_pass
        if field.um_per_px is None and not frozen_pass.is_native:
            # the assumed size must not renew fields that have one
            made_by += f" {frozen_pass.framing.usual_um_per_px}"
        return from_arrays(
            self._cache.get_or_compute(
                field, made_by, lambda: to_arrays(self.extractor.extract(field))
            )
        )
