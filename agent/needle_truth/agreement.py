"""Bland-Altman statistics of the program's needle lengths against people's.

Errors of a length grow with it, so ratios are compared, on logarithms. Needles of one field are
alike, so a field is the independent unit; the limits are for one needle of any field.

Source:
    Bland and Altman 2007, "Agreement between methods of measurement with multiple observations per
    individual"; intervals by MOVER, Zou 2013, "Confidence interval estimation for the Bland-Altman
    limits of agreement with multiple observations per individual".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Z95 = 1.959963984540054
LEAST_FIELDS, LEAST_PAIRS = 3, 10
"""Fewer give no statistics at all."""


@dataclass(frozen=True, slots=True)
class LengthPair:
    """One needle, measured by a reviewer and by the program.

    Args:
        field: Public id of its micrograph.
        by: Who measured it.
        measured_um: Length by the reviewer.
        program_um: Length by the program.
        tips_agree: Both tips are at the same places.
    """

    field: str
    by: str
    measured_um: float
    program_um: float
    tips_agree: bool = True

    @property
    def log_ratio(self) -> float:
        """Logarithm of the program's length over the reviewer's."""
        return float(np.log(self.program_um / self.measured_um))


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of lengths, program over people, with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the program's lengths agree with people's.

    Args:
        needles, fields, people: How many were compared.
        bias: Mean ratio.
        lower: Ratio that 2.5 % of the needles are below.
        upper: Ratio that 2.5 % of the needles are above.
        tips_agree: Needles of which both tips are at the same places.
    """

    needles: int
    fields: int
    people: int
    bias: Ratio
    lower: Ratio
    upper: Ratio
    tips_agree: int


@dataclass(frozen=True, slots=True)
class LengthTrend:
    """How the log ratio changes with the logarithm of the length.

    Args:
        slope: Change of the log ratio per unit of the log length; 0: the ratio is one number.
        low, high: Its 95 % interval.
        from_um, to_um: The measured lengths between their 5 % and 95 % quantiles.
    """

    slope: float
    low: float
    high: float
    from_um: float
    to_um: float

    @property
    def drift(self) -> float:
        """Factor by which the ratio changes from the shortest to the longest of these needles."""
        return float(np.exp(self.slope * np.log(self.to_um / self.from_um)))


def compute_agreement(pairs: Sequence[LengthPair]) -> Agreement | None:
    """Compute bias and limits of agreement; None for too few needles or fields."""
    groups = _group(pairs)
    n, fields = len(pairs), len(groups)
    if n < LEAST_PAIRS or fields < LEAST_FIELDS:
        return None
    means = np.array([group.mean() for group in groups])
    sizes = np.array([len(group) for group in groups])
    between = float(means.var(ddof=1))
    share = 1 - float((1 / sizes).mean())  # 1 - 1 / harmonic mean of the sizes
    within = (
        float(sum(((group - group.mean()) ** 2).sum() for group in groups) / (n - fields))
        if n > fields
        else 0.0
    )
    low_v, high_v = _bound_variance(between, share * within, fields, n)
    spread = np.sqrt(between + share * within)
    mean = float(means.mean())
    of_mean = _student(fields - 1) * np.sqrt(between / fields)
    near = np.hypot(of_mean, Z95 * (spread - np.sqrt(low_v)))  # towards the mean
    far = np.hypot(of_mean, Z95 * (np.sqrt(high_v) - spread))
    half = Z95 * spread
    return Agreement(
        needles=n,
        fields=fields,
        people=len({pair.by for pair in pairs}),
        bias=_to_ratio(mean, mean - of_mean, mean + of_mean),
        lower=_to_ratio(mean - half, mean - half - far, mean - half + near),
        upper=_to_ratio(mean + half, mean + half - near, mean + half + far),
        tips_agree=sum(pair.tips_agree for pair in pairs),
    )


def fit_trend(pairs: Sequence[LengthPair]) -> LengthTrend | None:
    """Fit how the log ratio depends on people's length, with an interval robust within fields.

    People's length is the abscissa and not the mean of both: it has the smaller error, and the mean
    would give a slope wherever the program scatters more than people do.

    Source:
        Liang and Zeger 1986, sandwich estimator, with the small-sample factor G / (G - 1).
    """
    if len(pairs) < LEAST_PAIRS:
        return None
    length = np.log([pair.measured_um for pair in pairs])
    ratio = np.array([pair.log_ratio for pair in pairs])
    x = length - length.mean()
    total = float(x @ x)
    fields = sorted({pair.field for pair in pairs})
    if total <= 0 or len(fields) < LEAST_FIELDS:
        return None
    slope = float(x @ ratio) / total
    score = x * (ratio - ratio.mean() - slope * x)
    number = np.searchsorted(fields, [pair.field for pair in pairs])
    sums = np.bincount(number, score)
    error = np.sqrt(len(fields) / (len(fields) - 1) * float(sums @ sums)) / total
    half = _student(len(fields) - 1) * float(error)
    low, high = np.exp(np.quantile(length, (0.05, 0.95)))
    return LengthTrend(slope, slope - half, slope + half, float(low), float(high))


def _group(pairs: Sequence[LengthPair]) -> list[NDArray[np.float64]]:
    groups: dict[str, list[float]] = {}
    for pair in pairs:
        groups.setdefault(pair.field, []).append(pair.log_ratio)
    return [np.array(group) for group in groups.values()]


def _bound_variance(
    between: float, within: float, fields: int, needles: int
) -> tuple[float, float]:
    """Return the 95 % interval of a sum of two estimated variances (MOVER)."""
    from scipy.stats import chi2  # noqa: PLC0415 - slow to import, and pages without data need none

    low = high = 0.0
    for part, freedom in ((between, fields - 1), (within, needles - fields)):
        if freedom < 1 or not part:
            continue
        low += (part * (1 - freedom / chi2.ppf(0.975, freedom))) ** 2
        high += (part * (freedom / chi2.ppf(0.025, freedom) - 1)) ** 2
    total = between + within
    return max(total - float(np.sqrt(low)), 0.0), total + float(np.sqrt(high))


def _student(freedom: int) -> float:
    from scipy.stats import t  # noqa: PLC0415 - as above

    return float(t.ppf(0.975, freedom))


def _to_ratio(*logs: float) -> Ratio:
    return Ratio(*(float(np.exp(value)) for value in logs))
