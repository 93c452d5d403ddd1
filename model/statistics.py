"""Intervals and p-values of counts.

scipy computes what it has; Tango's limit and Holm's correction it has not. It is imported inside
the functions: its import takes as long as the rest of a command.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

_Z95, _Z95_ONE_SIDED = 1.959963984540054, 1.6448536269514722
_RESAMPLES = 1000

_UNSEEN = 0.5
"""Specimens that are taken to flip as a whole, beyond those that were seen: with so few flips that
their clustering cannot be estimated, a specimen counts once. MEASURED: `tests/bench/gate.py`."""

_ASSUMED = 4.0
"""Times the root of n: so many images are taken to agree or not as a whole. MEASURED:
`tests/bench/kappas.py`; with 2 times the root coverage falls to 90 % at 100 images."""

_NO_SPREAD = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; all None where there was nothing to count."""

    value: float | None
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Give the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


NOTHING = Estimate(None, None, None)


def wilson(right: int, n: int) -> Estimate:
    """Return a share with its 95 % interval.

    Source:
        Wilson 1927; 295 of 326 give 86.8 to 93.2 %.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - takes most of a second

    if n == 0:
        return NOTHING
    ends = binomtest(right, n).proportion_ci(method="wilson")
    return Estimate(right / n, float(ends.low), float(ends.high))


def upper_bound(wrong: int, n: int, confidence: float = 0.95) -> float | None:
    """Return the exact one-sided upper bound of a share: 0 of 59 gives 0.05.

    Source:
        Clopper and Pearson 1934, as a quantile of the beta distribution.
    """
    from scipy.special import betaincinv  # noqa: PLC0415 - takes a fifth of a second

    if n == 0:
        return None
    return 1.0 if wrong >= n else float(betaincinv(wrong + 1, n - wrong, confidence))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p-value that two paired classifiers are equally often right.

    Args:
        only_first: Images that only the first had right.
        only_second: Images that only the second had right.

    Source:
        McNemar 1947, in its exact form.
    """
    from scipy.special import bdtr  # noqa: PLC0415 - takes a fifth of a second

    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0


def max_loss(only_first: int, only_second: int, n: int) -> float | None:
    """Give the upper 95 % limit, one-sided, of what is lost by taking the second classifier.

    Args:
        only_first: Images that only the first had right.
        only_second: Images that only the second had right.
        n: Images that both were asked about.

    Returns:
        A share in [-1, 1] of the images, negative where even the limit is a gain; None for none.

    Source:
        Tango 1998, Statistics in Medicine 17:891, the score limit of a paired difference of shares.
        MEASURED: where 3 points are lost, drawn 5000 times, it reached them in 93 % at the least
        (n = 60 to 400); Agresti and Min 2005, taken before, in 84 %, as it takes few images of
        which none is judged differently for a proof.
    """
    if n == 0:
        return None
    return _halve(
        (only_first - only_second) / n,
        1.0,
        lambda loss: _too_much(loss, only_first, only_second, n),
    )


def _too_much(
    loss: float, only_first: float, only_second: float, n: float, quantile: float = _Z95_ONE_SIDED
) -> bool:
    """Return whether a true loss is refuted: it would have shown with a chance of 95 %."""
    linear = (2 * n - only_first + only_second) * loss - only_first - only_second
    root = math.sqrt(max(0.0, linear**2 + 8 * n * only_second * loss * (1 - loss)))
    won = (root - linear) / (4 * n)  # the likeliest share of what only the second has right
    spread = math.sqrt(max(0.0, n * (2 * won + loss * (1 - loss))))
    return n * loss - (only_first - only_second) > quantile * spread


def max_loss_in_clusters(
    only_first: Sequence[int], only_second: Sequence[int], sizes: Sequence[int]
) -> float | None:
    """Compute the one-sided upper 95 % limit of a loss, images of one specimen being no own trials.

    Args:
        only_first: Per specimen, images that only the first classifier had right.
        only_second: Per specimen, images that only the second had right.
        sizes: Per specimen, images that both were asked about; each at least 1.

    Returns:
        As `most_lost`; never below the exact limit of losses alone where no more is won than lost.

    Source:
        Tango 1998 with the counts divided by the design effect (Rao and Scott 1992, Biometrics
        48:577), which is estimated from the spread between specimens (Obuchowski 1998, Statistics
        in Medicine 17:1495) with half a specimen added that flips as a whole. Student's quantile
        with one degree of freedom less than specimens. Where no more is won than lost, the limit of
        Clopper and Pearson 1934 too, since Tango's is 6 % at 0 of 90.
        MEASURED (`tests/bench/gate.py`): a loss of 3 points passes a limit of 3 points in 0 to 5.5
        % of the draws, 20 to 100 specimens, correlation within them 0 to 1; before, in 5 to 55 %.
    """
    from scipy.special import betaincinv, stdtrit  # noqa: PLC0415 - takes a fifth of a second

    if not sizes:
        return None
    lost, won, n = sum(only_first), sum(only_second), sum(sizes)
    whole = _mean_size(sizes)
    squares = sum((a - b) ** 2 for a, b in zip(only_first, only_second, strict=True))
    effect = (squares + _UNSEEN * whole**2) / (lost + won + _UNSEEN * whole)
    effect = min(whole, max(1.0, effect))
    lost_, won_, n_ = lost / effect, won / effect, n / effect
    quantile = float(stdtrit(max(1, len(sizes) - 1), 0.95))
    net = max(0.0, lost_ - won_)
    exact = 1.0 if net >= n_ else float(betaincinv(net + 1, n_ - net, 0.95))
    score = _halve(
        (lost - won) / n, 1.0, lambda loss: _too_much(loss, lost_, won_, n_, quantile=quantile)
    )
    return max(score, exact) if lost >= won else score


