"""Choose a few of many images, so that no two of them teach the same thing.

In:  embeddings of what is known and of what could be chosen. Out: places of the chosen. Next: a
person looks at them. Near copies of what is known, and of one another, come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def select_diverse(
    pool: NDArray[np.floating],
    n: int,
    *,
    known: NDArray[np.floating] | None = None,
    weights: NDArray[np.floating] | None = None,
) -> list[int]:
    """Choose one image after the other, each as far as can be from all before it.

    Args:
        pool: (m, d) embeddings of what could be chosen.
        n: How many.
        known: (k, d) embeddings of what is known already, or None.
        weights: (m,) how much an image is worth by itself, such as its doubt; None: all the same.

    Returns:
        Places in the pool, the first chosen first; fewer where the pool has fewer.

    Source:
        Sener and Savarese 2018, arXiv:1708.00489, the greedy k-center; ours multiplies each
        distance by the weight.
    """
    points = np.asarray(pool, np.float64)
    worth = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    away = np.full(len(points), np.inf)
    for one in () if known is None else np.asarray(known, np.float64):
        away = np.minimum(away, np.linalg.norm(points - one, axis=1))
    away = np.where(np.isinf(away), 1.0, away)  # nothing is known: the worth alone decides first
    chosen: list[int] = []
    for _ in range(min(n, len(points))):
        scores = away * worth
        scores[chosen] = -np.inf
        best = int(scores.argmax())
        nearest = np.linalg.norm(points - points[best], axis=1)
        away = nearest if not chosen and known is None else np.minimum(away, nearest)
        chosen.append(best)
    return chosen
