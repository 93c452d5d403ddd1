"""Estimate from a learning curve how many more labelled images raise the accuracy by how much.

Heads on the frozen network are fitted to some of the specimens and tested on others, repeatedly;
the error is extrapolated by a power law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.networks.linear_probe import ProbeData, fit_head
from model.networks.schemes import CODE, Scheme
from model.statistics import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from model.taxonomy import Taxonomy

_SHARES = (0.3, 0.45, 0.65, 1.0)
"""Shares of the training specimens."""
_TEST_SHARE = 0.25
_REPEATS = 8
_BOOTSTRAP_DRAWS = 500
_MAX_FACTOR = 4.0
"""Extrapolate at most to four times the images: the power law is not validated beyond."""
_MIN_GROUPS = 12


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Error rate as a function of the number of training images.

    Args:
        n: Number of labelled images.
        points: Per repeat, pairs of training images and error rate.
    """

    n: int
    points: tuple[tuple[tuple[int, float], ...], ...]

    def error(self, n: int) -> Estimate:
        """Extrapolate the error rate to n images, with a 95 % bootstrap interval over repeats."""
        lines = [_fit_power_law(repeats) for repeats in self._resample()]
        errors = [math.exp(offset + slope * math.log(n)) for offset, slope in lines]
        low, high = np.quantile(errors, [0.025, 0.975])
        offset, slope = _fit_power_law(self.points)
        return Estimate(
            min(1.0, math.exp(offset + slope * math.log(n))),
            min(1.0, float(low)),
            min(1.0, float(high)),
        )

    def until(self, gain: float) -> tuple[int | None, int | None, int | None]:
        """Estimate how many more images raise the accuracy by a gain.

        Args:
            gain: Share of the images, such as 0.02 for two points.

        Returns:
            Number of images and its 95 % interval over repeats; None: more than three times the
            current number, or never.
        """
        more = sorted(
            _solve_for_images(_fit_power_law(repeats), self.n, gain) for repeats in self._resample()
        )
        low, high = more[round(0.025 * len(more))], more[round(0.975 * len(more)) - 1]
        return (
            _round_up(_solve_for_images(_fit_power_law(self.points), self.n, gain)),
            _round_up(low),
            _round_up(high),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the curve as JSON."""
        return {
            "n": self.n,
            "points": [[list(point) for point in repeat] for repeat in self.points],
        }

    def _resample(self) -> Iterator[Sequence[Sequence[tuple[int, float]]]]:
        rng = np.random.default_rng(0)
        for _ in range(_BOOTSTRAP_DRAWS):
            yield [self.points[i] for i in rng.integers(0, len(self.points), len(self.points))]


def _fit_power_law(repeats: Sequence[Sequence[tuple[int, float]]]) -> tuple[float, float]:
    """Fit log error against log images; an error of zero counts as half an image.

    Returns:
        Offset and slope; the slope is at most 0.

    Source:
        Viering and Loog 2021, arXiv:2103.10948: a power law fits most learning curves.
    """
    sizes: dict[int, list[float]] = {}
    for repeat in repeats:
        for index, (_, error) in enumerate(repeat):
            sizes.setdefault(index, []).append(error)
    n = [float(np.mean([repeat[index][0] for repeat in repeats])) for index in sizes]
    errors = [max(float(np.mean(error)), 0.5 / n[-1]) for error in sizes.values()]
    slope, offset = np.polyfit(np.log(n), np.log(errors), 1)
    return float(offset), float(min(slope, 0.0))


def _solve_for_images(line: tuple[float, float], n: int, gain: float) -> float:
    """Return the number of more images until the error has fallen by the gain, or infinity."""
    offset, slope = line
    target = math.exp(offset + slope * math.log(n)) - gain
    if target <= 0 or slope >= 0:
        return math.inf
    more = math.exp(min((math.log(target) - offset) / slope, 50.0)) - n
    return max(0.0, more) if more <= (_MAX_FACTOR - 1) * n else math.inf


def _round_up(images: float) -> int | None:
    return None if not math.isfinite(images) else math.ceil(images)


def fit_learning_curve(
    embeddings: NDArray[np.floating],
    codes: Sequence[str],
    groups: Sequence[str],
    taxonomy: Taxonomy,
) -> LearningCurve | None:
    """Fit a learning curve to embeddings.

    Args:
        embeddings: (n, d) of labelled images.
        codes: Their codes, all of them trained codes of the taxonomy.
        groups: Their specimens; one is never both trained and tested on.
        taxonomy: Subtypes and sizes.

    Returns:
        The curve, or None if there are too few specimens.
    """
    names = np.array(sorted(set(groups)))
    if len(names) < _MIN_GROUPS:
        return None
    points, group_of = [], np.array(groups)
    for repeat in range(_REPEATS):
        shuffled = np.random.default_rng(repeat).permutation(names)
        n_test = max(2, round(_TEST_SHARE * len(names)))
        test, rest = np.isin(group_of, shuffled[:n_test]), shuffled[n_test:]
        points_of_repeat = []
        for share in _SHARES:
            train = np.isin(group_of, rest[: max(2, round(share * len(rest)))])
            points_of_repeat.append(
                (int(train.sum()), _compute_error(embeddings, codes, train, test, taxonomy))
            )
        points.append(tuple(points_of_repeat))
    return LearningCurve(len(codes), tuple(points))


def _compute_error(
    embeddings: NDArray[np.floating],
    codes: Sequence[str],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    taxonomy: Taxonomy,
) -> float:
    """Fit a head to some images, and return its error rate on others."""
    trained_codes = sorted(
        {code for code, is_trained in zip(codes, train, strict=True) if is_trained}
    )
    if len(trained_codes) < 2:  # noqa: PLR2004 - one code is always correct
        return 1.0
    scheme = Scheme("global", taxonomy.restricted_to(frozenset(trained_codes)))
    rows = np.flatnonzero(train)
    data = ProbeData(
        embeddings=np.asarray(embeddings[rows], np.float32),
        images=np.arange(len(rows)),
        codes=[codes[row] for row in rows.tolist()],
        counts=np.ones(len(rows)),
    )
    head = fit_head(scheme, CODE, "frozen", data, imbalance="sqrt", ordinal=False).head
    predicted = head.logits(np.asarray(embeddings[test], np.float32)).argmax(axis=1)
    true = [codes[row] for row in np.flatnonzero(test).tolist()]
    return float(
        np.mean([head.classes[index] != code for index, code in zip(predicted, true, strict=True)])
    )
