"""Compare a field with the reference fields: as a whole, by its windows, and by its cells.

Four numbers tell how unusual a field is: the distance of the whole field to the nearest reference
field; the distance of its farthest windows; by how much those are farther than its other windows,
which finds foreign material in a field that is itself far from all others; and the looks of single
cells. They are calibrated jointly, so that one alarm rate holds for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from model.ood.feature_arrays import PLACES
from model.ood.mahalanobis import normalize_rows
from model.ood.score_normalization import combine_scores, compute_levels
from model.products import multiply, multiply_on_one_thread

# --- compare windows of a field with windows of the reference fields that are most like it --------
# A patch memory (PatchCore: Roth et al. 2022, arXiv:2106.08265) whose patches are means over 32 µm
# of the last two stages, compared by cosine, and only with fields that resemble the whole field:
# among images of many scales some cell of some field resembles any cell.


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


# --- compare a field with the reference fields: as a whole, by its windows, and by its cells ------


WHOLE: Final = "whole"
WINDOW: Final = "window"
LOOKS: Final = (WHOLE, WINDOW, *PLACES)
"""Views of a field that are scored."""

_TAIL = 0.1
"""Share of the reference values that the tail is extrapolated from."""

_LEAST_TAIL = 3

ONE_SCALE: Final = (1.0, 1.0, 1.0, 1.0)
NATIVE: Final = (1.0, 0.8, 1.0, 0.0)
"""Weights of distance, farthest windows, contrast and cells.

Where fields keep their pixels, cells of many scales and kinds differ so much that their looks tell
nothing. MEASURED on real steel of many scales, heat treatments held out: of 60 fields each with a
foreign place of 5, 10, 20 % and of 220 answers for other SEM pictures flagged with weights
1, 0.8, 1: 15, 27, 18, 163; 1.1, 0.8, 1: 13, 26, 16, 179; 1.2, 0.8, 1: 8, 20, 14, 187.
"""

_LEAST_WINDOWS = 10
"""Fields of fewer windows have no farthest tenth: theirs do not count, and where reference fields
are so small, no windows do."""

_NEAR = 0.25
"""Share of the windows of reference fields that count as equally near."""

_NORM = 4
"""Power of the norm that joins surprises, as in `combine_scores`. MEASURED: 1 misses places in
drawn steel that the looks alone detect; 4 flags more foreign SEM pictures than 2."""


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """A field against the reference fields.

    Args:
        distance: Log distance to the nearest reference field.
        nearest: Indices of the reference fields that are most like it, nearest first.
        windows: (w,) float64, log distance of each window to the nearest window of those.
    """

    distance: float
    nearest: NDArray[np.intp]
    windows: NDArray[np.float64]

    @property
    def farthest(self) -> float:
        """Mean log distance of its farthest windows."""
        return average_farthest(self.windows)

    def measure_contrast(self, least: float) -> float:
        """Return by how much its farthest windows are farther than its median window.

        Args:
            least: Log distance below which windows count as equally near, so that a field with
                windows of a reference image is not unusual by that.
        """
        return max(self.farthest, least) - max(float(np.median(self.windows)), least)


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
        self.memory = WindowMemory.fit(windows)

    def compare(
        self, descriptor: NDArray[np.float32], windows: NDArray[np.floating], fold: int
    ) -> FieldComparison:
        """Compare a field with the reference fields of other folds than its own."""
        others = np.flatnonzero(self.folds != fold)
        return _compare(descriptor, windows, self.descriptors, self.memory, others)

    def compare_held_out(self) -> list[FieldComparison]:
        """Compare every reference field with those of other folds."""
        fields = zip(self.descriptors, self.windows, self.folds.tolist(), strict=True)
        return [self.compare(descriptor, windows, fold) for descriptor, windows, fold in fields]


@dataclass(frozen=True, slots=True)
class FieldDistance:
    """Reference fields, and the calibration of what fields are compared by.

    Args:
        reference: (n, d) float32, unit rows, the descriptor of each reference field.
        memory: Windows of the reference fields.
        usual: "distances", "farthest", "contrasts", "looks" → (n,) float64, ascending, values of
            the reference fields against fields of other folds.
        least: Log distance that a quarter of their windows do not reach.
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
    memory: WindowMemory
    usual: Mapping[str, NDArray[np.float64]]
    least: float
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
            weights = (weights[0], 0.0, 0.0, 1.0)
        least = float(np.quantile(np.concatenate([own.windows for own in held_out]), _NEAR))
        rows = np.array(
            [
                (own.distance, own.farthest, own.measure_contrast(least), combine_scores(looks))
                for own, looks in zip(held_out, z_scores, strict=True)
            ]
        )
        ascending = np.sort(rows, axis=0)
        usual = dict(zip(_USUAL, ascending.T.copy(), strict=True))
        scores = np.array([_join(_compute_surprises(row, usual, weights)) for row in rows])
        growth, widening = _compare_quarters(quarters, rows[:, 0])
        return cls(
            fields.descriptors,
            fields.memory,
            usual,
            least,
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
        every = np.arange(len(self.reference))
        return _compare(descriptor, windows, self.reference, self.memory, every)

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
        contrast = compared.measure_contrast(self.least)
        values = (distance, compared.farthest, contrast, combine_scores(z_scores))
        weights = self.weights
        if len(compared.windows) < _LEAST_WINDOWS:
            weights = (weights[0], 0.0, 0.0, weights[3])
        surprises = _compute_surprises(values, self.usual, weights)
        place = PLACES[int(z_scores.argmax())]
        return _join(surprises), (WHOLE, WINDOW, WINDOW, place)[int(np.argmax(surprises))]

    def compute_window_level(self, compared: FieldComparison, alpha: float) -> float:
        """Return the distance at which a window is farther than the others of its field by so much.

        Args:
            compared: The field.
            alpha: Share of reference fields whose farthest windows are.
        """
        contrasts = self.usual["contrasts"]
        rank = int(np.clip(np.floor(alpha * (len(contrasts) + 1)), 1, len(contrasts)))
        usual = max(float(np.median(compared.windows)), self.least)
        return float(np.exp(usual + contrasts[-rank]))

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
            "field.windows": self.memory.windows,
            "field.starts": self.memory.starts,
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
            "least": self.least,
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
            WindowMemory(tensors["field.windows"], tensors["field.starts"]),
            {name: tensors[f"field.{name}"] for name in _USUAL},
            facts["least"],
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


_USUAL: Final = ("distances", "farthest", "contrasts", "looks")


def _compare(
    descriptor: NDArray[np.float32],
    windows: NDArray[np.floating],
    reference: NDArray[np.float32],
    memory: WindowMemory,
    among: NDArray[np.intp],
) -> FieldComparison:
    """Compare a field with some of the reference fields."""
    distances = compute_log_distance(multiply(descriptor[None], reference[among].T)[0])
    nearest = among[np.argsort(distances, kind="stable")[:NEAREST_FIELDS]]
    return FieldComparison(float(distances.min()), nearest, memory.measure(windows, nearest))


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
