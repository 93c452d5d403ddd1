"""How often what is stated of a risk is true: reviewers, a mean of fields, lengths of needles.

    python tests/bench/risks.py [--quick] [--draws 2000] [--seed 0]

*False "conforms".* Two reviewers miss a break with the same probability; the bound of
`estimate_reviewer_errors` should be at least it in 95 % of labs. In the first rows half of the
double reviews show a field of size 7 or 8 at a limit of 8, the others are far from it, where no one
errs. A reviewer errs in a specimen alike (beta; correlation rho), or both err in the same fields
(a bias), which shows against reference values only. In brackets the bound over all double reviews
as if they were independent.

*Mean of fields.* Size numbers round a true mean of 7.8 at a limit of 8; fields are added one by one
until the mean keeps the limit. The chance to conform should not exceed that of a fixed number.

*Needles.* Each field has its own median; the interval of a quantile over its fields should hold the
true one in 95 % of specimens.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np

from agent.orders.facts.specimen_facts import FieldDecision, FieldFacts, LabelFacts, SpecimenFacts
from agent.orders.judge.conformity import judge_specimen
from agent.orders.judge.decision_rule import estimate_reviewer_errors
from agent.orders.judge.judgement_rules import Rules
from agent.orders.specifications.specification import Specification
from agent.store import DoubleReview
from model import default_taxonomy, upper_bound
from model.needles.lengths import LENGTH_EDGES_UM, LengthDistribution, estimate_quantile

AT = datetime(2026, 11, 24, tzinfo=UTC)
DEMANDED = Specification.model_validate(
    {
        "name": "ring-a",
        "valid_from": "2026-01-01",
        "approved_by": "R. Stahl",
        "chart": "chart",
        "material": "100Cr6",
        "subtype": ["G"],
        "limit": "8 or finer",
        "criterion": "mean",
        "fields": 3,
        "specimen_rule": "mean_of_fields",
    }
)
RULES = Rules(DEMANDED, default_taxonomy(), "100Cr6")
WANTED = 0.95
LEAST_SHOWN = 0.92


def draw_rates(rng, specimens: int, rate: float, rho: float):
    """Draw the share that a reviewer misses in each specimen."""
    if rho == 0:
        return np.full(specimens, rate)
    a = 1 / rho - 1
    return rng.beta(rate * a, (1 - rate) * a, specimens)


def review(rng, specimens: int, each: int, *, rate: float, rho: float, shared: float):
    """Yield double reviews; a share of the errors is the same for both reviewers."""
    own = [draw_rates(rng, specimens, rate, rho) for _ in range(2)]
    for specimen in range(specimens):
        for _ in range(each):
            together, both = rng.random() < shared, rng.random()
            missed = [(both if together else rng.random()) < rates[specimen] for rates in own]
            kind = rng.random()
            if kind < 0.25:  # breaks next to the limit
                codes, answers = ["G8" if miss else "G7" for miss in missed], ("G7", "G8")
            elif kind < 0.5:  # keeps it there; called breaking as often
                codes, answers = ["G7" if miss else "G8" for miss in missed], ("G8",)
            else:
                codes = ["G5" if kind < 0.75 else "G9-10"] * 2
                answers = (codes[0],)
            yield DoubleReview((codes[0], codes[1]), AT, f"1/{specimen}", "100Cr6", answers)


def read_references(rng, specimens: int, rate: float):
    for n in range(specimens):
        code = "G8" if rng.random() < rate else "G7"
        yield DoubleReview((code, "G7"), AT, f"2/{n}", "100Cr6", ("G7",), is_reference=True)


def bound_reviewers(rng, draws: int) -> float:
    """Print the coverage of the bound; return the least of those that it is stated for."""
    least = 1.0
    scenes = {
        "independent": (150, 1, 0.05, 0.0, 0.0, 0),
        "breaks next to the limit, 0.30": (149, 1, 0.30, 0.0, 0.0, 0),
        "the same, 12 specimens": (12, 4, 0.30, 0.0, 0.0, 0),
        "clustered, rho 0.5": (50, 4, 0.10, 0.5, 0.0, 0),
        "clustered, rho 0.9": (50, 4, 0.10, 0.9, 0.0, 0),
        "clustered, rho 0.9, 0.30": (50, 4, 0.30, 0.9, 0.0, 0),
        "half of the errors shared, 40 references": (150, 1, 0.20, 0.0, 0.5, 40),
        "a bias of both, 40 references": (150, 1, 0.20, 0.0, 1.0, 40),
        "a bias of both, no reference": (150, 1, 0.20, 0.0, 1.0, 0),
    }
    for name, (specimens, each, rate, rho, shared, references) in scenes.items():
        held, naive, bounds = 0, 0, []
        for _ in range(draws):
            made = list(review(rng, specimens, each, rate=rate, rho=rho, shared=shared))
            known = list(read_references(rng, references, rate))
            errors = estimate_reviewer_errors([*made, *known], RULES)
            bound = max(
                errors.near.upper95, errors.reference.upper95 if errors.reference.n else 0.0
            )
            faults = sum(RULES.keeps(two.codes[0]) != RULES.keeps(two.codes[1]) for two in made)
            naive += (upper_bound(faults, len(made)) or 0.0) >= rate
            bounds.append(bound)
            held += bound >= rate
        is_stated = not shared or references
        least = min(least, held / draws) if is_stated else least
        print(
            f"  {name}: missed {rate:.2f}, holds in {held / draws:.3f} ({naive / draws:.3f}), on "
            f"average {np.mean(bounds):.2f}{'' if is_stated else '; named as not bounded'}",
            flush=True,
        )
    return least


def stop_early(rng, draws: int) -> bool:
    """Print the chance to conform by a fixed and by a chosen number of fields."""
    never_more = True
    for mean, spread, demanded, most in ((7.8, 0.8, 3, 12), (7.8, 0.8, 5, 20), (7.5, 0.5, 3, 30)):
        rules = replace(RULES, specification=DEMANDED.model_copy(update={"fields": demanded}))
        fixed = stopped = naive = 0
        for _ in range(draws):
            drawn = np.clip(np.rint(rng.normal(mean, spread, most)), 5, 9)
            sizes = [int(size) if size < 9 else "9-10" for size in drawn]
            means = np.cumsum(np.where(drawn == 9, 9, drawn)) / np.arange(1, most + 1)
            naive += bool((means[demanded - 1 :] >= 8).any())
            passes = [_conforms(sizes[:n], rules) for n in range(demanded, most + 1)]
            fixed += passes[0]
            stopped += any(passes)
        never_more &= stopped <= fixed
        print(
            f"  true mean {mean}, limit 8, {demanded} to {most} fields: a fixed number conforms in "
            f"{fixed / draws:.3f}, fields added until it does in {stopped / draws:.3f} (all fields "
            f"alike {naive / draws:.3f})",
            flush=True,
        )
    return never_more


def _conforms(sizes: list[object], rules: Rules) -> bool:
    fields = tuple(_reviewed(n, f"G{size}") for n, size in enumerate(sizes))
    return judge_specimen(SpecimenFacts("01", "1", fields), rules).conformity == "conforms"


def _reviewed(n: int, code: str) -> FieldFacts:
    return FieldFacts(
        f"{n:016x}",
        str(n),
        code=code,
        codes=(code,),
        um_per_px=0.2,
        area_mm2=0.1,
        decided=FieldDecision("code", code, "Ada", "mean"),
        labels=(LabelFacts("code", code, "Ada"),),
        came_at=(AT + timedelta(minutes=n),),
    )


def draw_fields(rng, n_fields: int, needles: int) -> list[LengthDistribution]:
    """Draw the needles of fields; each field has its own median."""
    edges = LENGTH_EDGES_UM
    fields = []
    for middle in rng.normal(math.log(12.0), 0.12, n_fields):
        lengths = np.exp(rng.normal(middle, 0.45, rng.poisson(needles)))
        counts = np.histogram(lengths, edges)[0].astype(float)
        areas = np.histogram(lengths, edges, weights=lengths**1.5)[0]
        fields.append(LengthDistribution(counts, areas))
    return fields


def measure_needles(rng, draws: int) -> float:
    """Print the coverage of the intervals of quantiles; return the least of those shown."""
    least = 1.0
    steel = draw_fields(rng, 3000, 300)
    for share, n_fields, needles in product(
        (0.5, 0.9, 0.99), (5, 10, 20, 40), (30, 100, 300, 1300)
    ):
        truth = estimate_quantile(steel, share)
        held, shown, widths = 0, 0, []
        for _ in range(draws):
            estimate = estimate_quantile(
                draw_fields(rng, n_fields, needles), share, is_calibrated=True
            )
            if truth and estimate and estimate.low_um and estimate.high_um:
                shown += 1
                held += estimate.low_um <= truth.value_um <= estimate.high_um
                widths.append(estimate.high_um / estimate.value_um)
        least = min(least, held / shown) if shown else least
        word = f"holds in {held / shown:.3f}, +{np.mean(widths) - 1:.0%}" if shown else "not shown"
        print(
            f"  L{100 * share:.0f}, {n_fields:2} fields of {needles:3} needles: {word}", flush=True
        )
    return least


def main() -> int:
    ask = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ask.add_argument("--draws", type=int, default=2000)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--quick", action="store_true", help="a tenth of the draws")
    ask.add_argument("--only", choices=("reviewers", "mean", "needles"))
    given = ask.parse_args()
    rng, draws = np.random.default_rng(given.seed), given.draws // (10 if given.quick else 1)
    sound = True
    if given.only in {None, "reviewers"}:
        print(f'upper 95 % bound of a false "conforms", {draws} labs each')
        sound &= bound_reviewers(rng, draws) >= WANTED - slack(draws)
    if given.only in {None, "mean"}:
        print(f"mean of fields, {draws} specimens each")
        sound &= stop_early(rng, draws)
    if given.only in {None, "needles"}:
        print(f"intervals of needle lengths, {draws} specimens each")
        sound &= measure_needles(rng, draws) >= LEAST_SHOWN - slack(draws)
    return 0 if sound else 3


def slack(draws: int) -> float:
    """Return what chance takes from a coverage of 95 %, three standard errors."""
    return 3 * math.sqrt(WANTED * (1 - WANTED) / draws)


if __name__ == "__main__":
    sys.exit(main())
