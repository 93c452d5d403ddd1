"""Etching, illumination, lens, sensor and file format: what a drawing goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from model.needles.drawing.canvas import draw_soft_field

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


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
