"""Compare windows of a field with windows of the reference fields that are most like it.

A patch memory (PatchCore: Roth et al. 2022, arXiv:2106.08265) whose patches are means over 32 µm of
the last two stages, compared by cosine, and only with fields that resemble the whole field: among
images of many scales some cell of some field resembles any cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from model.ood.mahalanobis import normalize_rows
from model.products import multiply_on_one_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_DISTANCE: Final = 1e-6
"""Cosine distances below are float32 rounding."""

NEAREST_FIELDS: Final = 20
"""Reference fields whose windows are compared. MEASURED on real steel of many scales: with 5 fields
half as many places of foreign material are flagged, with 60 as many."""

_SHARE = 0.1
"""Share of the windows that are averaged as the farthest."""

_PER_FIELD, _MOST = 48, 16_384
"""Windows that are kept of a field, and of all fields where each has as many."""


@dataclass(frozen=True, slots=True)
class WindowMemory:
    """Windows of the reference fields.

    Args:
        windows: (m, d) float16, unit rows, those of one field one after the other.
        starts: (n + 1,) int64, where those of each field start; m.
    """

    windows: NDArray[np.float16]
    starts: NDArray[np.int64]

    @classmethod
    def fit(cls, windows: Sequence[NDArray[np.floating]]) -> Self:
        """Keep windows of every field, spread evenly over it.

        Args:
            windows: Per field (w, d).
        """
        most = max(1, min(_PER_FIELD, _MOST // len(windows)))
        kept = [
            own[np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(np.intp)]
            for own in windows
        ]
        starts = np.cumsum([0, *map(len, kept)]).astype(np.int64)
        return cls(normalize_rows(np.concatenate(kept)).astype(np.float16), starts)

    def measure(
        self, windows: NDArray[np.floating], fields: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return the log distance of each window to the nearest window of some fields, (w,).

        Args:
            windows: (w, d).
            fields: (k,) indices of the reference fields.
        """
        rows = np.concatenate(
            [np.arange(self.starts[field], self.starts[field + 1]) for field in fields]
        )
        reference = self.windows[rows].astype(np.float32)
        unit = normalize_rows(windows).astype(np.float32)
        nearest = multiply_on_one_thread(unit, np.ascontiguousarray(reference.T)).max(axis=1)
        distances: NDArray[np.float64] = compute_log_distance(nearest)
        return distances


def compute_log_distance(cosine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logarithm of cosine distances."""
    distance = np.maximum(1.0 - np.asarray(cosine, np.float64), LEAST_DISTANCE)
    logarithms: NDArray[np.float64] = np.log(distance)
    return logarithms


def average_farthest(distances: NDArray[np.float64]) -> float:
    """Return the mean log distance of the farthest tenth of the windows."""
    count = max(1, round(_SHARE * len(distances)))
    return float(np.partition(distances, -count)[-count:].mean())


def map_distances(
    distances: NDArray[np.float64], windows: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the mean distance of the windows that cover each cell; 0 where there are none.

    Args:
        distances: (w,) log distance of each window.
        windows: (rows, columns) bool, which windows there are; each covers 2 × 2 cells.

    Returns:
        (rows + 1, columns + 1) float32.
    """
    own = np.zeros(windows.shape)
    own[windows] = np.exp(distances)
    rows, columns = windows.shape
    total, count = np.zeros((2, rows + 1, columns + 1))
    for down in (0, 1):
        for right in (0, 1):
            part = np.s_[down : down + rows, right : right + columns]
            total[part] += own
            count[part] += windows
    mean: NDArray[np.float32] = (total / np.maximum(count, 1)).astype(np.float32)
    return mean
