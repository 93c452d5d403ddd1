"""Evaluate a bundle on labelled images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from model.evaluation.cases import OodFlag, build_case, flag_from
from model.evaluation.evaluation import UNTRAINED_PREFIX, Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from model.data.dataset import Example
    from model.framing import Field
    from model.inference.classifier import Classifier
    from model.inference.prediction import Prediction
    from model.taxonomy import Taxonomy

_BATCH = 8


def evaluate(
    classifier: Classifier,
    examples: Sequence[Example],
    *,
    strange: Mapping[str, Sequence[Example]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a bundle on examples that it was not trained on.

    Args:
        classifier: The bundle.
        examples: Images with their true codes; those it was trained on are left out and counted.
        strange: Kind → images that should be flagged; their codes are not used.
        progress: Called with the number of evaluated images and the total.
    """
    trained_on = classifier.learned_from
    unseen = [example for example in examples if example.key not in trained_on]
    total = len(unseen) + sum(len(batch) for batch in (strange or {}).values())
    done = 0
    cases = []
    for batch, predictions in iter_predictions(classifier, unseen):
        cases += [
            build_case(example, prediction, classifier.taxonomy)
            for example, prediction in zip(batch, predictions, strict=True)
        ]
        done += len(batch)
        if progress is not None:
            progress(done, total)
    unusual: dict[str, tuple[OodFlag, ...]] = {}
    for kind, images in (strange or {}).items():
        flags: list[OodFlag] = []
        for flag in iter_flags(classifier, images):
            flags.append(flag)
            done += 1
            if progress is not None:
                progress(done, total)
        unusual[kind] = tuple(flags)
    return Evaluation(
        bundle=classifier.name,
        taxonomy=classifier.taxonomy,
        cases=tuple(cases),
        seen_in_training=len(examples) - len(unseen),
        alpha=classifier.alpha,
        strange=unusual,
    )


def iter_flags(classifier: Classifier, examples: Sequence[Example]) -> Iterator[OodFlag]:
    """Yield the OOD result of each image; its code is not used."""
    for _, predictions in iter_predictions(classifier, examples):
        yield from map(flag_from, predictions)


def group_untrained(examples: Sequence[Example], taxonomy: Taxonomy) -> dict[str, list[Example]]:
    """Group the images of codes that the taxonomy lists as untrained, per kind.

    They are the lab's own images that must be flagged, above all sizes coarser than any trained
    one.
    """
    untrained: dict[str, list[Example]] = {}
    for example in examples:
        code = taxonomy.code(*taxonomy.parse(example.code))
        if code not in taxonomy.trained_codes:
            untrained.setdefault(f"{UNTRAINED_PREFIX}{code}", []).append(example)
    return untrained


def iter_predictions(
    classifier: Classifier, examples: Sequence[Example]
) -> Iterable[tuple[Sequence[Example], list[Prediction]]]:
    """Yield a few examples at a time with their predictions."""
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        yield batch, classifier.classify([load_field(example) for example in batch])


def load_field(example: Example) -> Field:
    """Load a field, with its microscope from the example."""
    return replace(example.load(), microscope=example.slices.get("microscope", ""))
