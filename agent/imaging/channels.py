"""Take the largest or the smallest of the three channels of a picture.

In:  a picture. Out: one plane. Next: `lines`, `micron_bar`, `label`.
NumPy takes more than ten times as long for a maximum over a last axis of three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray


def largest(picture: NDArray[Any]) -> NDArray[Any]:
    """Say the largest of three channels, (h, w), of a picture (h, w, 3)."""
    one, two, three = cv2.split(picture)
    return cv2.max(cv2.max(one, two), three)


def smallest(picture: NDArray[Any]) -> NDArray[Any]:
    """Say the smallest of three channels, (h, w), of a picture (h, w, 3)."""
    one, two, three = cv2.split(picture)
    return cv2.min(cv2.min(one, two), three)
