"""The picture being drawn, the owner of every pixel, and the optics that it goes through."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

PIXEL_UM = 0.2
"""Scale of all drawings for training, µm per pixel, and of the network's input."""
SHIFT = 4
"""Binary digits of sub-pixel precision in OpenCV's drawing functions."""
NO_OWNER = 0


@dataclass(slots=True)
class NeedleCanvas:
    """A grey picture and the needle that owns each of its pixels.

    Args:
        grey: (h, w) uint8, drawn in place.
        owner: (h, w) int32, number of the needle visible there, 0 is none.
        axes: One (k, 2) float64 array per needle: points along its axis from tip to tip, px.
            Needle number n is `axes[n - 1]`.
    """

    grey: NDArray[np.uint8]
    owner: NDArray[np.int32]
    axes: list[NDArray[np.float64]] = field(default_factory=list)

    @classmethod
    def blank(cls, side: int, tone: int) -> NeedleCanvas:
        """Return an empty square canvas of one tone."""
        return cls(np.full((side, side), tone, np.uint8), np.zeros((side, side), np.int32))

    @property
    def side(self) -> int:
        """Length of a side in px."""
        return int(self.grey.shape[0])

    def fill(self, points: NDArray[np.float64], tone: int, owner: int = NO_OWNER) -> None:
        """Fill a polygon given in px and set its owner."""
        corners = to_fixed(points)
        cv2.fillPoly(self.grey, [corners], tone, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.owner, [corners], owner, cv2.LINE_8, SHIFT)

    def line(
        self, points: NDArray[np.float64], tone: int, width: int = 1, *, closed: bool = False
    ) -> None:
        """Draw a line without changing the owner of any pixel."""
        cv2.polylines(self.grey, [to_fixed(points)], closed, tone, width, cv2.LINE_AA, SHIFT)


def to_fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Convert pixel centres to OpenCV's fixed-point numbers."""
    return np.round(np.asarray(points) * (1 << SHIFT)).astype(np.int32)


def draw_soft_field(
    side: int, rng: Generator, wave_px: float, stretch: float = 1.0
) -> NDArray[np.float32]:
    """Draw a random field that varies slowly, stretched in a random direction.

    Returns:
        (side, side) float32, mean about 0, standard deviation about 1.
    """
    cell = max(wave_px / 2, 1.0)
    size = 96
    coarse = rng.standard_normal((size, size)).astype(np.float32)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scale = np.diag([1 / (cell * stretch), 1 / cell]) @ turn
    offset = np.full((2, 1), size / 2) - scale @ np.full((2, 1), side / 2)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    drawn = cv2.warpAffine(
        coarse,
        np.hstack([scale, offset]),
        (side, side),
        flags=flags,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(drawn, np.float32)


# --- etching, illumination, lens, sensor and file format: what a drawing goes through -------------


def degrade(grey: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Return the drawing as a camera would give it: any contrast, blur, noise, compression."""
    side = grey.shape[0]
    image = grey.astype(np.float32) / 255
    image = image ** float(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.12:
        image = 1 - image
    uneven = draw_soft_field(side, rng, rng.uniform(100, 600)) * rng.uniform(0, 0.07)
    gain = float(np.exp(rng.uniform(np.log(0.35), np.log(1.2))))
    image = (image - image.mean()) * gain * (1 + 2 * uneven) + rng.uniform(0.3, 0.7) + uneven
    if rng.random() < 0.85:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.1)), np.float32)
    if rng.random() < 0.25:  # the camera's own sharpening
        soft = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(1, 2.5)), np.float32)
        image = image + rng.uniform(0.2, 0.8) * (image - soft)
    fine = rng.standard_normal((side, side)).astype(np.float32)
    if rng.random() < 0.4:
        fine = 2 * np.asarray(cv2.GaussianBlur(fine, (0, 0), rng.uniform(0.5, 1.5)), np.float32)
    image = image + fine * rng.uniform(0, 0.035) * max(gain, 0.4)
    pixels = np.clip(image * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 98))]
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_GRAYSCALE)
    return np.asarray(pixels, np.uint8)
