"""How many labs without a change ever see an alarm, and how soon a change is found.

    python tests/bench/trends.py [--labs 10000] [--nights 1000] [--changed 1000] [--seed 0]

Each simulated lab has three sources, two furnaces and four codes, 7 specimens of 1 to 8 fields a
night, and 10 blind decisions. Every lab draws 300 reference images, and its p-values are ranks
among them, as the product computes them. Fields of a specimen share half of the variance of their
score. Nights are alike, or (a fifth of the labs) share a part of the variance; of the answers, in
that part of the nights three times as many are wrong. The evidence is computed by the functions of
`agent.nightly.facts.change_alarm`, for all labs at once; the interval of a share is Wilson's.

A new etch moves every score by 3 standard deviations: beyond what one of a thousand reference
images reaches. A drop takes 5 points from the agreement. Both come after 200 nights.
"""

from __future__ import annotations

import argparse

import numpy as np

from agent.nightly.facts.change_alarm import (
    BINS,
    compute_prior,
    compute_tail,
    compute_threshold,
    find_bins,
    weigh,
)
from model import wilson

KINDS = {"lab": 1, "source": 3, "furnace": 2, "class": 4}
SPECIMENS, FIELDS, DECISIONS = 7, 8, 10  # a night; fields at most
REFERENCES = 300
WITHIN = 0.5  # part of the variance of a score that fields of a specimen share
CHANGE_AT, AFTERWARDS = 200, 150  # nights
ETCH = 3.0  # standard deviations
DROP = 0.05
BATCH = 2500  # labs at once


class Watched:
    """The groups of one kind of some labs, by one measure."""

    def __init__(self, measure: str, labs: int, groups: int, first: int) -> None:
        self.measure, self.row = measure, np.arange(labs)
        self.counts = np.zeros((labs, groups, BINS[measure]), np.int64)
        self.evidence = np.zeros((labs, groups))
        self.thresholds = np.array([compute_threshold(first + n) for n in range(groups)])
        self.is_alarm = np.zeros(labs, bool)

    def begin_night(self, night: int) -> None:
        self.night = night + 1
        self.evidence += compute_prior(self.night)

    def count(self, group: np.ndarray, bins: np.ndarray, lots: np.ndarray) -> None:
        row = self.row
        counts, before = self.counts[row, group], self.evidence[row, group]
        after = weigh(self.measure, counts, before, bins, lots)
        self.evidence[row, group] = after
        self.counts[row, group, bins] += 1
        self.is_alarm |= after + compute_tail(self.night + 1) >= self.thresholds[group]


def make_watched(measure: str, labs: int) -> dict[str, Watched]:
    first, watched = 1, {}
    for kind, groups in KINDS.items():
        watched[kind] = Watched(measure, labs, groups, first)
        first += groups
    return watched


def draw_scores(rng: np.random.Generator, labs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the median score of a specimen's fields, and how many it has, of each lab."""
    fields = rng.integers(1, FIELDS + 1, labs)
    scores = np.sqrt(WITHIN) * rng.normal(size=(labs, 1))
    scores = scores + np.sqrt(1 - WITHIN) * rng.normal(size=(labs, FIELDS))
    scores[np.arange(FIELDS) >= fields[:, None]] = -np.inf
    scores.sort(axis=1)
    return scores[np.arange(labs), FIELDS - 1 - (fields - 1) // 2], fields


def run(
    measure: str,
    labs: int,
    nights: int,
    seed: int,
    *,
    shared: float = 0.0,
    usual: float = 0.97,
    change_at: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return of each lab whether it alarmed before a change, and after how many micrographs of it.

    Args:
        measure: "unusual" or "agreement".
        labs: How many.
        nights: How long.
        seed: Of the random numbers.
        shared: Part of the variance that scores of a night share; of answers, the part of all
            nights in which three times as many are wrong.
        usual: Mean agreement.
        change_at: Night of the change, or None.
    """
    rng = np.random.default_rng(seed)
    watched = make_watched(measure, labs)
    references = rng.normal(size=(labs, REFERENCES))
    right = usual + (1 - usual) * np.array([0.6, 0.2, -0.2, -0.6])  # by code
    early, found = np.zeros(labs, bool), np.full(labs, np.inf)
    seen = np.zeros(labs, np.int64)
    for night in range(nights):
        is_changed = change_at is not None and night >= change_at
        for each in watched.values():
            each.begin_night(night)
        of_night = rng.normal(size=labs) * np.sqrt(shared)
        is_bad = rng.random(labs) < shared
        for _ in range(SPECIMENS if measure == "unusual" else DECISIONS):
            group = {kind: rng.integers(0, n, labs) for kind, n in KINDS.items()}
            if measure == "unusual":
                score, fields = draw_scores(rng, labs)
                score = np.sqrt(1 - shared) * score + of_night + (ETCH if is_changed else 0)
                at_least = (references >= score[:, None]).sum(axis=1)
                bins = find_bins((1 + at_least) / (1 + REFERENCES))
            else:
                fields = np.ones(labs, np.int64)
                wrong = 1 - right[group["class"]] + (DROP if is_changed else 0)
                wrong = wrong * np.where(is_bad, 3, 1) / (1 + 2 * shared)
                bins = (rng.random(labs) >= wrong).astype(np.int64)
            if is_changed:
                seen += fields
            for kind, each in watched.items():
                each.count(group[kind], bins, rng.random(labs))
            alarm = np.any([each.is_alarm for each in watched.values()], axis=0)
            if is_changed:
                found[alarm & ~early & np.isinf(found)] = seen[alarm & ~early & np.isinf(found)]
            else:
                early |= alarm
    return early, found[~early]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--labs", type=int, default=10_000)
    ask.add_argument("--nights", type=int, default=1000)
    ask.add_argument("--changed", type=int, default=1000, help="labs of a change")
    ask.add_argument("--seed", type=int, default=0)
    given = ask.parse_args()
    for shared in (0.0, 0.1, 0.2):
        alarms = {}
        labs = given.labs if not shared else given.labs // 5
        for measure in BINS:
            batches = [
                run(measure, min(BATCH, labs - n), given.nights, given.seed + n, shared=shared)
                for n in range(0, labs, BATCH)
            ]
            alarms[measure] = np.concatenate([early for early, _found in batches])
        alarms["any"] = np.any(list(alarms.values()), axis=0)
        for name, ever in alarms.items():
            sure = wilson(int(ever.sum()), len(ever))
            print(
                f"no change, nights share {shared}: {name}: {ever.sum()} of {len(ever)} labs ever "
                f"alarm in {given.nights} nights, {100 * ever.mean():.2f} % "
                f"(95 % interval {100 * sure.low:.2f} to {100 * sure.high:.2f})",
                flush=True,
            )
    nights = CHANGE_AT + AFTERWARDS
    for measure, what in (("unusual", [0.97]), ("agreement", [0.99, 0.98, 0.97, 0.95])):
        for usual in what:
            early, found = run(
                measure, given.changed, nights, given.seed, usual=usual, change_at=CHANGE_AT
            )
            change = "a new etch" if measure == "unusual" else f"agreement of {usual} less {DROP}"
            low, mid, high = np.quantile(found, (0.25, 0.5, 0.75), method="higher")
            print(
                f"{change} after {CHANGE_AT} nights: found after {mid:.0f} micrographs (median; "
                f"quartiles {low:.0f} to {high:.0f}; {len(found)} labs, {early.sum()} before it)",
                flush=True,
            )


if __name__ == "__main__":
    main()
