"""Collect labelled crops of the archive for training.

A reviewer who sees an answer leans to it. So a label counts if it was given without the model's
answer in view, was imported, or was given by two reviewers; the lab may settle on more or less.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.imaging.crop import RECIPE
from agent.labelled_folder import key_of, loader, slices_of
from model import Example, TaxonomyError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from agent.archive import Archive
    from agent.store import LabelledMicrograph, Store
    from model import Manifest, Taxonomy

LEARNS_FROM = ("blind", "imported", "confirmed")
"""Labels that are trained on by default; "seen" is the fourth kind."""

_NOT_LEARNED = {
    "blind": "said without the answer in view",
    "imported": "imported",
    "confirmed": "said by two people",
    "seen": "said by one person with the model's answer in view",
}


@dataclass(frozen=True, slots=True)
class Collected:
    """Labelled micrographs for training.

    Args:
        examples: Labelled micrographs whose crops are in the archive.
        codes: Structure code → how many.
        left_out: Reason → how many labelled micrographs are not among them.
        corrected: Keys of those where a reviewer gave another code than the model before.
        vouched: Keys of those that two reviewers gave the same code, or one again after a
            suspicion.
        control: Keys of control samples: tested on, never trained on. Imported micrographs are not
            among them: they were not drawn, and one alone would pull its whole group to the test.
        contested: Keys of those whose import contradicts an earlier decision.
        strange: Kind → micrographs that reviewers called unusual.
        labels: Key → public id and number of the label.
        columns: Process data → how many of the examples have it.
    """

    examples: tuple[Example, ...]
    codes: Mapping[str, int]
    left_out: Mapping[str, int]
    corrected: frozenset[str] = frozenset()
    vouched: frozenset[str] = frozenset()
    control: frozenset[str] = frozenset()
    contested: frozenset[str] = frozenset()
    strange: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    columns: Mapping[str, int] = field(default_factory=dict)

    def new_since(self, manifest: Manifest) -> tuple[Example, ...]:
        """Return the examples that are in no part of a bundle's split, not even its test.

        An example it was trained on with its predecessor's answer alone is new with a reviewer's
        label.
        """
        seen = {key for keys in manifest.split.values() for key in keys}
        seen -= set(manifest.facts.get("data_set", {}).get("counting_less", ()))
        return tuple(example for example in self.examples if example.key not in seen)

    def news_to(self, manifest: Manifest, taught: Mapping[str, str]) -> tuple[Example, ...]:
        """Return the labels a bundle was not trained on: of images new to it, or changed since.

        Args:
            manifest: Of the bundle.
            taught: Key → structure code it was trained with.
        """
        unseen = {example.key for example in self.new_since(manifest)}
        return tuple(
            example
            for example in self.examples
            if example.key in unseen or taught.get(example.key, example.code) != example.code
        )

    def sides(self, manifest: Manifest | None) -> dict[str, tuple[str, ...]]:
        """Return the split sides that are fixed already, side → keys.

        A bundle's test images stay test images, and control samples become such. A specimen that is
        trained on already does not: `for_training` leaves its control samples out.

        Args:
            manifest: Of the active bundle, or None.
        """
        kept = dict(manifest.split) if manifest else {}
        return kept | {"test": (*kept.get("test", ()), *sorted(self.control))}

    def for_training(self, manifest: Manifest | None) -> tuple[Example, ...]:
        """Return the examples without control samples of specimens that are trained on."""
        learned = manifest.learned_from if manifest else frozenset()
        groups = {e.group for e in self.examples if e.key in learned}
        return tuple(e for e in self.examples if e.key not in self.control or e.group not in groups)


def collect(
    store: Store,
    archive: Archive,
    taxonomy: Taxonomy,
    *,
    group_by: str = "",
    learns_from: Collection[str] = LEARNS_FROM,
) -> Collected:
    """Collect every micrograph that has a structure code as its label, with its archived crop.

    Args:
        store: Has the labels.
        archive: The pixels.
        taxonomy: Codes outside it are counted, not trained on.
        group_by: A column of the process data that must not be on two sides of a split, instead of
            the specimen; "" for the specimen.
        learns_from: Which labels count: a subset of "blind", "imported", "confirmed" and "seen".
    """
    taken: list[LabelledMicrograph] = []
    left_out: Counter[str] = Counter()
    for one in store.labelled():
        reason = _why_not(one, archive.crop_path(one.sha256, one.page), taxonomy, learns_from)
        if reason:
            left_out[reason] += 1
        else:
            taken.append(one)
    strange: dict[str, list[Example]] = defaultdict(list)
    for one in store.labelled(kinds=("strange",)):
        if one.recipe == RECIPE and archive.crop_path(one.sha256, one.page).is_file():
            strange[one.strange_kind or "other"].append(_example(one, archive, group_by))
    return Collected(
        examples=tuple(_example(one, archive, group_by) for one in taken),
        codes=dict(Counter(one.code or "" for one in taken)),
        left_out=dict(left_out),
        corrected=_keys(one for one in taken if one.seen_code not in (None, one.code)),
        vouched=_keys(one for one in taken if one.is_confirmed or one.was_checked),
        control=_keys(one for one in taken if one.is_control and one.origin != "import"),
        contested=_keys(one for one in taken if one.is_contested),
        strange={kind: tuple(some) for kind, some in strange.items()},
        labels={key_of(one.sha256, one.page): (one.id, one.label_id) for one in taken},
        columns=Counter(name for one in taken for name, value in _told(one).items() if value),
    )


def _keys(some: Iterable[LabelledMicrograph]) -> frozenset[str]:
    return frozenset(key_of(one.sha256, one.page) for one in some)


def _told(one: LabelledMicrograph) -> dict[str, object]:
    return {**one.process_extra, **one.process_data}


def _example(one: LabelledMicrograph, archive: Archive, group_by: str) -> Example:
    return Example(
        key=key_of(one.sha256, one.page),
        code=one.code or "",
        group=str(_told(one).get(group_by) or one.group),
        load=loader(
            archive, one.sha256, one.page, one.um_per_px, one.process_data.get("microscope", "")
        ),
        criterion=one.criterion,
        slices=slices_of(one.process_data),
    )


def _why_not(
    one: LabelledMicrograph, crop: Path, taxonomy: Taxonomy, learns_from: Collection[str]
) -> str:
    try:
        taxonomy.parse(one.code or "")
    except TaxonomyError:
        return f"{one.code} is not in the taxonomy"
    if one.recipe != RECIPE:
        return f"cut by recipe {one.recipe}, not {RECIPE}: import it again"
    if not crop.is_file():
        return "its crop is no longer in the archive"
    if one.is_doubted:
        return "doubted, and nobody has looked again (agent review list --reason doubted_label)"
    ways = _ways(one)
    return "" if ways & set(learns_from) else f"{_NOT_LEARNED[min(ways)]} (retrain.learns_from)"


def _ways(one: LabelledMicrograph) -> set[str]:
    """Return the ways in which a label came about."""
    if one.label_origin == "import":
        way = "imported"
    else:
        way = "blind" if one.blind or one.seen_code is None else "seen"
    return {way, "confirmed"} if one.is_confirmed else {way}
