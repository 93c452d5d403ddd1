"""Metrics of classification and of out-of-distribution detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.statistics import NO_ESTIMATE, Estimate, agreement_interval, upper_bound, wilson
from model.taxonomy import Taxonomy

_BINS = 15


def error_rate_json(wrong: int, n: int) -> dict[str, Any]:
    """Return an error rate as JSON, with its 95 % upper bound (Clopper-Pearson)."""
    return {"n": n, "wrong": wrong, "value": wrong / n, "upper95": upper_bound(wrong, n)}


# ------------------------------------------------------------------ metrics of arrays


def confusion_matrix(
    true: NDArray[np.intp], predicted: NDArray[np.intp], k: int
) -> NDArray[np.intp]:
    """Return the (k, k) counts, rows predicted, columns true."""
    counts = np.zeros((k, k), np.intp)
    np.add.at(counts, (predicted, true), 1)
    return counts


def stage_confusion(classes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Count pairs of (true, predicted) classes; pairs with an untrained class are left out."""
    trained = [
        (true_class, predicted_class)
        for true_class, predicted_class in pairs
        if true_class in classes and predicted_class in classes
    ]
    true = np.array([classes.index(true_class) for true_class, _ in trained], np.intp)
    predicted = np.array(
        [classes.index(predicted_class) for _, predicted_class in trained], np.intp
    )
    counts = confusion_matrix(true, predicted, len(classes))
    return {"classes": list(classes), "rows_predicted": counts.tolist()}


def macro_f1(true: NDArray[np.intp], predicted: NDArray[np.intp], k: int) -> float:
    """Return the mean F1 score over the classes that occur, in [0, 1]."""
    hits = np.bincount(true[true == predicted], minlength=k)
    occur = np.bincount(true, minlength=k)
    total = occur + np.bincount(predicted, minlength=k)
    scores = 2 * hits[occur > 0] / total[occur > 0]
    return float(scores.mean())


def size_kappa(pairs: Sequence[tuple[str, str]], taxonomy: Taxonomy) -> Estimate:
    """Compute the quadratically weighted kappa of sizes, coarse to fine, whatever the subtype.

    Args:
        pairs: Two structure codes per micrograph: true and predicted, or of two raters.
        taxonomy: Orders the sizes.

    Returns:
        Kappa with its interval over micrographs (`agreement_interval`). Where all agree, the lower
        limit assumes as many one-size differences as the interval of their share allows.

    Raises:
        TaxonomyError: A code is not in the taxonomy.
    """
    order = size_order(taxonomy)
    if len(order) < 2 or not pairs:  # noqa: PLR2004 - one size is no order
        return NO_ESTIMATE
    ranks = np.array([[order[taxonomy.parse(code)[1]] for code in pair] for pair in pairs], np.intp)
    first, second = ranks.T
    by_chance = _expected_disagreement(first, second, len(order))
    if by_chance and (first == second).all():
        may_differ = 1.0 - (wilson(len(first), len(first)).low or 0.0)
        return Estimate(1.0, max(-1.0, 1.0 - may_differ / by_chance), 1.0)
    if not by_chance:  # all of one size: kappa is not defined, and no interval is
        return Estimate(1.0, None, None)
    span = float(ranks.max() - ranks.min())  # sizes that do not occur do not widen it
    return agreement_interval(
        len(ranks),
        lambda rows: _kappa(first[rows], second[rows], len(order)),
        chance=1 - by_chance / span**2,
    )


def size_order(taxonomy: Taxonomy) -> dict[str, int]:
    """Return the rank of each size name, coarse to fine from 0."""
    return {size.name: rank for rank, size in enumerate(taxonomy.sizes)}


def _kappa(true: NDArray[np.intp], predicted: NDArray[np.intp], k: int) -> float:
    """Return the quadratically weighted kappa; 1 where all sizes are equal."""
    by_chance = _expected_disagreement(true, predicted, k)
    return 1.0 - float(np.square(true - predicted).mean()) / by_chance if by_chance else 1.0


def _expected_disagreement(first: NDArray[np.intp], second: NDArray[np.intp], k: int) -> float:
    """Return the mean squared difference of two raters who are independent."""
    ranks = np.arange(k)
    counts = (np.bincount(sizes, minlength=k) / len(sizes) for sizes in (first, second))
    return float(((ranks[:, None] - ranks[None, :]) ** 2 * np.outer(*counts)).sum())


def calibration_error(confidence_and_correct: NDArray[np.float64]) -> float:
    """Compute the expected calibration error in 15 bins.

    Args:
        confidence_and_correct: (n, 2), from `confidence_and_correctness`.
    """
    confidence, correct = confidence_and_correct.T
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    n = np.bincount(bins, minlength=_BINS)
    gap = np.abs(
        np.bincount(bins, confidence, minlength=_BINS) - np.bincount(bins, correct, minlength=_BINS)
    )
    return float(gap[n > 0].sum() / len(confidence))


def auroc(strange: Sequence[float], ordinary: NDArray[np.float64]) -> float | None:
    """Return the probability that an unusual image has a smaller value than an ordinary one."""
    if not len(strange) or not len(ordinary):
        return None
    below = np.array(strange)[:, None] < ordinary[None, :]
    equal = np.array(strange)[:, None] == ordinary[None, :]
    return float((below + 0.5 * equal).mean())


def auroc_interval(value: float | None, strange: int, ordinary: int) -> list[float | None]:
    """Return the 95 % interval of an AUROC.

    Args:
        value: The AUROC, or None.
        strange: Number of unusual images.
        ordinary: Number of ordinary images.

    Source:
        Hanley and McNeil 1982, Radiology 143:29, for the standard error; here it is evaluated at
        the ends of the interval, as in Wilson's interval, so that four images that are all
        separated do not give certainty.
    """
    if value is None:
        return [None, None]

    def is_outside(end: float) -> bool:
        return abs(value - end) > 1.96 * _auroc_error(end, strange, ordinary)

    return [_bisect(value, 0.0, is_outside), _bisect(value, 1.0, is_outside)]


def _auroc_error(value: float, strange: int, ordinary: int) -> float:
    """Return the standard error of an AUROC."""
    both_strange, both_ordinary = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (
        value * (1 - value)
        + (strange - 1) * (both_strange - value**2)
        + (ordinary - 1) * (both_ordinary - value**2)
    ) / (strange * ordinary)
    return math.sqrt(max(variance, 0.0))


def _bisect(inside: float, outside: float, is_outside: Callable[[float], bool]) -> float:
    """Find the boundary at which a condition becomes true, by bisection."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if is_outside(middle) else (middle, outside)
    return inside


def fpr95(strange: Sequence[float], ordinary: NDArray[np.float64]) -> float | None:
    """Return the share of ordinary images flagged where 95 % of the unusual ones are."""
    if not len(strange) or not len(ordinary):
        return None
    ordered = sorted(strange)
    limit = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return float((ordinary <= limit).mean())
