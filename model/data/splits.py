"""Grouped, stratified splits and folds: no specimen is on two sides.

Groups are processed in the order of a hash, so the same examples are always split the same way.
"""

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
"""Share of the images of each structure code per side, as in Durmaz et al. 2023."""


@dataclass(frozen=True, slots=True)
class Split:
    """Training, validation and test sides; no group is on two of them.

    Args:
        train: Examples that networks are trained on.
        validation: Examples for the choice of the epoch and the calibration.
        test: Examples for the final evaluation only.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def examples(self) -> tuple[Example, ...]:
        """Those of every side."""
        return (*self.train, *self.validation, *self.test)

    def keys(self) -> dict[str, tuple[str, ...]]:
        """Return the sorted keys of each side."""
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
        kept: Keys per side ("train", "validation", "test") of an earlier split; their whole groups
            keep the side. A group with keys on several sides goes to test, else to validation.
        seed: Seed of the order of the groups.

    Returns:
        The split; it does not depend on the order of the examples.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.key):
        groups[example.group].append(example)
    fixed = _get_kept_sides(groups, kept or {})
    sides = dict(fixed)
    filled: dict[str, Counter[str]] = {side: Counter() for side in SIDES}
    for group, side in sides.items():
        filled[side].update(e.code for e in groups[group])
    for group in sorted(groups.keys() - sides.keys(), key=lambda g: _rank(g, seed)):
        sides[group] = _choose_side(Counter(e.code for e in groups[group]), filled, shares)
        filled[sides[group]].update(e.code for e in groups[group])
    for side, share in zip(SIDES, shares, strict=True):
        if share and side not in sides.values():
            sides |= _fill_empty_side(groups, sides, fixed.keys(), side)
    members: dict[str, list[Example]] = {side: [] for side in SIDES}
    for example in sorted(examples, key=lambda e: e.key):
        members[sides[example.group]].append(example)
    return Split(*(tuple(members[side]) for side in SIDES))


def _choose_side(
    counts: Counter[str], filled: Mapping[str, Counter[str]], shares: tuple[float, float, float]
) -> str:
    """Return the side with the largest shortfall of a group's codes, weighted by their counts."""

    def compute_shortfall(side: str, share: float) -> float:
        return sum(
            n * (share * (n + sum(filled[other][code] for other in SIDES)) - filled[side][code])
            for code, n in counts.items()
        )

    shortfalls = {
        side: compute_shortfall(side, share) for side, share in zip(SIDES, shares, strict=True)
    }
    return max(SIDES, key=shortfalls.__getitem__)


def _fill_empty_side(
    groups: Mapping[str, Sequence[Example]],
    sides: Mapping[str, str],
    fixed: Collection[str],
    side: str,
) -> dict[str, str]:
    """Choose a group to move to an empty side: first by codes lost elsewhere, then by size.

    Returns:
        The group and its new side; {} if no side can spare a group.
    """
    members = Counter(sides.values())
    movable = [g for g in groups if g not in fixed and members[sides[g]] > 1]
    if not movable:
        return {}

    def compute_loss(group: str) -> tuple[int, int, str]:
        remaining = (g for g in groups if sides[g] == sides[group] and g != group)
        codes_left = {e.code for g in remaining for e in groups[g]}
        return len({e.code for e in groups[group]} - codes_left), len(groups[group]), group

    return {min(movable, key=compute_loss): side}


def folds(
    examples: Sequence[Example], k: int, *, seed: int = 0
) -> list[tuple[tuple[Example, ...], tuple[Example, ...]]]:
    """Build k grouped, stratified folds.

    Returns:
        k pairs of (training, held out); every example is held out in exactly one of them.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.key):
        groups[example.group].append(example)
    filled: list[Counter[str]] = [Counter() for _ in range(k)]
    fold_of = {}
    for group in sorted(groups, key=lambda g: _rank(g, seed)):
        counts = Counter(e.code for e in groups[group])
        overlaps = [sum(n * codes[code] for code, n in counts.items()) for codes in filled]
        fold = min(range(k), key=lambda i: (overlaps[i], filled[i].total()))
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


def _get_kept_sides(
    groups: Mapping[str, Sequence[Example]], kept: Mapping[str, Iterable[str]]
) -> dict[str, str]:
    side_of = {key: side for side in SIDES for key in kept.get(side, ())}
    sides: dict[str, str] = {}
    for group, members in groups.items():
        if earlier := {side_of[e.key] for e in members if e.key in side_of}:
            sides[group] = next(side for side in ("test", "validation", "train") if side in earlier)
    return sides


def _rank(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()
