"""OOD features of a field, and the arrays in which a feature cache keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

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
