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
CLOSELY = (
    "brighter_there",  # at the edge itself
    "rougher_there",
    "own",  # cells that look like its own
    "doubted",  # how surely its least likely cells are its own
    "between",  # cells that look like neither
    "kin",  # patches of the rest that look like it
    "frayed",  # cells along its rim that look like the rest
)
WITNESSES = AT_A_GLANCE + CLOSELY
"""What speaks for a region or against it, as `outside.witnesses` gives it."""

TABLES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "smoother": (
        (-4.012, -0.122, 0.434, 1.828, 3.573, 4.746),
        (-4.92, -0.26, 0.07, 1.04, 1.60, 2.47),
    ),
    "brighter": (
        (-128.750, -54.000, -15.750, 1.500, 36.250, 114.250),
        (0.65, 0.08, -0.64, -0.49, 0.35, 0.05),
    ),
    "gap_coarse": (
        (-3.317, -0.895, -0.339, 0.003, 1.675, 3.654),
        (0.17, -0.00, -0.72, -0.50, -0.13, 1.19),
    ),
    "fine": ((-0.734, 0.623, 1.175, 1.708, 2.126, 3.179), (1.40, 0.90, 1.03, 0.21, -0.26, -3.28)),
    "uneven_light": (
        (1.500, 8.000, 16.000, 36.000, 62.500, 119.000),
        (-0.59, 0.28, 0.70, -0.15, -0.11, -0.12),
    ),
    "uneven_fine": (
        (0.068, 0.145, 0.284, 0.469, 0.917, 2.637),
        (0.87, 0.49, 0.58, -0.19, -0.41, -1.34),
    ),
    "size": (
        (-5.152, -3.997, -2.521, -1.349, -0.340, -0.058),
        (-2.49, -0.65, 1.15, 1.75, 1.46, -1.21),
    ),
    "little_left": ((-5.034, -1.643, -0.500, -0.220, -0.063), (-1.05, 0.33, 0.76, 0.82, -0.86)),
    "long_edge": (
        (0.446, 0.739, 0.836, 0.958, 1.124, 1.326),
        (-0.46, 1.18, 1.02, -0.02, -0.43, -1.30),
    ),
    "rest_convex": ((0.457, 0.817, 0.946, 0.977, 0.988), (-0.77, 0.07, -0.31, -0.01, 1.02)),
    "brighter_there": (
        (-69.817, -24.438, -6.761, 2.618, 18.762, 66.573),
        (0.72, -0.32, -0.36, -0.92, 0.20, 0.68),
    ),
    "rougher_there": (
        (-2.967, -1.730, -0.891, -0.278, 0.264, 2.076),
        (-1.22, 0.88, 0.85, 0.15, -0.36, -0.29),
    ),
    "own": ((0.595, 0.826, 0.941, 0.998), (-2.41, 0.30, 1.31, 0.80)),
    "doubted": ((-12.000, -5.333, -0.384, 6.457, 12.000), (-0.16, -0.26, -0.48, -0.08, 0.97)),
    "between": ((0.000, 0.025, 0.195, 0.790), (1.30, 0.68, -0.74, -1.24)),
    "kin": ((0.000, 0.113, 0.268, 0.527), (0.64, 0.07, -0.43, -0.29)),
    "frayed": ((0.000, 0.045, 0.176, 0.368, 0.877), (0.28, -0.28, -0.20, -0.65, 0.84)),
}
"""Of each witness: the nodes, and what it says there."""
CONSTANT = -5.33

CLOSELY_AT_MOST = sum(max(TABLES[name][1]) for name in CLOSELY)
"""What a close look can add at most."""


def said(names: Sequence[str], seen: NDArray[np.float64]) -> float:
    """Add up what witnesses say of what they have seen."""
    return float(sum(np.interp(one, *TABLES[name]) for name, one in zip(names, seen, strict=True)))
