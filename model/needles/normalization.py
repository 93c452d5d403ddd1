"""Bring a micrograph to the scale and the contrast on which the needle network was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_PX = 255
"""Side of the square whose mean and standard deviation become 0 and 1, 51 µm."""
SMALLEST_DEVIATION = 1.0
"""Grey levels; below it a field is empty and its noise is not amplified further."""


def normalize_contrast(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the local mean and divide by the local standard deviation.

    Args:
        grey: (h, w), 0 to 255.

    Returns:
        (h, w) float32, no unit.
    """
    values = grey.astype(np.float32)
    mean = uniform_filter(values, WINDOW_PX, mode="reflect")
    deviation = uniform_filter((values - mean) ** 2, WINDOW_PX, mode="reflect")
    # the running sum leaves a flat picture a little below 0
    scaled = (values - mean) / np.sqrt(np.maximum(deviation, SMALLEST_DEVIATION**2))
    return np.asarray(np.clip(scaled, -6, 6), np.float32)
