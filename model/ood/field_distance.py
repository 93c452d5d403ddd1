"""Compare a field with the reference fields: as a whole, by its windows, and by its cells.

Three numbers tell how unusual a field is: the distance of the whole field to the nearest reference
field; by how much its farthest windows deviate from the field itself, which finds foreign material
also in a field that is far from all others; and the looks of single cells. They are calibrated
jointly, so that one alarm rate holds for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from model.ood.feature_arrays import PLACES
from model.ood.mahalanobis import normalize_rows, whitening_matrix
from model.ood.score_normalization import combine_scores, compute_levels
from model.products import multiply, multiply_on_one_thread

# --- compare the windows of a field with its median window ----------------------------------------
# In the directions that tell reference fields apart and vary little within them, as in a linear
# discriminant whose classes are the fields. MEASURED on real steel of many scales, heat treatments
# held out: of 180 fields with a foreign place 99 are flagged, of a memory of the windows of
# reference fields (PatchCore: Roth et al. 2022, arXiv:2106.08265) 71.


LEAST_DISTANCE: Final = 1e-6
"""Cosine distances below are float32 rounding, and so are squared deviations."""

_DIRECTIONS = 8
"""MEASURED on the heat treatments to choose by: with 6, 8, 10, 12, 16, 32 directions 89, 97, 93,
86, 76, 62 of 180 fields with a foreign place are flagged."""

_RIDGE = 0.01
"""Share of the mean variance within fields that is added to each: 0.001 and 0.1 flag as many."""

_OWN_LEVEL = 0.5
"""Power of the field's median deviation that its farthest ones are divided by: fields that vary
more by themselves are not unusual by that. MEASURED: with 0, 0.25, 0.5, 0.75 places of 5 % are
flagged in 12, 18, 20, 21 of 60 fields, of 20 % in 38, 40, 39, 35."""

_SHARE = 0.1
"""Share of the windows that are averaged as the farthest."""


def find_directions(within: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the directions in which fields differ most for what they vary within, (d, k).

    Args:
        within: (d, d), mean covariance of the windows of one field.
        means: (n, d), mean window of each field.

    Returns:
        float32, scaled to unit variance within fields; k is 8, or d if that is less.
    """
    import torch  # noqa: PLC0415 - only training fits

    ridge = max(_RIDGE * float(np.trace(within)) / len(within), LEAST_DISTANCE)
    root = whitening_matrix(within + ridge * np.eye(len(within)))
    apart = (means - means.mean(axis=0)) @ root
    _, vectors = torch.linalg.eigh(torch.from_numpy(apart.T @ apart))  # ascending
    directions: NDArray[np.float32] = (root @ vectors.numpy()[:, -_DIRECTIONS:]).astype(np.float32)
    return np.ascontiguousarray(directions)


