"""Measure Mahalanobis distances of a field's features from the classes of the reference fields.

Classes share one covariance. Everything is float64 with a floor under the eigenvalues: in float32
the precision matrix of collapsed features was not positive definite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from model.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.ood.features import CellFeatures, OodFeatures

_FLOOR = 1e-6
"""Smallest eigenvalue kept, as a share of the mean eigenvalue."""

WHOLE_LAYERS: Final = (0, 1, 2, 3)
"""Layers whose distances are averaged over the whole field."""

PLACES: Final = ("fine", "broad", "tone", "patch", "shade")
"""Looks that are taken cell by cell, and so can say where."""

_TOP: Final = {"fine": 20, "broad": 3, "tone": 10, "patch": 1, "shade": 2}
"""How many of the strangest cells are averaged: about 80, 190 and 40 µm², and one or two patches.
A number, no share of the field: an inclusion is as strange in a large field as in a small one."""


@dataclass(frozen=True, slots=True)
class Distances:
    """What one field's looks measure.

    Args:
        whole: (layers,) logarithms. windows: (w, layers) logarithms.
        subtype: The subtype whose fields look most like this one as a whole.
        places: Per look of `PLACES` (rows, columns) float32, 0 off the steel.
        tops: (5,) logarithms: the mean square of the strangest cells of each.
    """

    whole: NDArray[np.float64]
    windows: NDArray[np.float64]
    subtype: str
    places: tuple[NDArray[np.float32], ...]
    tops: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OodModels:
    """The Gaussians: per layer for the whole and the windows, per subtype for cells."""

    whole: tuple[TiedGaussians, ...]
    window: tuple[TiedGaussians, ...]
    places: tuple[Textures, ...]
    subtype_of: Mapping[str, str]

    def distances(self, seen: OodFeatures) -> Distances:
        """Measure one field."""
        away = [
            _logarithm(clouds.squared_distances(normalize_rows(seen.whole[layer][None]))[0])
            for layer, clouds in zip(WHOLE_LAYERS, self.whole, strict=True)
        ]  # (layers, classes)
        nearest = self.whole[0].classes[int(np.mean(away, axis=0).argmin())]
        places = tuple(
            _map(textures, getattr(seen, name))
            for name, textures in zip(PLACES, self.places, strict=True)
        )
        tops = [_top(one, _TOP[name]) for name, one in zip(PLACES, places, strict=True)]
        return Distances(
            whole=np.min(away, axis=1),
            windows=np.stack(
                [
                    _logarithm(clouds.squared_distances(normalize_rows(part)).min(axis=1))
                    for part, clouds in zip(seen.windows, self.window, strict=True)
                ],
                axis=1,
            ),
            subtype=self.subtype_of[nearest],
            places=places,
            tops=_logarithm(np.array(tops)),
        )

    def whitened(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Bring unit embeddings of the last layer to where plain distance counts, (n, d)."""
        found: NDArray[np.float32] = (embeddings @ self.whole[-1].whiten).astype(np.float32)
        return found


