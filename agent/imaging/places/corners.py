"""Detect corners, such as junctions of grains or lamellae, where a micrograph has few blobs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGMAS = (1.2, 1.7, 2.4, 3.4, 4.8)
"""Blurs in pixels, half an octave apart: a copy of other magnification is at most a fifth off."""

_MOST = 60  # corners at each blur
_QUALITY = 0.02  # of the strongest corner
_DIAMETER = 4.0  # of a corner, in blurs: about what SIFT gives a blob of that size
_BROADER = 1.5  # the blur in which the orientation is measured


def detect_corners(grey: NDArray[np.uint8]) -> list[cv2.KeyPoint]:
    """Return corners of several sizes, oriented along the gradient of the blurred picture.

    Args:
        grey: (h, w) uint8.

    Returns:
        Keypoints in pixels, with the octave and layer in which SIFT describes them.
    """
    exact = grey.astype(np.float32)
    return [corner for sigma in _SIGMAS for corner in _detect_at(exact, sigma)]


def _detect_at(exact: NDArray[np.float32], sigma: float) -> list[cv2.KeyPoint]:
    smooth = cv2.GaussianBlur(exact, (0, 0), sigma)
    block = max(3, int(2 * sigma) | 1)
    corners = cv2.goodFeaturesToTrack(smooth, _MOST, _QUALITY, 3 * sigma, blockSize=block)
    if corners is None:
        return []
    strength = cv2.cornerMinEigenVal(smooth, block)
    broad = cv2.GaussianBlur(exact, (0, 0), _BROADER * sigma)
    across, down = (cv2.Sobel(broad, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    size, octave = _DIAMETER * sigma, _pack_octave(_DIAMETER * sigma)
    keypoints = []
    for x, y in corners.reshape(-1, 2).tolist():
        at = (int(y), int(x))
        angle = math.degrees(math.atan2(down[at], across[at])) % 360
        keypoints.append(cv2.KeyPoint(x, y, size, angle, float(strength[at]), octave))
    return keypoints


def _pack_octave(size: float) -> int:
    """Return the octave and layer of a keypoint of that diameter, as OpenCV's SIFT packs them."""
    octaves = math.log2(size / 2 / 1.6)  # 1.6: blur of SIFT's first layer
    octave = min(5, max(0, round(octaves - 0.5)))
    layer = min(3, max(1, round(3 * (octaves - octave))))
    return octave | layer << 8
