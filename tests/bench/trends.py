"""How often trend charts alarm where nothing changed, and after how many nights where it did.

    python tests/bench/trends.py [--labs 60] [--nights 200] [--seed 0]

Simulated labs: about 30 micrographs a night, specimens of 1 to 8 fields that share their fate in
part, three materials whose mix changes every night, 14 empty nights a year. The unit is a night
with a report after the first 40.
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta

import numpy as np

from agent.night.trends import MEASURES, Tally, trends
from model import wilson

FIRST = date(2026, 1, 1)
USUAL = {"strange": 0.02, "doubtful": 0.12}


def night_of(rng: np.random.Generator, usual: dict[str, float]) -> tuple[Tally, ...]:
    counts: dict[str, list[int]] = {}
    mix, left = rng.dirichlet([1, 1, 1]), 0 if rng.random() < 14 / 365 else 30
    while left > 0:
        fields = int(rng.integers(1, 9))
        left -= fields
        held = counts.setdefault(f"material {rng.choice(3, p=mix)}", [0, 0, 0])
        held[0] += 1
        for number, measure in enumerate(MEASURES, start=1):
            own = rng.beta(2 * usual[measure], 2 * (1 - usual[measure]))  # what its fields share
            held[number] += bool(rng.random() < 1 - (1 - own) ** max(1, fields // 3))
    return tuple(Tally(name, "bundle", *found) for name, found in sorted(counts.items()))


def lab(nights: int, seed: int, factor: float, changed_at: int) -> list[bool]:
    """Say of each night after the fortieth whether its report had an alarm."""
    rng, history, said = np.random.default_rng(seed), [], []
    for number in range(nights):
        usual = {k: v * (factor if number >= changed_at else 1) for k, v in USUAL.items()}
        night, tonight = FIRST + timedelta(days=number), night_of(rng, usual)
        found = trends(history, night, tonight)
        if number >= 40:
            said.append(any(one.alarm for one in found))
        history.append((night, tonight))
    return said


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--labs", type=int, default=60)
    ask.add_argument("--nights", type=int, default=200)
    ask.add_argument("--seed", type=int, default=0)
    given = ask.parse_args()
    seeds = range(given.seed, given.seed + given.labs)
    quiet = [alarm for seed in seeds for alarm in lab(given.nights, seed, 1.0, given.nights)]
    share = wilson(sum(quiet), len(quiet))
    print(f"nothing changed: {sum(quiet)} of {len(quiet)} reports with an alarm")
    print(f"  {share.value:.4f} (95 % interval {share.low:.4f} to {share.high:.4f}; limit 0.01)")
    for factor in (2.0, 4.0):
        waits = []
        for seed in seeds:
            after = lab(given.nights, seed, factor, 100)[60:]
            waits.append(after.index(True) + 1 if True in after else len(after) + 1)
        print(f"shares {factor:g} times as large: first alarm after {np.median(waits):.0f} nights")


if __name__ == "__main__":
    main()
