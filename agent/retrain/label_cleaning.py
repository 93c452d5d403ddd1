"""Find suspect labels before training, and send them back to review.

A reviewer decides again on a suspect label without seeing the earlier decision.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.retrain.progress import Step
from model import (
    Classifier,
    LabelIssue,
    find_label_issues,
    find_mixed_specimens,
    find_near_duplicates,
    inspect_labels,
    merge_groups,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.retrain.training_set import Collected
    from agent.store import Store
    from model import Example, InspectedImage

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
) -> Iterator[Step | Cleaned]:
    """Inspect every labelled image once, and find suspect labels.

    Args:
        collected: Labelled micrographs.
        current: Folder of the active bundle.
        leave_out: Whether suspect labels are left out of training and test; one of another subtype
            than its specimen, which cannot be trained on, is left out either way.
        alpha: False-alarm rate from the settings, in (0, 1).
        several_subtypes: Whether a specimen may have several subtypes.

    Yields:
        `Step`s, last a `Cleaned`.
    """
    classifier = Classifier.load(current, alpha=alpha)
    new = {example.key for example in collected.new_since(classifier.manifest)}
    for step in inspect_labels(classifier, collected.examples):
        yield Step(step.stage, step.done, step.total)
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
