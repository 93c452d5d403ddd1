"""Confidence intervals and tests for shares, paired classifiers and agreement coefficients.

Written here is only what scipy lacks, such as Tango's limit and Holm's correction. NumPy and scipy
are imported inside the functions, because their import takes as long as the rest of a command.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

_Z95, _Z95_ONE_SIDED = 1.959963984540054, 1.6448536269514722
_RESAMPLES = 1000

_PSEUDO_CLUSTERS = 0.5
"""Pseudo-specimens added to the data whose images all flip together. With too few flips to estimate
their clustering, a specimen then counts once. MEASURED: `tests/bench/gate.py`."""

_PRIOR_IMAGES = 4.0
"""Times the square root of n: weight, in images, of the prior that each image agrees completely or
not at all. MEASURED: `tests/bench/kappas.py`; with a factor of 2 coverage falls to 90 % at 100
images."""

_ZERO = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its 95 % interval; all None if there are no data."""

    value: float | None
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Return the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


NO_ESTIMATE = Estimate(None, None, None)


def wilson(right: int, n: int) -> Estimate:
    """Estimate a share with Wilson's score interval.

    Args:
        right: Number of successes.
        n: Number of trials; 0 gives `NO_ESTIMATE`.

    Source:
        Wilson 1927; 295 of 326 give 86.8 to 93.2 %.
    """
    if n == 0:
        return NO_ESTIMATE
    low, high = _wilson_ends(right / n, n, _Z95)
    return Estimate(right / n, low if right else 0.0, high if right < n else 1.0)


