"""A micrograph in the viewer, and the marks on it."""

from __future__ import annotations

import cv2
import numpy as np
from servers.browser import until

WIDTH, HEIGHT, UM_PER_PX = 2000, 1500, 0.12

MARKS = ((500, 400), (1500, 400))
"""Two marks of the drawn picture, 1000 px = 120 µm apart."""


def picture():
    pixels = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for x, y in MARKS:
        cv2.circle(pixels, (x, y), 6, (255, 255, 255), -1)
    return pixels


def opened(tab, address, public_id):
    tab.goto(f"{address}/review/{public_id}")
    until(tab, "Boolean(window.viewer && document.querySelector('.crop img').naturalWidth)")


def at(tab, point):
    """Where a point of the file is in the window."""
    return tab.evaluate(
        "([x, y]) => { const p = viewer.pane.toFrame({x, y});"
        " const b = viewer.pane.canvas.getBoundingClientRect();"
        " const c = viewer.pane.canvas;"
        " return [b.left + c.clientLeft + p.x, b.top + c.clientTop + p.y]; }",
        list(point),
    )
