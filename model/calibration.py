"""Make probabilities mean what they say, and doubt a set of neighbours.

In:  what a bundle says of validation images, and the truth. Out: temperatures, and the level up
to which neighbouring sizes are named together. Next: `training` writes them into the bundle.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from model.networks.schemes import softmax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

CONFIDENCE = 0.9
"""Share of fields whose true code is to lie in the prediction set."""

_COLD, _HOT = 0.05, 20.0


def temperature(logits: NDArray[np.float64], targets: NDArray[np.intp]) -> float:
    """Find the one number that makes a head's probabilities as likely as possible.

    Args:
        logits: (n, k) float64 of validation images.
        targets: (n,) true classes.

    Returns:
        Between 0.05 and 20; 1 where there are too few images to tell.

    Source:
        Guo et al. 2017, arXiv:1706.04599, temperature scaling; ours adds one half image of each
        class's doubt, so that a head without a single mistake does not become infinitely sure.
    """
    n, k = logits.shape
    if n < 2 * k:
        return 1.0

    def loss(log_temperature: float) -> float:
        shares = softmax(logits / math.exp(log_temperature))
        true = np.log(np.maximum(shares[np.arange(n), targets], 1e-300)).sum()
        doubt = 0.5 * np.log(np.maximum(shares, 1e-300)).mean(axis=1).mean()
        return -float(true + doubt)

    low, high = math.log(_COLD), math.log(_HOT)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


def growth(sizes: Mapping[str, float]) -> list[tuple[str, float]]:
    """Order sizes by when they join a prediction set that grows from the best to its neighbours.

    Args:
        sizes: Size → probability, coarse to fine; sums to 1.

    Returns:
        Each size with the probability already in the set before it joins; the best has 0.
    """
    names, shares = list(sizes), list(sizes.values())
    low = high = int(np.argmax(shares))
    joined = [(names[low], 0.0)]
    mass = shares[low]
    while high - low + 1 < len(names):
        coarser = shares[low - 1] if low > 0 else -1.0
        finer = shares[high + 1] if high + 1 < len(names) else -1.0
        if coarser >= finer:
            low -= 1
            joined.append((names[low], mass))
            mass += shares[low]
        else:
            high += 1
            joined.append((names[high], mass))
            mass += shares[high]
    return joined


def conformal_level(
    said: Sequence[Mapping[str, float]], true: Sequence[str | None], confidence: float = CONFIDENCE
) -> float:
    """Find how far a prediction set must grow to hold the true size often enough.

    Args:
        said: Size → probability per validation image, inside the predicted subtype.
        true: The true size, or None where the predicted subtype was wrong.
        confidence: Share of images whose true size is to be in the set.

    Returns:
        In [0, 1]: sizes join while the set holds at most this probability. 1 where there are too
        few images: then every size of the subtype is named.

    Source:
        Romano et al. 2020, arXiv:2006.02544, without its randomisation, grown along the order of
        sizes, so that a set is always a run of neighbours. A wrong subtype can't be mended by
        neighbours in size; such images count as needing everything.
    """
    scores = sorted(
        1.0 if size is None else dict(growth(shares)).get(size, 1.0)
        for shares, size in zip(said, true, strict=True)
    )
    rank = math.ceil((len(scores) + 1) * confidence)
    return float(scores[rank - 1]) if rank <= len(scores) else 1.0


def prediction_set(sizes: Mapping[str, float], level: float) -> tuple[str, ...]:
    """Name the sizes that cannot be told apart at a level, coarse to fine, the best among them."""
    members = {size for size, before in growth(sizes) if before <= level}
    return tuple(size for size in sizes if size in members)
