# ruff: noqa: PLR2004 - shares and cells, measured on drawn and real borders
"""Masks of cells: counts, parts and holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.specimen.grid import Mask, Plane


def count_cells(mask: Mask) -> int:
    """Return the number of cells in a mask."""
    return int(np.count_nonzero(mask))


def label_parts(mask: Plane, connectivity: int = 4) -> tuple[Plane, NDArray[np.intp]]:
    """Return the labels of the connected parts of a mask, from 1, and areas by label."""
    _, marks = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return marks, np.bincount(marks.ravel())


def fill_holes(mask: Mask, below: float = np.inf) -> Mask:
    """Return a mask with enclosed holes of fewer than `below` cells filled."""
    marks, areas = label_parts(~mask)
    closed = areas < below
    closed[0] = False
    for rim in (marks[0], marks[-1], marks[:, 0], marks[:, -1]):
        closed[rim] = False
    return mask | closed.take(marks) if closed.any() else mask


def find_largest_part(mask: Mask) -> Mask:
    """Return the largest connected part of a mask."""
    marks, areas = label_parts(mask)
    if len(areas) <= 2:
        return mask
    best: Mask = marks == 1 + int(np.argmax(areas[1:]))
    return best