def _logarithm(values: NDArray[np.floating]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.log(np.maximum(np.asarray(values, np.float64), 1e-12))
    return found


def _map(textures: Textures, part: CellFeatures) -> NDArray[np.float32]:
    away = np.zeros(part.steel.shape, np.float32)
    away[part.steel] = textures.distance(part.on_steel())
    return away


def _top(away: NDArray[np.float32], count: int) -> float:
    """Average the squares of the farthest cells."""
    flat = away.ravel()
    count = min(count, flat.size)
    return float(np.square(np.partition(flat, flat.size - count)[-count:], dtype=np.float64).mean())


@dataclass(frozen=True, slots=True)
class TiedGaussians:
    """Classes of vectors that differ in their mean and share one covariance.

    Args:
        classes: Names, in the order of `means`.
        means: (k, d) float32.
        whiten: (d, d) float32; `(x - mean) @ whiten` has unit covariance.
    """

    classes: tuple[str, ...]
    means: NDArray[np.float32]
    whiten: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: NDArray[np.floating], classes: Sequence[str]) -> TiedGaussians:
        """Fit means per class and one shrunken covariance of what is left.

        Args:
            vectors: (n, d).
            classes: The class of each.
        """
        names = tuple(sorted(set(classes)))
        if not names:
            raise TrainingError("There is no example to learn the known structures from.")
        index = np.searchsorted(names, list(classes))
        exact = np.asarray(vectors, np.float64)
        means = np.stack([exact[index == k].mean(axis=0) for k in range(len(names))])
        return cls(
            names,
            means.astype(np.float32),
            whitening_matrix(shrink_covariance(exact - means[index])).astype(np.float32),
        )

    def squared_distances(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Give each vector's squared Mahalanobis distance to each class, (n, k)."""
        whiten = self.whiten.astype(np.float64)
        seen = np.asarray(vectors, np.float64) @ whiten  # (n, d)
        centres = self.means.astype(np.float64) @ whiten  # (k, d)
        return np.stack([((seen - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def shrink_covariance(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate a covariance from few vectors, drawn towards a multiple of the identity.

    Args:
        residuals: (n, d) float64, each class's mean already removed.

    Returns:
        (d, d) float64, symmetric, positive semi-definite.

    Source:
        Ledoit and Wolf 2004, J. Multivariate Anal. 88:365, equations 13 to 15; tied over classes.
    """
    count, size = residuals.shape
    sample = residuals.T @ residuals / count
    mean = float(np.trace(sample)) / size
    apart = float((sample**2).sum()) / size - mean**2  # of the sample from the identity
    fourth = float((np.einsum("nd,nd->n", residuals, residuals) ** 2).sum())
    noise = (fourth / count - float((sample**2).sum())) / (count * size)
    share = 1.0 if apart <= 0 else min(1.0, max(0.0, noise / apart))
    shrunk: NDArray[np.float64] = (1 - share) * sample
    shrunk[np.diag_indices(size)] += share * mean
    return shrunk


def whitening_matrix(covariance: NDArray[np.float64], floor: float = _FLOOR) -> NDArray[np.float64]:
    """Give the matrix that turns a covariance into the identity, its small eigenvalues lifted.

    Args:
        covariance: (d, d) float64, symmetric.
        floor: Smallest eigenvalue, as a share of the mean one.

    Returns:
        (d, d) float64, symmetric: the inverse square root.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    least = max(float(values.mean()) * floor, np.finfo(np.float64).tiny ** 0.5)
    root: NDArray[np.float64] = (vectors / np.sqrt(np.maximum(values, least))) @ vectors.T
    return root


def normalize_rows(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Bring vectors to length one; a vector of zeros stays one.

    Source:
        Müller and Hein 2025, Mahalanobis++, PMLR 267:45151.
    """
    exact = np.asarray(vectors, np.float64)
    length = np.linalg.norm(exact, axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = exact / np.where(length > 0, length, 1.0)
    return scaled


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of outer products: enough for a Gaussian, and they add up.

    Args:
        count: Vectors seen. total: (d,) float64. outer: (d, d) float64.
    """

    count: int
    total: NDArray[np.float64]
    outer: NDArray[np.float64]

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Moments:
        """Sum up (n, d) float32 vectors."""
        return cls(
            len(vectors),
            vectors.sum(axis=0, dtype=np.float64),
            (vectors.T @ vectors).astype(np.float64),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)


@dataclass(frozen=True, slots=True)
class Textures:
    """One Gaussian per subtype over the cells of its fields, wherever in the field they lie.

    Args:
        subtypes: Names, in the order of `means`.
        means: (k, d) float32. whitens: (k, d, d) float32.
    """

    subtypes: tuple[str, ...]
    means: NDArray[np.float32]
    whitens: NDArray[np.float32]

    @classmethod
    def from_moments(
        cls, moments: dict[str, Moments], shrink: float = 1e-3, least: float = 0.0
    ) -> Textures:
        """Fit one Gaussian per subtype, drawn a little towards a multiple of the identity.

        Args:
            moments: Of each subtype's cells.
            shrink: How far it is drawn, in [0, 1].
            least: Standard deviation that every direction has at the least, in the vectors' unit.
        """
        names = tuple(sorted(name for name, one in moments.items() if one.count))
        if not names:
            raise TrainingError("There is no steel in the examples to learn its texture from.")
        means = [moments[name].total / moments[name].count for name in names]
        whitens = []
        for name, mean in zip(names, means, strict=True):
            covariance = moments[name].outer / moments[name].count - np.outer(mean, mean)
            drawn = (1 - shrink) * covariance
            drawn[np.diag_indices(len(mean))] += (
                shrink * max(float(np.trace(covariance)), 1e-12) / len(mean) + least**2
            )
            whitens.append(whitening_matrix(drawn))
        return cls(names, np.stack(means).astype(np.float32), np.stack(whitens).astype(np.float32))

    def distance(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give each vector's Mahalanobis distance to the nearest subtype, (n,) float32."""
        squared = [
            np.square((vectors - mean) @ whiten).sum(axis=1)
            for mean, whiten in zip(self.means, self.whitens, strict=True)
        ]
        nearest: NDArray[np.float32] = np.sqrt(np.min(squared, axis=0))
        return nearest
