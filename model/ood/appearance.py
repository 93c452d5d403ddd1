"""Describe fields by appearance alone: groups of alike ones, odd ones, diverse selections.

Nothing here is calibrated: the groups order a folder for a first inspection, and prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.framing import Field, resample
from model.networks.field_embedding import STAGES_3_4_UNIT_PARTS
from model.ood.frozen_pass import build_frozen_pass
from model.ood.mahalanobis import normalize_rows

LONGEST_PX: Final = 1024
"""Longer side of what is described. Larger fields are reduced: alike ones stay alike."""

_DIRECTIONS: Final = 10
"""Principal directions that groups are found in. MEASURED on 324 real SEM micrographs of six
classes, groups against classes, adjusted Rand index: 0.31 with 10, 0.25 with 20, 0.22 with all."""

_MOST_GROUPS: Final = 8
_TOLERANCE, _LEAST_SILHOUETTE = 0.02, 0.15
"""The fewest groups whose mean silhouette is this near the best; below the least, one group."""

_NEAR: Final = 3
"""Neighbours whose mean distance makes a field odd: two odd ones that are alike stay odd."""

_OCTAVES: Final = 6


def embed_field(field: Field) -> NDArray[np.float32]:
    """Compute the embedding of a field by the frozen network at its own pixels, (d,) float32.

    Raises:
        WeightsError: The package with the weights is missing.
    """
    from model.networks.backbones import frozen_lite0  # noqa: PLC0415 - PyTorch

    frozen = build_frozen_pass(frozen_lite0(), "fp32", is_native=True)
    seen = frozen.run(_reduce(field))
    return STAGES_3_4_UNIT_PARTS.compute(seen.maps, seen.weights)


def describe_texture(field: Field) -> NDArray[np.float32]:
    """Compute the texture of a field where there is no network, (20,) float32.

    Mean and standard deviation of the brightness, and log energies of the Haar wavelets of six
    octaves in three directions.
    """
    grey = _reduce(field).pixels.mean(axis=2, dtype=np.float32) / 255
    numbers = [float(grey.mean()), float(grey.std())]
    for _ in range(_OCTAVES):
        rows, columns = (length // 2 * 2 for length in grey.shape)
        if not (rows and columns):
            numbers += numbers[-3:]  # a field of a few pixels has no coarser octave
            continue
        a, b, c, d = (grey[y:rows:2, x:columns:2] for y in (0, 1) for x in (0, 1))
        details = (a + b - c - d, a - b + c - d, a - b - c + d)
        numbers += [float(np.log(np.mean(np.square(part)) + 1e-6)) for part in details]
        grey = (a + b + c + d) / 4
    return np.array(numbers, np.float32)


def _reduce(field: Field) -> Field:
    height, width = field.valid.shape
    share = LONGEST_PX / max(height, width)
    if share >= 1:
        return field
    return resample(field, (max(1, round(height * share)), max(1, round(width * share))))


def project_embeddings(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return embeddings in their principal directions, (n, ≤ 10), the main direction first.

    Args:
        embeddings: (n, d), n >= 1.
    """
    units = normalize_rows(np.asarray(embeddings, np.float64))
    centred = units - units.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:_DIRECTIONS]
    largest = np.abs(axes).argmax(axis=1)
    signs = np.where(axes[np.arange(len(axes)), largest] < 0, -1.0, 1.0)  # else arbitrary
    projected: NDArray[np.float64] = centred @ (axes * signs[:, None]).T
    return projected


def group_alike(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the group of each point, (n,), 0 the largest.

    Args:
        points: (n, k) from `project_embeddings`.

    Source:
        Ward 1963, hierarchical grouping; Rousseeuw 1987, the silhouette as the choice of a cut.
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 - takes half a second
    from scipy.spatial.distance import pdist, squareform  # noqa: PLC0415

    alone = np.zeros(len(points), np.intp)
    if len(points) <= 2 * _NEAR:
        return alone
    flat = pdist(points)
    tree, distances = linkage(points, "ward"), squareform(flat)
    cuts = {
        count: fcluster(tree, count, "maxclust")
        for count in range(2, min(_MOST_GROUPS, len(points) // 2) + 1)
    }
    scores = {count: _compute_silhouette(distances, labels) for count, labels in cuts.items()}
    best = max(scores.values())
    if best < _LEAST_SILHOUETTE:
        return alone
    labels = cuts[min(count for count, score in scores.items() if score >= best - _TOLERANCE)]
    names, sizes = np.unique(labels, return_counts=True)
    rank = {name: place for place, name in enumerate(names[np.argsort(-sizes, kind="stable")])}
    return np.array([rank[label] for label in labels], np.intp)


def _compute_silhouette(distances: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Return the mean silhouette; a point that is alone in its group has 0."""
    names, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(names) < 2:  # noqa: PLR2004 - equal points cannot be cut
        return 0.0
    rows = np.arange(len(labels))
    sums = np.stack([distances[:, labels == name].sum(axis=1) for name in names], axis=1)
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    between = means.min(axis=1)
    widths = (between - within) / np.maximum(np.maximum(between, within), 1e-12)
    return float(np.where(sizes[own] > 1, widths, 0.0).mean())


def compute_oddness(
    embeddings: NDArray[np.floating], same: Iterable[tuple[int, int]]
) -> NDArray[np.float64]:
    """Return how many times as far as usual each field is from the three nearest others, (n,).

    Args:
        embeddings: (n, d).
        same: Pairs that show one place: they are no neighbours of each other.
    """
    if len(embeddings) <= _NEAR:
        return np.ones(len(embeddings))
    units = normalize_rows(np.asarray(embeddings, np.float64))
    distances = 1.0 - units @ units.T
    np.fill_diagonal(distances, np.inf)
    for first, second in same:
        distances[first, second] = distances[second, first] = np.inf
    nearest = np.sort(distances, axis=1)[:, :_NEAR]
    nearest[~np.isfinite(nearest)] = 0.0  # of many copies
    mean = nearest.mean(axis=1)
    times: NDArray[np.float64] = mean / max(float(np.median(mean)), 1e-12)
    return times


# --- diverse sampling: select images that differ from the labelled ones and from each other -------


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
