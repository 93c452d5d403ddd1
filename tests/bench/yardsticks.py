"""Score strangeness as others do, on the same looks of the same network: yardsticks, not product.

In:  the taught fields. Out: a number per method and field; larger is stranger. Next: `strangeness`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from model.ood.mahalanobis import normalize_rows, whitening_matrix
from model.ood.nearest_neighbor import SUBSPACE, score_uncertainty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from model.data.dataset import Example
    from model.ood.feature_arrays import OodFeatures
    from model.ood.features import OodFeatureExtractor

CELLS_EACH = 64
BANK = 1000
PROJECTED = 32
TOP_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class TiedGaussians:
    """Gaussians of several classes that share one covariance.

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
        """Fit the mean of each class and one shrunken covariance of the residuals.

        Args:
            vectors: (n, d).
            classes: Class of each vector.
        """
        names = tuple(sorted(set(classes)))
        index = np.searchsorted(names, list(classes))
        exact = np.asarray(vectors, np.float64)
        means = np.stack([exact[index == k].mean(axis=0) for k in range(len(names))])
        return cls(
            names,
            means.astype(np.float32),
            whitening_matrix(shrink_covariance(exact - means[index])).astype(np.float32),
        )

    def squared_distances(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the squared Mahalanobis distance of each vector to each class, (n, k)."""
        whiten = self.whiten.astype(np.float64)
        whitened, centres = np.asarray(vectors, np.float64) @ whiten, self.means @ whiten
        return np.stack([((whitened - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def shrink_covariance(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate a covariance from few vectors, shrunk towards a multiple of the identity.

    Args:
        residuals: (n, d) float64, each class's mean already removed.

    Returns:
        (d, d) float64, symmetric, positive semi-definite.

    Source:
        Ledoit and Wolf 2004, J. Multivariate Anal. 88:365, equations 13 to 15; tied over classes.
    """
    count, size = residuals.shape
    exact = torch.from_numpy(residuals)
    sample: NDArray[np.float64] = (exact.T @ exact).numpy() / count
    mean = float(np.trace(sample)) / size
    dispersion = float((sample**2).sum()) / size - mean**2  # of the sample from the identity
    fourth = float((np.einsum("nd,nd->n", residuals, residuals) ** 2).sum())
    noise = (fourth / count - float((sample**2).sum())) / (count * size)
    shrinkage = 1.0 if dispersion <= 0 else min(1.0, max(0.0, noise / dispersion))
    shrunk: NDArray[np.float64] = (1 - shrinkage) * sample
    shrunk[np.diag_indices(size)] += shrinkage * mean
    return shrunk


@dataclass(frozen=True)
class Yardsticks:
    """Methods fitted on the taught fields.

    Args:
        clouds: Per code, for a linear discriminant whose logits give energy and GEN.
        bank: (m, d) float32 cells chosen by greedy k-centre: PatchCore's (Roth et al. 2022).
        spread: (d,) float32: what a cell's features are divided by.
        detectors: `pytorch-ood` detectors by name, where it can be imported.
    """

    clouds: TiedGaussians
    bank: NDArray[np.float32]
    spread: NDArray[np.float32]
    detectors: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, taught: Sequence[Example], looker: OodFeatureExtractor) -> Yardsticks:
        rng = np.random.default_rng(0)
        embeddings, cells = [], []
        for example in taught:
            seen = looker.extract(example.load())
            embeddings.append(normalize_rows(seen.whole[-1]))
            own = seen.fine.on_steel()
            cells.append(own[rng.choice(len(own), min(CELLS_EACH, len(own)), replace=False)])
        learned, some = np.stack(embeddings), np.concatenate(cells)
        spread = np.maximum(some.std(axis=0), 1e-6)
        codes = [example.code for example in taught]
        clouds = TiedGaussians.fit(learned, codes)
        return cls(clouds, _coreset(some / spread, rng), spread, _detectors(learned, codes, clouds))

    def scores(self, seen: OodFeatures) -> dict[str, float]:
        embedding = normalize_rows(seen.whole[-1][None])
        logits = -0.5 * self.clouds.squared_distances(embedding)[0]
        shares = np.exp(logits - logits.max())
        doubt = score_uncertainty(logits, dict(enumerate((shares / shares.sum()).tolist())))
        given = torch.from_numpy(embedding).float()
        others = {
            name: float(detector.predict_features(given)[0])
            for name, detector in self.detectors.items()
        }
        return {**doubt, "patch_bank": self._bank(seen.fine.on_steel()), **others}

    def _bank(self, cells: NDArray[np.float32]) -> float:
        scaled = cells / self.spread
        squared = (scaled**2).sum(axis=1)[:, None] + (self.bank**2).sum(axis=1)[None]
        nearest = np.sqrt(np.maximum((squared - 2 * scaled @ self.bank.T).min(axis=1), 0))
        count = max(1, int(TOP_SHARE * len(nearest)))
        return float(np.partition(nearest, -count)[-count:].mean())


def _coreset(cells: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Choose cells by greedy k-centre on a random projection."""
    turned = cells @ rng.normal(size=(cells.shape[1], PROJECTED)).astype(np.float32)
    chosen = [0]
    away = np.square(turned - turned[0]).sum(axis=1)
    while len(chosen) < min(BANK, len(cells)):
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.square(turned - turned[chosen[-1]]).sum(axis=1))
    return cells[chosen]


def _detectors(
    learned: NDArray[np.float64], codes: Sequence[str], clouds: TiedGaussians
) -> dict[str, Any]:
    try:
        from pytorch_ood.detector import KNN, Mahalanobis, ViM  # noqa: PLC0415 - only if installed
    except ImportError:
        return {}
    given = torch.from_numpy(learned).float()
    labels = torch.tensor([clouds.classes.index(code) for code in codes])
    inverse = clouds.whiten.astype(np.float64) @ clouds.whiten.T
    weight = clouds.means @ inverse  # of the linear discriminant, (k, d)
    bias = -0.5 * (weight * clouds.means).sum(axis=1)
    found = {
        "pytorch-ood KNN": KNN(None, k=1),
        "pytorch-ood Mahalanobis": Mahalanobis(None),
        "pytorch-ood ViM": ViM(
            None, SUBSPACE, torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        ),
    }
    for detector in found.values():
        detector.fit_features(given, labels)
    return found
