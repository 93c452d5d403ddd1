"""Find the program's needle at the place of a needle that a reviewer measured.

Only the place is compared: the axes lie on each other and have the same direction. Tips are not a
condition, since pairs with very different lengths would then be left out, and the limits of
agreement would be too narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_ANGLE = np.deg2rad(20)
ACROSS_UM, ACROSS_SHARE = 1.5, 0.05
"""Largest distance of the shorter needle's tips from the axis of the longer one, in µm plus a share
of its length: a person clicks to about half a µm, and needles are a little curved."""
LEAST_OVERLAP = 0.5
"""Share of the shorter needle that lies along the longer one."""
LEAST_COMMON = 0.2
"""Common length over that of both together: any long line has some short needle lying on it."""
TIP_SHARE, TIP_UM = 0.15, 1.0
"""Tips agree within this share of the measured length, but at least within this distance."""


def find_counterpart(
    measured_um: NDArray[np.float64], program_um: NDArray[np.float64]
) -> int | None:
    """Find the program's needle at the place of a measured one.

    Args:
        measured_um: (2, 2) tips of the measured needle, (x, y) in µm.
        program_um: (n, 2, 2) tips of the program's needles in the same frame.

    Returns:
        Its number, or None where the program has none there. Of several the one that has the most
        in common with the measured one.
    """
    if not len(program_um):
        return None
    length, along = _measure(measured_um[None])
    lengths, directions = _measure(program_um)
    is_longer = lengths > length
    axis = np.where(is_longer[:, None], directions, along)
    origin = np.where(is_longer[:, None], program_um.mean(axis=1), measured_um.mean(axis=0))
    shorter = np.where(is_longer[:, None, None], measured_um, program_um)
    short, long = np.minimum(lengths, length), np.maximum(lengths, length)
    step = shorter - origin[:, None]
    across = np.abs(step[..., 0] * axis[:, None, 1] - step[..., 1] * axis[:, None, 0]).max(axis=1)
    place = (step * axis[:, None]).sum(axis=2)
    low, high = place.min(axis=1), place.max(axis=1)
    overlap = np.minimum(high, long / 2) - np.maximum(low, -long / 2)
    common = overlap / (short + long - overlap)
    turn = np.arccos(np.clip(np.abs(directions @ along[0]), 0, 1))
    is_there = (
        (turn < LARGEST_ANGLE)
        & (across < ACROSS_UM + ACROSS_SHARE * short)
        & (overlap > LEAST_OVERLAP * short)
        & (common > LEAST_COMMON)
    )
    if not is_there.any():
        return None
    return int(np.argmax(np.where(is_there, common - 0.1 * across / short, -np.inf)))


def do_tips_agree(measured_um: NDArray[np.float64], program_um: NDArray[np.float64]) -> bool:
    """Return whether both tips of two needles, (2, 2) each, are at the same places."""
    limit = max(TIP_SHARE * float(np.linalg.norm(measured_um[1] - measured_um[0])), TIP_UM)
    return any(
        float(np.linalg.norm(measured_um - tips, axis=1).max()) <= limit
        for tips in (program_um, program_um[::-1])
    )


def _measure(tips: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lengths (n,) and unit directions (n, 2)."""
    step = tips[:, 1] - tips[:, 0]
    length = np.linalg.norm(step, axis=1)
    return length, step / np.maximum(length, 1e-9)[:, None]
