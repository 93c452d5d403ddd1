"""Choose among the planes of a stack: which are fields, which is sharpest, which are colours.

In:  the sizes of a stack's axes, and a way to get one plane. Out: one picture per field.
Next: the readers.
Planes along z are one field, of which the sharpest is taken; channels are colours, never fields.
Everything else along a stack (time, position, tiles, plain pages) is a field of its own.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.imaging.page import Stored

    Position = Mapping[str, int]

DEPTH, CHANNEL = "Z", "C"
COLOURS = 3


def fields(sizes: Mapping[str, int]) -> list[Position]:
    """Give the positions of a stack's fields, in the stack's order.

    Args:
        sizes: Axis → length, slowest first, without the picture's own axes.
    """
    axes = {axis: size for axis, size in sizes.items() if axis not in (DEPTH, CHANNEL)}
    return [
        dict(zip(axes, step, strict=True)) for step in product(*(range(n) for n in axes.values()))
    ]


def picture(
    at: Position,
    sizes: Mapping[str, int],
    plane: Callable[[Position], Stored],
    *,
    three_are_rgb: bool,
) -> tuple[Stored, dict[str, str], tuple[str, ...]]:
    """Give one field's picture.

    Args:
        at: The field's position, from `fields`.
        sizes: As for `fields`.
        plane: Decodes the plane at a position.
        three_are_rgb: Whether three grey channels are red, green and blue, or dyes of which the
            first is taken.

    Returns:
        The picture; what there is to say of it; and warnings.
    """
    said: dict[str, str] = {}
    warnings: list[str] = []
    depth, channels = sizes.get(DEPTH, 1), sizes.get(CHANNEL, 1)
    if depth > 1:
        looks = [sharpness(plane({**at, DEPTH: z})) for z in range(depth)]
        at = {**at, DEPTH: int(np.argmax(looks))}
        said["plane"] = f"{at[DEPTH] + 1} of {depth}"
        warnings.append("sharpest_plane")
    if channels == COLOURS and three_are_rgb:
        warnings.append("channels_as_rgb")
        shades = [plane({**at, CHANNEL: channel}) for channel in range(COLOURS)]
        return np.stack(shades, axis=-1), said, tuple(warnings)
    if channels > 1:
        warnings.append("first_channel_only")
    return plane(at), said, tuple(warnings)


def sharpness(plane: Stored) -> float:
    """Say how sharp a plane is, to compare planes of one field; larger is sharper.

    Args:
        plane: (h, w) or (h, w, channels), any integer type.

    Returns:
        Variance of the Laplacian over the squared mean, no unit.
    """
    grey = plane.astype(np.float32)
    if grey.ndim == 3:  # noqa: PLR2004 - rows, columns, channels
        grey = grey.mean(axis=-1)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.mean()), 1.0) ** 2)
