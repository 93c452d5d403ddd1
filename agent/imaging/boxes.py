"""Boxes as (x0, y0, x1, y1) in pixels, origin top left, x1 and y1 exclusive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def union(box: Box, other: Box) -> Box:
    """Return the smallest box around both boxes."""
    return (
        min(box[0], other[0]),
        min(box[1], other[1]),
        max(box[2], other[2]),
        max(box[3], other[3]),
    )


def within(inner: Box, outer: Box) -> bool:
    """Return whether `inner` lies in `outer`."""
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def overlap(box: Box, other: Box) -> float:
    """Return the share of `box` that lies in `other`, 0 to 1."""
    w = min(box[2], other[2]) - max(box[0], other[0])
    h = min(box[3], other[3]) - max(box[1], other[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / max(1, (box[2] - box[0]) * (box[3] - box[1]))


def find_runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, one past the last) of every run of set flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
