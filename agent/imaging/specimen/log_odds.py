"""Compute the log odds that a region of a micrograph lies outside the specimen.

Each feature contributes the value of its piecewise linear table, constant beyond the end nodes;
contributions add up. The tables are fitted: `python tests/bench/border_weights.py` prints them.

Source:
    Generalised additive model: Hastie and Tibshirani, Statistical Science 1 (1986) 297-310.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

QUICK_FEATURES = (
    "smoother",  # than the rest, between the rough tenths of both, in octaves
    "brighter",  # than the rest
    "gap_coarse",  # coarse roughness between the tenths that come nearest; below 0 they overlap
    "fine",  # its own fine roughness
    "uneven_light",  # width between its own tenths
    "uneven_fine",
    "size",
    "little_left",
    "long_edge",  # for its contact with the frame
    "rest_convex",
)
EDGE_FEATURES = (
    "brighter_there",  # at the edge
    "rougher_there",
    "spots",  # its roughest cells (pores, particles) against the median
    "spots_beside",  # those of the rest
    "spots_fine",  # fineness of its own: low when out of focus
)
FINE_FEATURES = (
    "own",  # cells that look like its own
    "doubted",  # how surely its least likely cells are its own
    "between",  # cells that look like neither
    "kin",  # patches of the rest that look like it
    "frayed",  # cells along its rim that look like the rest
)
FEATURES = QUICK_FEATURES + EDGE_FEATURES + FINE_FEATURES
"""Features of a region, quick ones, edge, fine ones."""

Tables = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""Per feature: nodes, and the log odds at each node."""

OUTSIDE: Tables = {
    "smoother": (
        (-3.943, -0.155, 0.367, 1.400, 3.437, 4.745),
        (-4.16, -0.39, -0.20, 0.95, 1.52, 2.28),
    ),
    "brighter": (
        (-120.520, -50.500, -15.500, 1.250, 35.000, 109.000),
        (1.12, -0.10, -1.02, -0.59, 0.06, 0.53),
    ),
    "gap_coarse": (
        (-3.315, -0.931, -0.389, -0.046, 1.459, 3.616),
        (0.24, -0.10, -0.55, -0.48, -0.24, 1.12),
    ),
    "fine": ((-0.727, 0.634, 1.232, 1.765, 2.214, 3.254), (1.92, 1.32, 1.08, 0.21, -0.95, -3.58)),
    "uneven_light": (
        (1.250, 8.000, 16.500, 36.000, 61.250, 115.500),
        (-0.88, -0.02, 0.84, -0.10, 0.05, 0.11),
    ),
    "uneven_fine": (
        (0.063, 0.148, 0.299, 0.505, 0.962, 2.600),
        (1.14, 0.81, 0.91, -0.13, -0.95, -1.77),
    ),
    "size": (
        (-5.127, -3.981, -2.505, -1.325, -0.324, -0.057),
        (-2.13, -0.38, 1.07, 1.40, 1.46, -1.43),
    ),
    "little_left": ((-5.127, -1.682, -0.511, -0.223, -0.066), (-1.02, 0.15, 0.62, 0.93, -0.69)),
    "long_edge": (
        (0.435, 0.738, 0.839, 0.960, 1.124, 1.325),
        (-0.45, 1.02, 0.88, 0.07, -0.37, -1.15),
    ),
    "rest_convex": ((0.458, 0.815, 0.943, 0.975, 0.988), (-0.72, 0.27, -0.07, -0.25, 0.78)),
    "brighter_there": (
        (-67.254, -23.651, -6.474, 2.368, 18.008, 64.279),
        (0.75, -0.35, -0.31, -0.77, -0.01, 0.69),
    ),
    "rougher_there": (
        (-2.941, -1.680, -0.798, -0.246, 0.303, 2.083),
        (-1.28, 0.60, 0.40, 0.12, -0.22, 0.38),
    ),
    "spots": ((0.106, 0.333, 0.555, 0.968, 1.866, 4.300), (-0.31, -0.39, -0.32, -0.20, 0.68, 0.55)),
    "spots_beside": (
        (0.242, 0.510, 0.841, 1.149, 2.395, 4.609),
        (-0.44, 0.34, 0.04, 0.34, 0.31, -0.59),
    ),
    "spots_fine": (
        (-3.135, -2.467, -1.985, -1.330, -0.268, 0.959),
        (0.82, -1.21, -0.97, -0.32, 0.40, 1.28),
    ),
    "own": ((0.592, 0.824, 0.940, 0.998), (-2.31, 0.24, 1.25, 0.81)),
    "doubted": ((-12.000, -5.314, -0.394, 6.301, 12.000), (-0.28, -0.20, -0.16, -0.12, 0.76)),
    "between": ((0.000, 0.025, 0.196, 0.808), (1.18, 0.84, -0.59, -1.44)),
    "kin": ((0.000, 0.115, 0.267, 0.527), (0.58, 0.09, -0.30, -0.38)),
    "frayed": ((0.000, 0.041, 0.171, 0.360, 0.861), (0.15, -0.32, -0.32, -0.67, 1.16)),
}
"""Log odds of a region being outside."""
OUTSIDE_CONSTANT = -5.59

