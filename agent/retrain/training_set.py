"""Collect labelled crops of the archive for training.

A reviewer who sees an answer leans to it. So a label counts if it was given without the model's
answer in view, was imported, or was given by two reviewers; the lab may settle on more or less.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from agent.labelled_import import get_key, get_slices, make_loader
from agent.retrain.label_use import (
    FEW_MICROGRAPHS,
    FEWEST_GROUPS,
    LEARNS_FROM,
    LabelUse,
    Use,
    decide_use,
    list_known,
)
from model import Example

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from agent.archive import Archive
    from agent.store import LabelledMicrograph, Store
    from model import Manifest, Taxonomy

USUAL_AREAS = (1 / 4, 4.0)
"""Areas, in medians of the training set, whose scores are corrected from measurements on the
reference images themselves; see `model.ood.score_normalization`."""


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
        strange: Kind → micrographs that reviewers called unusual.
        labels: Key → public id and number of the label.
        columns: Process data → how many of the examples have it.
        without_scale: Number of the examples without µm per pixel.
        areas_mm2: Area of the steel of each example with a scale.
        group_by: Column that a split keeps together; "" for the specimen.
    """

    examples: tuple[Example, ...]
    codes: Mapping[str, int]
    left_out: Mapping[str, int]
    corrected: frozenset[str] = frozenset()
    vouched: frozenset[str] = frozenset()
    control: frozenset[str] = frozenset()
    strange: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    columns: Mapping[str, int] = field(default_factory=dict)
    without_scale: int = 0
    areas_mm2: tuple[float, ...] = ()
    group_by: str = ""

    def new_since(self, manifest: Manifest) -> tuple[Example, ...]:
        """Return the examples that are in no part of a bundle's split, not even its test.

        An example it was trained on with its predecessor's answer alone is new with a reviewer's
        label.
        """
        known = list_known(manifest)
        return tuple(example for example in self.examples if example.key not in known)

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
        learned = manifest.learned_before_test if manifest else frozenset()
        return kept | {"test": (*kept.get("test", ()), *sorted(self.control - learned))}

    def for_training(self, manifest: Manifest | None) -> tuple[Example, ...]:
        """Return the examples without control samples of specimens that are trained on."""
        learned = manifest.learned_before_test if manifest else frozenset()
        groups = {e.group for e in self.examples if e.key in learned}
        return tuple(
            e
            for e in self.examples
            if e.key not in self.control or e.key in learned or e.group not in groups
        )


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
    kept: list[LabelledMicrograph] = []
    left_out: Counter[str] = Counter()
    uses: dict[int, LabelUse] = {}
    strange: dict[str, list[Example]] = defaultdict(list)
    for labelled in store.labelled_micrographs.list_all(kinds=("code", "strange")):
        use = uses[labelled.label.id] = decide_use(
            labelled,
            has_crop=archive.has_crop(labelled.sha256, labelled.page),
            taxonomy=taxonomy,
            learns_from=learns_from,
        )
        if labelled.label.kind == "code":
            if use.use is Use.UNUSED:
                left_out[use.obstacle] += 1
            else:
                kept.append(labelled)
        elif use.use is not Use.UNUSED:
            kind = labelled.label.strange_kind or "other"
            strange[kind].append(_example(labelled, archive, group_by))
    return Collected(
        examples=tuple(_example(labelled, archive, group_by) for labelled in kept),
        codes=dict(Counter(labelled.label.code or "" for labelled in kept)),
        left_out=dict(left_out),
        corrected=_keys(
            labelled for labelled in kept if labelled.seen_code not in (None, labelled.label.code)
        ),
        vouched=_keys(
            labelled for labelled in kept if labelled.is_confirmed or labelled.was_checked
        ),
        control=_keys(labelled for labelled in kept if uses[labelled.label.id].use is Use.TESTED),
        strange={kind: tuple(examples) for kind, examples in strange.items()},
        labels={
            get_key(labelled.sha256, labelled.page): (labelled.id, labelled.label.id)
            for labelled in kept
        },
        columns=Counter(
            name
            for labelled in kept
            for name, value in _merge_process_data(labelled).items()
            if value
        ),
        without_scale=sum(labelled.um_per_px is None for labelled in kept),
        areas_mm2=tuple(labelled.area_mm2 for labelled in kept if labelled.area_mm2),
        group_by=group_by,
    )


def list_gaps(collected: Collected) -> list[str]:
    """Return what the labelled micrographs lack for training, a sentence each.

    Scale comes first: a micrograph without it goes to review whatever is trained.
    """
    gaps = []
    total = len(collected.examples)
    if collected.without_scale:
        gaps.append(
            f"{collected.without_scale} of {total} micrographs have no scale. Micrographs without "
            "a scale go to review; give um_per_px in the manifest, or [[sources.objectives]]."
        )
    if sentence := _describe_unusual_areas(collected.areas_mm2):
        gaps.append(sentence)
    if few := {code: n for code, n in sorted(collected.codes.items()) if n < FEW_MICROGRAPHS}:
        gaps.append(f"Fewer than {FEW_MICROGRAPHS} micrographs: {_format_counts(few)}.")
    groups: dict[str, set[str]] = defaultdict(set)
    for example in collected.examples:
        groups[example.code].add(example.group)
    if close := {code: len(g) for code, g in sorted(groups.items()) if len(g) < FEWEST_GROUPS}:
        gaps.append(
            f"From fewer than {FEWEST_GROUPS} groups ({collected.group_by or 'specimens'}): "
            f"{_format_counts(close)}; one each is needed to train, validate and test."
        )
    return gaps


def _describe_unusual_areas(areas_mm2: Sequence[float]) -> str:
    """Return how many fields are far smaller or larger than the median one, or ""."""
    if not areas_mm2:
        return ""
    usual = median(areas_mm2)
    smallest, largest = (factor * usual for factor in USUAL_AREAS)
    smaller = sum(area < smallest for area in areas_mm2)
    larger = sum(area > largest for area in areas_mm2)
    if not smaller + larger:
        return ""
    return (
        f"Field size differs: {smaller} of {len(areas_mm2)} micrographs show less than a quarter "
        f"of the median area of {usual:.3g} mm², {larger} more than four times as much. Their "
        "scores are less certain; train on fields of one size where you can."
    )


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{code} ({n})" for code, n in counts.items())


def _keys(labels: Iterable[LabelledMicrograph]) -> frozenset[str]:
    return frozenset(get_key(label.sha256, label.page) for label in labels)


def _merge_process_data(label: LabelledMicrograph) -> dict[str, object]:
    return {**label.process_extra, **label.process_data}


def _example(labelled: LabelledMicrograph, archive: Archive, group_by: str) -> Example:
    return Example(
        key=get_key(labelled.sha256, labelled.page),
        code=labelled.label.code or "",
        group=str(_merge_process_data(labelled).get(group_by) or labelled.group),
        load=make_loader(
            archive,
            labelled.sha256,
            labelled.page,
            labelled.um_per_px,
            labelled.process_data.get("microscope", ""),
        ),
        criterion=labelled.label.criterion,
        slices=get_slices(labelled.process_data),
        file=labelled.file,
    )
