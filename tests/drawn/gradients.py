"""Coloured noise that is no micrograph."""

from __future__ import annotations

import cv2
import numpy as np

HEIGHT, WIDTH = 96, 128


def colours(height=HEIGHT, width=WIDTH, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    return cv2.GaussianBlur(noise.astype(np.uint8), (0, 0), 2) + np.uint8(1)
