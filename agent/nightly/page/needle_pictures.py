"""Cut out one needle from a crop and draw its axis, so that a metallographer can judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from agent.files.pictures import HALO_RGB, draw_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIDE_PX = 150
"""Side of a cut-out."""
ROOM = 1.5
"""Side of the part shown, in lengths of the needle."""
LEAST_PART_PX = 60
NEEDLE_RGB = (255, 176, 0)
TIP_PX = 4
AXIS_PX = 2


def draw_needle(
    crop: NDArray[np.uint8], line_px: Sequence[tuple[float, float]], *, is_dashed: bool = False
) -> NDArray[np.uint8]:
    """Draw the axis of a needle over the part of a crop around it.

    Args:
        crop: (h, w, 3) uint8 RGB.
        line_px: From tip to tip, (x, y) in pixels of the crop; at least one point.
        is_dashed: Whether length or tips are probably wrong.

    Returns:
        (150, 150, 3) uint8 RGB; outside of the crop dark.
    """
    line = np.asarray(line_px, np.float64)
    low, high = line.min(axis=0), line.max(axis=0)
    side = max(float((high - low).max()) * ROOM, LEAST_PART_PX)
    left, top = ((low + high) / 2 - side / 2).tolist()
    part = Image.fromarray(crop).transform(
        (SIDE_PX, SIDE_PX),
        Image.Transform.EXTENT,
        (left, top, left + side, top + side),
        Image.Resampling.BICUBIC,
        fillcolor=HALO_RGB,
    )
    points = [((x - left) / side * SIDE_PX, (y - top) / side * SIDE_PX) for x, y in line.tolist()]
    pen = ImageDraw.Draw(part)
    draw_axis(pen, points, NEEDLE_RGB, width=AXIS_PX, is_dashed=is_dashed)
    for x, y in (points[0], points[-1]):
        box = (x - TIP_PX, y - TIP_PX, x + TIP_PX, y + TIP_PX)
        pen.ellipse(box, None, HALO_RGB, 3)
        pen.ellipse(box, None, NEEDLE_RGB, 1)
    return np.asarray(part, np.uint8)
