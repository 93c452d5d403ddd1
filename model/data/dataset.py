"""Labelled micrographs, and the checks before training on them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from model.errors import TaxonomyError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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
