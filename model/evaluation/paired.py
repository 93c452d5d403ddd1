"""Evaluate two bundles on the same images, interleaved.

Both classify the same few images one after the other, and on a CPU process time is measured, so
that other load on the PC slows down neither.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING

from model.evaluation.cases import build_case, flag_from
from model.evaluation.evaluate import load_field
from model.evaluation.evaluation import Evaluation
from model.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from model.data.dataset import Example
    from model.evaluation.cases import Case, OodFlag
    from model.inference.classifier import Classifier
    from model.inference.prediction import Prediction

    Pair = tuple[Case, Case]
    """Cases of the bundle in use and of the candidate for one image."""

_BATCH = 8


@dataclass(frozen=True, slots=True)
class PairedEvaluation:
    """Evaluations of two bundles on the same images, which neither was trained on.

    Args:
        current: Evaluation of the bundle in use.
        candidate: Evaluation of the one that would replace it; images and order are the same, those
            of `strange` too.
        new: Keys of test images that were in no split of the bundle in use.
        vouched: Keys of images whose label two reviewers agree on.
        corrected: Cases of images whose code a reviewer once corrected; the bundles may have been
            trained on these.
        limits: Limit in use → whether a structure code meets it.
        known: Number of the candidate's reference images; 0: unknown.
        slowdown: Time of the candidate divided by that of the bundle in use, or None if not
            measured.
    """

    current: Evaluation
    candidate: Evaluation
    new: frozenset[str] = frozenset()
    vouched: frozenset[str] = frozenset()
    corrected: tuple[Pair, ...] = ()
    limits: Mapping[str, Callable[[str], bool]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    known: int = 0
    slowdown: float | None = None

    @property
    def pairs(self) -> list[Pair]:
        """Cases of both bundles, image by image."""
        return list(zip(self.current.cases, self.candidate.cases, strict=True))


@dataclass(frozen=True, slots=True)
class PairedTestSet:
    """Images that two bundles are evaluated on.

    Args:
        examples: Test images; neither bundle was trained on them.
        strange: Kind → images that should be flagged; their codes are not used.
        corrected: Images whose code a reviewer once corrected.
        vouched: Keys of images whose label two reviewers agree on.
        limits: Limit in use → whether a structure code meets it.
    """

    examples: tuple[Example, ...]
    strange: Mapping[str, Sequence[Example]] = field(default_factory=lambda: MappingProxyType({}))
    corrected: tuple[Example, ...] = ()
    vouched: frozenset[str] = frozenset()
    limits: Mapping[str, Callable[[str], bool]] = field(
        default_factory=lambda: MappingProxyType({})
    )


def evaluate_pair(
    current: Classifier,
    candidate: Classifier,
    images: PairedTestSet,
) -> Iterator[Progress[PairedEvaluation]]:
    """Evaluate two bundles on the same images.

    Args:
        current: The bundle in use.
        candidate: The one that would replace it.
        images: What they are evaluated on.

    Yields:
        Progress per image, the last with the result.
    """
    used = frozenset(key for keys in current.manifest.split.values() for key in keys)
    total = sum(map(len, (images.examples, images.corrected, *images.strange.values())))
    on_cpu = candidate.engine.device.startswith("cpu")
    clock_s = time.process_time if on_cpu else time.perf_counter
    classifiers, done = _BundlePair(current, candidate, clock_s), 0
    pairs: list[Pair] = []
    for example, prediction, candidate_prediction in classifiers.iter_predictions(
        (*images.examples, *images.corrected)
    ):
        pairs.append(
            (
                build_case(example, prediction, candidate.taxonomy),
                build_case(example, candidate_prediction, candidate.taxonomy),
            )
        )
        yield Progress("comparison", done := done + 1, total)
    flags: dict[str, list[tuple[OodFlag, OodFlag]]] = {kind: [] for kind in images.strange}
    for kind, examples in images.strange.items():
        for _, prediction, candidate_prediction in classifiers.iter_predictions(examples):
            flags[kind].append((flag_from(prediction), flag_from(candidate_prediction)))
            yield Progress("comparison", done := done + 1, total)
    n = len(images.examples)

    def evaluation(classifier: Classifier, side: int) -> Evaluation:
        return Evaluation(
            bundle=classifier.name,
            taxonomy=candidate.taxonomy,
            cases=tuple(pair[side] for pair in pairs[:n]),
            seen_in_training=0,
            alpha=classifier.alpha,
            strange={
                kind: tuple(pair[side] for pair in pairs_of_kind)
                for kind, pairs_of_kind in flags.items()
            },
        )

    result = PairedEvaluation(
        evaluation(current, 0),
        evaluation(candidate, 1),
        new=frozenset(example.key for example in images.examples) - used,
        vouched=images.vouched,
        corrected=tuple(pairs[n:]),
        limits=images.limits,
        known=int(candidate.manifest.facts.get("strangeness", {}).get("known", 0)),
        slowdown=classifiers.slowdown,
    )
    yield Progress("comparison", total, total, result=result)


class _BundlePair:
    """Two bundles that classify the same small batches, timed separately."""

    def __init__(
        self, current: Classifier, candidate: Classifier, clock_s: Callable[[], float]
    ) -> None:
        self._current, self._candidate, self._clock_s = current, candidate, clock_s
        self._ratios: list[float] = []

    @property
    def slowdown(self) -> float | None:
        """Median ratio of the candidate's time to the other's; the first batch is a warm-up."""
        return median(self._ratios[1:]) if len(self._ratios) > 1 else None

    def iter_predictions(
        self, examples: Sequence[Example]
    ) -> Iterator[tuple[Example, Prediction, Prediction]]:
        """Yield the predictions of both for each image, the bundle in use first."""
        for start in range(0, len(examples), _BATCH):
            batch = examples[start : start + _BATCH]
            fields = [load_field(example) for example in batch]
            times = [self._clock_s()]
            first = self._current.classify(fields)
            times.append(self._clock_s())
            second = self._candidate.classify(fields)
            times.append(self._clock_s())
            self._ratios.append((times[2] - times[1]) / max(times[1] - times[0], 1e-9))
            yield from zip(batch, first, second, strict=True)