def upper_bound(wrong: int, n: int, confidence: float = 0.95) -> float | None:
    """Compute the exact one-sided upper bound of a share: 0 of 59 gives 0.05.

    Args:
        wrong: Number of errors.
        n: Number of trials; 0 gives None.
        confidence: In (0, 1).

    Source:
        Clopper and Pearson 1934, as a quantile of the beta distribution.
    """
    from scipy.special import betaincinv  # noqa: PLC0415 - takes a fifth of a second

    if n == 0:
        return None
    return 1.0 if wrong >= n else float(betaincinv(wrong + 1, n - wrong, confidence))


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided exact p-value that two paired classifiers have equal accuracy.

    Args:
        only_first: Images that only the first classified correctly.
        only_second: Images that only the second classified correctly.

    Source:
        McNemar 1947, in its exact form.
    """
    from scipy.special import bdtr  # noqa: PLC0415 - takes a fifth of a second

    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0


def max_loss(only_first: int, only_second: int, n: int) -> float | None:
    """Compute the one-sided upper 95 % limit of the accuracy lost by the second classifier.

    Args:
        only_first: Images that only the first classified correctly.
        only_second: Images that only the second classified correctly.
        n: Images that both classified.

    Returns:
        Share of the images in [-1, 1], negative if even the limit is a gain; None if n is 0.

    Source:
        Tango 1998, Statistics in Medicine 17:891, score limit of a paired difference of shares.
        MEASURED: of 5000 draws with a true loss of 3 points, the limit covers it in at least 93 %
        (n = 60 to 400). Agresti and Min 2005 covers it in 84 %, since it treats few images without
        any difference as proof.
    """
    if n == 0:
        return None
    return _bisect(
        (only_first - only_second) / n,
        1.0,
        lambda loss: _is_rejected(loss, only_first, only_second, n),
    )


def _is_rejected(
    loss: float, only_first: float, only_second: float, n: float, quantile: float = _Z95_ONE_SIDED
) -> bool:
    """Return whether Tango's score test rejects a true loss as too large for the observed counts.

    Args:
        loss: Hypothetical true loss, in [-1, 1].
        only_first: Images that only the first classified correctly; not necessarily whole.
        only_second: Images that only the second classified correctly.
        n: Images that both classified.
        quantile: One-sided critical value.
    """
    linear = (2 * n - only_first + only_second) * loss - only_first - only_second
    root = math.sqrt(max(0.0, linear**2 + 8 * n * only_second * loss * (1 - loss)))
    # Maximum-likelihood share of images that only the second classifies correctly, given the loss.
    won = (root - linear) / (4 * n)
    deviation = math.sqrt(max(0.0, n * (2 * won + loss * (1 - loss))))
    return n * loss - (only_first - only_second) > quantile * deviation


def max_loss_in_clusters(
    only_first: Sequence[int], only_second: Sequence[int], sizes: Sequence[int]
) -> float | None:
    """Compute the one-sided upper 95 % limit of the accuracy lost, over specimens, not images.

    Images of one specimen are not independent trials.

    Args:
        only_first: Per specimen, images that only the first classifier classified correctly.
        only_second: Per specimen, images that only the second classified correctly.
        sizes: Per specimen, images that both classified; each at least 1.

    Returns:
        As `max_loss`; without a net gain never below the exact limit of the net losses.

    Source:
        Tango 1998 with the counts divided by the design effect (Rao and Scott 1992, Biometrics
        48:577), which is estimated from the variance between specimens (Obuchowski 1998, Statistics
        in Medicine 17:1495) with half a pseudo-specimen added whose images flip together. Student's
        quantile, degrees of freedom: specimens minus 1. Without a net gain, the larger of this and
        the limit of Clopper and Pearson 1934, since Tango's is only 6 % at 0 of 90.
        MEASURED (`tests/bench/gate.py`): with 20 to 100 specimens and an intraclass correlation of
        0 to 1, a loss of 3 points passes a limit of 3 points in 0 to 5.5 % of the draws; with
        images as independent trials in 5 to 55 %.
    """
    from scipy.special import betaincinv, stdtrit  # noqa: PLC0415 - takes a fifth of a second

    if not sizes:
        return None
    lost, won, n = sum(only_first), sum(only_second), sum(sizes)
    mean_size = _mean_size(sizes)
    squares = sum((a - b) ** 2 for a, b in zip(only_first, only_second, strict=True))
    design_effect = (squares + _PSEUDO_CLUSTERS * mean_size**2) / (
        lost + won + _PSEUDO_CLUSTERS * mean_size
    )
    design_effect = min(mean_size, max(1.0, design_effect))
    lost_, won_, n_ = lost / design_effect, won / design_effect, n / design_effect
    quantile = float(stdtrit(max(1, len(sizes) - 1), 0.95))
    net = max(0.0, lost_ - won_)
    exact = 1.0 if net >= n_ else float(betaincinv(net + 1, n_ - net, 0.95))
    score = _bisect(
        (lost - won) / n, 1.0, lambda loss: _is_rejected(loss, lost_, won_, n_, quantile=quantile)
    )
    return max(score, exact) if lost >= won else score


def wilson_in_clusters(right: Sequence[int], sizes: Sequence[int]) -> Estimate:
    """Estimate a share with its 95 % interval, for images clustered by specimen.

    Args:
        right: Per specimen, number of successes.
        sizes: Per specimen, number of images.

    Source:
        Wilson 1927 at the effective sample size (Rao and Scott 1992, Biometrics 48:577; Korn and
        Graubard 1998), with half a pseudo-specimen added whose images all differ from the share
        together: 18 of 18 in 2 specimens count as 2 of 2. Student's quantile, degrees of freedom:
        specimens minus 1. Equal to `wilson` if each image is a specimen.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - takes a fifth of a second

    hits, n = sum(right), sum(sizes)
    mean_size = _mean_size(sizes) if n else 1.0
    if mean_size == 1:
        return wilson(hits, n)
    share = hits / n
    squares = sum((a - share * size) ** 2 for a, size in zip(right, sizes, strict=True))
    design_effect = (squares + _PSEUDO_CLUSTERS * mean_size**2) / (
        n * share * (1 - share) + _PSEUDO_CLUSTERS * mean_size
    )
    effective_n = n / min(mean_size, max(1.0, design_effect))
    quantile = float(stdtrit(max(1, len(sizes) - 1), 0.975))
    return Estimate(share, *_wilson_ends(share, effective_n, quantile))


