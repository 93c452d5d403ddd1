"""Estimate the usual share of bad specimens of a lab, and how far its nights differ.

A night has a separate share: the logarithm of its rate is normal around the lab's. Share and spread
are estimated together from the baseline's nights, and neither is taken as known, so that a lab
whose nights differ gets wider limits, and so does one with a short baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SPREADS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Standard deviations of the log rate between nights that are considered, each as likely as the
half-normal distribution of scale 1 has it."""

_SHARES = 400  # grid points
_NODES = 15  # of the Gauss-Hermite quadrature over nights
_NEGLIGIBLE = 1e-8
"""Posterior weight, relative to the largest, below which a value is not counted on."""


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Values of share and spread that fit the baseline's nights, each with its weight.

    Args:
        night_share: (values, nodes) share of a night under each value, at each node.
        night_weight: (nodes,) of the nodes; they sum to 1.
        weight: (values,) posterior; it sums to 1.
        spread: Posterior mean of the standard deviation of the log rate between nights.
    """

    night_share: NDArray[np.float64]
    night_weight: NDArray[np.float64]
    weight: NDArray[np.float64]
    spread: float

    def chances(self, n: int) -> NDArray[np.float64]:
        """Compute how likely 0, 1, … n bad specimens of n are on a night without change.

        Args:
            n: Specimens of the night.

        Returns:
            (n + 1,) probabilities; they sum to 1.
        """
        from scipy.special import binom  # noqa: PLC0415 - takes a fifth of a second

        share, weight = self.night_share, np.outer(self.weight, self.night_weight)
        each = [float((share**k * (1 - share) ** (n - k) * weight).sum()) for k in range(n + 1)]
        chances: NDArray[np.float64] = np.array(each) * binom(n, np.arange(n + 1))
        return chances

    def chance_of_run(self, nights: Sequence[tuple[int, int]]) -> float:
        """Compute the chance that each night of a run has more bad specimens than a given number.

        They share the lab's unknown share and spread, so their chances are multiplied for each
        value that the baseline allows, and only then averaged: else an unlucky baseline would alarm
        every week.

        Args:
            nights: (at most, specimens) of each.
        """
        from scipy.special import bdtrc  # noqa: PLC0415 - takes a fifth of a second

        together = np.ones_like(self.weight)
        above = {
            night: bdtrc(night[0], night[1], self.night_share) @ self.night_weight
            for night in set(nights)
        }
        for night in nights:
            together = together * above[night]
        return float((together * self.weight).sum())


@lru_cache(maxsize=64)
def fit_baseline(
    nights: tuple[tuple[int, int], ...], spreads: tuple[float, ...] = SPREADS
) -> Baseline:
    """Fit share and spread to the baseline's nights.

    Args:
        nights: (bad, specimens) of each.
        spreads: Those considered; (0.0,) alone where nights are known not to differ, which makes
            the counts of a night beta-binomial.

    Source:
        A binomial with a normal effect of the night in the complementary log-log (Breslow and
        Clayton 1993, JASA 88:9), the lab's share with Jeffreys' prior, summed over a grid. Laney's
        p' chart (2002, Quality Engineering 14:531) allows for nights that differ in the same way,
        but its normal limits do not hold for nights of few specimens and shares near 0.
    """
    # In the arc sine Jeffreys' prior is even.
    share = np.sin((np.arange(_SHARES) + 0.5) / _SHARES * np.pi / 2) ** 2
    nodes, node_weight = np.polynomial.hermite_e.hermegauss(_NODES)  # (nodes,) each
    node_weight /= node_weight.sum()
    spread = np.array(spreads)
    rate = -np.log1p(-share)[:, None, None] * np.exp(spread[:, None] * nodes)
    night_share = -np.expm1(-rate)  # (shares, spreads, nodes)
    log = np.broadcast_to(-(spread**2) / 2, (_SHARES, len(spreads)))
    kinds: dict[tuple[int, int], int] = {}
    for night in nights:
        kinds[night] = kinds.get(night, 0) + 1
    for (bad, n), times in kinds.items():
        chance = (night_share**bad * (1 - night_share) ** (n - bad)) @ node_weight
        log = log + times * np.log(np.maximum(chance, 1e-300))
    weight = np.exp(log - log.max())
    kept = weight > _NEGLIGIBLE
    weight /= weight[kept].sum()
    return Baseline(
        night_share[kept], node_weight, weight[kept], float((weight * kept * spread).sum())
    )
