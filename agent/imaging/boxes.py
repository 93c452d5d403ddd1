"""Compare boxes: (x0, y0, x1, y1) in pixels, origin top left, x1 and y1 exclusive.

In:  two boxes. Out: the box around both, or how they lie to each other. Next: `micron_bar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def union(one: Box, other: Box) -> Box:
    """Say the smallest box around two."""
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def within(inner: Box, outer: Box) -> bool:
    """Say whether one box lies in another."""
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def overlap(one: Box, other: Box) -> float:
    """Say which share of `one` lies in `other`."""
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / max(1, (one[2] - one[0]) * (one[3] - one[1]))


def stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Say where flags in a row are set: (first, one past the last) of every stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