def _wilson_ends(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Compute the ends of Wilson's interval for a sample size that need not be whole."""
    square = quantile**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = quantile / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _mean_size(sizes: Sequence[int]) -> float:
    """Compute the mean over all images of the size of their specimen."""
    return sum(size**2 for size in sizes) / sum(sizes)


def _bisect(low: float, high: float, is_beyond: Callable[[float], bool]) -> float:
    """Find the smallest number in [low, high] for which a monotone condition holds."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return high


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for multiple tests.

    Source:
        Holm 1979: the smallest of m is multiplied by m, the next by m - 1, and so on; none is less
        than its predecessor, or more than 1.
    """
    adjusted: dict[str, float] = {}
    running_max = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        running_max = max(running_max, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = running_max
    return adjusted


def agreement_interval(
    n: int, statistic: Callable[[NDArray[np.intp]], float], chance: float
) -> Estimate:
    """Estimate a coefficient of agreement with its 95 % interval; the images are the sample.

    Args:
        n: Number of images.
        statistic: Computes the coefficient from indices of images; at most 1, NaN if undefined.
        chance: Chance agreement in the coefficient, below 1; 0 for a share.

    Returns:
        `NO_ESTIMATE` if the coefficient is undefined; no interval for a single image.

    Source:
        The disagreement, (1 - coefficient) * (1 - chance), is a share in [0, 1]. Its exact interval
        (Clopper and Pearson 1934) is computed at the effective number of images (Korn and Graubard
        1998, Survey Methodology 24:193), so that n unanimous images are n successes. The variance
        is the jackknife's, which includes the estimation of the chance agreement, averaged with
        that of images that agree completely or not at all, weighted as 4 sqrt(n) images, because
        few images do not show how much images differ. MEASURED (`tests/bench/kappas.py`): covers
        the true value in at least 93 % of the draws in every population from 5 images on; a
        percentile bootstrap of kappa at 10 images in 64 % on average.
    """
    import numpy as np  # noqa: PLC0415 - takes a twentieth of a second

    value = statistic(np.arange(n)) if n else float("nan")
    if math.isnan(value):
        return NO_ESTIMATE
    if n == 1:
        return Estimate(float(value), None, None)
    leave_one_out = np.array([statistic(np.delete(np.arange(n), at)) for at in range(n)])
    leave_one_out = np.where(np.isnan(leave_one_out), value, leave_one_out)
    scale = 1 - chance
    share = min(1.0, max(0.0, (1 - value) * scale))
    deviations = np.square(leave_one_out - leave_one_out.mean())
    variance = scale**2 * (n - 1) * float(deviations.sum())  # of a single image
    low, high = _exact_ends(share, _effective_sample_size(share, variance, n))
    return Estimate(float(value), max(-1.0, 1 - high / scale), 1 - low / scale)


def _effective_sample_size(share: float, variance: float, n: int) -> float:
    """Compute the number of Bernoulli trials with the precision of n images.

    Args:
        share: Mean of the images, in [0, 1].
        variance: Variance of a single image.
        n: Number of images.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - takes a fifth of a second

    bernoulli = share * (1 - share)
    if bernoulli <= _ZERO:
        return float(n)
    prior = _PRIOR_IMAGES * math.sqrt(n)
    variance = ((n - 1) * variance + prior * bernoulli) / (n - 1 + prior)
    return n * bernoulli / variance * (_Z95 / float(stdtrit(n - 1, 0.975))) ** 2


def _exact_ends(share: float, n: float) -> tuple[float, float]:
    """Compute the ends of the exact interval for a sample size that need not be whole."""
    from scipy.special import betaincinv  # noqa: PLC0415 - takes a fifth of a second

    hits, others = share * n, (1 - share) * n
    low = float(betaincinv(hits, others + 1, 0.025)) if hits > _ZERO else 0.0
    high = float(betaincinv(hits + 1, others, 0.975)) if others > _ZERO else 1.0
    return low, high


def bootstrap(n: int, statistic: Callable[[NDArray[np.intp]], float]) -> Estimate:
    """Estimate a statistic of n images with a 95 % percentile bootstrap interval.

    Args:
        n: Number of images; 0 gives `NO_ESTIMATE`.
        statistic: Computes the value from indices of images, with repetitions.
    """
    import numpy as np  # noqa: PLC0415 - takes a twentieth of a second

    if n == 0:
        return NO_ESTIMATE
    rng = np.random.default_rng(0)
    resampled = [statistic(rng.integers(0, n, n)) for _ in range(_RESAMPLES)]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Estimate(float(statistic(np.arange(n))), float(low), float(high))
