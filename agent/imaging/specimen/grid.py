"""A micrograph on a coarse grid of cells: brightness, colour, roughness, masks and tones.

A cell is about 1/190 of the longer side: small enough for an edge, large enough to measure
roughness.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import cv2
import numpy as np
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
        full = np.flatnonzero(self.usable.mean(axis=1) > 0.5)
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


# --- masks of cells: counts, parts and holes ------------------------------------------------------


# ruff: noqa: PLR2004 - shares and cells, measured on drawn and real borders


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


# --- how tones of the steel vary: spread, slow shading, and the deviation of a patch from it ------


def subsample(mask: Mask) -> Mask:
    """Return about 1500 cells of a mask, enough for a median; the same ones in a turned field."""
    share = count_cells(mask) // 1500
    return mask & _scatter(*mask.shape, share) if share > 1 else mask


@cache
def _scatter(rows: int, columns: int, share: int) -> Mask:
    """Return a pseudo-random mask of one cell in `share`, invariant to rotation and mirroring."""
    y, x = np.minimum(np.arange(rows), np.arange(rows)[::-1])[:, None], np.arange(columns)
    x = np.minimum(x, x[::-1])
    numbers = ((x + y) * 73856093 ^ (x * y) * 19349663) >> 4
    chosen: Mask = numbers % share == 0
    return chosen


@cache
def _compute_terms(rows: int, columns: int) -> Plane:
    """Return the terms of a second-order surface at every cell, (rows, columns, 6)."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def fit_shading(light: Plane, kind: Mask) -> Plane:
    """Fit a second-order surface to the light of a kind; return it for all cells."""
    terms = _compute_terms(*light.shape)
    sample = subsample(kind)
    known, values = terms[sample], light[sample]
    off = np.abs(known @ _fit_surface(known, values) - values)
    near = off <= max(3.0, 3 * float(np.median(off)))
    surface = terms @ _fit_surface(known[near], values[near]).astype(np.float32)
    of_kind = surface[kind]
    bounded: Plane = np.clip(surface, of_kind.min(), of_kind.max())
    return bounded


def _fit_surface(terms: Plane, values: Plane) -> Plane:
    """Fit a surface to values (n,) with terms (n, 6), regularised against noise."""
    bend = terms.T @ terms + np.diag([1e-3, 1, 1, 1, 1, 1]) * 0.002 * len(terms)
    return np.linalg.solve(bend, terms.T @ values)


def compute_deviation(plane: Plane, steel: Mask, kind: Mask, patch: float) -> Plane:
    """Return the deviation of each patch of steel from the tone of a kind, shading removed.

    Args:
        plane: (gh, gw), a tone.
        steel: (gh, gw) bool, cells that are averaged.
        kind: (gh, gw) bool, cells of the reference tone.
        patch: Sigma of the blur, cells.
    """
    weight = steel.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), patch), 1e-3)
    level = plane - fit_shading(plane, kind)
    smooth: Plane = cv2.GaussianBlur(level * weight, (0, 0), patch) / share
    return smooth - float(np.median(smooth[kind]))


def compute_spread(values: Plane) -> float:
    """Return half the width of the middle two thirds: a standard deviation robust to outliers."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[int(0.84 * last)] - ordered[int(0.16 * last)]) / 2
