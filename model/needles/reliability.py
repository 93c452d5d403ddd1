"""How far the length of a grouped needle can be relied on, from how well its cells agree.

The network predicts a length at every cell, and the chain of cells is visible for some extent. Both
err independently: the prediction is drawn towards usual lengths, the extent misses faint ends or
runs on into a neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTENT_WEIGHT, EXTENT_REACH = 0.5, 0.6
"""Weight of the visible extent where it agrees with the prediction, and the log ratio at which its
weight is 1/e of that. MEASURED on 70 held-out drawn fields: the median of log(true/predicted) per
log(extent/predicted)."""
FEATURES = ("disagreement", "excess", "scatter", "turn", "error", "axis", "bend", "offset")

COEFFICIENTS = (-2.2, 2.24, -13.13, -7.82, -1.5, 0.55, -3.78, -0.28)
INTERCEPT = -0.51
"""Logistic regression on `FEATURES`, fitted by `python -m model.needles.fit_reliability` with 44
fields on 2311 long needles, of which 47 % are right; of those with at least 0.5, 67 % are."""
LARGEST_DISAGREEMENT = 0.4
"""Largest log ratio of visible extent and predicted length of a reliable needle. A longer extent
runs over several needles, a shorter one is mostly guessed: of both one in five is right."""


@dataclass(frozen=True, slots=True)
class ChainAgreement:
    """How well the cells of each needle agree; arrays (n,), lengths in one unit.

    Args:
        predicted: Median of the lengths that its cells predict.
        extent: Visible extent of the chain.
        length: Length that the needle is given.
        scatter: Root mean square distance of the midpoints that its cells predict.
        turn: Mean angle between the cells' directions and the needle's, radians.
        error: Mean relative error that the network expects.
        axis: Mean probability of an axis.
        bend: Root mean square distance of the cells from a straight line.
        offset: Distance between the middles of extent and prediction.
    """

    predicted: NDArray[np.float64]
    extent: NDArray[np.float64]
    length: NDArray[np.float64]
    scatter: NDArray[np.float64]
    turn: NDArray[np.float64]
    error: NDArray[np.float64]
    axis: NDArray[np.float64]
    bend: NDArray[np.float64]
    offset: NDArray[np.float64]

    def stack(self) -> NDArray[np.float64]:
        """Return the features of the logistic regression, (n, 8), see `FEATURES`."""
        ratio = np.log(self.extent / self.predicted)
        return np.stack(
            [
                np.abs(ratio),
                np.maximum(ratio, 0),
                self.scatter / self.length,
                self.turn,
                np.log(np.maximum(self.error, 0.01)),
                self.axis,
                self.bend / self.length,
                self.offset / self.length,
            ],
            axis=1,
        )


def combine_lengths(
    predicted: NDArray[np.float64], extent: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the length to expect of needles that were not selected by their length.

    Args:
        predicted: (n,) lengths predicted by the network.
        extent: (n,) visible extents, same unit.

    Returns:
        (n,) a weighted geometric mean; the more the two disagree, the less the extent counts.
    """
    ratio = np.log(extent / predicted)
    weight = EXTENT_WEIGHT * np.exp(-((ratio / EXTENT_REACH) ** 2))
    return np.asarray(predicted * np.exp(weight * ratio), np.float64)


def estimate_reliability(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the probability that length and tips of a long needle are right.

    Right is, as on the training program: length within 15 %, both tips within 20 % of the length.

    Args:
        features: (n, 8), see `FEATURES`.

    Returns:
        (n,) 0 to 1; 0 where prediction and extent contradict each other.
    """
    probability = expit(features @ np.array(COEFFICIENTS) + INTERCEPT)
    return np.where(features[:, 0] < LARGEST_DISAGREEMENT, probability, 0.0)
