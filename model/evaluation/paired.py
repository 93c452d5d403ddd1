"""Evaluate two bundles on the same images, interleaved; exact tests and intervals.

Both classify the same few images one after the other, and on a CPU process time is measured, so
that other load on the PC slows down neither.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from model.evaluation.evaluation import Case, Evaluation, OodFlag, build_case, flag_from, load_field
from model.progress import Progress
from model.statistics import Estimate, bootstrap, max_loss_in_clusters, wilson_in_clusters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
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


# --- statistics of two bundles on the same images: exact tests and intervals of differences -------


LEVEL = 0.01
"""One-sided significance level of the loss of a code, a slice or an alarm."""


def count_won_and_lost(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Count the images that only the candidate, and that only the bundle in use has correct."""
    won = sum(b.right and not a.right for a, b in pairs)
    return won, sum(a.right and not b.right for a, b in pairs)


def loss_p_value(pairs: Sequence[Pair]) -> float:
    """Compute the one-sided p-value of the sign test that specimens are lost.

    A specimen is lost where fewer of its images are correct than before.
    """
    won, lost = count_won_and_lost_specimens(pairs)
    return sign_test(lost, won)


def count_won_and_lost_specimens(pairs: Sequence[Pair]) -> tuple[int, int]:
    """Return the specimens with more, and with fewer, right answers of the candidate."""
    differences = [
        sum(b.right - a.right for a, b in cases) for cases in group_by_specimen(pairs).values()
    ]
    won = sum(difference > 0 for difference in differences)
    return won, sum(difference < 0 for difference in differences)


def compute_max_loss(pairs: Sequence[Pair]) -> float | None:
    """Compute the one-sided upper 95 % limit of the loss of accuracy, counted over specimens.

    Source:
        See `max_loss_in_clusters`.
    """
    groups = list(group_by_specimen(pairs).values())
    lost = [sum(a.right and not b.right for a, b in cases) for cases in groups]
    won = [sum(b.right and not a.right for a, b in cases) for cases in groups]
    return max_loss_in_clusters(lost, won, [len(cases) for cases in groups])


def estimate_accuracy(cases: Iterable[Case]) -> Estimate:
    """Estimate the share of correct codes with its interval over specimens."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case.right)
    return wilson_in_clusters(
        [sum(correct) for correct in groups.values()], [*map(len, groups.values())]
    )


def estimate_accuracy_change(pairs: Sequence[Pair]) -> Estimate:
    """Estimate the change of accuracy with its 95 % interval over resampled specimens."""
    return estimate_change(
        pairs, lambda cases: np.array([case.right for case in cases], float), compute_mean
    )


def estimate_change(
    pairs: Sequence[Pair],
    values: Callable[[Sequence[Case]], NDArray[np.float64]],
    statistic: Callable[[NDArray[np.float64]], float],
) -> Estimate:
    """Estimate the change of a statistic with its interval over resampled specimens.

    Args:
        pairs: Cases of both bundles.
        values: Returns the values of cases, (n, …).
        statistic: Reduces them, or some of their rows, to one number.
    """
    before, after = values([a for a, _ in pairs]), values([b for _, b in pairs])
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, (case, _) in enumerate(pairs):
        rows_of[case.group].append(row)
    groups = [np.array(indices) for indices in rows_of.values()]

    def compute_change(sampled: NDArray[np.intp]) -> float:
        rows = np.concatenate([groups[group] for group in sampled])
        return statistic(after[rows]) - statistic(before[rows])

    return bootstrap(len(groups), compute_change)


def compute_mean(values: NDArray[np.float64]) -> float:
    """Return the mean of (n,) values."""
    return float(values.mean())


def group_by_specimen(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Return specimen → its pairs."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair[0].group].append(pair)
    return groups


def sign_test(lost: int, won: int) -> float:
    """Compute the one-sided p-value of so many losses or more, both being equally likely."""
    from scipy.special import bdtr  # noqa: PLC0415 - takes a fifth of a second

    return float(bdtr(won, won + lost, 0.5)) if lost else 1.0


def alarm_p_value(flagged: int, n: int, alpha: float, known: int) -> float:
    """Compute the one-sided p-value of so many flagged images or more."""
    from scipy.stats import betabinom, binom  # noqa: PLC0415 - takes most of a second

    if not flagged:
        return 1.0
    if not known:
        return float(binom.sf(flagged - 1, n, alpha))
    rank = max(1, math.floor(alpha * (known + 1)))
    return float(betabinom.sf(flagged - 1, n, rank, known + 1 - rank))
