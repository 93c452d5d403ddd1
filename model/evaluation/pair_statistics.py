"""Statistics of two bundles on the same images: exact tests and intervals of differences."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from model.statistics import (
    Estimate,
    bootstrap,
    max_loss_in_clusters,
    wilson_in_clusters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from model.evaluation.cases import Case
    from model.evaluation.paired import Pair

LEVEL = 0.01
"""One-sided significance level of the loss of a code, a slice or an alarm."""


def count_won_and_lost(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Count the images that only the candidate, and that only the bundle in use has correct."""
    won = sum(b.right and not a.right for a, b in pairs)
    return won, sum(a.right and not b.right for a, b in pairs)


def loss_p_value(pairs: Sequence[Pair]) -> float:
    """Compute the one-sided p-value of the sign test that specimens are lost.

    A specimen is lost where fewer of its images are correct than before.
    """
    won, lost = count_won_and_lost_specimens(pairs)
    return sign_test(lost, won)


def count_won_and_lost_specimens(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Return the specimens with more, and with fewer, right answers of the candidate."""
    differences = [
        sum(b.right - a.right for a, b in cases) for cases in group_by_specimen(pairs).values()
    ]
    won = sum(difference > 0 for difference in differences)
    return won, sum(difference < 0 for difference in differences)


def compute_max_loss(pairs: Sequence[Pair]) -> float | None:
    """Compute the one-sided upper 95 % limit of the loss of accuracy, counted over specimens.

    Source:
        See `max_loss_in_clusters`.
    """
    groups = list(group_by_specimen(pairs).values())
    lost = [sum(a.right and not b.right for a, b in cases) for cases in groups]
    won = [sum(b.right and not a.right for a, b in cases) for cases in groups]
    return max_loss_in_clusters(lost, won, [len(cases) for cases in groups])


def estimate_accuracy(cases: Iterable[Case]) -> Estimate:
    """Estimate the share of correct codes with its interval over specimens."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case.right)
    return wilson_in_clusters(
        [sum(correct) for correct in groups.values()], [*map(len, groups.values())]
    )


def estimate_accuracy_change(pairs: Sequence[Pair]) -> Estimate:
    """Estimate the change of accuracy with its 95 % interval over resampled specimens."""
    return estimate_change(
        pairs, lambda cases: np.array([case.right for case in cases], float), compute_mean
    )


def estimate_change(
    pairs: Sequence[Pair],
    values: Callable[[Sequence[Case]], NDArray[np.float64]],
    statistic: Callable[[NDArray[np.float64]], float],
) -> Estimate:
    """Estimate the change of a statistic with its interval over resampled specimens.

    Args:
        pairs: Cases of both bundles.
        values: Returns the values of cases, (n, …).
        statistic: Reduces them, or some of their rows, to one number.
    """
    before, after = values([a for a, _ in pairs]), values([b for _, b in pairs])
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, (case, _) in enumerate(pairs):
        rows_of[case.group].append(row)
    groups = [np.array(indices) for indices in rows_of.values()]

    def compute_change(sampled: NDArray[np.intp]) -> float:
        rows = np.concatenate([groups[group] for group in sampled])
        return statistic(after[rows]) - statistic(before[rows])

    return bootstrap(len(groups), compute_change)


def compute_mean(values: NDArray[np.float64]) -> float:
    """Return the mean of (n,) values."""
    return float(values.mean())


def group_by_specimen(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Return specimen → its pairs."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair[0].group].append(pair)
    return groups


def sign_test(lost: int, won: int) -> float:
    """Compute the one-sided p-value of so many losses or more, both being equally likely."""
    from scipy.special import bdtr  # noqa: PLC0415 - takes a fifth of a second

    return float(bdtr(won, won + lost, 0.5)) if lost else 1.0


def alarm_p_value(flagged: int, n: int, alpha: float, known: int) -> float:
    """Compute the one-sided p-value of so many flagged images or more."""
    from scipy.stats import betabinom, binom  # noqa: PLC0415 - takes most of a second

    if not flagged:
        return 1.0
    if not known:
        return float(binom.sf(flagged - 1, n, alpha))
    rank = max(1, math.floor(alpha * (known + 1)))
    return float(betabinom.sf(flagged - 1, n, rank, known + 1 - rank))
