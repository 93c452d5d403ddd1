"""Labelled micrographs: checks before training, and grouped splits."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from model.errors import TaxonomyError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from model.framing import Field
    from model.taxonomy import Taxonomy


MIN_IMAGES = 3
"""Images per structure code: one each for training, validation and test."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled micrograph; its pixels are loaded on demand.

    Args:
        key: Content hash of the micrograph, with page; unique.
        code: Structure code of the label, such as "G8".
        group: Examples of a group stay on one side of a split: the specimen if known, else the
            key.
        load: Returns the field; called many times, so it must read from the archive.
        criterion: Needle-length criterion of the rater: "mean", "max" or "unrecorded".
        weight: Weight of the label in the loss, 1 by default.
        slices: "microscope", "magnification" and "material" as far as known, for evaluation.
        file: Its file as a person knows it, or "".
    """

    key: str
    code: str
    group: str
    load: Callable[[], Field]
    criterion: str = "unrecorded"
    weight: float = 1.0
    slices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    file: str = ""

    @property
    def label(self) -> str:
        """How sentences name it: its file, and the id that pages and commands find it by."""
        digest, _, page = self.key.partition("-p")
        short = digest[:16] + (f"-p{page}" if page else "")
        name = "".join(
            letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in self.file
        )
        return f"{name} ({short})" if name else short


def fingerprint(examples: Iterable[Example]) -> str:
    """Compute a fingerprint of a dataset from its keys, codes and criteria, in any order.

    Returns:
        16 hex digits.
    """
    labels = sorted((e.key, e.code, e.criterion) for e in examples)
    return hashlib.sha256(json.dumps(labels).encode()).hexdigest()[:16]


def validate_examples(
    examples: Sequence[Example], taxonomy: Taxonomy, *, mixed_groups: bool = False
) -> tuple[list[Example], Taxonomy, list[str]]:
    """Check examples before training, and select those that are trained on.

    Args:
        examples: Every labelled micrograph; codes in any spelling that the taxonomy parses.
        taxonomy: The classes.
        mixed_groups: Whether a group may hold several subtypes, as a plant or microscope does.

    Returns:
        The examples to train on, their codes in the taxonomy's spelling; the taxonomy, with codes
        without examples marked as untrained; and one sentence per omission or suspect label.

    Raises:
        TrainingError: A code is not in the taxonomy, a micrograph has two codes, a specimen has
            two subtypes where the taxonomy allows one, a code has too few images, or fewer than
            two codes remain.
    """
    normalized = [_normalize_code(example, taxonomy) for example in examples]
    mixed_groups = mixed_groups or taxonomy.several_subtypes
    _require_consistent(normalized, taxonomy, mixed_groups=mixed_groups)
    trained = set(taxonomy.trained_codes)
    counts = Counter(e.code for e in normalized)
    notes = [
        f"{counts[code]} micrographs of {code} are left out: the taxonomy does not teach it."
        for code in taxonomy.codes
        if counts[code] and code not in trained
    ]
    present = [code for code in taxonomy.trained_codes if counts[code]]
    if absent := [code for code in taxonomy.trained_codes if not counts[code]]:
        notes.append(f"No micrograph of {', '.join(absent)}; the bundle will not know them.")
    if not mixed_groups and (sentence := _format_spread_note(normalized, taxonomy)):
        notes.append(sentence)
    if few := [code for code in present if counts[code] < MIN_IMAGES]:
        shown = " and ".join(f"{code} has {counts[code]} images" for code in few)
        raise TrainingError(
            f"{shown}; a code needs at least {MIN_IMAGES}, one each to train, validate and test. "
            f"Label more, or train without: agent train --without {','.join(few)!r}."
        )
    if len(present) < 2:  # noqa: PLR2004 - a classifier needs two classes
        raise TrainingError(
            f"There are labelled images of {len(present)} structure codes; at least two are needed."
        )
    selected = {e.key: e for e in normalized if e.code in trained}
    return list(selected.values()), taxonomy.restricted_to(frozenset(present)), notes


def _normalize_code(example: Example, taxonomy: Taxonomy) -> Example:
    try:
        code = taxonomy.code(*taxonomy.parse(example.code))
    except TaxonomyError as error:
        raise TrainingError(f"Micrograph {example.label}: {error}") from error
    return replace(example, code=code)


def _require_consistent(
    examples: Iterable[Example], taxonomy: Taxonomy, *, mixed_groups: bool
) -> None:
    code_of: dict[str, str] = {}
    subtype_of: dict[str, str] = {}
    for example in examples:
        if code_of.setdefault(example.key, example.code) != example.code:
            raise TrainingError(
                f"Micrograph {example.label} has two labels, {code_of[example.key]} and "
                f"{example.code}; decide for one."
            )
        subtype, _ = taxonomy.parse(example.code)
        if subtype_of.setdefault(example.group, subtype) != subtype and not mixed_groups:
            raise TrainingError(
                f"Specimen {example.group} has micrographs of two subtypes, "
                f"{subtype_of[example.group]} and {subtype}. Correct a label, or write "
                'subtypes_per_specimen = "several" into the taxonomy if a specimen may have both.'
            )


def _format_spread_note(examples: Iterable[Example], taxonomy: Taxonomy) -> str:
    """Format a note on specimens whose fields differ by more than one size, or return ""."""
    positions: dict[tuple[str, str], set[int]] = defaultdict(set)  # group, subtype → code indices
    for example in examples:
        subtype, _ = taxonomy.parse(example.code)
        positions[example.group, subtype].add(taxonomy.codes.index(example.code))
    spread = {at: (min(own), max(own)) for at, own in positions.items() if max(own) - min(own) > 1}
    if not spread:
        return ""
    (group, _), (coarse, fine) = next(iter(spread.items()))
    return (
        f"Specimens with fields more than one size apart: {len(spread)}, such as {group} with "
        f"{taxonomy.codes[coarse]} and {taxonomy.codes[fine]}; look whether both are meant."
    )


# --- grouped, stratified splits and folds: no specimen is on two sides ----------------------------
# Groups are processed in the order of a hash, so the same examples are always split the same way.


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
