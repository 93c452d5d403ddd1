"""How tones of the steel vary: spread, slow shading, and the deviation of a patch from it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.specimen.masks import count_cells

if TYPE_CHECKING:
    from agent.imaging.specimen.grid import Mask, Plane


def subsample(mask: Mask, to: int = 1500) -> Mask:
    """Return about `to` cells of a mask, enough for a median; the same ones in a turned field."""
    share = count_cells(mask) // to
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
