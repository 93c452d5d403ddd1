"""How often a report's charts alarm where nothing changed, and after how many nights where it did.

    python tests/bench/trends.py [--quick] [--labs 200] [--nights 200] [--seed 0] [--per-night 30]

Simulated labs: about 30 micrographs a night (the more, the better one sees that nights differ),
specimens of 1 to 8 fields that share their fate in part, three materials whose mix changes every
night, 14 nights of which nothing comes. Two microscopes take 1 to 8 fields of their control
specimen every night; half of the variance of brightness (normal) and of focus (log-normal) is the
night's own and shared by its fields. All charts of a report share its false alarms, as in
`agent.nightly.facts.collect`.

Each night multiplies either share by a factor of its own, log-normal with median 1; its logarithm
has a standard deviation of 0, 0.5 or 1. Charts alarm of more than usual alone: a halved share is
listed to show that it raises no alarm. The unit is a report after the first 40 nights. A lab keeps
its baseline, lucky or not, so its reports are no independent draws: the interval comes from drawing
labs again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from agent.nightly.facts.order_status import ControlMeasurement
from agent.nightly.spc.individuals_chart import average_by_night, chart, is_ready
from agent.nightly.spc.p_chart import (
    MEASURES,
    Tally,
    compute_alarm_level,
    count_ready_charts,
    trends,
)

FIRST = date(2026, 1, 1)
USUAL = {"strange": 0.02, "doubtful": 0.12}
MICROSCOPES = ("LOM-01", "LOM-02")
EMPTY_NIGHTS = 14
BRIGHTNESS, BRIGHTNESS_SD = 128.0, 3.0
FOCUS_SPREAD = 0.08
SETTLED = 40
LABS_OF_A_CHANGE = 20
DRAWS = 5000
SPREADS = (0.0, 0.5, 1.0)
FORTNIGHT = 14


@dataclass(frozen=True)
class Change:
    """What happens to a lab, from a night on."""

    at: int = 10**6
    shares: float = 1.0
    lamp: float = 1.0
    spread: float = 0.0
    micrographs: int = 30


def night_of(
    rng: np.random.Generator, usual: dict[str, float], micrographs: int
) -> tuple[Tally, ...]:
    counts: dict[str, list[int]] = {}
    mix, left = rng.dirichlet([1, 1, 1]), micrographs
    while left > 0:
        fields = int(rng.integers(1, 9))
        left -= fields
        held = counts.setdefault(f"material {rng.choice(3, p=mix)}", [0, 0, 0])
        held[0] += 1
        for number, measure in enumerate(MEASURES, start=1):
            own = rng.beta(2 * usual[measure], 2 * (1 - usual[measure]))  # what its fields share
            held[number] += bool(rng.random() < 1 - (1 - own) ** max(1, fields // 3))
    return tuple(Tally(name, "bundle", *found) for name, found in sorted(counts.items()))


def control_of(rng: np.random.Generator, night: date, lamp: float) -> list[ControlMeasurement]:
    values = []
    for source in MICROSCOPES:
        own = rng.normal(size=2)
        for field in range(int(rng.integers(1, 9))):
            brightness, focus = (own + rng.normal(size=2)) / np.sqrt(2)
            at = datetime(night.year, night.month, night.day, 9, field, tzinfo=UTC)
            values.append(
                ControlMeasurement(
                    source,
                    at,
                    lamp * BRIGHTNESS + BRIGHTNESS_SD * float(brightness),
                    float(np.exp(FOCUS_SPREAD * focus)),
                )
            )
    return values


def lab(nights: int, seed: int, change: Change) -> list[tuple[bool, bool]]:
    """Return for each settled night whether a chart of shares, and one of a control, alarmed."""
    rng, history, said = np.random.default_rng(seed), [], []
    vary = np.random.default_rng((seed, 1))
    empty = set(rng.choice(nights, EMPTY_NIGHTS, replace=False).tolist())
    days = [FIRST + timedelta(days=number) for number in range(nights)]
    values = []
    tallies = []
    for number, night in enumerate(days):
        changed = number >= change.at
        shares = change.shares if changed else 1.0
        own = np.exp(change.spread * vary.normal(size=len(USUAL)))
        usual = {
            name: min(0.9, share * shares * factor)
            for (name, share), factor in zip(USUAL.items(), own.tolist(), strict=True)
        }
        tallies.append(() if number in empty else night_of(rng, usual, change.micrographs))
        if number not in empty:
            values += control_of(rng, night, change.lamp if changed else 1.0)
    series = average_by_night(values, lambda at: at.date(), days[-1])
    for number, (night, tonight) in enumerate(zip(days, tallies, strict=True)):
        if number >= SETTLED:
            until = {k: [one for one in held if one[0] <= night] for k, held in series.items()}
            charts = count_ready_charts(history, night, tonight) + sum(
                map(is_ready, until.values())
            )
            level = compute_alarm_level(charts)
            shares = any(trend.alarm for trend in trends(history, night, tonight, level))
            control = any(chart(*k, held, night, level).alarm for k, held in until.items())
            said.append((shares, control))
        history.append((night, tonight))
    return said


def interval(alarms: np.ndarray) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of the share of alarms; (labs, nights)."""
    each = alarms.mean(axis=1)
    drawn = np.random.default_rng(0).choice(each, (DRAWS, len(each))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--labs", type=int, default=200)
    ask.add_argument("--nights", type=int, default=200)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--quick", action="store_true", help="a tenth of the labs")
    ask.add_argument("--per-night", type=int, default=30, help="micrographs")
    given = ask.parse_args()
    labs = max(2, given.labs // (10 if given.quick else 1))
    seeds = range(given.seed, given.seed + labs)
    for spread in SPREADS:
        quiet = np.array(  # (labs, nights, 2)
            [
                lab(given.nights, seed, Change(spread=spread, micrographs=given.per_night))
                for seed in seeds
            ]
        )
        print(f"nothing changed, log-sd of the nights {spread}, {labs} labs:")
        for name, alarms in (
            ("any alarm", quiet.any(axis=2)),
            ("charts of shares", quiet[..., 0]),
            ("charts of control specimens", quiet[..., 1]),
        ):
            low, high = interval(alarms)
            print(
                f"  {name}: {alarms.sum()} of {alarms.size} reports, {alarms.mean():.4f} "
                f"(95 % interval {low:.4f} to {high:.4f}; limit 0.01)",
                flush=True,
            )
    for spread in SPREADS:
        for what, change in (
            ("shares half as large", Change(100, shares=0.5, spread=spread)),
            ("shares 2 times as large", Change(100, shares=2.0, spread=spread)),
            ("shares 4 times as large", Change(100, shares=4.0, spread=spread)),
            ("the lamp 10 % darker", Change(100, lamp=0.9, spread=spread)),
        ):
            waits = []
            for seed in seeds[:LABS_OF_A_CHANGE]:
                chart_kind = 1 if change.lamp != 1 else 0
                busy = replace(change, micrographs=given.per_night)
                alarms = [one[chart_kind] for one in lab(given.nights, seed, busy)]
                after = alarms[100 - SETTLED :]
                waits.append(after.index(True) + 1 if True in after else len(after) + 1)
            noticed = sum(wait <= FORTNIGHT for wait in waits)
            print(
                f"{what}, log-sd {spread}: first alarm after {np.median(waits):.0f} nights (median,"
                f" n = {len(waits)}); within {FORTNIGHT} nights in {noticed} labs",
                flush=True,
            )


if __name__ == "__main__":
    main()
