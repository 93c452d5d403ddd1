"""Ask two bundles about the same images, in turns.

In:  two `Classifier`s, images that neither learned from. Out: steps, the last with a `Duel`. Next:
`checks` and `comparison`. Both are shown the same few images, one after the other, and a processor
is asked for its own time, so that a PC that is busy meanwhile slows down neither.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING

from model.evaluation.evaluate import Evaluation, build_case, flag_from, taken
from model.progress import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from model.data.dataset import Example
    from model.evaluation.evaluate import Case, OodFlag
    from model.inference.classifier import Classifier, Prediction

    Pair = tuple[Case, Case]
    """What the bundle at work and the candidate said of one image."""

_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class PairedEvaluation:
    """Two bundles on the same images, neither of which learned from them.

    Args:
        current: Of the bundle at work. candidate: of the one that would replace it; both of the
            same images in the same order, the strange ones too.
        new: Keys of test images that the bundle at work was not tested on.
        vouched: Keys of images whose label two people gave.
        corrected: What both say of images whose answer a person once corrected; here they may have
            learned from them.
        limits: Limit in use → whether a structure code keeps it.
        known: How many images the candidate's strangeness is compared with; 0: not known.
        slowdown: The candidate's time by that of the bundle at work, or None where nobody measured.
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
        """What both say of each image."""
        return list(zip(self.current.cases, self.candidate.cases, strict=True))


@dataclass(frozen=True, slots=True)
class Matter:
    """What two bundles are asked about.

    Args:
        examples: Images that neither learned from.
        strange: Kind → images that ought to be called strange; their codes are not looked at.
        corrected: Images whose answer a person once corrected.
        vouched: Keys of images whose label two people gave.
        limits: Limit in use → whether a structure code keeps it.
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
    matter: Matter,
) -> Iterator[Step[PairedEvaluation]]:
    """Show both the same images.

    Args:
        current: The bundle at work.
        candidate: The one that would replace it.
        matter: What they are asked about.

    Yields:
        A step per few images, the last with the `Duel`.
    """
    tested = frozenset(key for keys in current.manifest.split.values() for key in keys)
    total = sum(map(len, (matter.examples, matter.corrected, *matter.strange.values())))
    on_cpu = candidate.engine.device.startswith("cpu")
    clock_s = time.process_time if on_cpu else time.perf_counter
    both, done = _BundlePair(current, candidate, clock_s), 0
    pairs: list[Pair] = []
    for example, one, other in both.asked((*matter.examples, *matter.corrected)):
        pairs.append(
            (
                build_case(example, one, candidate.taxonomy),
                build_case(example, other, candidate.taxonomy),
            )
        )
        yield Step("comparison", done := done + 1, total)
    alarms: dict[str, list[tuple[OodFlag, OodFlag]]] = {kind: [] for kind in matter.strange}
    for kind, examples in matter.strange.items():
        for _, one, other in both.asked(examples):
            alarms[kind].append((flag_from(one), flag_from(other)))
            yield Step("comparison", done := done + 1, total)
    n = len(matter.examples)

    def evaluation(classifier: Classifier, side: int) -> Evaluation:
        return Evaluation(
            bundle=classifier.name,
            taxonomy=candidate.taxonomy,
            cases=tuple(pair[side] for pair in pairs[:n]),
            seen_in_training=0,
            alpha=classifier.alpha,
            strange={kind: tuple(said[side] for said in some) for kind, some in alarms.items()},
        )

    found = PairedEvaluation(
        evaluation(current, 0),
        evaluation(candidate, 1),
        new=frozenset(example.key for example in matter.examples) - tested,
        vouched=matter.vouched,
        corrected=tuple(pairs[n:]),
        limits=matter.limits,
        known=int(candidate.manifest.facts.get("strangeness", {}).get("known", 0)),
        slowdown=both.slowdown,
    )
    yield Step("comparison", total, total, found=found)


class _BundlePair:
    """Asks both about a few images at a time, and takes the time of each."""

    def __init__(
        self, current: Classifier, candidate: Classifier, clock_s: Callable[[], float]
    ) -> None:
        self._current, self._candidate, self._clock_s = current, candidate, clock_s
        self._ratios: list[float] = []

    @property
    def slowdown(self) -> float | None:
        """The candidate's time by the other's; the first few images only warm both up."""
        return median(self._ratios[1:]) if len(self._ratios) > 1 else None

    def asked(
        self, examples: Sequence[Example]
    ) -> Iterator[tuple[Example, Prediction, Prediction]]:
        """Give what both say of each image, first the bundle at work."""
        for start in range(0, len(examples), _TOGETHER):
            some = examples[start : start + _TOGETHER]
            fields = [taken(example) for example in some]
            times = [self._clock_s()]
            first = self._current.classify(fields)
            times.append(self._clock_s())
            second = self._candidate.classify(fields)
            times.append(self._clock_s())
            self._ratios.append((times[2] - times[1]) / max(times[1] - times[0], 1e-9))
            yield from zip(some, first, second, strict=True)
