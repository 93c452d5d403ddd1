"""Compute brightness, colour and roughness of a micrograph on a coarse grid of cells.

A cell is about 1/190 of the longer side: small enough for an edge, large enough to measure
roughness.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Plane = NDArray[Any]

GRID = 192  # cells along the longer side: at 0.1 µm/px and 2000 px a cell is about 1 µm
OCTAVE = 32  # units of the roughness planes for a factor of two
FINE_PX, COARSE_PX = 3, 15  # roughness: what a blur of this width removes
_ROWS = 256  # per block; a power of two, since blocks are halved
_PARTS = 16  # units of roughness per grey value


@dataclass(frozen=True)
class Cells:
    """Features of each cell; each plane is (gh, gw) float32.

    Args:
        light: L of the cell's mean colour, 0 to 255.
        red: a of the cell's mean colour, 0 to 255.
        blue: b of the cell's mean colour, 0 to 255.
        fine: Log roughness below 3 pixels.
        coarse: Log roughness from 3 to 15 pixels.
        usable: (gh, gw) bool, cells free of graphics.
    """

    light: Plane
    red: Plane
    blue: Plane
    fine: Plane
    coarse: Plane
    usable: Mask

    @cached_property
    def frame(self) -> Mask:
        """Mask of cells at the image's edge or against an info band."""
        rows, columns = self.usable.shape
        usable = self.usable.astype(np.uint8)
        inner = cv2.morphologyEx(usable, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        full = np.flatnonzero(self.usable.mean(axis=1) > 0.5)  # noqa: PLR2004 - half a row
        top, bottom = (int(full[0]), int(full[-1])) if full.size else (0, rows - 1)
        frame = np.zeros((rows, columns), bool)
        frame[[top, bottom], :] = True
        frame[top : bottom + 1, [0, columns - 1]] = True
        framed: Mask = frame & (inner > 0)
        return framed


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Return the number of cells (rows, columns) of an image of this size in pixels."""
    cell = max(1.0, max(height, width) / GRID)
    return max(1, round(height / cell)), max(1, round(width / cell))


def compute_cells(pixels: NDArray[np.uint8], usable: Mask) -> Cells:
    """Compute the features of every cell.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        usable: (gh, gw) bool of shape `grid_shape(h, w)`; False where graphics are.
    """
    small, fine, coarse = _compute_means(pixels, (usable.shape[1], usable.shape[0]))
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    return Cells(
        light=lab[:, :, 0],
        red=lab[:, :, 1],
        blue=lab[:, :, 2],
        fine=_compute_log(fine),
        coarse=_compute_log(coarse),
        usable=usable,
    )


def _compute_means(pixels: Plane, size: tuple[int, int]) -> tuple[Plane, Plane, Plane]:
    """Return cell means of colour, fine roughness and coarse roughness.

    Rows are processed in blocks, so that no full-size intermediate is allocated.
    """
    height, width = pixels.shape[:2]
    halvings = max(0, int(np.log2(min(width / size[0], height / size[1]))) - 1)
    whole = height >> halvings << halvings
    parts: list[list[Plane]] = [[], [], []]
    for top in range(0, whole, _ROWS):
        foot = min(whole, top + _ROWS)
        first, last = max(0, top - COARSE_PX), min(height, foot + COARSE_PX)
        grey = cv2.cvtColor(pixels[first:last], cv2.COLOR_RGB2GRAY)
        smooth = cv2.blur(grey, (FINE_PX, FINE_PX))
        broad = cv2.blur(grey, (COARSE_PX, COARSE_PX))
        rows = slice(top - first, foot - first)
        for part, plane in zip(
            parts,
            (
                pixels[top:foot],
                _scale_up(cv2.absdiff(grey[rows], smooth[rows])),
                _scale_up(cv2.absdiff(smooth[rows], broad[rows])),
            ),
            strict=True,
        ):
            part.append(_halve(plane, halvings))
    small, fine, coarse = (
        cv2.resize(np.concatenate(part), size, interpolation=cv2.INTER_AREA) for part in parts
    )
    return small, fine / _PARTS, coarse / _PARTS


def _scale_up(plane: Plane) -> Plane:
    """Return a plane in 1/16 grey values, since the roughness of resin is only 1 or 2 of them."""
    return np.multiply(plane, np.uint16(_PARTS), dtype=np.uint16)


def _halve(plane: Plane, times: int) -> Plane:
    """Return a plane halved several times; an odd last column is dropped."""
    for _ in range(times):
        size = (plane.shape[1] // 2, plane.shape[0] // 2)
        even = plane[:, : 2 * size[0]]
        plane = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
    return plane


def _compute_log(roughness: Plane) -> Plane:
    """Return the logarithm of a roughness in grey values, in units of `OCTAVE`."""
    logs: Plane = (OCTAVE * np.log2(roughness.astype(np.float32) + 0.5)).astype(np.float32)
    return logs
