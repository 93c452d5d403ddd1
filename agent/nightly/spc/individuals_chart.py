"""Monitor brightness and focus of the control specimen: individuals and moving-range charts.

The unit is a night: its control micrographs are averaged. The first `BASELINE_NIGHTS` nights are
the baseline and stay it. The limits allow a night without change its share of the report's false
alarms; they include the uncertainty of so short a baseline.

Source:
    Montgomery, Introduction to Statistical Quality Control, 6.4: sigma from the mean moving range
    (d2 = 1.128). Instead of 3 sigma the quantile of Student's t at 0.62 (n - 1) degrees of freedom
    (Wheeler, Advanced Topics in SPC, table 1: what the mean moving range is worth) times the root
    of 1 + 1/n, so that the chance of a false alarm is the requested one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - pydantic reads it
from itertools import pairwise
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from agent.nightly.facts.order_status import ControlMeasurement

BASELINE_NIGHTS = 25
SHOWN_NIGHTS = 60
FALSE_ALARMS = 0.01  # share of the nights on which nothing changed
RULES = 2  # "value" and "step"
D2 = 1.128  # mean range of two normal values, in standard deviations
WORTH = 0.62  # degrees of freedom per moving range (Wheeler)


@dataclass(frozen=True, slots=True)
class Individuals:
    """One measure of one source's control specimen, a value per night.

    Args:
        source: Name of the source.
        measure: "brightness" or "focus".
        nights: Nights with a value so far.
        usual: Mean of the baseline; 0.0 while it is gathered.
        low, high: The limits; 0.0 while the baseline is gathered.
        points: (night, value) after the baseline, the newest last.
        alarm: "value" where tonight is beyond the limits, "step" where it is too far from the night
            before it, "" for none or where tonight has no value.
        gathered: (night, value) of the baseline so far, while it is gathered.
    """

    source: str
    measure: str
    nights: int
    usual: float
    low: float
    high: float
    points: tuple[tuple[date, float], ...]
    alarm: str
    gathered: tuple[tuple[date, float], ...] = ()


def average_by_night(
    values: Iterable[ControlMeasurement], night_at: Callable[[datetime], date], night: date
) -> dict[tuple[str, str], list[tuple[date, float]]]:
    """Average measured values per source, measure and night, up to a night.

    Args:
        values: Of the control specimens.
        night_at: Returns the night of an instant.
        night: The last one that counts.

    Returns:
        (source, measure) → (night, mean), oldest first.
    """
    by_night: dict[tuple[str, str], dict[date, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for value in values:
        when = night_at(value.at)
        for measure, number in (("brightness", value.brightness), ("focus", value.focus)):
            if number is not None and when <= night:
                by_night[value.source, measure][when].append(number)
    return {
        key: [(when, fmean(numbers)) for when, numbers in sorted(nights.items())]
        for key, nights in sorted(by_night.items())
    }


def compute_alarm_level(series: int) -> float:
    """Return the chance of a false alarm that each rule of each chart may have tonight.

    Args:
        series: How many charts are compared with their baselines tonight.
    """
    return FALSE_ALARMS / max(1, series * RULES)


def is_ready(series: Sequence[tuple[date, float]]) -> bool:
    """Return whether the baseline is complete and a night has come after it."""
    return len(series) > BASELINE_NIGHTS


def chart(
    source: str, measure: str, series: Sequence[tuple[date, float]], night: date, level: float
) -> Individuals:
    """Compare the nights after the baseline with it.

    Args:
        source: Name of the source.
        measure: "brightness" or "focus".
        series: Night and value, oldest first.
        night: Tonight.
        level: Chance of a false alarm that each of the two rules may have tonight, in (0, 1).
    """
    from scipy.special import stdtrit  # noqa: PLC0415 - takes a fifth of a second

    if not is_ready(series):
        gathered = tuple(series[-SHOWN_NIGHTS:])
        return Individuals(source, measure, len(series), 0.0, 0.0, 0.0, (), "", gathered)
    baseline = [value for _when, value in series[:BASELINE_NIGHTS]]
    usual = fmean(baseline)
    sigma = fmean(abs(b - a) for a, b in pairwise(baseline)) / D2
    quantile = float(stdtrit(WORTH * (BASELINE_NIGHTS - 1), 1 - level / 2))
    reach = quantile * sigma * sqrt(1 + 1 / BASELINE_NIGHTS)
    (_, before), (when, last) = series[-2:]
    alarm = ""
    if when == night and abs(last - usual) > reach:
        alarm = "value"
    elif when == night and abs(last - before) > quantile * sigma * sqrt(2):
        alarm = "step"
    points = tuple(series[BASELINE_NIGHTS:][-SHOWN_NIGHTS:])
    return Individuals(
        source, measure, len(series), usual, usual - reach, usual + reach, points, alarm
    )
