"""The longest needle to expect in an area that nobody has seen, from the longest of each field.

Source:
    ASTM E2283 for inclusions: block maxima, Gumbel distribution by maximum likelihood. Unlike
    there, the interval is for the maximum itself and exact for every number of fields: for a
    location-scale family, (new maximum - location) / scale has a distribution without parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST_FIELDS = 20
SIMULATIONS = 4000
MM2_UM2 = 1e6
LARGEST_AREA_RATIO = 1.25
"""Fields are comparable blocks if the largest is at most this many times the smallest."""


@dataclass(frozen=True, slots=True)
class LongestNeedle:
    """Prediction of the longest needle in an area, µm.

    Args:
        value_um: Median of the maximum.
        low_um: Lower end of the 95 % prediction interval.
        high_um: Upper end.
        area_mm2: The area.
        n_fields: Fields whose maxima were used.
    """

    value_um: float
    low_um: float
    high_um: float
    area_mm2: float
    n_fields: int


def predict_longest(
    maxima_um: Sequence[float], field_um2: Sequence[float], area_mm2: float
) -> LongestNeedle | None:
    """Predict the longest needle in an area of the same material.

    Args:
        maxima_um: Longest complete needle of every field.
        field_um2: Area of every field.
        area_mm2: Area to predict for, at least that of one field.

    Returns:
        None below 20 fields, for fields of different area, or for maxima that are all equal.
    """
    maxima = np.asarray(maxima_um, np.float64)
    areas = np.asarray(field_um2, np.float64)
    if len(maxima) < LEAST_FIELDS or areas.max() > LARGEST_AREA_RATIO * areas.min():
        return None
    if np.ptp(maxima) <= 0:
        return None
    blocks = max(area_mm2 * MM2_UM2 / float(areas.mean()), 1.0)
    location, scale = (float(each[0]) for each in fit_gumbel(maxima[None]))
    low, middle, high = np.quantile(
        _simulate_pivots(len(maxima), round(float(np.log(blocks)), 6)), (0.025, 0.5, 0.975)
    )
    return LongestNeedle(
        value_um=location + scale * float(middle),
        low_um=location + scale * float(low),
        high_um=location + scale * float(high),
        area_mm2=area_mm2,
        n_fields=len(maxima),
    )


def fit_gumbel(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit Gumbel distributions of maxima by maximum likelihood.

    Args:
        samples: (k, n), one sample per row.

    Returns:
        Location (k,) and scale (k,).
    """
    mean = samples.mean(axis=1)
    centred = samples - mean[:, None]
    scale = np.maximum(samples.std(axis=1) * np.sqrt(6) / np.pi, 1e-9)
    for _ in range(50):
        power = np.exp(-centred / scale[:, None])
        total = power.sum(axis=1)
        first = (centred * power).sum(axis=1) / total
        second = (centred**2 * power).sum(axis=1) / total
        value = scale + first
        slope = 1 + (second - first**2) / scale**2
        scale = np.maximum(scale - value / slope, 0.2 * scale)
    power = np.exp(-centred / scale[:, None]).mean(axis=1)
    return mean - scale * np.log(power), scale


@cache
def _simulate_pivots(fields: int, log_blocks: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(20261128)
    location, scale = fit_gumbel(rng.gumbel(size=(SIMULATIONS, fields)))
    maximum = log_blocks + rng.gumbel(size=SIMULATIONS)
    return np.asarray((maximum - location) / scale)
