"""Compute how far raters agree beyond chance, where not every rater has rated every image.

statsmodels has Fleiss' kappa for complete tables alone, without weights or intervals, and AC2 not
at all; a "cannot tell" leaves a gap in most tables. So they are computed here, in the form that
Gwet gives them, and the tests compare them with statsmodels and with published tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from model import Estimate, agreement_interval

Counts = NDArray[np.intp]
Weights = NDArray[np.float64]

PAIR = 2
"""Ratings that an image needs to show agreement."""
CERTAIN = 1e-12
"""A chance agreement this close to 1 leaves nothing to agree on beyond it."""


def count_classes(ratings: NDArray[np.intp], k: int) -> Counts:
    """Count how often each class was given to each image.

    Args:
        ratings: (n, raters) classes from 0; negative for no rating.
        k: How many classes there are.

    Returns:
        (n, k) counts.
    """
    columns = [(ratings == at).sum(axis=1) for at in range(k)]
    return np.array(columns, np.intp).reshape(k, len(ratings)).T


def identity(k: int) -> Weights:
    """Return the weights (k, k) under which only the same class agrees."""
    return np.eye(k)


def quadratic(k: int) -> Weights:
    """Return the weights (k, k) of ordered classes: 1 for the same, 0 for the two ends.

    Source:
        Fleiss and Cohen 1973.
    """
    at = np.arange(k)
    return 1.0 - ((at[:, None] - at[None, :]) / max(1, k - 1)) ** 2


def fleiss(counts: Counts, weights: Weights | None = None) -> float:
    """Compute Fleiss' kappa, weighted where weights are given.

    Args:
        counts: (n, k) from `count_classes`; images that fewer than two rated do not count.
        weights: (k, k) in [0, 1], None for `identity`.

    Returns:
        1 where all agree, 0 where they agree as often as chance, below it less often; NaN where
        it is not defined: no pair to compare, or only one class was ever given.

    Source:
        Fleiss 1971; with gaps and weights as in Gwet 2014, Handbook of Inter-Rater Reliability,
        4th ed., chapters 2 and 3.
    """
    return _coefficient(counts, fleiss_chance, weights)


def fleiss_chance(counts: Counts, weights: Weights | None = None) -> float:
    """Compute the chance agreement in `fleiss`, with the same arguments."""
    w = identity(counts.shape[1]) if weights is None else weights
    shares = _shares(counts)
    return float(shares @ w @ shares)


def gwet(counts: Counts, weights: Weights | None = None) -> float:
    """Compute Gwet's AC1, or AC2 where weights are given; a prevailing class changes it little.

    Args:
        counts: (n, k) from `count_classes`; only classes that were given should have a column.
        weights: (k, k) in [0, 1], None for `identity`.

    Returns:
        As `fleiss`.

    Source:
        Gwet 2008, and 2014 as above. It is too high where agreement is poor and one class
        prevails (Tran et al. 2018), so it is shown next to kappa and the raw share, never alone.
    """
    return _coefficient(counts, gwet_chance, weights)


def gwet_chance(counts: Counts, weights: Weights | None = None) -> float:
    """Compute the chance agreement in `gwet`, with the same arguments."""
    k = counts.shape[1]
    w = identity(k) if weights is None else weights
    shares = _shares(counts)
    if k < PAIR:
        return float("nan")
    chance: float = w.sum() / (k * (k - 1)) * (shares * (1 - shares)).sum()
    return float(chance)


def agreed_share(counts: Counts) -> float:
    """Return the share of pairs of ratings of one image that are the same; NaN for no pair."""
    return _compute_agreement(counts, identity(counts.shape[1]))


def no_chance(counts: Counts, weights: Weights | None = None) -> float:
    """Return 0, the chance agreement that is subtracted in `agreed_share`."""
    del counts, weights
    return 0.0


def cohen(
    one: NDArray[np.intp], other: NDArray[np.intp], k: int, weights: Weights | None = None
) -> float:
    """Compute Cohen's kappa of two raters, weighted where weights are given.

    Args:
        one: (n,) classes from 0; negative for no rating.
        other: (n,) likewise, of the same images.
        k: How many classes there are.
        weights: (k, k) in [0, 1], None for `identity`.

    Returns:
        As `fleiss`.

    Source:
        Cohen 1960 and 1968.
    """
    agreed, chance = _compute_agreement_and_chance(one, other, k, weights)
    return _beyond_chance(agreed, chance)


def cohen_chance(
    one: NDArray[np.intp], other: NDArray[np.intp], k: int, weights: Weights | None = None
) -> float:
    """Compute the chance agreement in `cohen`, with the same arguments."""
    _agreed_share, chance = _compute_agreement_and_chance(one, other, k, weights)
    return chance


def _compute_agreement_and_chance(
    first: NDArray[np.intp], second: NDArray[np.intp], k: int, weights: Weights | None
) -> tuple[float, float]:
    both = (first >= 0) & (second >= 0)  # (n,)
    if not both.any():
        return float("nan"), float("nan")
    w = identity(k) if weights is None else weights
    pairs = np.bincount(first[both] * k + second[both], minlength=k * k)
    joint = pairs.reshape(k, k) / pairs.sum()  # (k, k)
    chance = float((w * np.outer(joint.sum(axis=1), joint.sum(axis=0))).sum())
    return float((w * joint).sum()), chance


def over_images(
    counts: Counts,
    chance: Callable[[Counts, Weights | None], float],
    weights: Weights | None = None,
) -> Estimate:
    """Compute a coefficient with its 95 % interval over images; the raters are fixed.

    Args:
        counts: (n, k) from `count_classes`.
        chance: `fleiss_chance`, `gwet_chance` or `no_chance`: the agreement that is subtracted.
        weights: (k, k) in [0, 1], None for `identity`.

    Source:
        See `model.agreement_interval`. A closed form (Fleiss 1979) holds only where no raters
        agree, a bootstrap finds nothing but 1 where all do.
    """
    if not len(counts):
        return agreement_interval(0, lambda _at: float("nan"), 0.0)
    return agreement_interval(
        len(counts),
        lambda at: _coefficient(counts[at], chance, weights),
        chance(counts, weights),
    )


def indices(classes: Sequence[str], given: Sequence[str | None]) -> NDArray[np.intp]:
    """Return the index of each given class; -1 for no rating."""
    return np.array([-1 if name is None else classes.index(name) for name in given], np.intp)


def _coefficient(
    counts: Counts, chance: Callable[[Counts, Weights | None], float], weights: Weights | None
) -> float:
    w = identity(counts.shape[1]) if weights is None else weights
    return _beyond_chance(_compute_agreement(counts, w), chance(counts, weights))


def _compute_agreement(counts: Counts, weights: Weights) -> float:
    raters = counts.sum(axis=1)
    several = raters >= PAIR
    if not several.any():
        return float("nan")
    rated, r = counts[several].astype(float), raters[several]
    like = rated @ weights  # (n, k) ratings that agree with each class, by weight
    return float(((rated * (like - 1)).sum(axis=1) / (r * (r - 1))).mean())


def _shares(counts: Counts) -> NDArray[np.float64]:
    raters = counts.sum(axis=1)
    rated = raters > 0
    if not rated.any():
        return np.full(counts.shape[1], np.nan)
    return np.asarray((counts[rated] / raters[rated, None]).mean(axis=0))


def _beyond_chance(agreed: float, chance: float) -> float:
    return float("nan") if 1 - chance < CERTAIN else (agreed - chance) / (1 - chance)
