"""Length distribution of needles: of a field, pooled over fields, the longest expected.

A long needle is cut by the border more often than a short one. Needles that touch the border are
left out, and each of the others counts by the inverse of the probability that a needle of its size
lies inside the field (Miles-Lantuéjoul).

Source:
    Lantuéjoul 1978, "Computation of the histograms of the number of edges and neighbours of cells
    in a tessellation"; Miles 1974.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from model.needles.instances import SHORTEST_UM, MeasuredNeedles

LENGTH_EDGES_UM = np.geomspace(SHORTEST_UM, 200.0, 161)
"""Edges of the histogram, 2.9 % wide each."""
BORDER_UM = 1.2
"""A needle that ends closer to the border than this may go on outside."""
LARGEST_WEIGHT = 10.0
WINDOW_UM = 64.0
LEAST_WINDOW_NEEDLES, LEAST_WINDOWS = 8, 6
ANGLE_BINS = 12


@dataclass(frozen=True, slots=True)
class LengthDistribution:
    """Edge-corrected lengths of the needles of one or more fields.

    Args:
        by_number: (160,) weight of the needles in each bin of `LENGTH_EDGES_UM`.
        by_area: (160,) weight times visible area, µm².
    """

    by_number: NDArray[np.float64]
    by_area: NDArray[np.float64]

    def quantile_um(self, share: float, *, weighted: str = "area") -> float | None:
        """Return the length below which a share of the needles' area (or number) is, µm.

        Args:
            share: 0 to 1.
            weighted: "area" or "number".
        """
        return find_quantile(self.by_area if weighted == "area" else self.by_number, share)


def find_quantile(histogram: NDArray[np.float64], share: float) -> float | None:
    """Return the length, µm, below which a share of a histogram is, or None if it is empty."""
    found = find_quantiles(histogram[None], share)
    return float(found[0]) if len(found) else None


def find_quantiles(histograms: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return the length, µm, below which a share of each histogram is; empty ones are left out.

    Args:
        histograms: (k, 160), one per row.
        share: 0 to 1.
    """
    filled = histograms[histograms.sum(axis=1) > 0]
    cumulated = np.cumsum(filled, axis=1)
    cumulated = np.pad(cumulated / cumulated[:, -1:], ((0, 0), (1, 0)))  # (k, 161)
    index = np.clip((cumulated < share).sum(axis=1), 1, filled.shape[1])
    row = np.arange(len(filled))
    low, high = cumulated[row, index - 1], cumulated[row, index]
    part = np.where(high > low, (share - low) / np.where(high > low, high - low, 1.0), 1.0)
    log_edges = np.log(LENGTH_EDGES_UM)
    step = log_edges[index] - log_edges[index - 1]
    return np.asarray(np.exp(log_edges[index - 1] + part * step), np.float64)


def compute_weights(
    ends_um: NDArray[np.float64], size_um: tuple[float, float]
) -> NDArray[np.float64]:
    """Compute the edge-correction weight of every needle.

    Args:
        ends_um: (n, 2, 2) both tips, (x, y).
        size_um: Width and height of the field.

    Returns:
        (n,) 0 for needles that touch the border, otherwise at least 1.
    """
    frame = np.array(size_um) - 2 * BORDER_UM
    low, high = ends_um.min(axis=1), ends_um.max(axis=1)
    inside = (low >= BORDER_UM).all(axis=1) & (high <= np.array(size_um) - BORDER_UM).all(axis=1)
    free = np.maximum(frame - (high - low), 1e-6) / frame
    weights = np.minimum(1 / (free[:, 0] * free[:, 1]), LARGEST_WEIGHT)
    return np.where(inside, weights, 0.0)


def compute_distribution(
    length_um: NDArray[np.float64],
    area_um2: NDArray[np.float64],
    weights: NDArray[np.float64],
    log_scale: NDArray[np.float64] | None = None,
) -> LengthDistribution:
    """Count weighted lengths in the bins of `LENGTH_EDGES_UM`.

    Args:
        length_um: (n,) lengths.
        area_um2: (n,) visible areas.
        weights: (n,) edge-correction weights.
        log_scale: (n,) scale of a Laplace distribution of the logarithm of each length, or None
            for exact lengths. Expected lengths scatter less than true ones, because each is drawn
            towards the usual length; counting each with its distribution undoes that.
    """
    if log_scale is not None:
        shares = _spread_lengths(length_um, log_scale)
        return LengthDistribution(weights @ shares, (weights * area_um2) @ shares)
    clipped = np.clip(length_um, LENGTH_EDGES_UM[0], LENGTH_EDGES_UM[-1])
    by_number, _ = np.histogram(clipped, LENGTH_EDGES_UM, weights=weights)
    by_area, _ = np.histogram(clipped, LENGTH_EDGES_UM, weights=weights * area_um2)
    return LengthDistribution(by_number, by_area)


