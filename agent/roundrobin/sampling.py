"""Sample labelled micrographs for a round robin: all codes, and those near a limit.

A random sample is mostly easy and far from every limit, and would flatter raters and model alike:
at least a third is near a limit, and hard ones are as frequent as easy ones.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from agent.orders.judge.limit import find_bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.orders.judge.limit import Limit
    from model import Taxonomy

NEAR_SHARE = 1 / 3
"""Least share of the chosen ones that is next to a limit, where there are so many."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A micrograph that could be rated.

    Args:
        id: Public id.
        code: Its label.
        near: Its size is next to a limit, on either side.
        hard: The model gives another code, or is unsure of it.
    """

    id: str
    code: str
    near: bool
    hard: bool

    @property
    def stratum(self) -> str:
        """Why it was chosen, in words."""
        beside = ["near a limit"] * self.near
        return ", ".join([self.code, *beside, "hard" if self.hard else "easy"])


def choose(candidates: Sequence[Candidate], n: int, *, seed: int) -> list[Candidate]:
    """Choose n micrographs: all codes alike, a third near a limit, hard and easy in turn.

    Args:
        candidates: All that could be rated.
        n: How many are wanted; fewer come back where there are fewer.
        seed: Of the sample; the same seed, the same choice.
    """
    drawn = random.Random(seed).sample(list(candidates), len(candidates))
    chosen: list[Candidate] = []
    for pool, wanted in (
        ([candidate for candidate in drawn if candidate.near], math.ceil(n * NEAR_SHARE)),
        (drawn, n),
    ):
        left = [candidate for candidate in pool if candidate not in chosen]
        for candidate in _code_by_code(left, chosen):
            if len(chosen) >= wanted:
                break
            chosen.append(candidate)
    return chosen


def _code_by_code(left: Sequence[Candidate], chosen: Sequence[Candidate]) -> Iterator[Candidate]:
    """Yield candidates, always of the code that was chosen least so far."""
    queues = {
        code: _in_turn([candidate for candidate in left if candidate.code == code])
        for code in _codes(left)
    }
    counts = {code: sum(candidate.code == code for candidate in chosen) for code in queues}
    while queues:
        code = min(queues, key=lambda name: (counts[name], name))
        yield queues[code].pop(0)
        counts[code] += 1
        if not queues[code]:
            del queues[code]


def _codes(candidates: Sequence[Candidate]) -> set[str]:
    return {candidate.code for candidate in candidates}


def _in_turn(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Order hard and easy ones in turn, a hard one first."""
    halves = [
        [candidate for candidate in candidates if candidate.hard is hard] for hard in (True, False)
    ]
    ordered: list[Candidate] = []
    for half in cycle(halves):
        if not any(halves):
            return ordered
        if half:
            ordered.append(half.pop(0))
    return ordered


def is_near(code: str, limits: Sequence[tuple[str, Limit]], taxonomy: Taxonomy) -> bool:
    """Return whether a code's size is next to a limit: the last that keeps it, or the first not.

    Args:
        code: Of the taxonomy.
        limits: Each with its subtype.
        taxonomy: The codes and their order.
    """
    name, size = taxonomy.parse(code)
    subtype = taxonomy.subtype(name)
    sizes, at = subtype.sizes, subtype.rank(size)
    beside = [sizes[place] for place in (at - 1, at + 1) if 0 <= place < len(sizes)]
    bounds = [find_bound(limit, subtype) for own, limit in limits if own == name]
    return any(
        bound.keeps(sizes[at]) != bound.keeps(other)
        for bound in bounds
        if bound is not None
        for other in beside
    )


def count_strata(chosen: Sequence[Candidate]) -> Mapping[str, int]:
    """Count the chosen micrographs per stratum."""
    return Counter(sorted(candidate.stratum for candidate in chosen))
