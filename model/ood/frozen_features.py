"""What one pass of the frozen network keeps of a field: small enough to store for every micrograph.

A later bundle on the same frozen network scores these features without the image: codes, prediction
sets and the distance of the whole field. Single cells are not kept, a field has megabytes of them,
so local strangeness needs the image. Embeddings that heads classify stay float32: their rounding
would move probabilities across the edges of prediction sets. Loads no PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from model.products import round_to_half

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """Summary of one field by the frozen network.

    Args:
        made_by: Network, weights, engine and versions. Two summaries can be compared, and a bundle
            can score one, only if this is equal.
        embedding: (d,) float32, what heads on the frozen network classify.
        whole: Per layer (2c,) float32: mean and standard deviation of each channel over steel.
        descriptor: (d,) float32 of unit length, what the whole field is compared by: means of the
            last two layers away from any edge.
        area_px: Area of steel in pixels of the frame.
    """

    made_by: str
    embedding: NDArray[np.float32]
    whole: tuple[NDArray[np.float32], ...]
    descriptor: NDArray[np.float32]
    area_px: float


VERSION: Final = 2
"""Raise it when kept features of earlier versions would be misread."""


@dataclass(frozen=True, slots=True)
class FeatureForm:
    """What kept features depend on besides the crop; bundles of one form share them.

    Args:
        made_by: Network, weights, engine and embedding, from `FrozenFeatures`.
        embedding: Length of what heads classify.
        moments: Length of mean and standard deviation of each layer.
        descriptor: Length of what the whole field is compared by.
    """

    made_by: str
    embedding: int
    moments: tuple[int, ...]
    descriptor: int

    @classmethod
    def describe(cls, features: FrozenFeatures) -> Self:
        """Return the form of features."""
        return cls(
            features.made_by,
            len(features.embedding),
            tuple(len(layer) for layer in features.whole),
            len(features.descriptor),
        )

    @property
    def is_long(self) -> bool:
        """Whether the embedding holds the moments of the last two layers; they are kept once."""
        return self.embedding == sum(self.moments[-2:])

    def to_json(self) -> dict[str, Any]:
        """Return the form as JSON values."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the form of a JSON document.

        Raises:
            ValueError: It is of another version.
        """
        if document.get("version") != VERSION:
            raise ValueError(f"features of version {document.get('version')}, not {VERSION}")
        return cls(
            document["made_by"],
            document["embedding"],
            tuple(document["moments"]),
            document["descriptor"],
        )

    def compute_id(self, recipe: str) -> str:
        """Return the name of the features of this form and a crop recipe, 16 hex digits."""
        text = json.dumps({"recipe": recipe, **self.to_json()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Kept features of many crops of one form.

    Args:
        embeddings: (n, c) float32.
        descriptors: (n, d) float32, unit rows, from `FrozenFeatures.descriptor`.
        area_px: (n,) float32.
        has_scale: (n,) bool; a crop without a scale is framed as each bundle assumes.
    """

    embeddings: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    area_px: NDArray[np.float32]
    has_scale: NDArray[np.bool_]

    @classmethod
    def stack(cls, features: Sequence[FrozenFeatures]) -> Self:
        """Return features of crops with a scale as a batch."""
        return cls(
            np.stack([one.embedding for one in features]),
            np.stack([one.descriptor for one in features]),
            np.array([one.area_px for one in features], np.float32),
            np.ones(len(features), bool),
        )


def pack_moments(layers: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
    """Return the moments of all layers one after another, (m,) float16."""
    return round_to_half(np.concatenate(list(layers)))
