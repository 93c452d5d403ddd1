"""Look at a micrograph cell by cell: how bright, what colour, how rough.

In:  pixels, and which cells graphics leave. Out: `Cells`. Next: `outside`, `specimen_area`.
A cell is about a hundred-and-ninetieth of the longer side: small enough for an edge, large enough
that its roughness says something.
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
FINE_PX, COARSE_PX = 3, 15  # roughness is what a blur over so many pixels takes away
_ROWS = 256  # worked on at a time; halved any number of times
_PARTS = 16  # of a grey value that roughness is counted in
_OVER = 5  # cells over which roughness is smoothed before it is compared


@dataclass(frozen=True)
class Cells:
    """What each cell looks like; each plane (gh, gw) float32.

    Args:
        light, red, blue: L, a and b of the cell's mean colour, 0 to 255.
        fine, coarse: Roughness below 3 and from 3 to 15 pixels, in logarithms, smoothed.
        sharp_fine, sharp_coarse: The same of single cells.
        usable: (gh, gw) bool, what graphics leave.
    """

    light: Plane
    red: Plane
    blue: Plane
    fine: Plane
    coarse: Plane
    sharp_fine: Plane
    sharp_coarse: Plane
    usable: Mask

    @cached_property
    def looks(self) -> Plane:
        """All that cells are compared by, (gh, gw, 5): light, fine, coarse, red, blue."""
        return np.stack([self.light, self.fine, self.coarse, self.red, self.blue], axis=-1)

    def halved(self) -> Cells:
        """Look again from twice as far: half as many cells each way."""
        rows, columns = (max(1, n // 2) for n in self.usable.shape)

        def smaller(plane: Plane) -> Plane:
            return cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA)

        return Cells(
            light=smaller(self.light),
            red=smaller(self.red),
            blue=smaller(self.blue),
            fine=smaller(self.fine),
            coarse=smaller(self.coarse),
            sharp_fine=smaller(self.sharp_fine),
            sharp_coarse=smaller(self.sharp_coarse),
            usable=smaller(self.usable.astype(np.float32)) > 0.99,  # noqa: PLR2004 - all of it
        )

    @cached_property
    def amid(self) -> Mask:
        """Which usable cells have none beside them that is not."""
        usable = self.usable.astype(np.uint8)
        amid: Mask = cv2.erode(usable, np.ones((3, 3), np.uint8), borderValue=1) > 0
        return amid

    @cached_property
    def frame(self) -> Mask:
        """Which cells lie at the image's edge or against an info band."""
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
    """Say how many cells (rows, columns) an image of this size is looked at in."""
    cell = max(1.0, max(height, width) / GRID)
    return max(1, round(height / cell)), max(1, round(width / cell))


def look(pixels: NDArray[np.uint8], usable: Mask) -> Cells:
    """Look at every cell.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        usable: (gh, gw) bool, of `grid_shape(h, w)`: False where graphics are.
    """
    small, fine, coarse = _small_and_rough(pixels, (usable.shape[1], usable.shape[0]))
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    return Cells(
        light=lab[:, :, 0],
        red=lab[:, :, 1],
        blue=lab[:, :, 2],
        fine=_log(fine, usable, _OVER),
        coarse=_log(coarse, usable, _OVER),
        sharp_fine=_log(fine, usable, 1),
        sharp_coarse=_log(coarse, usable, 1),
        usable=usable,
    )


def _small_and_rough(pixels: Plane, size: tuple[int, int]) -> tuple[Plane, Plane, Plane]:
    """Take the means of every cell: colour, and what either blur takes away.

    A few rows at a time, so that nothing the size of the image is held or leaves the cache.
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
                _finer(cv2.absdiff(grey[rows], smooth[rows])),
                _finer(cv2.absdiff(smooth[rows], broad[rows])),
            ),
            strict=True,
        ):
            part.append(_halved(plane, halvings))
    small, fine, coarse = (
        cv2.resize(np.concatenate(part), size, interpolation=cv2.INTER_AREA) for part in parts
    )
    return small, fine / _PARTS, coarse / _PARTS


def _finer(plane: Plane) -> Plane:
    """Count in parts of a grey value, since the roughness of resin is but one or two of them."""
    return np.multiply(plane, np.uint16(_PARTS), dtype=np.uint16)


def _halved(plane: Plane, times: int) -> Plane:
    """Make a plane smaller by halves; a last odd column is left out."""
    for _ in range(times):
        size = (plane.shape[1] // 2, plane.shape[0] // 2)
        even = plane[:, : 2 * size[0]]
        plane = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
    return plane


def _log(roughness: Plane, usable: Mask, over: int) -> Plane:
    """Smooth a roughness over some cells, of usable ones only, and take its logarithm."""
    weight = usable.astype(np.float32)
    smoothed = roughness.astype(np.float32) * weight
    if over > 1:
        share = cv2.blur(weight, (over, over))
        smoothed = cv2.blur(smoothed, (over, over)) / np.maximum(share, 1e-3)
    logs: Plane = (OCTAVE * np.log2(smoothed + 0.5)).astype(np.float32)
    return logs
