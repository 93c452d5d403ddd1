"""Features of a field as arrays: of OOD detection, and what one pass keeps of each field.

A later bundle on the same frozen network scores these features without the image: codes, prediction
sets and the distance of the whole field. Single cells are not kept, a field has megabytes of them,
so local strangeness needs the image. Embeddings that heads classify stay float32: their rounding
would move probabilities across the edges of prediction sets. Loads no PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from model.products import round_to_half

PLACES: Final = ("fine", "broad", "tone", "patch", "shade")
"""Looks that score cells, and so locate what is unusual."""

VERSION = 5
"""Raise it when the same field and network would give other features."""


@dataclass(frozen=True, slots=True)
class CellFeatures:
    """Grid of cells over a field, each with its features.

    Args:
        features: (rows, columns, d) float16.
        steel: (rows, columns) bool, whether the cell shows only steel and is away from any edge.
        side_px: Side of a cell in pixels of the field.
        um2: Area of a cell in µm², or None without a scale.
        origin_px: (x, y) of the first cell in pixels of the field; not (0, 0) if only the middle of
            a very large field was evaluated.
    """

    features: NDArray[np.floating]
    steel: NDArray[np.bool_]
    side_px: float
    um2: float | None
    origin_px: tuple[float, float] = (0.0, 0.0)

    def on_steel(self) -> NDArray[np.float32]:
        """Return the features of steel cells only, (n, d) float32."""
        return self.features[self.steel].astype(np.float32)


@dataclass(frozen=True, slots=True)
class OodFeatures:
    """Features of one field from the frozen network.

    Args:
        whole: Per layer (2c,) float32: mean and standard deviation of each channel over steel.
        windows: From `describe_windows`.
        fine: Cells of 4 µm.
        broad: Cells of 8 µm.
        tone: Cells of 2 µm without a network: brightness and colour only.
        patch: Patches of 24 µm, one every 8 µm: mean of the fine cells.
        shade: Patches of 18 µm, one every 6 µm: mean of the tone cells.
        embedding: (d,) float32, what heads on the frozen network classify.
        descriptor: As in `FrozenFeatures`.
        area_px: Area of steel in pixels of the frame.
    """

    whole: tuple[NDArray[np.float32], ...]
    windows: CellFeatures
    fine: CellFeatures
    broad: CellFeatures
    tone: CellFeatures
    patch: CellFeatures
    shade: CellFeatures
    embedding: NDArray[np.float32]
    descriptor: NDArray[np.float32]
    area_px: float = 0.0


def to_arrays(features: OodFeatures) -> dict[str, NDArray[np.generic]]:
    """Return the features of a field that was not cut into pieces, arrays by name."""
    arrays: dict[str, NDArray[np.generic]] = {
        "frame": np.array([features.area_px], np.float64),
        "embedding": features.embedding,
        "descriptor": features.descriptor,
    }
    arrays |= {f"whole.{index}": layer for index, layer in enumerate(features.whole)}
    for place in ("windows", *PLACES):
        cells: CellFeatures = getattr(features, place)
        um2 = np.nan if cells.um2 is None else cells.um2
        arrays[f"{place}.features"], arrays[f"{place}.steel"] = cells.features, cells.steel
        arrays[f"{place}.grid"] = np.array([cells.side_px, um2, *cells.origin_px], np.float64)
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> OodFeatures:
    """Return the features of a field from what `to_arrays` returned."""
    (area_px,) = arrays["frame"].tolist()
    return OodFeatures(
        _load_whole(arrays),
        _load_cells(arrays, "windows"),
        fine=_load_cells(arrays, "fine"),
        broad=_load_cells(arrays, "broad"),
        tone=_load_cells(arrays, "tone"),
        patch=_load_cells(arrays, "patch"),
        shade=_load_cells(arrays, "shade"),
        embedding=np.asarray(arrays["embedding"], np.float32),
        descriptor=np.asarray(arrays["descriptor"], np.float32),
        area_px=area_px,
    )


def _load_whole(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[NDArray[np.float32], ...]:
    count = sum(key.startswith("whole.") for key in arrays)
    return tuple(np.asarray(arrays[f"whole.{index}"], np.float32) for index in range(count))


def _load_cells(arrays: Mapping[str, NDArray[np.generic]], place: str) -> CellFeatures:
    side_px, um2, left, top = arrays[f"{place}.grid"].tolist()
    return CellFeatures(
        np.asarray(arrays[f"{place}.features"], np.float16),
        np.asarray(arrays[f"{place}.steel"], np.bool_),
        side_px,
        None if np.isnan(um2) else um2,
        (left, top),
    )


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


KEPT_VERSION: Final = 2
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
        return {"version": KEPT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the form of a JSON document.

        Raises:
            ValueError: It is of another version.
        """
        if document.get("version") != KEPT_VERSION:
            raise ValueError(f"features of version {document.get('version')}, not {KEPT_VERSION}")
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