SECOND: Tables = {
    "smoother": (
        (-2.681, -0.216, 0.148, 0.502, 1.507, 4.337),
        (0.10, -0.12, -0.80, -0.21, 0.55, 0.48),
    ),
    "brighter": (
        (-68.000, -30.250, -10.500, -0.750, 19.750, 59.750),
        (0.68, 0.66, -1.23, -1.15, 0.10, 0.94),
    ),
    "gap_coarse": (
        (-3.529, -1.120, -0.610, -0.302, -0.053, 1.761),
        (-0.78, 0.00, -0.04, -0.46, 0.08, 1.19),
    ),
    "fine": ((-0.412, 0.961, 1.619, 2.032, 2.469, 3.440), (-0.51, -0.39, -0.12, 0.20, 0.53, 0.30)),
    "uneven_light": (
        (1.250, 8.000, 22.500, 42.250, 62.750, 109.400),
        (-0.17, -0.25, -0.00, 0.13, 0.51, -0.22),
    ),
    "uneven_fine": (
        (0.054, 0.183, 0.377, 0.620, 1.045, 2.477),
        (0.01, -0.69, -0.39, -0.07, 0.26, 0.89),
    ),
    "size": (
        (-5.230, -4.384, -3.459, -1.614, -0.176, -0.051),
        (-0.16, 0.32, 0.38, 0.73, -0.51, -0.76),
    ),
    "little_left": ((-5.375, -2.544, -0.442, -0.095), (-0.57, 0.49, 1.08, -1.00)),
    "long_edge": (
        (0.454, 0.781, 0.904, 1.024, 1.175, 1.332),
        (0.31, 0.15, -0.01, -0.15, -0.03, -0.27),
    ),
    "rest_convex": ((0.447, 0.745, 0.938, 0.975, 0.989), (-0.14, -0.75, -0.11, 0.63, 0.37)),
}
"""Log odds of a region being one of two materials in a field without outside."""
SECOND_CONSTANT = 0.15


def sum_log_odds(tables: Tables, names: Sequence[str], values: NDArray[np.float64]) -> float:
    """Return the sum of the table values of some features.

    Args:
        tables: Nodes and values per feature.
        names: Feature names, n.
        values: (n,) float64, feature values in the order of `names`.
    """
    return float(
        sum(np.interp(value, *tables[name]) for name, value in zip(names, values, strict=True))
    )


def compute_max_log_odds(names: Sequence[str]) -> float:
    """Return the largest sum that these features can contribute to a region being outside."""
    return sum(max(OUTSIDE[name][1]) for name in names)


def compute_two_materials_odds(values: NDArray[np.float64]) -> float:
    """Return the log odds that a field with this region shows two materials.

    Args:
        values: (n,) float64, features of the region in the order of `QUICK_FEATURES`.
    """
    return SECOND_CONSTANT + sum_log_odds(SECOND, QUICK_FEATURES, values)
