"""Split labelled images by specimen: training, validation and test sides, and folds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from model.data.dataset import Example


SIDES = ("train", "validation", "test")

SHARES = (0.64, 0.16, 0.20)
"""Of the images of each structure code, per side; the paper's."""


@dataclass(frozen=True, slots=True)
class Split:
    """The three sides; no group is on two of them.

    Args:
        train: What networks learn from.
        validation: What chooses the best epoch, and calibrates probabilities.
        test: What is looked at once, at the end.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    def keys(self) -> dict[str, tuple[str, ...]]:
        """Give the keys of each side, sorted, for a bundle."""
        sides = zip(SIDES, (self.train, self.validation, self.test), strict=True)
        return {side: tuple(sorted(e.key for e in examples)) for side, examples in sides}


def split(
    examples: Sequence[Example],
    *,
    shares: tuple[float, float, float] = SHARES,
    kept: Mapping[str, Iterable[str]] | None = None,
    seed: int = 0,
) -> Split:
    """Split examples by group, with the same share of every structure code on each side.

    Args:
        examples: Every labelled micrograph.
        shares: Of training, validation and test; they sum to 1.
        kept: Keys per side ("train", "validation", "test") that already have one; their whole
            groups keep it. A group with keys on several sides goes to test, then validation.
        seed: Another seed gives another split.

    Returns:
        The split; the same examples and seed give the same one, in whatever order they come.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.key):
        groups[example.group].append(example)
    settled = _kept_sides(groups, kept or {})
    sides = dict(settled)
    filled: dict[str, Counter[str]] = {side: Counter() for side in SIDES}
    for group, side in sides.items():
        filled[side].update(e.code for e in groups[group])
    for group in sorted(groups.keys() - sides.keys(), key=lambda g: _rank(g, seed)):
        sides[group] = _most_lacking_side(Counter(e.code for e in groups[group]), filled, shares)
        filled[sides[group]].update(e.code for e in groups[group])
    for side, share in zip(SIDES, shares, strict=True):
        if share and side not in sides.values():
            sides |= _draw_spared(groups, sides, settled.keys(), side)
    taken: dict[str, list[Example]] = {side: [] for side in SIDES}
    for example in sorted(examples, key=lambda e: e.key):
        taken[sides[example.group]].append(example)
    return Split(*(tuple(taken[side]) for side in SIDES))


def _most_lacking_side(
    own: Counter[str], filled: Mapping[str, Counter[str]], shares: tuple[float, float, float]
) -> str:
    """Say which side lacks most of what a group holds; an order holds several codes."""

    def lacking(side: str, share: float) -> float:
        return sum(
            n * (share * (n + sum(filled[other][code] for other in SIDES)) - filled[side][code])
            for code, n in own.items()
        )

    lacks = {side: lacking(side, share) for side, share in zip(SIDES, shares, strict=True)}
    return max(SIDES, key=lacks.__getitem__)


def _draw_spared(
    groups: Mapping[str, Sequence[Example]],
    sides: Mapping[str, str],
    settled: Collection[str],
    side: str,
) -> dict[str, str]:
    """Give an empty side the smallest group that another one can spare, or nothing."""
    members = Counter(sides.values())
    free = [g for g in groups if g not in settled and members[sides[g]] > 1]
    if not free:
        return {}

    def missed(group: str) -> tuple[int, int, str]:
        beside = (g for g in groups if sides[g] == sides[group] and g != group)
        left = {e.code for g in beside for e in groups[g]}
        return len({e.code for e in groups[group]} - left), len(groups[group]), group

    return {min(free, key=missed): side}


def folds(
    examples: Sequence[Example], k: int, *, seed: int = 0
) -> list[tuple[tuple[Example, ...], tuple[Example, ...]]]:
    """Give k pairs of (rest, held out); every example is held out once, groups stay together."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.key):
        groups[example.group].append(example)
    filled: list[Counter[str]] = [Counter() for _ in range(k)]
    fold_of = {}
    for group in sorted(groups, key=lambda g: _rank(g, seed)):
        own = Counter(e.code for e in groups[group])
        there = [sum(n * held[code] for code, n in own.items()) for held in filled]
        fold = min(range(k), key=lambda i: (there[i], filled[i].total()))
        fold_of[group] = fold
        filled[fold].update(e.code for e in groups[group])
    ordered = sorted(examples, key=lambda e: e.key)
    return [
        (
            tuple(e for e in ordered if fold_of[e.group] != fold),
            tuple(e for e in ordered if fold_of[e.group] == fold),
        )
        for fold in range(k)
    ]


def _kept_sides(
    groups: Mapping[str, Sequence[Example]], kept: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    side_of = {key: side for side in SIDES for key in kept.get(side, ())}
    sides: dict[str, str] = {}
    for group, members in groups.items():
        if had := {side_of[e.key] for e in members if e.key in side_of}:
            sides[group] = next(side for side in ("test", "validation", "train") if side in had)
    return sides


def _rank(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()
