"""Mean intercept between tone changes along test lines: a measurement that needs no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

FINE_PX, COARSE_PX = 1.0, 6.0
"""Standard deviations of the band pass: noise below, uneven illumination above."""
LEAST_SWING = 0.5
"""Smallest swing that counts as a tone change, in standard deviations of the band pass."""
LINE_STEP = 3


def measure_mean_intercept(image: NDArray[np.float32], pixel_um: float) -> float | None:
    """Measure the mean distance between tone changes along rows and columns.

    Args:
        image: (h, w) grey, any contrast.
        pixel_um: µm per px.

    Returns:
        µm, or None where the image has no contrast.
    """
    values = np.asarray(image, np.float32)
    band = gaussian_filter(values, FINE_PX) - gaussian_filter(values, COARSE_PX)
    deviation = float(band.std())
    if deviation <= 1e-6:  # noqa: PLR2004 - an empty picture
        return None
    state = np.where(band > LEAST_SWING * deviation, 1, 0).astype(np.int8)
    state[band < -LEAST_SWING * deviation] = -1
    crossings = _count_changes(state[::LINE_STEP]) + _count_changes(state[:, ::LINE_STEP].T)
    length_px = state[::LINE_STEP].size + state[:, ::LINE_STEP].size
    return length_px * pixel_um / crossings if crossings else None


def _count_changes(lines: NDArray[np.int8]) -> int:
    """Count changes of sign along rows; zeros keep the sign before them."""
    flat = lines.ravel()
    row = np.repeat(np.arange(lines.shape[0]), lines.shape[1])
    signed = flat != 0
    signs, rows = flat[signed], row[signed]
    return int(((signs[1:] != signs[:-1]) & (rows[1:] == rows[:-1])).sum())
