"""Choose among the planes of a stack: which are fields, which is sharpest, which are colours.

In:  the sizes of a stack's axes, and a way to get one plane. Out: one picture per field.
Next: the readers.
Planes along z are one field, of which the sharpest is taken; channels are colours, never fields.
Where one of them shows another place, the field has the warning `planes_differ`: it was not judged.
Everything else along a stack (time, position, tiles, plain pages) is a field of its own.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.alignment import ReducedPlane, find_other_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.imaging.page import Stored

    Position = Mapping[str, int]

DEPTH, CHANNEL = "Z", "C"
PLANES_DIFFER = "planes_differ"
"""Warning of a field whose file has planes or channels of another place."""
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
    others: list[str] = []
    if depth > 1:
        sharpest, elsewhere = _choose_plane(at, depth, plane)
        at = {**at, DEPTH: sharpest}
        said["plane"] = f"{sharpest + 1} of {depth}"
        warnings.append("sharpest_plane")
        others += [f"plane {z + 1}" for z in elsewhere]
    if channels > 1:
        seen = [
            ReducedPlane.of(plane({**at, CHANNEL: channel}), outlines=True)
            for channel in range(channels)
        ]
        others += [f"channel {channel + 1}" for channel in find_other_places(seen, 0)]
    different = (PLANES_DIFFER,) if others else ()
    said |= {"other_places": ", ".join(others)} if others else {}
    if channels == COLOURS and three_are_rgb:
        warnings.append("channels_as_rgb")
        shades = [plane({**at, CHANNEL: channel}) for channel in range(COLOURS)]
        return np.stack(shades, axis=-1), said, (*warnings, *different)
    if channels > 1:
        warnings.append("first_channel_only")
    return plane(at), said, (*warnings, *different)


def _choose_plane(
    at: Position, depth: int, plane: Callable[[Position], Stored]
) -> tuple[int, list[int]]:
    """Return the sharpest plane along z, and those that show another place."""
    looks: list[float] = []
    reduced: list[ReducedPlane] = []
    for z in range(depth):  # one at a time: a plane may have 200 megapixels
        decoded = plane({**at, DEPTH: z})
        looks.append(sharpness(decoded))
        reduced.append(ReducedPlane.of(decoded))
    sharpest = int(np.argmax(looks))
    return sharpest, find_other_places(reduced, sharpest)


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
