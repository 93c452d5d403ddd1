"""Calibration on validation images: temperature scaling and conformal prediction sets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from model.networks.schemes import softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

CONFIDENCE = 0.9
"""Target share of fields whose true code is in the prediction set."""

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


def fit_conformal_level(
    predictions: Sequence[Mapping[str, float]],
    true: Sequence[str | None],
    confidence: float = CONFIDENCE,
) -> float:
    """Fit the level at which prediction sets contain the true size with the given confidence.

    Args:
        predictions: Size → probability per validation image, given the predicted subtype.
        true: The true size, or None if the predicted subtype was wrong.
        confidence: Target share of images whose true size is in the set, in (0, 1).

    Returns:
        In [0, 1]: sizes are included while the set holds at most this probability mass. 1 if there
        are too few images: then the set contains every size of the subtype.

    Source:
        Romano et al. 2020, arXiv:2006.02544, without its randomisation and grown along the order
        of sizes, so that a set is always a run of neighbours. Images with a wrong subtype get the
        score 1, since no set of sizes would be correct.
    """
    scores = sorted(
        1.0 if size is None else dict(order_by_inclusion(sizes)).get(size, 1.0)
        for sizes, size in zip(predictions, true, strict=True)
    )
    rank = math.ceil((len(scores) + 1) * confidence)
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0


def prediction_set(sizes: Mapping[str, float], level: float) -> tuple[str, ...]:
    """Return the sizes in the prediction set at a level, coarse to fine.

    Args:
        sizes: Size → probability, coarse to fine; sums to 1.
        level: From `fit_conformal_level`.

    Returns:
        A run of neighbouring sizes that contains the most probable one.
    """
    members = {size for size, mass in order_by_inclusion(sizes) if mass <= level}
    return tuple(size for size in sizes if size in members)
