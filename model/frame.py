"""Turn a field into what a network is shown.

In:  `Field`s of any size. Out: network inputs of one size. Next: `network`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Field:
    """One cropped micrograph: steel, and where it is valid. The only image `model` is given.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        valid: (h, w) bool; False where a pixel is no steel (a masked bar, resin, bleeding).
        um_per_px: Physical size of a pixel in µm, or None when unknown.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    um_per_px: float | None
