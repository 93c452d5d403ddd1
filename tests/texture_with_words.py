"""Texture of steel with words on it, for tests of scale bars."""

from __future__ import annotations

import cv2
import numpy as np
from drawn_graphics import font, fonts
from PIL import Image, ImageDraw


def draw_steel(seed: int = 1, low: int = 90, high: int = 140) -> np.ndarray:
    """Return smooth grey steel, (480, 640, 3) uint8."""
    noise = np.random.default_rng(seed).normal(size=(480, 640)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    grey = np.interp(smooth, (smooth.min(), smooth.max()), (low, high))
    return cv2.merge([grey.astype(np.uint8)] * 3)


def write(pixels, words, at, ink, *, shadow=None, outline=None, size=22):
    """Return a picture with words around a point, (x, y)."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    letters = font(fonts()[0], size)
    if shadow is not None:
        draw.text((at[0] + 1.5, at[1] + 1.5), words, fill=shadow, font=letters, anchor="mm")
    width = int(outline is not None)
    draw.text(
        at, words, fill=ink, font=letters, anchor="mm", stroke_width=width, stroke_fill=outline
    )
    return np.array(image)
