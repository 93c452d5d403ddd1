"""Doubt labels before they are learned from, and send the doubted ones back to review.

In:  `Collected` cases, the bundle at work. Out: a `Cleaned`, what may be learned from. Next:
`teaching`; a person decides again on what is doubted, without seeing what was said before.
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

    from agent.retrain.cases import Collected
    from agent.store import Store
    from model import Example, InspectedImage

_TOLD = {
    "twin": "show the same place as a micrograph of another code",
    "specimen": "are of another subtype than their specimen",
    "label": "look like micrographs of another code",
    "contested": "were imported with another code than somebody had given them",
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What may be learned from.

    Args:
        collected: Without the doubted, if the lab leaves them out; micrographs that show the same
            place are one specimen in it.
        doubts: Which labels are doubted, and why.
    """

    collected: Collected
    doubts: tuple[LabelIssue, ...]

    def sentence(self) -> str:
        """Say in a few words what is doubted, "" where nothing is."""
        strange = Counter(one.code for one in self.doubts if one.kind == "stranger")
        counted = Counter(one.kind for one in self.doubts)
        return "; ".join(
            (
                *(
                    f"{n} labelled {code} are not comparable with the reference images (another "
                    "material, or another preparation?)"
                    for code, n in sorted(strange.items())
                ),
                *(f"{counted[kind]} {told}" for kind, told in _TOLD.items() if counted[kind]),
            )
        )


def cleaned(
    collected: Collected, current: Path, *, leave_out: bool = True, alpha: float = 0.02
) -> Iterator[Step | Cleaned]:
    """Look at every labelled image once, and say which labels are in doubt.

    Args:
        collected: What was said.
        current: Folder of the bundle at work.
        leave_out: Whether the doubted are left out of what is learned from and tested on; what is
            of another subtype than its specimen, and cannot be taught, is left out either way.
        alpha: The alarm rate that is set.

    Yields:
        `Step`s, last a `Cleaned`.
    """
    classifier = Classifier.load(current, alpha=alpha)
    new = {example.key for example in collected.new_since(classifier.manifest)}
    for step in inspect_labels(classifier, collected.examples):
        yield Step(step.stage, step.done, step.total)
        if step.result is not None:
            yield _judged(collected, step.result, classifier, new, leave_out=leave_out)


def _judged(
    collected: Collected,
    inspected: Sequence[InspectedImage],
    classifier: Classifier,
    new: set[str],
    *,
    leave_out: bool,
) -> Cleaned:
    same_place = list(find_near_duplicates([one.signature for one in inspected]))
    found = find_label_issues(
        inspected,
        classifier.taxonomy,
        same_place=same_place,
        new=new,
        vouched=collected.vouched,
    )
    known = {one.key for one in found}
    found += [
        LabelIssue(example.key, "contested", example.code)
        for example in collected.examples
        if example.key in collected.contested - known
    ]
    alike = [(a, b) for a, b in same_place if inspected[a].code == inspected[b].code]
    examples = merge_groups([one.example for one in inspected], alike)
    out = {one.key for one in found} if leave_out else set()
    if not classifier.manifest.facts["plan"].get("mixed_groups"):
        left = [example for example in examples if example.key not in out]
        torn = list(
            find_mixed_specimens(left, classifier.taxonomy, new=new, vouched=collected.vouched)
        )
        found += torn
        out |= {one.key for one in torn}
    unique = {one.key: one for one in reversed(found)}
    return Cleaned(_without(collected, examples, out), tuple(unique.values()))


def _without(collected: Collected, examples: Sequence[Example], out: set[str]) -> Collected:
    kept = tuple(example for example in examples if example.key not in out)
    return replace(collected, examples=kept, codes=dict(Counter(one.code for one in kept)))


def send_back(
    store: Store, collected: Collected, found: Sequence[LabelIssue], *, by: str, at: datetime
) -> int:
    """Put the doubted into the review queue; their labels hold until somebody decides again.

    Args:
        store: Open.
        collected: Which label each of them has.
        found: The doubted.
        by: Who doubts them.
        at: Now.

    Returns:
        How many went; the others were decided again meanwhile, or wait already.
    """
    sent = 0
    for one in found:
        public_id, label_id = collected.labels[one.key]
        sent += store.doubt(public_id, label_id=label_id, sentence=one.kind, by=by, at=at)
    return sent
