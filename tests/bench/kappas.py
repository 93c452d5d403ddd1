"""How often the interval of a coefficient of agreement holds the truth, and how wide it is.

    python tests/bench/kappas.py [--quick] [--draws 400] [--seed 0]

Images are drawn from known populations: their classes of even or skewed frequency, raters who err
in 2 to 10 % of the images and guess in some, or whose answers vary from image to image (Dirichlet).
Two, three or fourteen raters, two, four or nine classes, each class for itself or with quadratic
weights. Fleiss' kappa, AC1 or AC2, share of equal pairs, and Cohen's kappa of two raters. Draws in
which the coefficient is not defined (one class alone) have no interval and do not count. Wanted: at
least 93 % at 10, 20 and 50 images in every population.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from agent.roundrobin.agreement_coefficients import (
    cohen,
    cohen_chance,
    fleiss_chance,
    gwet_chance,
    identity,
    no_chance,
    over_images,
    quadratic,
)
from model import Estimate, agreement_interval

SIZES = (5, 10, 20, 50)
IMAGES = 20_000
LEAST_DEFINED = 0.2
COEFFICIENTS = {"kappa": fleiss_chance, "AC": gwet_chance, "equal pairs": no_chance}


@dataclass(frozen=True)
class Population:
    """Images by what raters say of them, (images, k) probabilities."""

    name: str
    shares: np.ndarray
    weights: np.ndarray
    raters: int

    def truth(self, what: str) -> float:
        """Compute the coefficient of all images and of infinitely many raters."""
        shares, w = self.shares.mean(axis=0), self.weights
        k = len(shares)
        agreed = float(((self.shares @ w) * self.shares).sum(axis=1).mean())
        chance = {
            "kappa": float(shares @ w @ shares),
            "Cohen's kappa": float(shares @ w @ shares),
            "AC": float(w.sum()) / (k * (k - 1)) * float((shares * (1 - shares)).sum()),
            "equal pairs": 0.0,
        }[what]
        return (agreed - chance) / (1 - chance)


def populations(rng: np.random.Generator) -> Iterator[Population]:
    for k, raters, skewed in product((2, 4, 9), (2, 3, 14), (False, True)):
        often = np.r_[0.8, np.full(k - 1, 0.2 / (k - 1))] if skewed else np.full(k, 1 / k)
        drawn = {
            f"varies {c:g}": rng.dirichlet(np.maximum(often * c, 1e-3), IMAGES)
            for c in (0.1, 0.5, 3)
        }
        for errs, guessed in ((0.02, 0.0), (0.05, 0.0), (0.0, 0.1), (0.02, 0.1), (0.1, 0.1)):
            own = np.full((IMAGES, k), errs / (k - 1))
            own[np.arange(IMAGES), rng.choice(k, IMAGES, p=often)] = 1 - errs
            own[rng.random(IMAGES) < guessed] = often
            drawn[f"errs {errs:g}, guesses {guessed:g}"] = own
        for weights in (identity(k), quadratic(k)) if k > 2 else (identity(k),):
            kind = "quadratic" if weights[0, 1] else "same class"
            for name, shares in drawn.items():
                label = f"{k} classes {'skewed' if skewed else 'even'}, {raters} raters, {kind}, "
                yield Population(label + name, shares, weights, raters)


def estimate(what: str, population: Population, counts: np.ndarray, two: np.ndarray) -> Estimate:
    weights = population.weights
    if what != "Cohen's kappa":
        return over_images(counts, COEFFICIENTS[what], weights)
    one, other = two
    k = len(weights)
    return agreement_interval(
        len(one),
        lambda at: cohen(one[at], other[at], k, weights),
        cohen_chance(one, other, k, weights),
    )


def said(rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Draw what one rater says of each image."""
    return (
        (rng.random((len(shares), 1)) > shares.cumsum(axis=1))
        .sum(axis=1)
        .clip(max=shares.shape[1] - 1)
    )


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--draws", type=int, default=400)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument(
        "--quick", action="store_true", help="every seventh population, half the draws"
    )
    given = ask.parse_args()
    rng = np.random.default_rng(given.seed)
    chosen = list(populations(rng))[:: 7 if given.quick else 1]
    draws = given.draws // (2 if given.quick else 1)
    print(f"{len(chosen)} populations, {draws} draws of each; 2 standard errors: "
          f"{200 * (0.05 * 0.95 / draws) ** 0.5:.1f} points")  # fmt: skip
    for n, what in product(SIZES, (*COEFFICIENTS, "Cohen's kappa")):
        shares, widths = [], []
        for population in chosen:
            if what == "Cohen's kappa" and population.raters != 2:
                continue
            truth, held, width = population.truth(what), [], []
            for _ in range(draws):
                own = population.shares[rng.integers(0, IMAGES, n)]
                counts = rng.multinomial(population.raters, own)
                two = np.array([said(rng, own), said(rng, own)])
                found = estimate(what, population, counts, two)
                if found.low is not None and found.high is not None:
                    held.append(found.low - 1e-9 <= truth <= found.high + 1e-9)
                    width.append(found.high - found.low)
            if len(held) >= LEAST_DEFINED * draws:
                shares.append((float(np.mean(held)), population.name))
                widths.append(float(np.median(width)))
        worst, where = min(shares)
        print(
            f"n = {n:<3} {what:<14} held in {100 * np.mean([s for s, _ in shares]):5.1f} % on "
            f"average, at least {100 * worst:5.1f} % ({where}); width {np.mean(widths):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