def _spread_lengths(
    length_um: NDArray[np.float64], log_scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the share of every length in each bin, (n, 160); the outer ones hold the tails."""
    distance = np.log(LENGTH_EDGES_UM)[None] - np.log(length_um)[:, None]
    tail = 0.5 * np.exp(-np.abs(distance) / log_scale[:, None])
    below = np.where(distance < 0, tail, 1 - tail)
    below[:, 0], below[:, -1] = 0, 1
    return np.asarray(np.diff(below, axis=1), np.float64)


def compute_orientation(needles: MeasuredNeedles) -> tuple[NDArray[np.float64], float]:
    """Compute the orientation histogram and the anisotropy, weighted by length.

    Returns:
        (12,) shares per 15°, from 0° clockwise from the x axis; and the length of the mean
        double-angle vector, 0 for no preferred direction, 1 for all parallel.
    """
    bins = np.minimum((needles.angle / np.pi * ANGLE_BINS).astype(int), ANGLE_BINS - 1)
    counts = np.bincount(bins, needles.length_um, ANGLE_BINS)
    total = max(float(counts.sum()), 1e-9)
    mean = (needles.length_um * np.exp(2j * needles.angle)).sum() / total
    return counts / total, float(np.abs(mean))


def compute_heterogeneity(needles: MeasuredNeedles, size_um: tuple[float, float]) -> float | None:
    """Compute the ratio of the 90 % and 10 % quantiles of the L50 of windows of 64 µm.

    Returns:
        At least 1, or None where there are fewer than six windows with eight needles.
    """
    middle = needles.ends_um.mean(axis=1)
    columns = max(int(size_um[0] // WINDOW_UM), 1)
    rows = max(int(size_um[1] // WINDOW_UM), 1)
    column = np.clip((middle[:, 0] / size_um[0] * columns).astype(int), 0, columns - 1)
    row = np.clip((middle[:, 1] / size_um[1] * rows).astype(int), 0, rows - 1)
    window = row * columns + column
    medians = []
    for each in np.unique(window).tolist():
        inside = window == each
        if inside.sum() >= LEAST_WINDOW_NEEDLES:
            ones = np.ones(int(inside.sum()))
            counted = compute_distribution(
                needles.expected_um[inside], needles.area_um2[inside], ones
            )
            medians.append(counted.quantile_um(0.5))
    if len(medians) < LEAST_WINDOWS:
        return None
    low, high = np.quantile(np.array(medians, float), (0.1, 0.9))
    return float(high / low)


# --- combine the fields of a specimen or an order, with intervals by resampling whole fields ------
# Needles of one field are alike, so resampling needles would give intervals that are too narrow.


LEAST_FIELDS = 5
FAR, LEAST_BEYOND_FAR = 0.9, 60.0
"""From which share on an interval needs many needles, and how many times the share beyond: 6000
for L99. Resampling sees no needle longer than those found, so of fewer it is too narrow: L99 of ten
fields of 100 needles held the true one in 86 %. Counted are all needles, not the longer ones: to
count those would choose the fields in which long ones happen to be missing. MEASURED:
`tests/bench/risks.py`."""
RESAMPLES = 1000
INSTRUMENT_FIELDS = 11
CALIBRATED_FIELDS = 10
"""Least fields of a calibration: the mean of their errors is known no better than that."""
INSTRUMENT_ERROR = {0.5: (0.007, 0.084), 0.9: (0.111, 0.083), 0.99: (0.111, 0.083)}
"""Share → mean and standard deviation of log(true / measured length): the network parts long
needles, and more fields do not average that out. MEASURED on the 11 fields, of 21 that others drew,
that it measures: `python tests/bench/needles.py --others FOLDER`. L99, of which these have too few
needles, gets the error of L90."""


@dataclass(frozen=True, slots=True)
class LengthEstimate:
    """A length with its 95 % interval, None below five fields or too few needles."""

    value_um: float
    low_um: float | None
    high_um: float | None
    n_fields: int


def estimate_quantile(
    fields: Sequence[LengthDistribution], share: float, *, is_calibrated: bool = False
) -> LengthEstimate | None:
    """Estimate a length quantile by area of all fields together.

    The interval is symmetric for the logarithm: the resampled standard error, corrected for the
    number of fields, times Student's quantile. Without a calibration it is that of the true length,
    with the error of the network; so the measured length is near its lower end.

    Args:
        fields: One distribution per field.
        share: 0 to 1.
        is_calibrated: Whether lengths were compared with people's; then chance counts, and how well
            the mean error of the calibration's fields is known.

    Returns:
        None if there are no needles.
    """
    rows = np.array([field.by_area for field in fields])
    value = find_quantile(rows.sum(axis=0), share) if len(rows) else None
    if value is None:
        return None
    n = len(rows)
    needles = sum(float(field.by_number.sum()) for field in fields)
    if n < LEAST_FIELDS or needles < count_needed(share):
        return LengthEstimate(value, None, None, n)
    logs = np.log(_resample(rows, share))
    reach = float(logs.std(ddof=1) * np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
    shift, spread = INSTRUMENT_ERROR[share]
    if is_calibrated:
        shift, least = 0.0, CALIBRATED_FIELDS
        of_mean = t.ppf(0.975, least - 1) / np.sqrt(least)
        reach = float(np.hypot(reach, of_mean * spread))
    else:
        of_new = t.ppf(0.975, INSTRUMENT_FIELDS - 1) * np.sqrt(1 + 1 / INSTRUMENT_FIELDS)
        reach = float(np.hypot(reach, of_new * spread))
    low, high = np.exp([shift - reach, shift + reach])
    return LengthEstimate(value, value * min(1.0, float(low)), value * float(high), n)


def count_needed(share: float) -> float:
    """Return how many needles the interval of a quantile needs."""
    return LEAST_BEYOND_FAR / (1 - share) if share > FAR else 0.0


def _resample(rows: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    n = len(rows)
    draws = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return find_quantiles(draws @ rows, share)


# --- the longest needle to expect in an area that nobody has seen, from the longest of each field
# Source: ASTM E2283 for inclusions: block maxima, Gumbel distribution by maximum likelihood. Unlike
# there, the interval is for the maximum itself and exact for every number of fields: for a
# location-scale family, (new maximum - location) / scale has a distribution without parameters.


LEAST_BLOCKS = 20
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
    if len(maxima) < LEAST_BLOCKS or areas.max() > LARGEST_AREA_RATIO * areas.min():
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
