"""How often the bound of a miss rate holds, where the runs of a specimen are more or less alike.

    python tests/bench/msa.py [--quick] [--draws 2000] [--seed 0]

Non-conforming specimens are missed in a share of their runs that is their own (beta): at a
correlation of 1 a specimen is missed in all its runs or in none. Wanted: the one-sided bound holds
in at least 95 %. In brackets the bound over runs as if they were independent.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from agent.orders.judge.limit import read_limit
from agent.roundrobin.capability import Measured, StudyRun, at_limit
from model import default_taxonomy, upper_bound

TAXONOMY, LIMIT = default_taxonomy(), read_limit("8 or finer")


def missed(rng: np.random.Generator, specimens: int, runs: int, rate: float, alike: float):
    """Draw in how many runs each specimen is missed."""
    if alike == 0:
        own = np.full(specimens, rate)
    elif alike == 1:
        own = (rng.random(specimens) < rate).astype(float)
    else:
        own = rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), specimens)
    return rng.binomial(runs, own).tolist()


def bound(misses: list[int], runs: int) -> float:
    measured = [
        Measured(
            StudyRun(at * runs + run, 1, f"S{at}", "A", "LOM", run), "G7", "G8" if run < n else "G7"
        )
        for at, n in enumerate(misses)
        for run in range(runs)
    ]
    return at_limit(measured, "G", LIMIT, TAXONOMY).miss.bound or 0.0


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--draws", type=int, default=2000)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--quick", action="store_true", help="a tenth of the draws")
    given = ask.parse_args()
    rng, draws = np.random.default_rng(given.seed), given.draws // (10 if given.quick else 1)
    worst = 1.0
    for specimens, runs in ((5, 8), (20, 4), (20, 16), (59, 8)):
        for alike, rate in product((0.0, 0.3, 0.6, 1.0), (0.02, 0.1, 0.3)):
            held, naive, bounds = 0, 0, []
            for _ in range(draws):
                misses = missed(rng, specimens, runs, rate, alike)
                bounds.append(bound(misses, runs))
                held += bounds[-1] >= rate
                naive += (upper_bound(sum(misses), specimens * runs) or 0.0) >= rate
            worst = min(worst, held / draws)
            print(
                f"{specimens:>2} specimens x {runs:<2} runs, correlation {alike:.1f}, missed "
                f"{100 * rate:2.0f} %: holds in {100 * held / draws:5.1f} % "
                f"({100 * naive / draws:5.1f} %), on average {100 * np.mean(bounds):.1f} %",
                flush=True,
            )
    print(f"at the least {100 * worst:.1f} %")


if __name__ == "__main__":
    main()
