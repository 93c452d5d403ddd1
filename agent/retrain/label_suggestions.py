"""Find suspect labels before training, and micrographs whose label would pay most.

A reviewer decides on both without seeing the earlier decision or the model's answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.labelled_import import make_loader
from model import (
    Classifier,
    Estimate,
    LabelIssue,
    Progress,
    find_label_issues,
    find_mixed_specimens,
    find_near_duplicates,
    fit_learning_curve,
    inspect_labels,
    merge_groups,
    predict_out_of_sample,
    select_diverse,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.archive import Archive
    from agent.retrain.training_set import Collected
    from agent.store import MicrographView, Store
    from model import Example, InspectedImage, LearningCurve


_SENTENCES = {
    "twin": "show the same place as a micrograph of another code",
    "specimen": "are of another subtype than their specimen",
    "label": "resemble micrographs of another code",
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """Labelled micrographs for training, and the suspect labels.

    Args:
        collected: Without the suspect ones, if the lab leaves them out; micrographs that show the
            same place are one specimen in it.
        doubts: The suspect labels, each with the reason.
    """

    collected: Collected
    doubts: tuple[LabelIssue, ...]

    def sentence(self) -> str:
        """Return the suspect labels in a few words, "" for none."""
        strange = Counter(issue.code for issue in self.doubts if issue.kind == "stranger")
        counted = Counter(issue.kind for issue in self.doubts)
        return "; ".join(
            (
                *(
                    f"{n} labelled {code} are unlike the reference images (another "
                    "material, or another preparation?)"
                    for code, n in sorted(strange.items())
                ),
                *(f"{counted[kind]} {text}" for kind, text in _SENTENCES.items() if counted[kind]),
                *(
                    f"of {code} the networks know {right} of {of}"
                    for code, (right, of) in sorted(self._list_known().items())
                ),
            )
        )

    def _list_known(self) -> dict[str, tuple[int, int]]:
        """Return code → how many of its images the heads that suspect a label assign rightly."""
        return {issue.code: (issue.right, issue.of) for issue in self.doubts if issue.of}


def clean_labels(
    collected: Collected,
    current: Path,
    *,
    leave_out: bool = True,
    alpha: float = 0.02,
    several_subtypes: bool = False,
) -> Iterator[Progress[None] | Cleaned]:
    """Inspect every labelled image once, and find suspect labels.

    Args:
        collected: Labelled micrographs.
        current: Folder of the active bundle.
        leave_out: Whether suspect labels are left out of training and test; one of another subtype
            than its specimen, which cannot be trained on, is left out either way.
        alpha: False-alarm rate from the settings, in (0, 1).
        several_subtypes: Whether a specimen may have several subtypes.

    Yields:
        `Progress`, last a `Cleaned`.
    """
    classifier = Classifier.load(current, alpha=alpha)
    new = {example.key for example in collected.new_since(classifier.manifest)}
    for step in inspect_labels(classifier, collected.examples):
        yield Progress(step.stage, step.done, step.total)
        if step.result is not None:
            mixed = classifier.manifest.facts["plan"].get("mixed_groups") or several_subtypes
            result = step.result
            yield _find_issues(collected, result, classifier, new, leave_out=leave_out, mixed=mixed)


def _find_issues(
    collected: Collected,
    inspected: Sequence[InspectedImage],
    classifier: Classifier,
    new: set[str],
    *,
    leave_out: bool,
    mixed: bool,
) -> Cleaned:
    same_place = list(find_near_duplicates([image.signature for image in inspected]))
    collected = replace(collected, control=_add_copies(collected.control, inspected, same_place))
    issues = find_label_issues(
        inspected,
        classifier.taxonomy,
        same_place=same_place,
        new=new,
        vouched=collected.vouched,
    )
    alike = [(a, b) for a, b in same_place if inspected[a].code == inspected[b].code]
    examples = merge_groups([image.example for image in inspected], alike)
    dropped = {issue.key for issue in issues} if leave_out else set()
    if not mixed:
        left = [example for example in examples if example.key not in dropped]
        two_subtype_issues = list(
            find_mixed_specimens(left, classifier.taxonomy, new=new, vouched=collected.vouched)
        )
        issues += two_subtype_issues
        dropped |= {issue.key for issue in two_subtype_issues}
    unique = {issue.key: issue for issue in reversed(issues)}
    return Cleaned(_without(collected, examples, dropped), tuple(unique.values()))


def _add_copies(
    control: frozenset[str],
    inspected: Sequence[InspectedImage],
    same_place: Sequence[tuple[int, int]],
) -> frozenset[str]:
    """Return the control samples and what shows the place of one: it would teach its pixels."""
    pairs = [(inspected[a].example.key, inspected[b].example.key) for a, b in same_place]
    return control | {
        key for pair in pairs for key in pair if any(other in control for other in pair)
    }


def _without(collected: Collected, examples: Sequence[Example], dropped: set[str]) -> Collected:
    kept = tuple(example for example in examples if example.key not in dropped)
    return replace(collected, examples=kept, codes=dict(Counter(example.code for example in kept)))


def send_back(
    store: Store, collected: Collected, issues: Sequence[LabelIssue], *, by: str, at: datetime
) -> int:
    """Send suspect labels back to review; they hold until a reviewer decides again.

    Args:
        store: Open.
        collected: Has the label of each.
        issues: The suspect ones.
        by: Who reports them.
        at: Now.

    Returns:
        How many went; the others were decided again during this time, or wait already.
    """
    sent = 0
    for issue in issues:
        public_id, label_id = collected.labels[issue.key]
        known = f" {issue.right}/{issue.of}" if issue.of else ""
        sent += store.labels.mark_suspect(
            public_id, label_id=label_id, sentence=issue.kind + known, by=by, at=at
        )
    return sent


POOL = 300
"""At most so many waiting micrographs are inspected, the newest."""
_LEAST_DOUBT = 0.05
"""Least weight of an image that the model is sure of: it may be sure and wrong."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What to label next.

    Args:
        views: The micrographs, the most useful first.
        recalls: Structure code → share that is right, by heads fitted without the specimen.
        labelled: Structure code → labelled micrographs.
        curve: How the errors fall with more labels, or None with too few specimens.
    """

    views: tuple[MicrographView, ...]
    recalls: Mapping[str, Estimate]
    labelled: Mapping[str, int]
    curve: LearningCurve | None


def suggest(
    waiting: Sequence[MicrographView],
    collected: Collected,
    classifier: Classifier,
    archive: Archive,
    *,
    n: int,
) -> Iterator[Progress[None] | Suggestion]:
    """Choose micrographs that are uncertain, unlike the labelled ones and unlike each other.

    Unusual ones are left out: they come first in the queue anyway, and may be no steel at all. So
    are control samples: they test the next model and are not trained on.

    Args:
        waiting: The review queue, in any order.
        collected: What is labelled.
        classifier: The active bundle.
        archive: The pixels.
        n: How many to suggest.

    Yields:
        `Progress`, last a `Suggestion`.
    """
    pool = list_candidates(waiting, lambda view: archive.has_crop(view.sha256, view.page))
    scores: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
    for view in pool:
        microscope = view.process_data.get("microscope", "")
        field = make_loader(archive, view.sha256, view.page, view.um_per_px, microscope)()
        scores.append(classifier.score_ood(field)[0])
        yield Progress("pool", len(scores), len(pool))
    inspected: tuple[InspectedImage, ...] = ()
    for step in inspect_labels(classifier, collected.examples):
        inspected = step.result or inspected
        yield Progress(step.stage, step.done, step.total)
    known = np.stack([image.embedding for image in inspected]) if inspected else None
    chosen = (
        select_diverse(np.stack(scores), n, known=known, weights=_compute_weights(pool))
        if pool
        else []
    )
    yield _suggestion([pool[place] for place in chosen], inspected, classifier)


def list_candidates(
    waiting: Sequence[MicrographView], has_crop: Callable[[MicrographView], bool]
) -> list[MicrographView]:
    """Return the newest waiting micrographs that may be trained on; control samples may not."""
    wanted = [
        view
        for view in waiting
        if view.label is None and not {"strange", "control_sample"} & set(view.result.reasons)
    ]
    return sorted(filter(has_crop, wanted), key=lambda view: view.result.done_at)[-POOL:]


def _compute_weights(
    views: Sequence[MicrographView],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([max(_LEAST_DOUBT, 1.0 - (view.result.probability or 0.0)) for view in views])


def _suggestion(
    views: Sequence[MicrographView], inspected: Sequence[InspectedImage], classifier: Classifier
) -> Suggestion:
    taught = classifier.taxonomy.trained_codes
    known = [image for image in inspected if image.code in taught]
    codes = [image.code for image in known]
    labelled = {code: codes.count(code) for code in taught}
    taxonomy = classifier.taxonomy.restricted_to(frozenset(codes))
    recalls: dict[str, Estimate] = {}
    curve: LearningCurve | None = None
    if len(set(codes)) > 1:
        shares, names = predict_out_of_sample(known, taxonomy)
        predicted = np.where(np.isnan(shares).any(axis=1), -1, np.nan_to_num(shares).argmax(axis=1))
        for code in sorted(set(codes)):
            own = [
                place
                for place, given in enumerate(codes)
                if given == code and predicted[place] >= 0
            ]
            recalls[code] = wilson(sum(names[predicted[place]] == code for place in own), len(own))
        embeddings = np.stack([image.embedding for image in known])
        curve = fit_learning_curve(
            embeddings, codes, [image.example.group for image in known], taxonomy
        )
    return Suggestion(tuple(views), recalls, labelled, curve)
