"""Normalise the looks of cells against held-out reference fields, and correct them for the area.

The farthest cells of a field are farther, the larger it is. How much is measured on the reference
fields: on a quarter of each by its own pass through the network, on larger fields by what the
farthest places of a whole field exceed those of its quarters (a lower bound: a field is alike in
itself) and of a pool of fields those of one (an upper bound: fields differ), of which the mean
counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from model.framing import Field
from model.ood.feature_arrays import PLACES
from model.ood.mahalanobis import TOPS, Distances, log_top_mean

LEVELS: Final = (-1.0, 0.0, 1.0, 2.0)
"""Areas that are measured: a quarter, 1, 4 and 16 times that of a reference field (log base 4)."""

MEASURED_PIECES: Final = 60
"""Reference fields whose middle quarter is measured: its mean is then known to an eighth of the
spread between fields."""

_NOTED_FROM = 1.5
"""Areas beyond the range of the reference fields by less are crops that differ a little."""

_LEAST_VALID = 0.5


@dataclass(frozen=True, slots=True)
class SizeCorrection:
    """Mean change of the log distance of the farthest cells with the area of a field.

    Args:
        growth: (4, places) float64, at `LEVELS`; 0 at the area of a reference field.
        area_px: Median area of the reference fields, pixels of the frame.
        smallest_px: Area of the smallest reference field.
        largest_px: Area of the largest one.
    """

    growth: NDArray[np.float64]
    area_px: float
    smallest_px: float
    largest_px: float

    @classmethod
    def load(cls, growth: NDArray[np.float64], facts: Mapping[str, Any]) -> Self:
        """Load a correction from its tensor and its facts in a bundle."""
        return cls(growth, facts["area_px"], facts["smallest_px"], facts["largest_px"])

    @classmethod
    def fit(cls, measured: Sequence[Distances], pieces: Mapping[int, Distances]) -> Self:
        """Fit the correction to the distances of the reference fields.

        Args:
            measured: Distances of each reference field, from a model not fitted on it.
            pieces: Index → distances of that field's middle quarter, from the same model.
        """
        areas = [distances.area_px for distances in measured]
        growth = np.zeros((len(LEVELS), len(PLACES)))
        if pieces:
            changes = [pieces[i].tops - measured[i].tops for i in sorted(pieces)]
            growth[0] = np.mean(changes, axis=0)
        within = np.mean([_growth_over_quarters(distances) for distances in measured], axis=0)
        for level in (1, 2):
            pools = _draw_pools(measured, 4**level)
            pooled = np.mean(
                [
                    _pooled_tops([measured[j] for j in pool]) - measured[i].tops
                    for i, pool in enumerate(pools)
                ],
                axis=0,
            )
            growth[1 + level] = np.maximum((level * within + pooled) / 2, growth[level])
        return cls(
            growth,
            float(np.median(areas)),
            float(min(areas)),
            float(max(areas)),
        )

    def compute_shift(self, area_px: float) -> NDArray[np.float64]:
        """Return what the looks of a field exceed those of a reference field, (places,).

        Beyond a quarter and 16 times the area the outermost change goes on.
        """
        if area_px <= 0:
            return np.zeros(self.growth.shape[1])
        level = compute_level(area_px, self.area_px)
        low = int(np.clip(np.searchsorted(LEVELS, level) - 1, 0, len(LEVELS) - 2))
        share = (level - LEVELS[low]) / (LEVELS[low + 1] - LEVELS[low])
        shift: NDArray[np.float64] = (1 - share) * self.growth[low] + share * self.growth[low + 1]
        return shift

    def find_unusual_ratio(self, area_px: float) -> float | None:
        """Return the area divided by the usual one; None if a reference field is of such a size."""
        if area_px <= 0:
            return None
        is_larger = area_px > _NOTED_FROM * self.largest_px
        is_smaller = area_px * _NOTED_FROM < self.smallest_px
        return area_px / self.area_px if is_larger or is_smaller else None


def compute_level(area_px: float, usual_px: float) -> float:
    """Return the logarithm to base 4 of an area relative to the usual one; 0 if one is unknown."""
    if usual_px <= 0 or area_px <= 0:
        return 0.0
    return float(np.log(area_px / usual_px) / np.log(4.0))


def compute_levels(areas_px: NDArray[np.floating], usual_px: float) -> NDArray[np.float64]:
    """Return `compute_level` of each of (n,) areas."""
    areas = np.asarray(areas_px, np.float64)
    if usual_px <= 0:
        return np.zeros(len(areas))
    levels: NDArray[np.float64] = np.log(np.where(areas > 0, areas / usual_px, 1.0)) / np.log(4.0)
    return levels


def crop_middle_quarter(field: Field) -> Field | None:
    """Return the middle of a field with a quarter of its area; None if too little of it is steel.

    Half of the height and of the width is kept.
    """
    height, width = field.valid.shape
    top, left = height // 4, width // 4
    part = np.s_[top : top + max(1, height // 2), left : left + max(1, width // 2)]
    valid = np.ascontiguousarray(field.valid[part])
    if float(valid.mean()) < _LEAST_VALID:
        return None
    pixels = np.ascontiguousarray(field.pixels[part])
    return Field(pixels, valid, field.um_per_px, field.microscope)


def _growth_over_quarters(distances: Distances) -> NDArray[np.float64]:
    """Return what the farthest cells of a field exceed those of its quarters on average."""
    return np.array(
        [
            top - np.mean([log_top_mean(quarter, count) for quarter in _split_quarters(place)])
            for count, top, place in zip(TOPS, distances.tops, distances.places, strict=True)
        ]
    )


def _split_quarters(place: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the four quarters of the part of a map that is steel; the whole if it is too small."""
    rows, columns = (np.flatnonzero((place > 0).any(axis=axis)) for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:  # noqa: PLR2004 - two halves
        return [place]
    steel = place[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    y, x = steel.shape[0] // 2, steel.shape[1] // 2
    quarters = [steel[:y, :x], steel[:y, x:], steel[y:, :x], steel[y:, x:]]
    return [quarter for quarter in quarters if (quarter > 0).any()]


def _draw_pools(measured: Sequence[Distances], count: int) -> list[NDArray[np.int64]]:
    """Return for each field the indices of `count` fields of its subtype, itself the first."""
    rng = np.random.default_rng(count)
    subtypes = np.array([distances.subtype for distances in measured])
    pools = []
    for index, subtype in enumerate(subtypes):
        others = np.flatnonzero(subtypes == subtype)
        others = others[others != index] if len(others) > 1 else others
        drawn = rng.choice(others, count - 1, replace=len(others) < count - 1)
        pools.append(np.array([index, *drawn], np.int64))
    return pools


def _pooled_tops(pool: Sequence[Distances]) -> NDArray[np.float64]:
    """Return the log mean square of the farthest cells of several fields together, (places,)."""
    return np.array(
        [
            log_top_mean(np.concatenate([distances.places[i].ravel() for distances in pool]), count)
            for i, count in enumerate(TOPS)
        ]
    )


_OWN_STATISTICS_FROM = 20
"""Subtypes with fewer images use the mean and the spread of all images."""


@dataclass(frozen=True, slots=True)
class ScoreNormalizer:
    """Mean and spread of the reference fields, each measured by models not fitted on it.

    Args:
        looks: Subtype → (places, 2) float64, mean and standard deviation of the log distance of the
            farthest cells; "" holds for any other subtype.
        peaks: (n, places) float64, ascending per column: the largest distance of a cell.
        sizes: Correction for the area of a field.
    """

    looks: Mapping[str, NDArray[np.float64]]
    peaks: NDArray[np.float64]
    sizes: SizeCorrection

    @classmethod
    def fit(cls, measured: Sequence[Distances], pieces: Mapping[int, Distances]) -> Self:
        """Fit the normalisation to the distances of the reference fields.

        Args:
            measured: Distances of each reference field, from models not fitted on it.
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
        peaks = np.array([[place.max() for place in own.places] for own in measured], np.float64)
        peaks /= np.exp(shifts / 2)
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
            (places,) float64, positive.
        """
        rank = int(np.clip(np.floor(alpha * (len(self.peaks) + 1)), 1, len(self.peaks)))
        growth = np.exp(self.sizes.compute_shift(area_px) / 2)  # of no square
        levels: NDArray[np.float64] = np.maximum(self.peaks[-rank] * growth, 1e-6)
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
