"""Say how good a bundle is, first of all where it matters: at the limits.

In:  a `Classifier` and `Example`s. Out: an `Evaluation`. Next: `training` records it, `comparison`
sets two side by side. Every number carries an interval, so that nobody takes one image for
progress.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from model.statistics import (
    NO_ESTIMATE,
    Estimate,
    agreement_interval,
    upper_bound,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from model.taxonomy import Taxonomy


_BINS = 15


def error_rate_json(wrong: int, n: int) -> dict[str, Any]:
    """Return an error rate as JSON, with its 95 % upper bound (Clopper-Pearson)."""
    return {"n": n, "wrong": wrong, "value": wrong / n, "upper95": upper_bound(wrong, n)}


# ------------------------------------------------------------------ numbers over arrays


def confusion_matrix(
    true: NDArray[np.intp], predicted: NDArray[np.intp], k: int
) -> NDArray[np.intp]:
    """Count (k, k), rows predicted, columns true."""
    counts = np.zeros((k, k), np.intp)
    np.add.at(counts, (predicted, true), 1)
    return counts


def stage_confusion(classes: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Count pairs of (true, predicted) classes; a true class that is not taught is left out."""
    known = [(t, p) for t, p in pairs if t in classes and p in classes]
    true = np.array([classes.index(t) for t, _ in known], np.intp)
    predicted = np.array([classes.index(p) for _, p in known], np.intp)
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
    """Give the quadratically weighted kappa of sizes, coarse to fine, whatever the subtype.

    Args:
        pairs: Two structure codes of each micrograph: true and predicted, or of two people.
        taxonomy: Orders the sizes.

    Returns:
        With its interval over micrographs (`agreement_interval`). Where all agree, the lower limit
        is as if so many were a size apart as the interval of their share allows.

    Raises:
        TaxonomyError: It does not know a code.
    """
    order = size_order(taxonomy)
    if len(order) < 2 or not pairs:  # noqa: PLR2004 - one size is no order
        return NO_ESTIMATE
    places = np.array([[order[taxonomy.parse(code)[1]] for code in two] for two in pairs], np.intp)
    one, other = places.T
    apart = _apart_by_chance(one, other, len(order))
    if apart and (one == other).all():
        may_differ = 1.0 - (wilson(len(one), len(one)).low or 0.0)
        return Estimate(1.0, max(-1.0, 1.0 - may_differ / apart), 1.0)
    if not apart:  # all of one size: kappa is not defined, and no interval is
        return Estimate(1.0, None, None)
    widest = float(places.max() - places.min())  # a size that nobody named is none to differ by
    return agreement_interval(
        len(places),
        lambda i: _kappa(one[i], other[i], len(order)),
        chance=1 - apart / widest**2,
    )


def size_order(taxonomy: Taxonomy) -> dict[str, int]:
    """Return the rank of each size name, coarse to fine from 0."""
    return {size.name: at for at, size in enumerate(taxonomy.sizes)}


def _kappa(true: NDArray[np.intp], predicted: NDArray[np.intp], k: int) -> float:
    """Give quadratically weighted kappa; 1 where all images have one size and are right."""
    apart = _apart_by_chance(true, predicted, k)
    return 1.0 - float(np.square(true - predicted).mean()) / apart if apart else 1.0


def _apart_by_chance(one: NDArray[np.intp], other: NDArray[np.intp], k: int) -> float:
    """Give the mean squared distance of two raters who had looked at different images."""
    at = np.arange(k)
    counts = (np.bincount(places, minlength=k) / len(places) for places in (one, other))
    return float(((at[:, None] - at[None, :]) ** 2 * np.outer(*counts)).sum())


def calibration_error(told: NDArray[np.float64]) -> float:
    """Give the expected calibration error in 15 bins of what `sure_and_right` gives."""
    sure, right = told.T
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    n = np.bincount(bins, minlength=_BINS)
    gap = np.abs(
        np.bincount(bins, sure, minlength=_BINS) - np.bincount(bins, right, minlength=_BINS)
    )
    return float(gap[n > 0].sum() / len(sure))


def auroc(strange: Sequence[float], ordinary: NDArray[np.float64]) -> float | None:
    """Give the chance that a strange image has a smaller value than an ordinary one."""
    if not len(strange) or not len(ordinary):
        return None
    below = np.array(strange)[:, None] < ordinary[None, :]
    equal = np.array(strange)[:, None] == ordinary[None, :]
    return float((below + 0.5 * equal).mean())


def auroc_interval(value: float | None, strange: int, ordinary: int) -> list[float | None]:
    """Give the 95 % interval of an `auroc` from so many images.

    Source:
        Hanley and McNeil 1982, Radiology 143:29, the standard error; ours is taken at the ends of
        the interval, as Wilson's is, so that four strange images that all stand out are no proof.
    """
    if value is None:
        return [None, None]

    def beyond(end: float) -> bool:
        return abs(value - end) > 1.96 * _auroc_error(end, strange, ordinary)

    return [_edge(value, 0.0, beyond), _edge(value, 1.0, beyond)]


def _auroc_error(value: float, strange: int, ordinary: int) -> float:
    both_strange, both_ordinary = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (
        value * (1 - value)
        + (strange - 1) * (both_strange - value**2)
        + (ordinary - 1) * (both_ordinary - value**2)
    ) / (strange * ordinary)
    return math.sqrt(max(variance, 0.0))


def _edge(inside: float, outside: float, beyond: Callable[[float], bool]) -> float:
    """Find where something begins to lie beyond, by halving."""
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
    return inside


def fpr95(strange: Sequence[float], ordinary: NDArray[np.float64]) -> float | None:
    """Give the share of ordinary images flagged where 95 % of the strange ones are."""
    if not len(strange) or not len(ordinary):
        return None
    ordered = sorted(strange)
    limit = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return float((ordinary <= limit).mean())
