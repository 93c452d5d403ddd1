"""Say what known fields reach that their own models never saw, and how far beyond it a field lies.

In:  `Distances` of known fields, each measured by a model that had not learned from it. Out:
a `Usual`: surprises, one score, the scores to compare with. Next: `strangeness`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from model.ood.conformal import OWN_SCORES_FROM
from model.ood.mahalanobis import PLACES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from model.ood.mahalanobis import Distances

LOOKS: Final = ("whole", "window", *PLACES)
"""What is compared, in the order of every array below."""

_OWN_USUAL_FROM = 20
"""Subtypes with fewer images are compared with what images of any subtype reach."""


@dataclass(frozen=True, slots=True)
class ScoreNormalizer:
    """What known fields reach.

    Args:
        layers: (layers, 2) mean and standard deviation of the whole's logarithms.
        windows: (layers, 2) the same of the windows'.
        looks: Subtype → (looks, 2) the same of `LOOKS`; "" holds for any other subtype.
        scores: (n,) sorted upwards, of the pooled folds.
        peaks: (n, places) sorted upwards per column: the farthest cell of each of `PLACES`.
        microscopes: Microscope → its own share of `scores`, sorted, where it has enough.
    """

    layers: NDArray[np.float64]
    windows: NDArray[np.float64]
    looks: Mapping[str, NDArray[np.float64]]
    scores: NDArray[np.float64]
    peaks: NDArray[np.float64]
    microscopes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of(cls, measured: Sequence[Distances], microscopes: Sequence[str]) -> ScoreNormalizer:
        """Gather what known fields reach.

        Args:
            measured: Of each known field, by a model that had not learned from it.
            microscopes: What took each field, "" where unknown.
        """
        layers = _spread(np.stack([one.whole for one in measured]))
        windows = _spread(np.concatenate([one.windows for one in measured]))
        raw = np.stack([_looks(one, layers, windows) for one in measured])
        looks = {"": _spread(raw)}
        subtypes = np.array([one.subtype for one in measured])
        for subtype in sorted(set(subtypes.tolist())):
            own = subtypes == subtype
            if own.sum() >= _OWN_USUAL_FROM:
                looks[subtype] = _spread(raw[own])
        peaks = np.array([[away.max() for away in one.places] for one in measured], np.float64)
        bare = cls(layers, windows, looks, np.zeros(0), np.sort(peaks, axis=0))
        scores = np.array([combine_scores(bare.z_scores(one)) for one in measured])
        taken_by = np.array(microscopes)
        enough = [name for name, n in Counter(microscopes).items() if name and n >= OWN_SCORES_FROM]
        return replace(
            bare,
            scores=np.sort(scores),
            microscopes={name: np.sort(scores[taken_by == name]) for name in sorted(enough)},
        )

    def z_scores(self, one: Distances) -> NDArray[np.float64]:
        """Give the looks in standard deviations of known fields of its subtype."""
        raw = _looks(one, self.layers, self.windows)
        usual = self.looks.get(one.subtype, self.looks[""])
        found: NDArray[np.float64] = (raw - usual[:, 0]) / usual[:, 1]
        return found

    def scores_of(self, microscope: str) -> NDArray[np.float64]:
        """Give the known scores that a microscope's fields are compared with, sorted upwards."""
        return self.microscopes.get(microscope, self.scores)

    def levels(self, alpha: float) -> NDArray[np.float64]:
        """Give the distance that a share alpha of known fields reaches somewhere, per place."""
        rank = int(np.clip(np.floor(alpha * (len(self.peaks) + 1)), 1, len(self.peaks)))
        found: NDArray[np.float64] = np.maximum(self.peaks[-rank], 1e-6)
        return found


def combine_scores(surprise: NDArray[np.float64]) -> float:
    """Join the looks into one score that never falls when a look grows stranger.

    Args:
        surprise: (looks,) in standard deviations of known fields.

    Returns:
        The length of what lies above -1, in the fourth power. MEASURED against mean, plain length
        and maximum on two drawings: the mean and the plain length miss what one look alone sees,
        the maximum what all see a little (a coarser size).
    """
    return float((np.maximum(surprise + 1.0, 0.0) ** 4).sum() ** 0.25)


def _looks(
    one: Distances, layers: NDArray[np.float64], windows: NDArray[np.float64]
) -> NDArray[np.float64]:
    whole = ((one.whole - layers[:, 0]) / layers[:, 1]).mean()
    window = ((one.windows - windows[:, 0]) / windows[:, 1]).mean(axis=1).max()
    return np.array([whole, window, *one.tops])


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give mean and standard deviation per column, (columns, 2)."""
    return np.stack([values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)], axis=1)
