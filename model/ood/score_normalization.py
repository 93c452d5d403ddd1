"""Normalise OOD scores against held-out reference fields."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from model.ood.conformal import OWN_SCORES_FROM
from model.ood.feature_arrays import PLACES
from model.ood.field_size import SizeCorrection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.ood.mahalanobis import Distances

LOOKS: Final = ("whole", "window", *PLACES)
"""Views of a field that are scored, in the order of every array below."""

_FIRST_PLACE = LOOKS.index(PLACES[0])

NO_PIECES: Final[Mapping[int, Distances]] = MappingProxyType({})

_OWN_STATISTICS_FROM = 20
"""Subtypes with fewer images use the mean and the spread of all images."""


@dataclass(frozen=True, slots=True)
class ScoreNormalizer:
    """Mean, spread and scores of the reference fields, each measured by models not fitted on it.

    Args:
        layers: (layers, 2) float64, mean and standard deviation of the whole field's log distances.
        windows: (layers, 2) float64, the same for windows.
        looks: Subtype → (looks, 2) float64, the same for each of `LOOKS`; "" holds for any other
            subtype.
        scores: (n,) float64, ascending, of the pooled folds.
        peaks: (n, places) float64, ascending per column: the largest distance of a cell, for each
            of `PLACES`.
        microscopes: Microscope → its part of `scores`, ascending, where it has enough images.
        sizes: Correction for the area of a field.
    """

    layers: NDArray[np.float64]
    windows: NDArray[np.float64]
    looks: Mapping[str, NDArray[np.float64]]
    scores: NDArray[np.float64]
    peaks: NDArray[np.float64]
    microscopes: Mapping[str, NDArray[np.float64]]
    sizes: SizeCorrection

    @classmethod
    def fit(
        cls,
        measured: Sequence[Distances],
        microscopes: Sequence[str],
        pieces: Mapping[int, Distances] = NO_PIECES,
    ) -> ScoreNormalizer:
        """Fit the normalisation to the distances of the reference fields.

        Args:
            measured: Distances of each reference field, from a model not fitted on it.
            microscopes: Microscope of each field, "" where unknown.
            pieces: Index → distances of that field's middle quarter, from the same model.
        """
        layers = _mean_std(np.stack([distances.whole for distances in measured]))
        windows = _mean_std(np.concatenate([distances.windows for distances in measured]))

        def raw_scores(distances: Distances) -> NDArray[np.float64]:
            return _raw_scores(distances, layers, windows)

        sizes = SizeCorrection.fit(measured, pieces, raw_scores)
        shifts = np.stack([sizes.compute_shift(distances.area_px) for distances in measured])
        raw = np.stack([raw_scores(distances) for distances in measured]) - shifts
        looks = {"": _mean_std(raw)}
        subtypes = np.array([distances.subtype for distances in measured])
        for subtype in sorted(set(subtypes.tolist())):
            of_subtype = subtypes == subtype
            if of_subtype.sum() >= _OWN_STATISTICS_FROM:
                looks[subtype] = _mean_std(raw[of_subtype])
        peaks = np.array(
            [[place.max() for place in distances.places] for distances in measured], np.float64
        ) / np.exp(shifts[:, _FIRST_PLACE:] / 2)
        unscored = cls(layers, windows, looks, np.zeros(0), np.sort(peaks, axis=0), {}, sizes)
        scores = np.array([combine_scores(unscored.z_scores(distances)) for distances in measured])
        microscope_of = np.array(microscopes)
        calibrated = [
            name for name, n in Counter(microscopes).items() if name and n >= OWN_SCORES_FROM
        ]
        return replace(
            unscored,
            scores=np.sort(scores),
            microscopes={
                name: np.sort(scores[microscope_of == name]) for name in sorted(calibrated)
            },
        )

    def z_scores(self, distances: Distances) -> NDArray[np.float64]:
        """Return the z-score of each look among the reference fields of its subtype, (looks,).

        The area of the field is corrected for.
        """
        raw = _raw_scores(distances, self.layers, self.windows)
        raw -= self.sizes.compute_shift(distances.area_px)
        mean_std = self.looks.get(distances.subtype, self.looks[""])
        z_scores: NDArray[np.float64] = (raw - mean_std[:, 0]) / mean_std[:, 1]
        return z_scores

    def reference_scores(self, microscope: str) -> NDArray[np.float64]:
        """Return the reference scores for fields of a microscope, ascending."""
        return self.microscopes.get(microscope, self.scores)

    def alarm_levels(self, alpha: float, area_px: float = 0.0) -> NDArray[np.float64]:
        """Return the distance that a share alpha of fields of an area reaches, per place.

        Args:
            alpha: Alarm rate, in (0, 1).
            area_px: Area of the field in pixels of the frame; 0: of a reference field.

        Returns:
            (places,) float64, positive.
        """
        rank = int(np.clip(np.floor(alpha * (len(self.peaks) + 1)), 1, len(self.peaks)))
        growth = np.exp(self.sizes.compute_shift(area_px)[_FIRST_PLACE:] / 2)  # of no square
        levels: NDArray[np.float64] = np.maximum(self.peaks[-rank] * growth, 1e-6)
        return levels


def combine_scores(z_scores: NDArray[np.float64]) -> float:
    """Combine z-scores into one score that is monotonic in each of them.

    Args:
        z_scores: (looks,) in standard deviations of the reference fields.

    Returns:
        The 4-norm of what exceeds -1. MEASURED against mean, 2-norm and maximum on two synthetic
        image styles: the mean and the 2-norm miss what one look alone detects, the maximum misses
        what all looks detect weakly (a coarser size).
    """
    return float((np.maximum(z_scores + 1.0, 0.0) ** 4).sum() ** 0.25)


def _raw_scores(
    distances: Distances, layers: NDArray[np.float64], windows: NDArray[np.float64]
) -> NDArray[np.float64]:
    whole = ((distances.whole - layers[:, 0]) / layers[:, 1]).mean()
    window = ((distances.windows - windows[:, 0]) / windows[:, 1]).mean(axis=1).max()
    return np.array([whole, window, *distances.tops])


def _mean_std(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean and standard deviation of each column, (columns, 2)."""
    return np.stack([values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)], axis=1)
