"""Select among the planes of a stack: which are fields, which is sharpest, which are colours.

Planes along z are one field, represented by the sharpest; channels are colours, never fields.
Where one of them shows another place, which is not evaluated, the field has the warning
`planes_differ`. Every other axis (time, position, tiles, pages) enumerates separate fields.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.readers.alignment import ReducedPlane, find_other_places

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.imaging.readers.page import Stored

    Position = Mapping[str, int]

DEPTH, CHANNEL = "Z", "C"
PLANES_DIFFER = "planes_differ"
"""Warning: the file has planes or channels of another place."""
COLOURS = 3


def list_fields(sizes: Mapping[str, int]) -> list[Position]:
    """Return the positions of a stack's fields, in the stack's order.

    Args:
        sizes: Axis → length, slowest first, without the picture's own axes.
    """
    axes = {axis: size for axis, size in sizes.items() if axis not in (DEPTH, CHANNEL)}
    return [
        dict(zip(axes, step, strict=True)) for step in product(*(range(n) for n in axes.values()))
    ]


def assemble_field(
    at: Position,
    sizes: Mapping[str, int],
    plane: Callable[[Position], Stored],
    *,
    three_are_rgb: bool,
) -> tuple[Stored, dict[str, str], tuple[str, ...]]:
    """Assemble one field's picture.

    Args:
        at: The field's position, from `list_fields`.
        sizes: As for `list_fields`.
        plane: Decodes the plane at a position.
        three_are_rgb: Whether three grey channels are red, green and blue, or dyes of which the
            first is used.

    Returns:
        The picture, its metadata, and warnings.
    """
    metadata: dict[str, str] = {}
    warnings: list[str] = []
    depth, channels = sizes.get(DEPTH, 1), sizes.get(CHANNEL, 1)
    others: list[str] = []
    if depth > 1:
        sharpest, elsewhere = _choose_plane(at, depth, plane)
        at = {**at, DEPTH: sharpest}
        metadata["plane"] = f"{sharpest + 1} of {depth}"
        warnings.append("sharpest_plane")
        others += [f"plane {z + 1}" for z in elsewhere]
    if channels > 1:
        reduced = [
            ReducedPlane.of(plane({**at, CHANNEL: channel}), outlines=True)
            for channel in range(channels)
        ]
        others += [f"channel {channel + 1}" for channel in find_other_places(reduced, 0)]
    different = (PLANES_DIFFER,) if others else ()
    metadata |= {"other_places": ", ".join(others)} if others else {}
    if channels == COLOURS and three_are_rgb:
        warnings.append("channels_as_rgb")
        shades = [plane({**at, CHANNEL: channel}) for channel in range(COLOURS)]
        return np.stack(shades, axis=-1), metadata, (*warnings, *different)
    if channels > 1:
        warnings.append("first_channel_only")
    return plane(at), metadata, (*warnings, *different)


def _choose_plane(
    at: Position, depth: int, plane: Callable[[Position], Stored]
) -> tuple[int, list[int]]:
    """Return the sharpest plane along z, and those that show another place."""
    sharpnesses: list[float] = []
    reduced: list[ReducedPlane] = []
    for z in range(depth):  # one at a time: a plane may have 200 megapixels
        decoded = plane({**at, DEPTH: z})
        sharpnesses.append(compute_sharpness(decoded))
        reduced.append(ReducedPlane.of(decoded))
    sharpest = int(np.argmax(sharpnesses))
    return sharpest, find_other_places(reduced, sharpest)


def compute_sharpness(plane: Stored) -> float:
    """Return the sharpness of a plane, to compare planes of one field; larger is sharper.

    Args:
        plane: (h, w) or (h, w, channels), any integer type.

    Returns:
        Variance of the Laplacian over the squared mean, no unit.
    """
    grey = plane.astype(np.float32)
    if grey.ndim == 3:  # noqa: PLR2004 - rows, columns, channels
        grey = grey.mean(axis=-1)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.mean()), 1.0) ** 2)
