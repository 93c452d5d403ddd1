"""Combine the fields of a specimen or an order, with intervals by resampling whole fields.

Needles of one field are alike, so resampling needles would give intervals that are too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t

from model.needles.lengths import LengthDistribution, find_quantile, find_quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_FIELDS = 5
FAR, LEAST_BEYOND_FAR = 0.9, 60.0
"""From which share on an interval needs many needles, and how many times the share beyond: 6000
for L99. Resampling sees no needle longer than those found, so of fewer it is too narrow: L99 of ten
fields of 100 needles held the true one in 86 %. Counted are all needles, not the longer ones: to
count those would choose the fields in which long ones happen to be missing. MEASURED:
`tests/bench/risks.py`."""
RESAMPLES = 1000
INSTRUMENT_FIELDS = 11
CALIBRATED_FIELDS = 10
"""Least fields of a calibration: the mean of their errors is known no better than that."""
INSTRUMENT_ERROR = {0.5: (0.007, 0.084), 0.9: (0.111, 0.083), 0.99: (0.111, 0.083)}
"""Share → mean and standard deviation of log(true / measured length): the network parts long
needles, and more fields do not average that out. MEASURED on the 11 fields, of 21 that others drew,
that it measures: `python tests/bench/needles.py --others FOLDER`. L99, of which these have too few
needles, gets the error of L90."""


@dataclass(frozen=True, slots=True)
class LengthEstimate:
    """A length with its 95 % interval, None below five fields or too few needles."""

    value_um: float
    low_um: float | None
    high_um: float | None
    n_fields: int


def estimate_quantile(
    fields: Sequence[LengthDistribution],
    share: float,
    *,
    weighted: str = "area",
    is_calibrated: bool = False,
    seed: int = 0,
) -> LengthEstimate | None:
    """Estimate a length quantile of all fields together.

    The interval is symmetric for the logarithm: the resampled standard error, corrected for the
    number of fields, times Student's quantile. Without a calibration it is that of the true length,
    with the error of the network; so the measured length is near its lower end.

    Args:
        fields: One distribution per field.
        share: 0 to 1.
        weighted: "area" or "number".
        is_calibrated: Whether lengths were compared with people's; then chance counts, and how well
            the mean error of the calibration's fields is known.
        seed: Seed of the resampling.

    Returns:
        None if there are no needles.
    """
    rows = np.array([f.by_area if weighted == "area" else f.by_number for f in fields])
    value = find_quantile(rows.sum(axis=0), share) if len(rows) else None
    if value is None:
        return None
    n = len(rows)
    needles = sum(float(field.by_number.sum()) for field in fields)
    if n < LEAST_FIELDS or needles < count_needed(share):
        return LengthEstimate(value, None, None, n)
    logs = np.log(_resample(rows, share, seed))
    reach = float(logs.std(ddof=1) * np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
    shift, spread = INSTRUMENT_ERROR[share]
    if is_calibrated:
        shift, least = 0.0, CALIBRATED_FIELDS
        of_mean = t.ppf(0.975, least - 1) / np.sqrt(least)
        reach = float(np.hypot(reach, of_mean * spread))
    else:
        of_new = t.ppf(0.975, INSTRUMENT_FIELDS - 1) * np.sqrt(1 + 1 / INSTRUMENT_FIELDS)
        reach = float(np.hypot(reach, of_new * spread))
    low, high = np.exp([shift - reach, shift + reach])
    return LengthEstimate(value, value * min(1.0, float(low)), value * float(high), n)


def count_needed(share: float) -> float:
    """Return how many needles the interval of a quantile needs."""
    return LEAST_BEYOND_FAR / (1 - share) if share > FAR else 0.0


def _resample(rows: NDArray[np.float64], share: float, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    n = len(rows)
    draws = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return find_quantiles(draws @ rows, share)
