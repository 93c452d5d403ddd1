"""Score strangeness by other well-known methods, to be logged beside the one that decides.

In:  embeddings of the taught fields, or a classifier's own logits. Out: a number per method; larger
is stranger. Next: `strangeness` and `classify` keep them with the result. None of them flags
anything: they let a lab see afterwards what another method would have said of the same micrograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from model.ood.mahalanobis import normalize_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SUBSPACE = 64
"""Directions that hold what is known, for the residual of ViM; fewer where there are few images."""

SEEN_BY_CLASSIFIER = "classifier.seen"
"""What a bundle calls the embeddings that `second_opinion` compares with."""

_ROUNDING = 1e-6
"""Singular values below this share of the largest are rounding of float32."""

_GEN_POWER = 0.1


class Scorer(Protocol):
    """One method: embeddings in, one number each out."""

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Score (n, d) embeddings of length one; (n,), larger is stranger."""
        ...


@dataclass(frozen=True, slots=True)
class NearestNeighborScorer:
    """Cosine distance to the nearest taught embedding.

    Args:
        known: (m, d) float32, of length one.

    Source:
        Sun et al. 2022, arXiv:2204.06507, with k = 1.
    """

    known: NDArray[np.float32]

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Score (n, d) embeddings of length one; (n,), larger is stranger."""
        found: NDArray[np.float64] = 1.0 - (
            np.asarray(embeddings, np.float64) @ self.known.T.astype(np.float64)
        ).max(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class ResidualScorer:
    """Length of what lies outside the subspace of the taught embeddings.

    Args:
        centre: (d,) float32. axes: (d, k) float32, orthonormal: the subspace.

    Source:
        Wang et al. 2022, arXiv:2203.10807 (ViM), the residual without the virtual logit.
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def of(cls, known: NDArray[np.floating]) -> ResidualScorer:
        """Fit the subspace to (m, d) embeddings: at most half of the directions, as ViM has it.

        Directions along which the embeddings do not differ are left out of it.
        """
        centre = known.mean(axis=0)
        _, length, axes = np.linalg.svd(np.asarray(known - centre, np.float64), full_matrices=False)
        differing = int((length > length[0] * _ROUNDING).sum())
        kept = min(SUBSPACE, len(known) // 2, known.shape[1] // 2, differing)
        return cls(centre.astype(np.float32), axes[:kept].T.astype(np.float32))

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Score (n, d) embeddings of length one; (n,), larger is stranger."""
        away = np.asarray(embeddings, np.float64) - self.centre
        axes = self.axes.astype(np.float64)
        found: NDArray[np.float64] = np.linalg.norm(away - away @ axes @ axes.T, axis=1)
        return found


def fit_scorers(known: NDArray[np.float32]) -> dict[str, Scorer]:
    """Make every method that compares embeddings with the taught ones."""
    return {"knn": NearestNeighborScorer(known), "vim_residual": ResidualScorer.of(known)}


def second_opinion(seen: NDArray[np.float32]) -> dict[str, Scorer]:
    """Make the same methods on what the classifier's own network saw of fields it never learned.

    Args:
        seen: (n, c) float32, of any length. Fields that it learned from would lie closer to one
            another than any new field does.
    """
    known = normalize_rows(seen).astype(np.float32)
    return {f"classifier_{name}": one for name, one in fit_scorers(known).items()}


def of_answer(logits: NDArray[np.floating], probabilities: Mapping[str, float]) -> dict[str, float]:
    """Score one answer by how undecided the classifier is.

    Args:
        logits: (k,) of the first stage, before any temperature.
        probabilities: Of the structure codes.

    Returns:
        energy: Minus the logarithm of the summed exponentials. gen: generalised entropy.

    Source:
        Liu et al. 2020, arXiv:2010.03759; Liu et al. 2023 (GEN), CVPR, with its power of 0.1.
        MEASURED (SCIENCE 1.8): worse than chance at a coarser size than any taught one.
    """
    exact = np.asarray(logits, np.float64)
    most = float(exact.max())
    shares = np.clip(np.array(list(probabilities.values()), np.float64), 1e-12, 1.0)
    return {
        "energy": -(most + float(np.log(np.exp(exact - most).sum()))),
        "gen": float((shares**_GEN_POWER * np.maximum(1.0 - shares, 0.0) ** _GEN_POWER).sum()),
    }
