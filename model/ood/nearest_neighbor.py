"""Score images by other published OOD methods; logged next to the deciding score.

These scores flag nothing: they record what another method would have returned for the same
micrograph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.ood.mahalanobis import normalize_rows

SUBSPACE = 64
"""Dimensions of the principal subspace, for the residual of ViM; fewer where images are few."""

SEEN_BY_CLASSIFIER = "classifier.seen"
"""Tensor name in the bundle of the embeddings that `fit_classifier_scorers` compares with."""

_ROUNDING = 1e-6
"""Singular values below this share of the largest are float32 rounding."""

_GEN_POWER = 0.1  # gamma, the value of the GEN paper


class Scorer(Protocol):
    """OOD score of embeddings."""

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return one score per embedding.

        Args:
            embeddings: (n, d), unit rows.

        Returns:
            (n,) float64, no unit; larger is more unusual.
        """
        ...


@dataclass(frozen=True, slots=True)
class NearestNeighborScorer:
    """Cosine distance to the nearest reference embedding.

    Args:
        reference: (m, d) float32, unit rows.

    Source:
        Sun et al. 2022, arXiv:2204.06507, with k = 1.
    """

    reference: NDArray[np.float32]

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the cosine distance of each embedding, (n,) in [0, 2].

        Args:
            embeddings: (n, d), unit rows.
        """
        scores: NDArray[np.float64] = 1.0 - (
            np.asarray(embeddings, np.float64) @ self.reference.T.astype(np.float64)
        ).max(axis=1)
        return scores


@dataclass(frozen=True, slots=True)
class ResidualScorer:
    """Distance from the principal subspace of the reference embeddings.

    Args:
        centre: (d,) float32, mean of the reference embeddings.
        axes: (d, k) float32, orthonormal basis of the subspace.

    Source:
        Wang et al. 2022, arXiv:2203.10807 (ViM), the residual without the virtual logit.
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def fit(cls, reference: NDArray[np.floating]) -> ResidualScorer:
        """Fit the subspace to the reference embeddings.

        It has at most half of the dimensions, as in ViM. Directions without variance are left out.

        Args:
            reference: (m, d), unit rows.
        """
        centre = reference.mean(axis=0)
        _, singular_values, axes = np.linalg.svd(
            np.asarray(reference - centre, np.float64), full_matrices=False
        )
        rank = int((singular_values > singular_values[0] * _ROUNDING).sum())
        size = min(SUBSPACE, len(reference) // 2, reference.shape[1] // 2, rank)
        return cls(centre.astype(np.float32), axes[:size].T.astype(np.float32))

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the length of each embedding's residual, (n,).

        Args:
            embeddings: (n, d), unit rows.
        """
        offset = np.asarray(embeddings, np.float64) - self.centre
        axes = self.axes.astype(np.float64)
        scores: NDArray[np.float64] = np.linalg.norm(offset - offset @ axes @ axes.T, axis=1)
        return scores


def fit_scorers(reference: NDArray[np.float32]) -> dict[str, Scorer]:
    """Fit every method that compares embeddings with the reference embeddings.

    Args:
        reference: (m, d) float32, unit rows.
    """
    return {"knn": NearestNeighborScorer(reference), "vim_residual": ResidualScorer.fit(reference)}


def fit_classifier_scorers(embeddings: NDArray[np.float32]) -> dict[str, Scorer]:
    """Fit the same methods to the classifier's own embeddings of validation fields.

    Args:
        embeddings: (n, c) float32, of any length, of fields that the classifier was not trained on.
            Training fields lie closer to one another than any new field does.
    """
    reference = normalize_rows(embeddings).astype(np.float32)
    return {f"classifier_{name}": scorer for name, scorer in fit_scorers(reference).items()}


def score_uncertainty(
    logits: NDArray[np.floating], probabilities: Mapping[str, float]
) -> dict[str, float]:
    """Score how uncertain the classifier is about one field.

    Args:
        logits: (k,) of the first stage, before temperature scaling.
        probabilities: Probability per structure code.

    Returns:
        "energy": negative log-sum-exp of the logits; "gen": generalised entropy. Larger is more
        uncertain.

    Source:
        Liu et al. 2020, arXiv:2010.03759; Liu et al. 2023 (GEN), CVPR, with its power of 0.1.
        MEASURED (SCIENCE 1.8): worse than chance at a coarser size than any trained one.
    """
    exact = np.asarray(logits, np.float64)
    largest = float(exact.max())
    shares = np.clip(np.array(list(probabilities.values()), np.float64), 1e-12, 1.0)
    return {
        "energy": -(largest + float(np.log(np.exp(exact - largest).sum()))),
        "gen": float((shares**_GEN_POWER * np.maximum(1.0 - shares, 0.0) ** _GEN_POWER).sum()),
    }
