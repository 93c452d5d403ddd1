"""Labelled micrographs, and their honest split.

In:  `Example`s. Out: a `Split` with no specimen on two sides. Next: `training`.
The order of the groups is that of a hash, so the same examples are always split the same way,
and examples that already had a side keep it when new ones come.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from model.errors import TaxonomyError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from model.framing import Field
    from model.taxonomy import Taxonomy


MIN_IMAGES = 3
"""A structure code needs one image on every side."""


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled micrograph, its pixels loaded only when asked for.

    Args:
        key: The micrograph's content hash (with page), unique.
        code: The structure code somebody gave it, such as "G8".
        group: What must stay on one side of a split: the specimen where known, else the key.
        load: Returns the field; called many times, so it reads from the archive.
        criterion: "mean", "max" or "unrecorded": which needle-length criterion the rater used.
        weight: How much a label counts in training, 1 by default.
        slices: Where known: "microscope", "magnification", "material", for evaluation.
    """

    key: str
    code: str
    group: str
    load: Callable[[], Field]
    criterion: str = "unrecorded"
    weight: float = 1.0
    slices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def fingerprint(examples: Iterable[Example]) -> str:
    """Name a data set by what is in it: another image, code or criterion, another name."""
    told = sorted((e.key, e.code, e.criterion) for e in examples)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def validate_examples(
    examples: Sequence[Example], taxonomy: Taxonomy, *, mixed_groups: bool = False
) -> tuple[list[Example], Taxonomy, list[str]]:
    """Check that examples can be trained on, and say what is left out.

    Args:
        examples: Every labelled micrograph; codes may be written as people write them.
        taxonomy: What they can be called.
        mixed_groups: Whether a group may hold several subtypes, as a plant or microscope does.

    Returns:
        The examples to train on, their codes in the taxonomy's spelling; the taxonomy, with codes
        that have no example marked untrained; and a sentence for everything left out or doubtful.

    Raises:
        TrainingError: A code is outside the taxonomy, a micrograph has two codes, a specimen two
            subtypes where the taxonomy allows one, a code has too few images, or fewer than two
            codes are left.
    """
    spelled = [_spelled(example, taxonomy) for example in examples]
    _no_conflict(spelled, taxonomy, mixed_groups=mixed_groups or taxonomy.several_subtypes)
    trained = set(taxonomy.trained_codes)
    counts = Counter(e.code for e in spelled)
    notes = [
        f"{counts[code]} micrographs of {code} are left out: the taxonomy does not teach it."
        for code in taxonomy.codes
        if counts[code] and code not in trained
    ]
    present = [code for code in taxonomy.trained_codes if counts[code]]
    if absent := [code for code in taxonomy.trained_codes if not counts[code]]:
        notes.append(f"No micrograph of {', '.join(absent)}; the bundle will not know them.")
    if not mixed_groups and (sentence := _far_apart(spelled, taxonomy)):
        notes.append(sentence)
    if few := [code for code in present if counts[code] < MIN_IMAGES]:
        shown = " and ".join(f"{code} has {counts[code]} images" for code in few)
        raise TrainingError(
            f"{shown}; a code needs at least {MIN_IMAGES}, one each to train, validate and test. "
            f"Label more, or train without: agent train --without {','.join(few)!r}."
        )
    if len(present) < 2:  # noqa: PLR2004 - one class is nothing to tell apart
        raise TrainingError(
            f"There are labelled images of {len(present)} structure codes; at least two are needed."
        )
    kept = {e.key: e for e in spelled if e.code in trained}
    return list(kept.values()), taxonomy.restricted_to(frozenset(present)), notes


def _spelled(example: Example, taxonomy: Taxonomy) -> Example:
    try:
        code = taxonomy.code(*taxonomy.parse(example.code))
    except TaxonomyError as error:
        raise TrainingError(f"Micrograph {example.key[:16]}: {error}") from error
    return Example(
        key=example.key,
        code=code,
        group=example.group,
        load=example.load,
        criterion=example.criterion,
        weight=example.weight,
        slices=example.slices,
    )


def _no_conflict(examples: Iterable[Example], taxonomy: Taxonomy, *, mixed_groups: bool) -> None:
    code_of: dict[str, str] = {}
    subtype_of: dict[str, str] = {}
    for example in examples:
        if code_of.setdefault(example.key, example.code) != example.code:
            raise TrainingError(
                f"Micrograph {example.key[:16]} has two labels, {code_of[example.key]} and "
                f"{example.code}; decide for one."
            )
        subtype, _ = taxonomy.parse(example.code)
        if subtype_of.setdefault(example.group, subtype) != subtype and not mixed_groups:
            raise TrainingError(
                f"Specimen {example.group} has micrographs of two subtypes, "
                f"{subtype_of[example.group]} and {subtype}. Correct a label, or write "
                'subtypes_per_specimen = "several" into the taxonomy if a specimen may have both.'
            )


def _far_apart(examples: Iterable[Example], taxonomy: Taxonomy) -> str:
    """Say which specimens have fields more than a neighbouring size apart, or ""."""
    places: dict[tuple[str, str], set[int]] = defaultdict(set)
    for example in examples:
        # Of one subtype each; where a specimen has one alone, those are all of its fields.
        subtype, _ = taxonomy.parse(example.code)
        places[example.group, subtype].add(taxonomy.codes.index(example.code))
    far = {at: (min(own), max(own)) for at, own in places.items() if max(own) - min(own) > 1}
    if not far:
        return ""
    (group, _), (coarse, fine) = next(iter(far.items()))
    return (
        f"Specimens with fields more than one size apart: {len(far)}, such as {group} with "
        f"{taxonomy.codes[coarse]} and {taxonomy.codes[fine]}; look whether both are meant."
    )
