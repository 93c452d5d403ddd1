"""Diverse sampling: select images that differ from the labelled ones and from each other."""

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
    """Select images greedily, each as far as possible from all labelled and selected images.

    Args:
        pool: (m, d) embeddings of the candidates.
        n: Number of images to select.
        known: (k, d) embeddings of the labelled images, or None.
        weights: (m,) factor on the distance of each candidate, such as its uncertainty; None for
            equal weights.

    Returns:
        At most n indices into the pool, in the order of selection.

    Source:
        Sener and Savarese 2018, arXiv:1708.00489, greedy k-center, with weighted distances.
    """
    points = np.asarray(pool, np.float64)
    factors = np.ones(len(points)) if weights is None else np.asarray(weights, np.float64)
    distances = np.full(len(points), np.inf)  # (m,) to the nearest labelled or selected image
    for centre in () if known is None else np.asarray(known, np.float64):
        distances = np.minimum(distances, np.linalg.norm(points - centre, axis=1))
    # Without labelled images the weight alone decides the first selection.
    distances = np.where(np.isinf(distances), 1.0, distances)
    selected: list[int] = []
    for _ in range(min(n, len(points))):
        scores = distances * factors
        scores[selected] = -np.inf
        best = int(scores.argmax())
        to_best = np.linalg.norm(points - points[best], axis=1)
        is_first = not selected and known is None
        distances = to_best if is_first else np.minimum(distances, to_best)
        selected.append(best)
    return selected