def measure_deviations(
    windows: NDArray[np.floating], directions: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the squared distance of each window from the median of its field, (w,), positive.

    Args:
        windows: (w, d).
        directions: From `find_directions`.
    """
    unit = normalize_rows(windows).astype(np.float32)
    placed = multiply_on_one_thread(unit, directions).astype(np.float64)
    squares = ((placed - np.median(placed, axis=0)) ** 2).sum(axis=1)
    deviations: NDArray[np.float64] = np.maximum(squares, LEAST_DISTANCE)
    return deviations


def compute_log_distance(cosine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logarithm of cosine distances."""
    distance = np.maximum(1.0 - np.asarray(cosine, np.float64), LEAST_DISTANCE)
    logarithms: NDArray[np.float64] = np.log(distance)
    return logarithms


def map_distances(
    distances: NDArray[np.float64], windows: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the mean distance of the windows that cover each cell; 0 where there are none.

    Args:
        distances: (w,) distance of each window.
        windows: (rows, columns) bool, which windows there are; each covers 2 × 2 cells.

    Returns:
        (rows + 1, columns + 1) float32.
    """
    own = np.zeros(windows.shape)
    own[windows] = distances
    rows, columns = windows.shape
    total, count = np.zeros((2, rows + 1, columns + 1))
    for down in (0, 1):
        for right in (0, 1):
            part = np.s_[down : down + rows, right : right + columns]
            total[part] += own
            count[part] += windows
    mean: NDArray[np.float32] = (total / np.maximum(count, 1)).astype(np.float32)
    return mean


# --- compare a field with the reference fields: as a whole, by its windows, and by its cells ------


WHOLE: Final = "whole"
WINDOW: Final = "window"
LOOKS: Final = (WHOLE, WINDOW, *PLACES)
"""Views of a field that are scored."""

_TAIL = 0.1
"""Share of the reference values that the tail is extrapolated from."""

_LEAST_TAIL = 3

ONE_SCALE: Final = (1.0, 1.0, 1.0)
NATIVE: Final = (1.0, 1.0, 0.0)
"""Weights of distance, deviation and cells.

Where fields keep their pixels, cells of many scales and kinds differ so much that their looks tell
nothing. MEASURED on real steel of many scales, heat treatments held out: of 60 fields each with a
foreign place of 5, 10, 20 % and of 220 answers for other SEM pictures flagged with weights
0.9, 1: 20, 39, 39, 155; 1, 1: 20, 38, 39, 180; 1.1, 1: 18, 36, 37, 190.
"""

_LEAST_WINDOWS = 10
"""Fields of fewer windows have no farthest tenth: theirs do not count, and where reference fields
are so small, no windows do."""

_NORM = 4
"""Power of the norm that joins surprises, as in `combine_scores`. MEASURED: 1 misses places in
drawn steel that the looks alone detect; 4 flags more foreign SEM pictures than 2."""


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """A field against the reference fields.

    Args:
        distance: Log distance to the nearest reference field.
        nearest: Index of that field.
        windows: (w,) float64, from `measure_deviations`.
    """

    distance: float
    nearest: int
    windows: NDArray[np.float64]

    @property
    def own_level(self) -> float:
        """What the logarithm of a deviation is compared with in this field."""
        return _OWN_LEVEL * float(np.log(np.median(self.windows)))

    @property
    def deviation(self) -> float:
        """By how much the farthest tenth of the windows exceeds what is usual in the field."""
        count = max(1, round(_SHARE * len(self.windows)))
        farthest = np.partition(self.windows, -count)[-count:].mean()
        return float(np.log(farthest)) - self.own_level


class ReferenceFields:
    """What comparisons need of the reference fields, in one order.

    Args:
        descriptors: Per field (d,) float32 from `OodFeatures.descriptor`.
        windows: Per field (w, d) from `OodFeatures.windows`.
        folds: (n,) int64; fields of one fold are not compared with one another.
    """

    def __init__(
        self,
        descriptors: Sequence[NDArray[np.float32]],
        windows: Sequence[NDArray[np.floating]],
        folds: NDArray[np.int64],
    ) -> None:
        self.windows, self.folds = windows, folds
        self.descriptors: NDArray[np.float32] = np.stack(descriptors)
        count, width = int(folds.max()) + 1, windows[0].shape[1]
        within = np.zeros((count, width, width))
        means = np.zeros((len(windows), width))
        for index, own in enumerate(windows):
            unit = normalize_rows(own)
            means[index] = unit.mean(axis=0)
            centred = (unit - means[index]).astype(np.float32)
            within[folds[index]] += multiply(centred.T, centred) / len(centred)
        every = within.sum(axis=0)
        self.directions = find_directions(every / len(windows), means)
        self._held_out = []
        for fold in range(count):
            others = folds != fold
            scatter = (every - within[fold]) / max(int(others.sum()), 1)
            self._held_out.append(find_directions(scatter, means[others]))

    def compare(
        self, descriptor: NDArray[np.float32], windows: NDArray[np.floating], fold: int
    ) -> FieldComparison:
        """Compare a field with the reference fields of other folds than its own."""
        others = np.flatnonzero(self.folds != fold)
        compared = _compare(descriptor, windows, self.descriptors[others], self._held_out[fold])
        return replace(compared, nearest=int(others[compared.nearest]))

    def compare_held_out(self) -> list[FieldComparison]:
        """Compare every reference field with those of other folds."""
        fields = zip(self.descriptors, self.windows, self.folds.tolist(), strict=True)
        return [self.compare(descriptor, windows, fold) for descriptor, windows, fold in fields]


@dataclass(frozen=True, slots=True)
class FieldDistance:
    """Reference fields, and the calibration of what fields are compared by.

    Args:
        reference: (n, d) float32, unit rows, the descriptor of each reference field.
        directions: From `find_directions`.
        usual: "distances", "deviations", "looks" → (n,) float64, ascending, values of the
            reference fields against fields of other folds.
        growth: What the log distance of a quarter of a field exceeds that of the field on average.
        widening: Its spread over fields, in spreads of the whole fields; at least 1.
        area_px: Median area of the reference fields in pixels of the frame.
        weights: Of the surprises, in the order of `usual`.
        scores: (n,) float64, ascending, their joint scores.
        microscopes: Microscope → its part of `scores`, ascending, where it has enough images.

    Source:
        Nearest neighbour: Sun et al. 2022, arXiv:2204.06507, with k = 1.
    """

    reference: NDArray[np.float32]
    directions: NDArray[np.float32]
    usual: Mapping[str, NDArray[np.float64]]
    growth: float
    widening: float
    area_px: float
    weights: tuple[float, ...]
    scores: NDArray[np.float64]
    microscopes: Mapping[str, NDArray[np.float64]]

    @classmethod
    def fit(
        cls,
        fields: ReferenceFields,
        held_out: Sequence[FieldComparison],
        *,
        quarters: Mapping[int, float],
        z_scores: NDArray[np.float64],
        microscopes: Mapping[str, NDArray[np.intp]],
        area_px: float,
        weights: tuple[float, ...] = ONE_SCALE,
    ) -> Self:
        """Calibrate the joint score on the reference fields.

        Args:
            fields: The reference fields.
            held_out: From `ReferenceFields.compare_held_out`.
            quarters: Index → log distance of that field's middle quarter.
            z_scores: (n, places) float64, from models not fitted on the field.
            microscopes: Microscope with a false-alarm rate of its own → indices of its fields.
            area_px: Median area in pixels of the frame.
            weights: `ONE_SCALE` or `NATIVE`.
        """
        if np.median([len(own.windows) for own in held_out]) < _LEAST_WINDOWS:
            weights = (weights[0], 0.0, 1.0)
        rows = np.array(
            [
                (own.distance, own.deviation, combine_scores(looks))
                for own, looks in zip(held_out, z_scores, strict=True)
            ]
        )
        ascending = np.sort(rows, axis=0)
        usual = dict(zip(_USUAL, ascending.T.copy(), strict=True))
        scores = np.array([_join(_compute_surprises(row, usual, weights)) for row in rows])
        growth, widening = _compare_quarters(quarters, rows[:, 0])
        return cls(
            fields.descriptors,
            fields.directions,
            usual,
            growth,
            widening,
            area_px,
            weights,
            np.sort(scores),
            {name: np.sort(scores[own]) for name, own in microscopes.items()},
        )

    @property
    def distances(self) -> NDArray[np.float64]:
        """Log distances of the reference fields to fields of other folds, (n,), ascending."""
        return self.usual["distances"]

    def compare(
        self, descriptor: NDArray[np.float32], windows: NDArray[np.floating]
    ) -> FieldComparison:
        """Compare a field with the reference fields.

        Args:
            descriptor: (d,) from `OodFeatures.descriptor`.
            windows: (w, d) from `OodFeatures.windows`.
        """
        return _compare(descriptor, windows, self.reference, self.directions)

    def join(
        self, z_scores: NDArray[np.float64], compared: FieldComparison, area_px: float
    ) -> tuple[float, str]:
        """Join the z-scores of the cells with the comparison of the field.

        Args:
            z_scores: (places,) from `ScoreNormalizer.z_scores`.
            compared: From `compare`.
            area_px: Area of the field in pixels of the frame. The descriptors of smaller fields
                are noisier, which is corrected for; those of larger fields less, which is not.

        Returns:
            The joint score, larger is more unusual, and the one of `LOOKS` that weighs most in it.
        """
        distance = float(self._correct_for_area(np.array([compared.distance]), [area_px])[0])
        values = (distance, compared.deviation, combine_scores(z_scores))
        weights = self.weights
        if len(compared.windows) < _LEAST_WINDOWS:
            weights = (weights[0], 0.0, weights[2])
        surprises = _compute_surprises(values, self.usual, weights)
        place = PLACES[int(z_scores.argmax())]
        return _join(surprises), (WHOLE, WINDOW, place)[int(np.argmax(surprises))]

    def compute_window_level(self, compared: FieldComparison, alpha: float) -> float:
        """Return the distance from its median at which a window is farther than is usual.

        Args:
            compared: The field.
            alpha: Share of reference fields whose farthest windows are.
        """
        usual = self.usual["deviations"]
        rank = int(np.clip(np.floor(alpha * (len(usual) + 1)), 1, len(usual)))
        return float(np.exp((usual[-rank] + compared.own_level) / 2))  # of no square

    def normalize(self, distance: float) -> float:
        """Return the z-score of a log distance among those of the reference fields."""
        spread = max(float(self.distances.std()), 1e-9)
        return (distance - float(self.distances.mean())) / spread

    def measure(
        self, descriptors: NDArray[np.float32], area_px: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Return the log distances of fields, corrected for small areas, (m,).

        Args:
            descriptors: (m, d) from `OodFeatures.descriptor`.
            area_px: (m,) areas in pixels of the frame.
        """
        nearest = multiply(descriptors, self.reference.T).max(axis=1)
        return self._correct_for_area(compute_log_distance(nearest), area_px)

    def _correct_for_area(
        self, distances: NDArray[np.float64], area_px: NDArray[np.floating] | Sequence[float]
    ) -> NDArray[np.float64]:
        smaller = np.maximum(-compute_levels(np.asarray(area_px), self.area_px), 0.0)
        middle = float(np.median(self.distances))
        above = distances - smaller * self.growth - middle
        corrected: NDArray[np.float64] = middle + above / self.widening**smaller
        return corrected

    def reference_scores(self, microscope: str) -> NDArray[np.float64]:
        """Return the joint scores that fields of a microscope are compared with, ascending."""
        return self.microscopes.get(microscope, self.scores)

    # -------------------------------------------------------------- storage

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        named: dict[str, NDArray[Any]] = {
            "field.reference": self.reference,
            "field.directions": self.directions,
            "field.scores": self.scores,
        }
        named |= {f"field.{name}": values for name, values in self.usual.items()}
        for index, scores in enumerate(self.microscopes.values()):
            named[f"field.microscope.{index}"] = scores
        return named

    def facts(self) -> dict[str, Any]:
        """Return everything that is not an array, for JSON."""
        return {
            "area_px": self.area_px,
            "weights": list(self.weights),
            "growth": self.growth,
            "widening": self.widening,
            "microscopes": list(self.microscopes),
        }

    @classmethod
    def load(cls, tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Self:
        """Load from what `tensors` and `facts` returned."""
        return cls(
            tensors["field.reference"],
            tensors["field.directions"],
            {name: tensors[f"field.{name}"] for name in _USUAL},
            facts["growth"],
            facts["widening"],
            facts["area_px"],
            tuple(facts["weights"]),
            tensors["field.scores"],
            {
                name: tensors[f"field.microscope.{index}"]
                for index, name in enumerate(facts["microscopes"])
            },
        )


_USUAL: Final = ("distances", "deviations", "looks")


def _compare(
    descriptor: NDArray[np.float32],
    windows: NDArray[np.floating],
    reference: NDArray[np.float32],
    directions: NDArray[np.float32],
) -> FieldComparison:
    """Compare a field with some of the reference fields."""
    distances = compute_log_distance(multiply(descriptor[None], reference.T)[0])
    nearest = int(distances.argmin())
    return FieldComparison(
        float(distances[nearest]), nearest, measure_deviations(windows, directions)
    )


def compute_surprise(value: float, reference: NDArray[np.float64]) -> float:
    """Return the negative log share of reference values at least as large.

    Args:
        value: Any number.
        reference: (n,) ascending.

    Returns:
        At least 0; continuous and never falling with `value`. Beyond the largest reference value it
        grows as the tail of an exponential distribution does.
    """
    count = len(reference)
    shares = (count - np.arange(count) - 0.5) / count
    if value <= reference[-1]:
        return float(np.interp(value, reference, -np.log(shares)))
    top = min(max(_LEAST_TAIL, int(count * _TAIL)), count - 1)
    excess = float((reference[-top:] - reference[-top - 1]).mean())
    return float(-np.log(shares[-1]) + (value - reference[-1]) / max(excess, 1e-9))


def _compute_surprises(
    values: Sequence[float] | NDArray[np.float64],
    usual: Mapping[str, NDArray[np.float64]],
    weights: Sequence[float],
) -> list[float]:
    """Return the weighted surprise of each value, in the order of `_USUAL`."""
    return [
        weight * compute_surprise(float(value), usual[name])
        for name, value, weight in zip(_USUAL, values, weights, strict=True)
    ]


def _join(surprises: Sequence[float]) -> float:
    return float((np.array(surprises) ** _NORM).sum() ** (1 / _NORM))


def _compare_quarters(
    quarters: Mapping[int, float], distances: NDArray[np.float64]
) -> tuple[float, float]:
    """Return by how much quarters are farther than their fields, and how much wider spread."""
    if len(quarters) < 2:  # noqa: PLR2004 - one has no spread
        return 0.0, 1.0
    own = distances[list(quarters)]
    of_quarters = np.array(list(quarters.values()))
    widening = float(of_quarters.std()) / max(float(own.std()), 1e-9)
    return float((of_quarters - own).mean()), max(1.0, widening)
