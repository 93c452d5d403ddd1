# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect the info band that a program laid across a micrograph."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.boxes import find_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

    Plane = NDArray[Any]  # (h, w) grey


def find_band(pixels: NDArray[np.uint8]) -> Box | None:
    """Return the info band: full-width rows of one exact colour with words on it.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        The band, or None. It need not reach the image's edge.
    """
    height, width = pixels.shape[:2]
    levels = _find_flat_levels(pixels)
    if not levels:
        return None
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    best: Box | None = None
    # Where the field is as pale as the band, only the exact grey value separates them.
    for level, room in product(levels, (12, 3)):
        low, high = max(0, level - room), min(255, level + room)
        paper = cv2.inRange(grey, low, high).mean(axis=1) / 255.0
        for top, bottom in find_runs(paper > 0.35):
            if not 0.02 * height <= bottom - top <= 0.4 * height:
                continue
            inner = paper[top:bottom]
            if np.mean(inner > 0.95) < 0.08 or np.median(inner) < 0.6:
                continue
            if _is_drawn(grey[top:bottom], level) and (
                best is None or bottom - top > best[3] - best[1]
            ):
                best = (0, top, width, bottom)
    return best


def _is_drawn(band: Plane, level: int) -> bool:
    """Return whether a band is flat to the grey value and its contents contrast strongly."""
    off = cv2.absdiff(band, np.full_like(band, level))
    words = float(np.mean(off > 60))
    between = float(np.mean((off > 12) & (off <= 60)))
    flat = float(np.mean(off[off <= 8] <= 2)) if (off <= 8).any() else 0.0
    return words > 0.002 and between < max(0.02, 1.2 * words) and flat > 0.7


def _find_flat_levels(pixels: NDArray[np.uint8]) -> list[int]:
    """Return the grey values that fill whole rows near the top or the bottom."""
    height = len(pixels)
    near = [pixels[: height // 4 : 4, ::4], pixels[3 * height // 4 :: 4, ::4]]
    # int16: `np.partition` takes six times as long on 8 bits.
    rows = cv2.cvtColor(np.concatenate(near), cv2.COLOR_RGB2GRAY).astype(np.int16)
    middle = np.partition(rows, rows.shape[1] // 2, axis=1)[:, rows.shape[1] // 2]
    off = np.abs(rows - middle[:, None])
    # Pale steel fills rows with one tone too, but not to the grey value.
    flat = ((off <= 12).mean(axis=1) > 0.85) & ((off <= 2).mean(axis=1) > 0.6)
    return [level for level, _ in Counter(middle[flat].tolist()).most_common(3)]
