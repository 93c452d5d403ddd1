"""How often the gate passes a candidate that loses exactly what it may, and one that loses nothing.

    python tests/bench/gate.py [--quick] [--draws 2000] [--seed 0]

A candidate may lose 3 points. Each image of a specimen is lost, won or judged alike; how often is
the specimen's own (Dirichlet), so that two of its images flip together with the given correlation:
at 1 a specimen flips as a whole, at 0 its images are independent. "At the limit" loses 3 points
more than it wins; wanted: at most 5 % pass. "Equal" wins as many as it loses: what passes is the
price. The limit is asked of every draw, all checks of one draw in 50. The second table says how
often the interval of a share over specimens holds the truth.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from model import Evaluation, PairedEvaluation, compare_bundles, default_taxonomy
from model.evaluation.comparison import GateThresholds
from model.evaluation.evaluation import Case
from model.statistics import max_loss_in_clusters, wilson_in_clusters

STANDARD = default_taxonomy()
RIGHT, WRONG = "G8", "G7"
LIMIT = GateThresholds().may_lose
SIZES = {
    "90 specimens x 1": [1] * 90,
    "30 specimens x 3": [3] * 30,
    "20 specimens x 10": [10] * 20,
    "100 specimens x 3": [3] * 100,
    "60 specimens of 1 to 10": [1 + at % 10 for at in range(60)],
    "200 specimens x 3": [3] * 200,
}
CORRELATIONS = (0.0, 0.3, 0.6, 1.0)
WON = {"at the limit": (0.0, 0.01, 0.03), "equal": (0.005, 0.02)}
"""Share of the images that the candidate wins; at the limit it loses 3 points more."""
COMPARED = 50
"""One draw of so many is held against all checks."""


def case(key: int, group: int, *, right: bool) -> Case:
    probability = 0.9
    return Case(
        key=str(key),
        group=str(group),
        true=RIGHT,
        predicted=RIGHT if right else WRONG,
        probability=probability,
        true_probability=probability if right else 1 - probability,
        prediction_set=(RIGHT,),
        p_value=0.5,
        flagged=False,
        slices={},
    )


def drawn(
    rng: np.random.Generator, sizes: list[int], lost: float, won: float, correlation: float
) -> np.ndarray:
    """Draw how many images of each specimen are lost, won and judged alike, (specimens, 3)."""
    shares = np.array([lost, won, 1 - lost - won])
    if correlation == 0:
        own = np.tile(shares, (len(sizes), 1))
    elif correlation == 1:
        own = rng.multinomial(1, shares, len(sizes)).astype(float)
    else:
        own = rng.dirichlet(np.maximum(shares, 1e-9) * (1 / correlation - 1), len(sizes))
    return rng.multinomial(sizes, own)


def passes(counts: np.ndarray, sizes: list[int]) -> bool:
    lost, won, _same = counts.T.tolist()
    worst = max_loss_in_clusters(lost, won, sizes)
    return worst is not None and worst <= LIMIT


def pairs_of(counts: np.ndarray) -> list[tuple[Case, Case]]:
    """Make what both bundles say of each image; the one at work has every other image right."""
    pairs: list[tuple[Case, Case]] = []
    for group, kinds in enumerate(counts.tolist()):
        for kind, n in enumerate(kinds):
            pairs += [
                (case(at, group, right=kind != 1), case(at, group, right=kind != 0))
                for at in range(len(pairs), len(pairs) + n)
            ]
    return pairs


def finding(pairs: list[tuple[Case, Case]]) -> str:
    both = ([a for a, _ in pairs], [b for _, b in pairs])
    before, after = (
        Evaluation(name, STANDARD, tuple(cases), 0, 0.02, {})
        for name, cases in zip(("old", "new"), both, strict=True)
    )
    return str(
        compare_bundles(
            PairedEvaluation(before, after, new=frozenset(one.key for one in both[1]))
        ).finding
    )


def table(rng: np.random.Generator, draws: int) -> None:
    print(f"of {draws} draws so many pass, in %; findings of all checks, of {draws // COMPARED}:")
    for name, sizes in SIZES.items():
        for correlation in CORRELATIONS if max(sizes) > 1 else (0.0,):
            for what, wins in WON.items():
                for won in wins:
                    lost = won + (LIMIT if what == "at the limit" else 0.0)
                    passed, found = 0, Counter[str]()
                    for at in range(draws):
                        counts = drawn(rng, sizes, lost, won, correlation)
                        passed += passes(counts, sizes)
                        if at % COMPARED == 0:
                            found[finding(pairs_of(counts))] += 1
                    findings = ", ".join(f"{word} {n}" for word, n in sorted(found.items()))
                    print(
                        f"{name:<24} correlation {correlation:.1f}  {what:<12} won {100 * won:3.1f}"
                        f" %  {100 * passed / draws:5.1f}   {findings}",
                        flush=True,
                    )


def coverage(rng: np.random.Generator, draws: int) -> None:
    print(f"a share over specimens: its 95 % interval holds the truth, in % of {draws} draws:")
    for specimens, size in ((5, 3), (10, 3), (30, 3), (20, 10)):
        for correlation in CORRELATIONS[1:]:
            row = []
            for share in (0.6, 0.8, 0.95):
                held = 0
                for _ in range(draws):
                    a = share * (1 / correlation - 1)
                    own = (
                        (rng.random(specimens) < share).astype(float)
                        if correlation == 1
                        else rng.beta(a, (1 - share) * (1 / correlation - 1), specimens)
                    )
                    found = wilson_in_clusters(rng.binomial(size, own).tolist(), [size] * specimens)
                    held += (found.low or 0.0) <= share <= (found.high or 0.0)
                row.append(f"{share:.2f}: {100 * held / draws:5.1f}")
            print(f"{specimens} x {size}, correlation {correlation:.1f}   {'   '.join(row)}")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--draws", type=int, default=2000)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--quick", action="store_true", help="a tenth of the draws")
    given = ask.parse_args()
    draws = given.draws // (10 if given.quick else 1)
    rng = np.random.default_rng(given.seed)
    table(rng, draws)
    coverage(rng, draws)


if __name__ == "__main__":
    main()
