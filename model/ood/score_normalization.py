"""Normalise the looks of cells against held-out reference fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from model.ood.field_size import SizeCorrection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.ood.mahalanobis import Distances

_OWN_STATISTICS_FROM = 20
"""Subtypes with fewer images use the mean and the spread of all images."""


@dataclass(frozen=True, slots=True)
class ScoreNormalizer:
    """Mean and spread of the reference fields, each measured by models not fitted on it.

    Args:
        looks: Subtype → (places, 2) float64, mean and standard deviation of the log distance of the
            farthest cells; "" holds for any other subtype.
        peaks: (n, 1 + places) float64, ascending per column: the largest distance of a window and
            of a cell, for each of `PLACES`.
        sizes: Correction for the area of a field.
    """

    looks: Mapping[str, NDArray[np.float64]]
    peaks: NDArray[np.float64]
    sizes: SizeCorrection

    @classmethod
    def fit(
        cls,
        measured: Sequence[Distances],
        windows: Sequence[NDArray[np.float32]],
        pieces: Mapping[int, Distances],
    ) -> Self:
        """Fit the normalisation to the distances of the reference fields.

        Args:
            measured: Distances of each reference field, from models not fitted on it.
            windows: Per reference field the map of the distances of its windows.
            pieces: Index → distances of that field's middle quarter, from the same models.
        """
        sizes = SizeCorrection.fit(measured, pieces)
        shifts = np.stack([sizes.compute_shift(distances.area_px) for distances in measured])
        raw = np.stack([distances.tops for distances in measured]) - shifts
        looks = {"": _mean_std(raw)}
        subtypes = np.array([distances.subtype for distances in measured])
        for subtype in sorted(set(subtypes.tolist())):
            of_subtype = subtypes == subtype
            if of_subtype.sum() >= _OWN_STATISTICS_FROM:
                looks[subtype] = _mean_std(raw[of_subtype])
        maps = [[own, *distances.places] for own, distances in zip(windows, measured, strict=True)]
        peaks = np.array([[one.max() for one in own] for own in maps], np.float64)
        peaks[:, 1:] /= np.exp(shifts / 2)
        return cls(looks, np.sort(peaks, axis=0), sizes)

    def z_scores(self, distances: Distances) -> NDArray[np.float64]:
        """Return the z-score of each look among the reference fields of its subtype, (places,).

        The area of the field is corrected for.
        """
        raw = distances.tops - self.sizes.compute_shift(distances.area_px)
        mean_std = self.looks.get(distances.subtype, self.looks[""])
        z_scores: NDArray[np.float64] = (raw - mean_std[:, 0]) / mean_std[:, 1]
        return z_scores

    def alarm_levels(self, alpha: float, area_px: float) -> NDArray[np.float64]:
        """Return the distance that a share alpha of fields of an area reaches, per map.

        Args:
            alpha: Alarm rate, in (0, 1).
            area_px: Area of the field in pixels of the frame.

        Returns:
            (1 + places,) float64, positive.
        """
        rank = int(np.clip(np.floor(alpha * (len(self.peaks) + 1)), 1, len(self.peaks)))
        growth = np.exp(self.sizes.compute_shift(area_px) / 2)  # of no square
        levels: NDArray[np.float64] = np.maximum(self.peaks[-rank] * [1.0, *growth], 1e-6)
        return levels


def combine_scores(z_scores: NDArray[np.float64]) -> float:
    """Combine z-scores into one score that is monotonic in each of them.

    Args:
        z_scores: (places,) in standard deviations of the reference fields.

    Returns:
        The 4-norm of what exceeds -1. MEASURED against mean, 2-norm and maximum on two synthetic
        image styles: the mean and the 2-norm miss what one look alone detects, the maximum misses
        what all looks detect weakly (a coarser size).
    """
    return float((np.maximum(z_scores + 1.0, 0.0) ** 4).sum() ** 0.25)


def _mean_std(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean and standard deviation of each column, (columns, 2)."""
    return np.stack([values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)], axis=1)
