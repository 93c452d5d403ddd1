"""Calibration on validation images: temperature scaling and conformal prediction sets."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.networks.schemes import FieldPrediction, softmax
from model.taxonomy import Taxonomy

CONFIDENCE = 0.9
"""Target share of fields whose true code is in the prediction set."""

FEWEST_OF_CLASS = 9
"""Images from which a confidence of 0.9 can be reached: (9 + 1) · 0.9 = 9."""

_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: NDArray[np.float64], targets: NDArray[np.intp]) -> float:
    """Fit the temperature that minimises the cross-entropy of a head.

    Args:
        logits: (n, k) float64 of validation images.
        targets: (n,) true classes.

    Returns:
        Between 0.05 and 20; 1 if there are fewer than 2 images per class.

    Source:
        Guo et al. 2017, arXiv:1706.04599, plus half a pseudo-image whose target is uniform over
        the classes, so that a head without a single error does not become infinitely confident.
    """
    n, k = logits.shape
    if n < 2 * k:
        return 1.0

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits / math.exp(log_temperature))
        true = np.log(np.maximum(probabilities[np.arange(n), targets], 1e-300)).sum()
        prior = 0.5 * np.log(np.maximum(probabilities, 1e-300)).mean(axis=1).mean()
        return -float(true + prior)

    low, high = math.log(_MIN_TEMPERATURE), math.log(_MAX_TEMPERATURE)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(60):  # golden-section search
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


def order_by_inclusion(sizes: Mapping[str, float]) -> list[tuple[str, float]]:
    """Order sizes by their inclusion in a prediction set that grows from the best to neighbours.

    Args:
        sizes: Size → probability, coarse to fine; sums to 1.

    Returns:
        Each size with the probability mass of the set before its inclusion; the best has 0.
    """
    names, probabilities = list(sizes), list(sizes.values())
    low = high = int(np.argmax(probabilities))
    inclusions = [(names[low], 0.0)]
    mass = probabilities[low]
    while high - low + 1 < len(names):
        coarser = probabilities[low - 1] if low > 0 else -1.0
        finer = probabilities[high + 1] if high + 1 < len(names) else -1.0
        if coarser >= finer:
            low -= 1
            inclusions.append((names[low], mass))
            mass += probabilities[low]
        else:
            high += 1
            inclusions.append((names[high], mass))
            mass += probabilities[high]
    return inclusions


@dataclass(frozen=True, slots=True)
class SetLevels:
    """How unlikely a class may be and still belong to a prediction set, per class where known.

    Args:
        subtype: Largest 1 - probability at which a subtype belongs to a set, in [0, 1].
        size: Largest probability mass of the sizes nearer to the best one at which a size of the
            predicted subtype belongs to it, in [0, 1].
        subtypes: Subtype → its own level in place of `subtype`.
        sizes: Structure code → its own level in place of `size`.
    """

    subtype: float
    size: float
    subtypes: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the levels as JSON values."""
        return {
            "subtype": self.subtype,
            "size": self.size,
            "subtypes": dict(self.subtypes),
            "sizes": dict(self.sizes),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SetLevels:
        """Return the levels that `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: The document is none of ours.
        """
        return cls(
            float(document["subtype"]),
            float(document["size"]),
            {str(name): float(level) for name, level in document["subtypes"].items()},
            {str(code): float(level) for code, level in document["sizes"].items()},
        )


def fit_set_levels(
    answers: Sequence[FieldPrediction],
    true: Sequence[tuple[str, str]],
    groups: Sequence[str],
    taxonomy: Taxonomy,
) -> SetLevels:
    """Fit the levels at which prediction sets contain the true code with `CONFIDENCE`.

    Args:
        answers: One per image, of heads that were not fitted on it.
        true: Its true subtype and size.
        groups: What it was photographed of: a class of one group alone gets no level of its own,
            since no image of it was judged by heads that knew it.
        taxonomy: The classes.

    Returns:
        Levels at which that holds in all and for each class; levels of 1 if there are too few
        images: then a set contains every class.

    Source:
        Subtypes: least ambiguous sets with a threshold of each class, Sadinle et al. 2019,
        doi:10.1080/01621459.2017.1395341. Sizes: Romano et al. 2020, arXiv:2006.02544, without
        randomisation, by class and grown along their order, so that the sizes of a set are
        neighbours. Where there are sizes, each of the two steps may miss half of what both may.
    """
    step = math.sqrt(CONFIDENCE) if any(len(answer.sizes) > 1 for answer in answers) else CONFIDENCE
    unlikely = [
        (subtype, group, 1.0 - answer.subtype.get(subtype, 0.0))
        for answer, (subtype, _), group in zip(answers, true, groups, strict=True)
    ]
    of_all, by_subtype = _fit_levels(unlikely, step)
    held = sum(
        score <= by_subtype.get(subtype, of_all) or answer.best[0] == subtype
        for answer, (subtype, _, score) in zip(answers, unlikely, strict=True)
    ) / max(1, len(answers))
    masses = [
        (taxonomy.code(subtype, size), group, dict(order_by_inclusion(answer.sizes)).get(size, 1.0))
        for answer, (subtype, size), group in zip(answers, true, groups, strict=True)
        if answer.best[0] == subtype
    ]
    of_sizes, by_size = _fit_levels(masses, CONFIDENCE / max(held, step))
    return SetLevels(of_all, of_sizes, by_subtype, by_size)


def _fit_levels(
    scores: Sequence[tuple[str, str, float]], confidence: float
) -> tuple[float, dict[str, float]]:
    """Return the conformal quantile of all scores, and of each class with enough of its own."""
    own: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, set[str]] = defaultdict(set)
    for name, group, score in scores:
        own[name].append(score)
        groups[name].add(group)
    return _conformal_quantile([score for *_, score in scores], confidence), {
        name: _conformal_quantile(values, confidence)
        for name, values in own.items()
        if len(values) >= FEWEST_OF_CLASS and len(groups[name]) > 1
    }


def _conformal_quantile(scores: Sequence[float], confidence: float) -> float:
    """Return the score that a new one exceeds with at most 1 - confidence; 1 for too few."""
    if len(scores) < FEWEST_OF_CLASS:
        return 1.0
    rank = math.ceil((len(scores) + 1) * confidence)
    return float(sorted(scores)[min(rank, len(scores)) - 1])


def prediction_set(
    answer: FieldPrediction, taxonomy: Taxonomy, levels: SetLevels
) -> tuple[str, ...]:
    """Return the structure codes of the prediction set of a field.

    Args:
        answer: The combined answer of the heads.
        taxonomy: The classes.
        levels: From `fit_set_levels`.

    Returns:
        In the order of the taxonomy: the best code with neighbouring sizes, and every trained code
        of each other subtype that is not unlikely enough, whose size nothing was asked of.
    """
    best, _ = answer.best
    order = order_by_inclusion(answer.sizes)
    belongs = [
        at == 0 or mass <= levels.sizes.get(taxonomy.code(best, size), levels.size)
        for at, (size, mass) in enumerate(order)
    ]
    grown = order[: max(at for at, member in enumerate(belongs) if member) + 1]
    members = {taxonomy.code(best, size) for size, _ in grown}
    for subtype in taxonomy.subtypes:
        share = answer.subtype.get(subtype.name)
        if share is None or subtype.name == best:
            continue
        if 1.0 - share <= levels.subtypes.get(subtype.name, levels.subtype):
            members |= {taxonomy.code(subtype.name, size.name) for size in subtype.trained_sizes}
    return tuple(code for code in taxonomy.trained_codes if code in members)
