"""Length distribution of the needles of one field, corrected for the border.

A long needle is cut by the border more often than a short one. Needles that touch the border are
left out, and each of the others counts by the inverse of the probability that a needle of its size
lies inside the field (Miles-Lantuéjoul).

Source:
    Lantuéjoul 1978, "Computation of the histograms of the number of edges and neighbours of cells
    in a tessellation"; Miles 1974.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.needles.truth import SHORTEST_UM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.needles.instances import MeasuredNeedles

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

    def share_longer(self, limit_um: float) -> float | None:
        """Return the share of the needles' area in needles longer than a limit."""
        total = self.by_area.sum()
        if total <= 0:
            return None
        cumulated = np.concatenate([[0], np.cumsum(self.by_area)]) / total
        below = np.interp(np.log(limit_um), np.log(LENGTH_EDGES_UM), cumulated)
        return float(1 - below)


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
