"""Monitor the shares of unusual and of doubtful specimens over the nights, with few false alarms.

The unit is the specimen: its fields are no independent draws. The first `BASELINE_NIGHTS` nights
of a material under one bundle are its baseline, which then stays; a new bundle begins a new one.
A night is compared with what the baseline predicts (`baseline`: how far its nights differ counts,
and few specimens alarm less readily), by two rules: tonight alone, and the run of nights above the
usual share that ends tonight. All charts and rules together alarm in at most `FALSE_ALARMS` of the
nights on which nothing changed.

Source:
    Exact limits instead of normal ones, because shares are near 0 and nights are small: Montgomery,
    Introduction to Statistical Quality Control, ch. 7. Run rules: Western Electric 1956, with the
    length of a run chosen by its probability instead of fixed at eight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - pydantic reads it
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agent.nightly.spc.baseline import fit_baseline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.nightly.spc.baseline import Baseline

BASELINE_NIGHTS = 25
BASELINE_SPECIMENS = 50
FALSE_ALARMS = 0.01  # share of the nights on which nothing changed
RULES = 2  # "night" and "run"
SHOWN_NIGHTS = 60
LONGEST_RUN = 60
LEAST_POOLED = 30  # specimens of a drift test
PERMUTATIONS = 1999
MEASURES = ("strange", "doubtful")
CONTROL = ("control_sample",)


@dataclass(frozen=True, slots=True)
class Tally:
    """One night of one material under one bundle, counted in specimens.

    Args:
        material: From the process data, "" where it is not known.
        bundle: Whose answers they are.
        specimens: How many.
        strange: Of those, with an unusual field.
        doubtful: Of those, with a field that was flagged for another reason.
        codes: Structure code → specimens of which it is the most frequent, by the code.
    """

    material: str
    bundle: str
    specimens: int
    strange: int
    doubtful: int
    codes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """One night on a chart: `bad` of `n` specimens; above `limit` is an alarm."""

    night: date
    n: int
    bad: int
    limit: int


@dataclass(frozen=True, slots=True)
class Trend:
    """One share of one material.

    Args:
        material: From the process data.
        measure: "strange" or "doubtful".
        bundle: Whose answers they are.
        nights: Nights with specimens so far, tonight included.
        usual_bad, usual_n: The baseline's specimens; both 0 while it is gathered.
        points: The nights after the baseline, the newest last; empty while it is gathered.
        alarm: "night", "run", or "" for none.
        run: How many nights in a row, tonight's the last, were above the usual share.
        gathered: The nights of the baseline so far, while it is gathered; their limit is 0.
        spread: How far the baseline's nights differ: standard deviation of the log rate, None while
            it is gathered, and in reports from before it was stored.
    """

    material: str
    measure: str
    bundle: str
    nights: int
    usual_bad: int
    usual_n: int
    points: tuple[Point, ...]
    alarm: str
    run: int
    spread: float | None = None
    gathered: tuple[Point, ...] = ()


class Unit(NamedTuple):
    """What a tally counts of one micrograph.

    Args:
        specimen: Anything that is equal for fields of one specimen alone.
        material, bundle: Of the micrograph.
        strange: Whether it is unusual.
        doubtful: Whether it was flagged for another reason.
        code: The model's.
    """

    specimen: str
    material: str
    bundle: str
    strange: bool
    doubtful: bool
    code: str = ""


def tally(units: Iterable[Unit]) -> tuple[Tally, ...]:
    """Count a night's micrographs in specimens, per material and bundle."""
    units_by_specimen: dict[tuple[str, str], dict[str, list[Unit]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for unit in units:
        if unit.bundle:
            units_by_specimen[unit.material, unit.bundle][unit.specimen].append(unit)
    return tuple(
        Tally(
            material,
            bundle,
            specimens=len(specimens),
            strange=sum(any(field.strange for field in fields) for fields in specimens.values()),
            doubtful=sum(any(field.doubtful for field in fields) for fields in specimens.values()),
            codes=tuple(sorted(Counter(map(_commonest, specimens.values())).items())),
        )
        for (material, bundle), specimens in sorted(units_by_specimen.items())
    )


def _commonest(fields: Sequence[Unit]) -> str:
    counts = Counter(field.code for field in fields)
    return min(counts, key=lambda code: (-counts[code], code))


def compute_alarm_level(series: int) -> float:
    """Return the chance of a false alarm that each rule of each chart may have tonight.

    Args:
        series: How many charts are compared with their baselines tonight.
    """
    return FALSE_ALARMS / max(1, series * RULES)


def count_ready_charts(
    earlier: Sequence[tuple[date, Sequence[Tally]]], night: date, tonight: Sequence[Tally]
) -> int:
    """Return how many charts of shares have a complete baseline tonight."""
    nights = _append_tonight(earlier, night, tonight)
    series = [_series(nights, entry.material, entry.bundle) for entry in tonight]
    return len(MEASURES) * sum(_baseline(chart_nights) is not None for chart_nights in series)


def _append_tonight(
    earlier: Sequence[tuple[date, Sequence[Tally]]], night: date, tonight: Sequence[Tally]
) -> list[tuple[date, Sequence[Tally]]]:
    before = sorted(
        (night_tallies for night_tallies in earlier if night_tallies[0] < night),
        key=lambda night_tallies: night_tallies[0],
    )
    return [*before, (night, tonight)]


def trends(
    earlier: Sequence[tuple[date, Sequence[Tally]]],
    night: date,
    tonight: Sequence[Tally],
    level: float | None = None,
) -> tuple[Trend, ...]:
    """Compare tonight's shares with the nights before it.

    Args:
        earlier: Nights before tonight with their tallies, in any order.
        night: Tonight.
        tonight: Its tallies.
        level: See `compute_alarm_level`; None: these charts are all there are.
    """
    nights = _append_tonight(earlier, night, tonight)
    series = {(t.material, t.bundle): _series(nights, t.material, t.bundle) for t in tonight}
    level = (
        compute_alarm_level(count_ready_charts(earlier, night, tonight)) if level is None else level
    )
    return tuple(
        _trend(material, bundle, measure, chart_nights, level)
        for (material, bundle), chart_nights in series.items()
        for measure in MEASURES
    )


def _series(
    nights: Sequence[tuple[date, Sequence[Tally]]], material: str, bundle: str
) -> list[tuple[date, Tally]]:
    return [
        (night, entry)
        for night, tallies in nights
        for entry in tallies
        if (entry.material, entry.bundle) == (material, bundle)
    ]


def _baseline(series: Sequence[tuple[date, Tally]]) -> int | None:
    """Return how many of the nights are the baseline, None while it is gathered."""
    specimens = 0
    for number, (_, entry) in enumerate(series[:-1], start=1):
        specimens += entry.specimens
        if number >= BASELINE_NIGHTS and specimens >= BASELINE_SPECIMENS:
            return number
    return None


def _trend(
    material: str, bundle: str, measure: str, series: Sequence[tuple[date, Tally]], level: float
) -> Trend:
    length = _baseline(series)
    if length is None:
        gathered = tuple(
            Point(night, t.specimens, _bad(t, measure), 0) for night, t in series[-SHOWN_NIGHTS:]
        )
        return Trend(material, measure, bundle, len(series), 0, 0, (), "", 0, gathered=gathered)
    usual_n = sum(entry.specimens for _, entry in series[:length])
    usual_bad = sum(_bad(entry, measure) for _, entry in series[:length])
    usual = usual_bad / usual_n
    baseline = fit_baseline(tuple((_bad(t, measure), t.specimens) for _, t in series[:length]))
    points = [
        Point(night, t.specimens, _bad(t, measure), limit(baseline, t.specimens, level))
        for night, t in series[length:]
    ]
    run = _run(points, usual)
    alarm = "night" if points[-1].bad > points[-1].limit else ""
    above = [(int(usual * point.n), point.n) for point in points[len(points) - run :]]
    if not alarm and run and baseline.chance_of_run(above) < level:
        alarm = "run"
    shown = tuple(points[-SHOWN_NIGHTS:])
    return Trend(
        material=material,
        measure=measure,
        bundle=bundle,
        nights=len(series),
        usual_bad=usual_bad,
        usual_n=usual_n,
        points=shown,
        alarm=alarm,
        run=run,
        spread=round(baseline.spread, 3),
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """A test whether the mix of structure codes of the newest specimens is that of the baseline.

    Args:
        material: From the process data.
        bundle: Whose answers they are.
        n: Newest specimens, pooled over as many nights as it takes.
        nights: How many nights that are.
        usual_n: Specimens of the baseline.
        p_value: Chance of a mix at least as different where nothing changed, by permutation.
    """

    material: str
    bundle: str
    n: int
    nights: int
    usual_n: int
    p_value: float


def drifts(
    earlier: Sequence[tuple[date, Sequence[Tally]]], night: date, tonight: Sequence[Tally]
) -> tuple[Drift, ...]:
    """Test the newest specimens' codes against the baseline's; small nights are pooled.

    There is no alarm: what is ordered changes the mix as well as what goes wrong.
    """
    nights = _append_tonight(earlier, night, tonight)
    drifts = (_drift(_series(nights, entry.material, entry.bundle), night) for entry in tonight)
    return tuple(drift for drift in drifts if drift is not None)


def _drift(series: Sequence[tuple[date, Tally]], night: date) -> Drift | None:
    length = _baseline(series)
    if length is None or any(not entry.codes for _night, entry in series):
        return None
    newest: Counter[str] = Counter()
    nights = 0
    for _night, entry in reversed(series[length:]):
        newest.update(dict(entry.codes))
        nights += 1
        if newest.total() >= LEAST_POOLED:
            break
    if newest.total() < LEAST_POOLED:
        return None
    usual: Counter[str] = Counter()
    for _night, entry in series[:length]:
        usual.update(dict(entry.codes))
    p_value = compute_permutation_p(usual, newest, seed=night.toordinal())
    last = series[-1][1]
    return Drift(last.material, last.bundle, newest.total(), nights, usual.total(), p_value)


def compute_permutation_p(usual: Counter[str], newest: Counter[str], *, seed: int) -> float:
    """Return how often a random split of all specimens differs at least as much as theirs.

    Args:
        usual: Code → specimens of the baseline.
        newest: Code → the newest specimens.
        seed: Of the permutations, so that a night gives the same value again.

    Returns:
        A p-value in (0, 1].

    Source:
        The permutation test of homogeneity with Pearson's statistic; (b + 1) / (m + 1) as in
        Phipson and Smyth 2010, so that it is never 0.
    """
    codes = sorted(usual.keys() | newest.keys())
    both = np.array([usual[code] + newest[code] for code in codes])  # (k,)
    n = newest.total()
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(both, n, size=PERMUTATIONS)  # (m, k)
    expected = both * n / both.sum()  # (k,)
    # With fixed margins Pearson's statistic over both rows is this one times a constant.
    distances = ((drawn - expected) ** 2 / expected).sum(axis=1)
    observed = ((np.array([newest[code] for code in codes]) - expected) ** 2 / expected).sum()
    return float((1 + (distances >= observed - 1e-9).sum()) / (1 + PERMUTATIONS))


def _bad(entry: Tally, measure: str) -> int:
    return entry.strange if measure == "strange" else entry.doubtful


def _run(points: Sequence[Point], usual: float) -> int:
    run = 0
    for point in reversed(points[-LONGEST_RUN:]):
        if point.bad <= usual * point.n:
            break
        run += 1
    return run


@lru_cache(maxsize=512)
def limit(baseline: Baseline, n: int, level: float) -> int:
    """Return the largest number of bad specimens that is no alarm.

    Args:
        baseline: What is usual.
        n: Specimens of the night.
        level: Largest chance of more than the limit where nothing changed, in (0, 1).
    """
    beyond = np.cumsum(baseline.chances(n)[::-1])[::-1]  # of so many or more
    return int(np.flatnonzero(beyond >= level).max(initial=0))
