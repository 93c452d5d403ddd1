"""Convert the OOD features of a field to arrays that a feature cache keeps, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.ood.features import CellFeatures, OodFeatures
from model.ood.mahalanobis import PLACES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

VERSION = 3
"""Raise it when the same field and network would give other features."""


def to_arrays(features: OodFeatures) -> dict[str, NDArray[np.generic]]:
    """Return the features of a field that was not cut into pieces, arrays by name."""
    arrays: dict[str, NDArray[np.generic]] = {
        "frame": np.array([features.area_px, *features.extent], np.float64),
        "embedding": features.embedding,
        "blocks": features.blocks,
    }
    for name, layers in (("whole", features.whole), ("windows", features.windows)):
        arrays |= {f"{name}.{index}": layer for index, layer in enumerate(layers)}
    for place in PLACES:
        cells: CellFeatures = getattr(features, place)
        um2 = np.nan if cells.um2 is None else cells.um2
        arrays[f"{place}.features"], arrays[f"{place}.steel"] = cells.features, cells.steel
        arrays[f"{place}.grid"] = np.array([cells.side_px, um2, *cells.origin_px], np.float64)
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> OodFeatures:
    """Return the features of a field from what `to_arrays` returned."""
    area_px, rows, columns = arrays["frame"].tolist()
    return OodFeatures(
        _load_layers(arrays, "whole"),
        _load_layers(arrays, "windows"),
        fine=_load_cells(arrays, "fine"),
        broad=_load_cells(arrays, "broad"),
        tone=_load_cells(arrays, "tone"),
        patch=_load_cells(arrays, "patch"),
        shade=_load_cells(arrays, "shade"),
        embedding=np.asarray(arrays["embedding"], np.float32),
        blocks=np.asarray(arrays["blocks"], np.float32),
        area_px=area_px,
        extent=(int(rows), int(columns)),
    )


def _load_layers(
    arrays: Mapping[str, NDArray[np.generic]], name: str
) -> tuple[NDArray[np.float32], ...]:
    count = sum(key.startswith(f"{name}.") for key in arrays)
    return tuple(np.asarray(arrays[f"{name}.{index}"], np.float32) for index in range(count))


def _load_cells(arrays: Mapping[str, NDArray[np.generic]], place: str) -> CellFeatures:
    side_px, um2, left, top = arrays[f"{place}.grid"].tolist()
    return CellFeatures(
        np.asarray(arrays[f"{place}.features"], np.float16),
        np.asarray(arrays[f"{place}.steel"], np.bool_),
        side_px,
        None if np.isnan(um2) else um2,
        (left, top),
    )
