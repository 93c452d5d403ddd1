"""Texture of steel with words on it, for tests of scale bars."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw

from drawn.graphics import font, fonts


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


def draw_arrow(pixels, x0: int, x1: int, y: int, half: int):
    """Draw a thin line from tip to tip with a notched head at each end, four times as fine."""
    k = 4
    fine = np.zeros((len(pixels) * k, pixels.shape[1] * k), np.uint8)
    cv2.rectangle(fine, ((x0 + 4) * k, y * k - 2), ((x1 - 4) * k, y * k + 2), 255, -1)
    for tip, inwards in ((x0, 1), (x1, -1)):
        back = tip + inwards * 2.4 * half
        notch = back - inwards * 0.7 * half
        points = [(tip, y), (back, y - half), (notch, y), (back, y + half)]
        cv2.fillPoly(fine, [np.rint(np.array(points) * k).astype(np.int32)], 255)
    cover = cv2.resize(fine, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)[:, :, None] / 255
    return np.rint(pixels * (1 - cover) + 255 * cover).astype(np.uint8)
