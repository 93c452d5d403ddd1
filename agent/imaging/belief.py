"""Weigh what speaks for a region of a micrograph lying beyond the specimen, or against it.

In:  what each witness has seen. Out: the logarithm of the odds. Next: `outside`.
Each witness says what its table says at the value it has seen, between two nodes in proportion,
beyond the last one no more than there; what all say is added up. The tables are fitted, not
guessed: `python tests/bench/border_weights.py` prints them anew.

Source:
    Generalised additive model: Hastie and Tibshirani, Statistical Science 1 (1986) 297-310.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

AT_A_GLANCE = (
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
AT_THE_EDGE = (
    "brighter_there",  # at the edge itself
    "rougher_there",
    "spots",  # its roughest cells, pores and particles, against most
    "spots_beside",  # those of the rest
    "spots_fine",  # how fine its own are: out of focus they are not
)
CLOSELY = (
    "own",  # cells that look like its own
    "doubted",  # how surely its least likely cells are its own
    "between",  # cells that look like neither
    "kin",  # patches of the rest that look like it
    "frayed",  # cells along its rim that look like the rest
)
WITNESSES = AT_A_GLANCE + AT_THE_EDGE + CLOSELY
"""What speaks for a region or against it, as `outside.witnesses` gives it."""

Tables = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
"""Of each witness: the nodes, and what it says there."""

TABLES: Tables = {
    "smoother": (
        (-3.948, -0.157, 0.365, 1.398, 3.439, 4.744),
        (-4.17, -0.41, -0.21, 0.94, 1.54, 2.31),
    ),
    "brighter": (
        (-120.750, -50.750, -15.500, 1.250, 35.250, 109.420),
        (1.14, -0.08, -1.06, -0.58, 0.07, 0.51),
    ),
    "gap_coarse": (
        (-3.322, -0.931, -0.390, -0.047, 1.462, 3.609),
        (0.24, -0.10, -0.55, -0.46, -0.24, 1.11),
    ),
    "fine": ((-0.726, 0.635, 1.233, 1.766, 2.215, 3.256), (1.91, 1.30, 1.08, 0.20, -0.89, -3.59)),
    "uneven_light": (
        (1.250, 8.000, 16.500, 36.000, 61.250, 115.500),
        (-0.96, 0.03, 0.85, -0.08, 0.07, 0.09),
    ),
    "uneven_fine": (
        (0.064, 0.148, 0.300, 0.507, 0.965, 2.604),
        (1.13, 0.81, 0.88, -0.14, -0.94, -1.75),
    ),
    "size": (
        (-5.127, -3.981, -2.506, -1.327, -0.324, -0.058),
        (-2.14, -0.34, 1.09, 1.38, 1.44, -1.42),
    ),
    "little_left": ((-5.112, -1.677, -0.511, -0.224, -0.066), (-1.01, 0.19, 0.63, 0.92, -0.74)),
    "long_edge": (
        (0.437, 0.737, 0.838, 0.960, 1.123, 1.325),
        (-0.41, 1.04, 0.88, 0.04, -0.37, -1.18),
    ),
    "rest_convex": ((0.458, 0.815, 0.944, 0.975, 0.988), (-0.66, 0.19, -0.07, -0.28, 0.83)),
    "brighter_there": (
        (-67.302, -23.646, -6.457, 2.414, 18.105, 64.550),
        (0.75, -0.35, -0.36, -0.74, -0.01, 0.70),
    ),
    "rougher_there": (
        (-2.940, -1.682, -0.797, -0.245, 0.307, 2.085),
        (-1.27, 0.62, 0.38, 0.10, -0.21, 0.38),
    ),
    "own": ((0.593, 0.824, 0.940, 0.998), (-2.33, 0.25, 1.27, 0.81)),
    "doubted": ((-12.000, -5.269, -0.388, 6.363, 12.000), (-0.27, -0.23, -0.14, -0.12, 0.76)),
    "between": ((0.000, 0.025, 0.195, 0.808), (1.19, 0.80, -0.57, -1.43)),
    "kin": ((0.000, 0.115, 0.267, 0.526), (0.58, 0.06, -0.28, -0.35)),
    "frayed": ((0.000, 0.041, 0.170, 0.360, 0.859), (0.15, -0.32, -0.29, -0.66, 1.12)),
    "spots": ((0.107, 0.333, 0.553, 0.968, 1.870, 4.301), (-0.27, -0.44, -0.34, -0.18, 0.66, 0.56)),
    "spots_beside": (
        (0.242, 0.511, 0.841, 1.150, 2.403, 4.608),
        (-0.49, 0.36, 0.09, 0.33, 0.32, -0.62),
    ),
    "spots_fine": (
        (-3.139, -2.469, -1.985, -1.329, -0.267, 0.958),
        (0.82, -1.20, -0.98, -0.32, 0.40, 1.28),
    ),
}
"""What each says of a region being outside."""
CONSTANT = -5.58

SECOND: Tables = {
    "smoother": (
        (-2.688, -0.220, 0.146, 0.499, 1.493, 4.337),
        (0.10, -0.15, -0.81, -0.22, 0.58, 0.50),
    ),
    "brighter": (
        (-68.000, -30.250, -10.500, -0.500, 20.000, 59.750),
        (0.67, 0.68, -1.27, -1.16, 0.09, 0.99),
    ),
    "gap_coarse": (
        (-3.530, -1.121, -0.611, -0.304, -0.054, 1.762),
        (-0.78, -0.00, -0.05, -0.48, 0.07, 1.24),
    ),
    "fine": ((-0.412, 0.966, 1.620, 2.032, 2.469, 3.444), (-0.50, -0.38, -0.18, 0.25, 0.53, 0.29)),
    "uneven_light": (
        (1.250, 8.000, 22.500, 42.250, 63.000, 109.730),
        (-0.17, -0.25, -0.03, 0.14, 0.50, -0.20),
    ),
    "uneven_fine": (
        (0.054, 0.183, 0.378, 0.621, 1.046, 2.481),
        (0.03, -0.72, -0.40, -0.06, 0.27, 0.88),
    ),
    "size": (
        (-5.230, -4.384, -3.464, -1.613, -0.177, -0.051),
        (-0.15, 0.30, 0.34, 0.72, -0.51, -0.70),
    ),
    "little_left": ((-5.367, -2.542, -0.442, -0.095), (-0.63, 0.50, 1.14, -1.00)),
    "long_edge": (
        (0.455, 0.780, 0.904, 1.024, 1.174, 1.332),
        (0.31, 0.14, -0.01, -0.15, -0.04, -0.26),
    ),
    "rest_convex": ((0.446, 0.744, 0.939, 0.976, 0.989), (-0.14, -0.78, -0.13, 0.72, 0.33)),
}
"""What each says of a region being one of two materials, where nothing is outside."""
SECOND_CONSTANT = 0.20


def said(tables: Tables, names: Sequence[str], seen: NDArray[np.float64]) -> float:
    """Add up what witnesses say of what they have seen."""
    return float(sum(np.interp(one, *tables[name]) for name, one in zip(names, seen, strict=True)))


def at_most(names: Sequence[str]) -> float:
    """Say what witnesses can say of a region being outside at most."""
    return sum(max(TABLES[name][1]) for name in names)


def in_second_material(seen: NDArray[np.float64]) -> float:
    """Say the logarithm of the odds that a field of such a region shows two materials.

    Args:
        seen: Of the region, as `AT_A_GLANCE` names it.
    """
    return SECOND_CONSTANT + said(SECOND, AT_A_GLANCE, seen)