def wilson_in_clusters(right: Sequence[int], sizes: Sequence[int]) -> Estimate:
    """Compute a share with its 95 % interval, images of one specimen being no own trials.

    Args:
        right: Per specimen, the images that count.
        sizes: Per specimen, all its images.

    Source:
        Wilson 1927 at the effective sample size (Rao and Scott 1992, Biometrics 48:577; Korn and
        Graubard 1998), half a specimen added that is otherwise as a whole: 18 of 18 in 2 specimens
        are 2 of 2. Student's quantile with one degree of freedom less than specimens; where each
        image is a specimen, `wilson`.
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - takes a fifth of a second

    hits, n = sum(right), sum(sizes)
    whole = _mean_size(sizes) if n else 1.0
    if whole == 1:
        return wilson(hits, n)
    share = hits / n
    spread = sum((a - share * size) ** 2 for a, size in zip(right, sizes, strict=True))
    effect = (spread + _UNSEEN * whole**2) / (n * share * (1 - share) + _UNSEEN * whole)
    effective = n / min(whole, max(1.0, effect))
    quantile = float(stdtrit(max(1, len(sizes) - 1), 0.975))
    return Estimate(share, *_score_ends(share, effective, quantile))


def _score_ends(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Compute the ends of Wilson's interval for a sample size that need not be whole."""
    square = quantile**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = quantile / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _mean_size(sizes: Sequence[int]) -> float:
    """Compute the size of the specimen that a random image belongs to."""
    return sum(size**2 for size in sizes) / sum(sizes)


def _halve(low: float, high: float, is_beyond: Callable[[float], bool]) -> float:
    """Find the smallest number that is beyond, by halving."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return high


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Give each p-value as it counts among so many questions.

    Source:
        Holm 1979: the smallest of m counts m times, the next m - 1 times, never less than the one
        before it.
    """
    found: dict[str, float] = {}
    least = 0.0
    for place, name in enumerate(sorted(chances, key=chances.__getitem__)):
        least = max(least, min(1.0, (len(chances) - place) * chances[name]))
        found[name] = least
    return found


def agreement_interval(
    n: int, number: Callable[[NDArray[np.intp]], float], chance: float
) -> Estimate:
    """Compute a coefficient of agreement with its 95 % interval; the images are the sample.

    Args:
        n: Images.
        number: Computes the coefficient from indices of images; at most 1; NaN for not defined.
        chance: Agreement by chance in it, below 1; 0 for a share.

    Returns:
        Nothing where the coefficient is not defined, no interval for one image alone.

    Source:
        The disagreement, (1 - coefficient) * (1 - chance), is a share in [0, 1]: its exact interval
        (Clopper and Pearson 1934) at the effective number of images (Korn and Graubard 1998, Survey
        Methodology 24:193), so that unanimous images are that many successes. Their variance is the
        jackknife's, which takes in that the chance is estimated too, mixed with that of images
        that agree or not as a whole, which count for 4 sqrt(n) images: few images do not show how
        far images differ. MEASURED (`tests/bench/kappas.py`): holds the truth in at least 93 % of
        the draws in every population from 5 images on; a percentile bootstrap of kappa at 10 images
        in 64 % on average.
    """
    value = number(np.arange(n)) if n else float("nan")
    if math.isnan(value):
        return NOTHING
    if n == 1:
        return Estimate(float(value), None, None)
    without = np.array([number(np.delete(np.arange(n), at)) for at in range(n)])
    without = np.where(np.isnan(without), value, without)
    scale = 1 - chance
    share = min(1.0, max(0.0, (1 - value) * scale))
    spread = scale**2 * (n - 1) * float(np.square(without - without.mean()).sum())  # of one image
    low, high = _exact_ends(share, _effective(share, spread, n))
    return Estimate(float(value), max(-1.0, 1 - high / scale), 1 - low / scale)


def _effective(share: float, spread: float, n: int) -> float:
    """Compute of how many yes-or-no images a share is worth; `spread` is the variance of one."""
    from scipy.special import stdtrit  # noqa: PLC0415 - takes a fifth of a second

    whole = share * (1 - share)
    if whole <= _NO_SPREAD:
        return float(n)
    assumed = _ASSUMED * math.sqrt(n)
    spread = ((n - 1) * spread + assumed * whole) / (n - 1 + assumed)
    return n * whole / spread * (_Z95 / float(stdtrit(n - 1, 0.975))) ** 2


def _exact_ends(share: float, n: float) -> tuple[float, float]:
    from scipy.special import betaincinv  # noqa: PLC0415 - takes a fifth of a second

    hits, others = share * n, (1 - share) * n
    low = float(betaincinv(hits, others + 1, 0.025)) if hits > _NO_SPREAD else 0.0
    high = float(betaincinv(hits + 1, others, 0.975)) if others > _NO_SPREAD else 1.0
    return low, high


def bootstrap(n: int, number: Callable[[NDArray[np.intp]], float], *, seed: int = 0) -> Estimate:
    """Give a number over n images with its 95 % interval over resampled images.

    Args:
        n: How many images there are.
        number: Computes it from indices of images, some of them several times.
        seed: Of the resampling; the same seed, the same interval.
    """
    if n == 0:
        return NOTHING
    rng = np.random.default_rng(seed)
    found = [number(rng.integers(0, n, n)) for _ in range(_RESAMPLES)]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Estimate(float(number(np.arange(n))), float(low), float(high))
