"""Watch the shares of strange and of doubtful specimens over the nights, without crying wolf.

In:  tonight's and earlier nights' tallies. Out: `Trend`s, one a material and share, each with what
it says of tonight. Next: `facts` freezes them, `page` draws them.

The unit is the specimen: its fields are no independent draws. The first `BASELINE_NIGHTS` nights
of a material under one bundle are its baseline, which then stays; a new bundle begins a new one.
A night is judged by what the baseline predicts (beta-binomial, Jeffreys' prior, so that a baseline
of few specimens alarms less readily), by two rules: tonight alone, and the run of nights above the
usual share that ends tonight. All charts and rules together alarm in at most `FALSE_ALARMS` of the
nights on which nothing changed.

Source:
    Exact limits instead of normal ones, because shares are near 0 and nights are small: Montgomery,
    Introduction to Statistical Quality Control, ch. 7. Run rules: Western Electric 1956, with the
    length of a run chosen by its probability instead of fixed at eight.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - pydantic reads it
from math import exp, lgamma
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

BASELINE_NIGHTS = 25
BASELINE_SPECIMENS = 50
FALSE_ALARMS = 0.01
RULES = 2
SHOWN_NIGHTS = 60
LONGEST_RUN = 60
MEASURES = ("strange", "doubtful")
CONTROL = ("control_sample",)


@dataclass(frozen=True, slots=True)
class Tally:
    """One night of one material under one bundle, counted in specimens.

    Args:
        material: As the process data says, "" where it does not. bundle: that judged them.
        specimens: How many. strange: of those with a strange field.
        doubtful: Of those with a field that went to review for another reason.
    """

    material: str
    bundle: str
    specimens: int
    strange: int
    doubtful: int


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
        material: Which. measure: "strange" or "doubtful". bundle: that judged.
        nights: Nights with specimens so far, tonight's too.
        usual_bad, usual_n: The baseline's specimens; both 0 while it is gathered.
        points: The nights after the baseline, the newest last; empty while it is gathered.
        alarm: "night", "run", or "" for none.
        run: How many nights in a row, tonight's the last, were above the usual share.
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


def tally(
    units: Iterable[tuple[str, str, str, bool, bool]],
) -> tuple[Tally, ...]:
    """Count a night.

    Args:
        units: Of each micrograph: its specimen (anything that tells one from another), material,
            bundle, whether it is strange, whether it is doubtful for another reason.
    """
    seen: dict[tuple[str, str], dict[str, tuple[bool, bool]]] = defaultdict(dict)
    for specimen, material, bundle, strange, doubtful in units:
        if bundle:
            held = seen[material, bundle].get(specimen, (False, False))
            seen[material, bundle][specimen] = held[0] or strange, held[1] or doubtful
    return tuple(
        Tally(
            material,
            bundle,
            specimens=len(found),
            strange=sum(strange for strange, _ in found.values()),
            doubtful=sum(doubtful for _, doubtful in found.values()),
        )
        for (material, bundle), found in sorted(seen.items())
    )


def trends(
    earlier: Sequence[tuple[date, Sequence[Tally]]], night: date, tonight: Sequence[Tally]
) -> tuple[Trend, ...]:
    """Say how tonight's shares stand beside the nights before it.

    Args:
        earlier: Nights before tonight with their tallies, in any order.
        night: Tonight.
        tonight: Its tallies.
    """
    nights = sorted([*(one for one in earlier if one[0] < night), (night, tonight)])
    series = {(t.material, t.bundle): _series(nights, t.material, t.bundle) for t in tonight}
    ready = {key: held for key, held in series.items() if _baseline(held) is not None}
    level = FALSE_ALARMS / max(1, len(ready) * len(MEASURES) * RULES)
    return tuple(
        _trend(material, bundle, measure, held, level)
        for (material, bundle), held in series.items()
        for measure in MEASURES
    )


def _series(
    nights: Sequence[tuple[date, Sequence[Tally]]], material: str, bundle: str
) -> list[tuple[date, Tally]]:
    return [
        (night, found)
        for night, tallies in nights
        for found in tallies
        if (found.material, found.bundle) == (material, bundle)
    ]


def _baseline(series: Sequence[tuple[date, Tally]]) -> int | None:
    """Say how many of the nights are the baseline, None as long as it is not whole."""
    specimens = 0
    for number, (_, found) in enumerate(series[:-1], start=1):
        specimens += found.specimens
        if number >= BASELINE_NIGHTS and specimens >= BASELINE_SPECIMENS:
            return number
    return None


def _trend(
    material: str, bundle: str, measure: str, series: Sequence[tuple[date, Tally]], level: float
) -> Trend:
    length = _baseline(series)
    if length is None:
        return Trend(material, measure, bundle, len(series), 0, 0, (), "", 0)
    usual_n = sum(found.specimens for _, found in series[:length])
    usual_bad = sum(_bad(found, measure) for _, found in series[:length])
    after = series[length:]
    points = [
        Point(night, t.specimens, _bad(t, measure), limit(usual_bad, usual_n, t.specimens, level))
        for night, t in after
    ]
    run = _run(points, usual_bad / usual_n)
    alarm = "night" if points[-1].bad > points[-1].limit else ""
    if not alarm and chance_of_run(usual_bad, usual_n, points[len(points) - run :]) < level:
        alarm = "run"
    shown = tuple(points[-SHOWN_NIGHTS:])
    return Trend(material, measure, bundle, len(series), usual_bad, usual_n, shown, alarm, run)


def _bad(found: Tally, measure: str) -> int:
    return found.strange if measure == "strange" else found.doubtful


def _run(points: Sequence[Point], usual: float) -> int:
    run = 0
    for point in reversed(points[-LONGEST_RUN:]):
        if point.bad <= usual * point.n:
            break
        run += 1
    return run


# --- the chances --------------------------------------------------------------------------------


def limit(usual_bad: int, usual_n: int, n: int, level: float) -> int:
    """Say the largest number of bad specimens that is no alarm.

    Args:
        usual_bad: Bad specimens of the baseline.
        usual_n: All of it.
        n: Specimens of the night.
        level: Chance of more than the limit where nothing changed, at most.
    """
    beyond = 0.0
    for bad in range(n, -1, -1):
        beyond += _chance(bad, n, usual_bad, usual_n)
        if beyond >= level:
            return bad
    return 0


def _chance(bad: int, n: int, usual_bad: int, usual_n: int) -> float:
    """Chance of just so many, by the baseline (beta-binomial, Jeffreys' prior)."""
    a, b = usual_bad + 0.5, usual_n - usual_bad + 0.5
    return exp(
        lgamma(n + 1)
        - lgamma(bad + 1)
        - lgamma(n - bad + 1)
        + _log_beta(bad + a, n - bad + b)
        - _log_beta(a, b)
    )


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def chance_of_run(usual_bad: int, usual_n: int, run: Sequence[Point]) -> float:
    """Chance that all nights of a run lie above the usual share where nothing changed.

    The nights share one unknown share, so their chances are multiplied for each value that the
    baseline allows, and only then averaged: else an unlucky baseline would alarm every week.
    """
    if not run:
        return 1.0
    share, weight = _allowed(usual_bad, usual_n)
    usual = usual_bad / usual_n
    together = np.ones_like(share)
    for point in run:
        together *= _above(int(usual * point.n), point.n, share)
    return float((together * weight).sum())


def _allowed(bad: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares that the baseline allows, with their weights (Jeffreys' posterior on a grid)."""
    angle = (np.arange(800) + 0.5) / 800 * np.pi / 2  # in the arc sine the posterior is even
    share = np.sin(angle) ** 2
    log = 2 * bad * np.log(np.sin(angle)) + 2 * (n - bad) * np.log(np.cos(angle))
    weight = np.exp(log - log.max())
    return share, weight / weight.sum()


def _above(most: int, n: int, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of more than `most` of `n`, for each share."""
    below = np.zeros_like(share)
    for bad in range(most + 1):
        ways = exp(lgamma(n + 1) - lgamma(bad + 1) - lgamma(n - bad + 1))
        below += ways * share**bad * (1 - share) ** (n - bad)
    return 1 - below
