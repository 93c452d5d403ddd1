"""Monitor size numbers of batches, and brightness and focus of the control specimen.

A batch's fields are averaged. The first `BASELINE_BATCHES` batches of a material in one furnace are
the baseline, which then stays. A batch is compared with it by two rules: its own mean (individuals
chart, 3 sigma) and the cumulative sum of the deviations, which finds a slow coarsening that no
single batch shows.

A night's control micrographs are averaged. The first `BASELINE_NIGHTS` nights are the baseline and
stay it. The limits allow a night without change its share of the report's false alarms; they
include the uncertainty of so short a baseline: instead of 3 sigma the quantile of Student's t at
0.62 (n - 1) degrees of freedom (what the mean moving range is worth) times the root of 1 + 1/n, so
that the chance of a false alarm is the requested one.

Source:
    Montgomery, Introduction to Statistical Quality Control: individuals chart, 6.4 (sigma from the
    mean moving range, d2 = 1.128); tabular CUSUM, 9.1 (k = 0.5 sigma, h = 5 sigma: a false alarm
    in about 465 batches). Wheeler, Advanced Topics in SPC, table 1: degrees of freedom.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from math import sqrt
from statistics import fmean

from agent.nightly.facts.order_status import ControlMeasurement
from agent.store import MicrographView

BASELINE_BATCHES = 20
SHOWN_BATCHES = 60
D2 = 1.128  # mean range of two normal values, in standard deviations
LIMIT_SIGMA = 3.0
SLACK_SIGMA = 0.5
DECISION_SIGMA = 5.0
LEAST_SIGMA = 0.2
"""Size numbers are steps; batches that are all called the same differ by less than a step."""
SIZE = re.compile(r"(\d+)(?:-(\d+))?$")


@dataclass(frozen=True, slots=True)
class BatchSize:
    """Mean size number of one heat-treatment batch in one night.

    Args:
        material, furnace, batch: From the process data; the furnace is "" where it is not known.
        n: Fields with a size.
        size: Their mean size number; `9-10` counts as 9.5.
    """

    material: str
    furnace: str
    batch: str
    n: int
    size: float


@dataclass(frozen=True, slots=True)
class BatchPoint:
    """One batch on a chart.

    Args:
        batch: Its name.
        night: The last one with fields of it.
        size: Mean size number.
        cusum: Sum of the deviations, in size numbers; below 0 is coarser.
    """

    batch: str
    night: date
    size: float
    cusum: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchChart:
    """The batches of one material in one furnace.

    Args:
        material, furnace: As of `BatchSize`.
        batches: How many so far.
        usual: Mean of the baseline; 0.0 while it is gathered.
        sigma: Standard deviation of the baseline; 0.0 while it is gathered.
        points: The newest last, those of the baseline too while it is gathered.
        alarm: "value" where a batch of tonight is beyond the limits, "cusum" where the sum is, ""
            for none.
    """

    material: str
    furnace: str
    batches: int
    usual: float
    sigma: float
    points: tuple[BatchPoint, ...]
    alarm: str


def average_batches(micrographs: Iterable[MicrographView]) -> tuple[BatchSize, ...]:
    """Average the sizes of a night's fields per material, furnace and batch.

    A reviewer's code counts before the model's. Fields without a batch or a size are left out.
    """
    sizes: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for micrograph in micrographs:
        data = micrograph.process_data
        size = _find_size(micrograph)
        if data.get("batch") and size is not None:
            furnace = str(micrograph.process_extra.get("furnace", ""))
            sizes[data.get("material", ""), furnace, data["batch"]].append(size)
    return tuple(
        BatchSize(*key, n=len(values), size=round(fmean(values), 3))
        for key, values in sorted(sizes.items())
    )


def _find_size(micrograph: MicrographView) -> float | None:
    decision = micrograph.label
    if decision is not None:
        match = SIZE.search(decision.code or "") if decision.kind == "code" else None
        return fmean((int(match[1]), int(match[2] or match[1]))) if match else None
    low, high = micrograph.result.size_min, micrograph.result.size_max
    return None if low is None or high is None else fmean((low, high))


def chart_batches(
    earlier: Sequence[tuple[date, Sequence[BatchSize]]],
    night: date,
    tonight: Sequence[BatchSize],
) -> tuple[BatchChart, ...]:
    """Compare tonight's batches with those before them, per material and furnace.

    Args:
        earlier: Nights before tonight with their batches, in any order.
        night: Tonight.
        tonight: Its batches; furnaces without one tonight have no chart.
    """
    before = sorted(((day, sizes) for day, sizes in earlier if day < night), key=lambda day: day[0])
    keys = sorted({(entry.material, entry.furnace) for entry in tonight})
    nights = [*before, (night, tonight)]
    return tuple(_chart(*key, list(_merge(nights, *key)), night) for key in keys)


def _merge(
    nights: Sequence[tuple[date, Sequence[BatchSize]]], material: str, furnace: str
) -> Iterator[BatchPoint]:
    """Yield each batch with all its fields, in the sequence in which the batches came."""
    merged: dict[str, tuple[int, float, date]] = {}
    for day, sizes in nights:
        for entry in sizes:
            if (entry.material, entry.furnace) == (material, furnace):
                n, total, _day = merged.get(entry.batch, (0, 0.0, day))
                merged[entry.batch] = (n + entry.n, total + entry.n * entry.size, day)
    for batch, (n, total, day) in merged.items():
        yield BatchPoint(batch, day, round(total / n, 3))


def _chart(material: str, furnace: str, batches: list[BatchPoint], night: date) -> BatchChart:
    if len(batches) <= BASELINE_BATCHES:
        shown = tuple(batches[-SHOWN_BATCHES:])
        return BatchChart(material, furnace, len(batches), 0.0, 0.0, shown, "")
    baseline = [point.size for point in batches[:BASELINE_BATCHES]]
    usual = fmean(baseline)
    sigma = max(LEAST_SIGMA, fmean(abs(b - a) for a, b in pairwise(baseline)) / D2)
    points = tuple(_sum_up(batches[BASELINE_BATCHES:], usual, sigma))
    new = [point for point in points if point.night == night]
    is_beyond = any(abs(point.size - usual) > LIMIT_SIGMA * sigma for point in new)
    is_drifting = any(abs(point.cusum) > DECISION_SIGMA * sigma for point in new)
    return BatchChart(
        material,
        furnace,
        len(batches),
        round(usual, 3),
        round(sigma, 3),
        points[-SHOWN_BATCHES:],
        "value" if is_beyond else "cusum" if is_drifting else "",
    )


def _sum_up(points: Iterable[BatchPoint], usual: float, sigma: float) -> Iterator[BatchPoint]:
    """Yield the points with the larger of the two one-sided sums, the coarse one negative."""
    finer = coarser = 0.0
    for point in points:
        finer = max(0.0, finer + point.size - usual - SLACK_SIGMA * sigma)
        coarser = max(0.0, coarser + usual - point.size - SLACK_SIGMA * sigma)
        cusum = finer if finer > coarser else -coarser
        yield BatchPoint(point.batch, point.night, point.size, round(cusum, 3))


BASELINE_NIGHTS = 25
SHOWN_NIGHTS = 60
FALSE_ALARMS = 0.01  # share of the nights on which nothing changed
RULES = 2  # "value" and "step"
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
