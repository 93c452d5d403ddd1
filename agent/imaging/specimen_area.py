# ruff: noqa: PLR2004 - shares and cells, measured on real borders and said where they stand
"""Say where in a micrograph the specimen ends and the mount begins.

In:  the pixels, and what graphics cover. Out: `Border`: which cells are steel. Next: `crop`.
The outside is known by what it is: a region in contact with the frame, parted from the rest by
one edge no longer than its contact, smoother or of another colour, and of which the inside
holds none. A dark phase fails that by its shape or by its kin inside, so it stays in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Plane = NDArray[Any]

Box = tuple[int, int, int, int]

GRID = 192  # cells along the longer side: at 0.1 µm/px and 2000 px a cell is about 1 µm


@dataclass(frozen=True, slots=True)
class Border:
    """Where the steel is, cell by cell.

    Args:
        steel: (gh, gw) bool: cells of clean steel; outside, bleeding and safety are False.
        outside: (gh, gw) bool: cells beyond the specimen's edge, bleeding not included.
        bleeding: (gh, gw) bool: cells inside the edge that are discoloured by the gap.
        warnings: Stable words: "second_material", "bleeding".
    """

    steel: Mask
    outside: Mask
    bleeding: Mask
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Features:
    """What each cell looks like; each plane (gh, gw) float32."""

    light: Plane
    red: Plane
    blue: Plane
    fine: Plane
    coarse: Plane
    usable: Mask

    def planes(self) -> Iterator[tuple[str, Plane]]:
        yield "light", self.light
        yield "fine", self.fine
        yield "coarse", self.coarse
        yield "red", self.red
        yield "blue", self.blue


def find_border(pixels: NDArray[np.uint8], covered: Mask | None = None) -> Border:
    """Tell steel from what is beyond the specimen's edge.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        covered: (gh, gw) bool, the cells of `grid_shape` that graphics cover; None: none are.

    Returns:
        The border on a grid of `grid_shape(h, w)` cells.
    """
    shape = grid_shape(pixels.shape[0], pixels.shape[1])
    usable = np.ones(shape, bool) if covered is None else ~covered
    features = _features(pixels, shape, usable)
    outside = _outside(features)
    nothing = np.zeros(shape, bool)
    if outside is None:
        return Border(usable.copy(), nothing, nothing)
    steel_side = _largest(_filled(~outside))
    outside = ~steel_side & usable
    bleeding = _bleeding(features, outside, steel_side)
    margin = cv2.dilate((outside | bleeding).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    steel = steel_side & ~margin & usable
    return Border(steel, outside, bleeding, ("bleeding",) if bleeding.any() else ())


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Say how many cells (rows, columns) an image of this size is looked at in."""
    cell = max(1.0, max(height, width) / GRID)
    return max(1, round(height / cell)), max(1, round(width / cell))


# ----------------------------------------------------------------------------------- features


def _features(pixels: NDArray[np.uint8], shape: tuple[int, int], usable: Mask) -> _Features:
    size = (shape[1], shape[0])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    smooth = cv2.blur(grey, (3, 3))
    fine = cv2.resize(cv2.absdiff(grey, smooth), size, interpolation=cv2.INTER_AREA)
    broad = cv2.absdiff(smooth, cv2.blur(grey, (15, 15)))
    coarse = cv2.resize(broad, size, interpolation=cv2.INTER_AREA)
    return _Features(
        light=lab[:, :, 0],
        red=lab[:, :, 1],
        blue=lab[:, :, 2],
        fine=_log(fine),
        coarse=_log(coarse),
        usable=usable,
    )


def _log(energy: Plane) -> Plane:
    """Smooth an energy over 5×5 cells; factors become differences, 32 grey steps per doubling."""
    smoothed = cv2.blur(energy.astype(np.float32), (5, 5))
    logs: Plane = (32 * np.log2(smoothed + 0.5)).astype(np.float32)
    return logs


# -------------------------------------------------------------------------------- the outside


def _outside(features: _Features) -> Mask | None:
    """Try every way of cutting the cells in two; keep the likeliest outside, if any is likely."""
    best: tuple[float, Mask] | None = None
    for _, plane in features.planes():
        for mask in _cuts(plane, features.usable):
            candidate = _touching(mask, features.usable)
            if candidate is None:
                continue
            score = _score(features, candidate, mask)
            if score > 0 and (best is None or score > best[0]):
                best = (score, candidate)
    return None if best is None else best[1]


def _cuts(plane: Plane, usable: Mask) -> Iterator[Mask]:
    """Yield both sides of the cuts that split the values of a plane best."""
    values = plane[usable]
    low, high = np.percentile(values, [0.5, 99.5])
    if high - low < 4:
        return
    scaled = np.clip((plane - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    flat = scaled[usable].reshape(1, -1)
    first, _ = cv2.threshold(flat, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    cuts = {int(first)}
    for part in (flat[flat <= first], flat[flat > first]):
        if part.size > 0.05 * flat.size:
            cut, _ = cv2.threshold(part.reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
            cuts.add(int(cut))
    for cut in sorted(cuts):
        yield (scaled <= cut) & usable
        yield (scaled > cut) & usable


def _touching(mask: Mask, usable: Mask) -> Mask | None:
    """Keep the parts of a mask that touch the frame over some length."""
    kernel = np.ones((3, 3), np.uint8)
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, marks = cv2.connectedComponents(cleaned, connectivity=4)
    frame = _frame(usable)
    kept = np.zeros(mask.shape, bool)
    for mark in range(1, count):
        part = marks == mark
        contact = int((part & frame).sum())
        if contact >= 0.15 * min(mask.shape) and part.mean() >= 0.01:
            part = _filled(part)
            if _edge_length(part, usable) <= 1.5 * contact:
                kept |= part
    return kept if 0.01 <= kept.sum() / max(1, usable.sum()) <= 0.92 else None


def _frame(usable: Mask) -> Mask:
    """Say which cells lie at the image's edge or against an info band."""
    padded = np.pad(usable, 1)
    eroded = cv2.erode(padded.astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0
    return usable & ~eroded


def _edge_length(part: Mask, usable: Mask) -> float:
    """Say how long (cells) the edge between a part and the rest is, smoothed over 5 cells."""
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.5)
    down = np.diff(soft, axis=0)[:, :-1]
    across = np.diff(soft, axis=1)[:-1, :]
    seen = usable[:-1, :-1]
    return float(np.hypot(down, across)[seen].sum())


def _score(features: _Features, outside: Mask, mask: Mask) -> float:
    """Say how likely a region is the outside; above 0 is believed."""
    usable = features.usable
    inside = usable & ~outside
    if inside.sum() < 0.04 * usable.sum():
        return -1.0
    deep_out, deep_in = _shrunk(outside), _shrunk(inside)
    if deep_out.sum() < 20 or deep_in.sum() < 20:
        return -1.0
    kin = float((mask & inside).sum() / inside.sum())  # cells inside that look like the outside
    separation = 0.0
    for _, plane in features.planes():
        out, into = plane[deep_out], plane[deep_in]
        spread = max(2.0, 0.5 * (_spread(out) + _spread(into)))
        separation = max(separation, abs(float(np.median(out) - np.median(into))) / spread)
    smoother = float(np.median(features.coarse[deep_in]) - np.median(features.coarse[deep_out]))
    lighter = abs(float(np.median(features.light[deep_in]) - np.median(features.light[deep_out])))
    score = min(separation, 6.0) / 2 - 1.5
    score += np.clip(smoother / 32, -1.5, 2.0)
    score += np.clip((lighter - 25) / 50, -0.5, 1.0)
    return float(score - 25 * max(0.0, kin - 0.02) - 1.0)


def _spread(values: Plane) -> float:
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2


def _shrunk(mask: Mask) -> Mask:
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=1)
    return eroded > 0


def _filled(mask: Mask) -> Mask:
    """Fill the holes of a mask: what is enclosed belongs to it."""
    padded = np.pad((~mask).astype(np.uint8), 1, constant_values=0)
    count, marks = cv2.connectedComponents(padded, connectivity=4)
    marks = marks[1:-1, 1:-1]
    rim = np.unique(np.concatenate([marks[0], marks[-1], marks[:, 0], marks[:, -1]]))
    enclosed = ~np.isin(marks, rim) & (marks > 0)
    del count
    return mask | enclosed


def _largest(mask: Mask) -> Mask:
    count, marks, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    best: Mask = marks == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return best


# ----------------------------------------------------------------------------------- bleeding


def _bleeding(features: _Features, outside: Mask, steel: Mask) -> Mask:
    """Say how far from the edge the steel is discoloured, and mark it."""
    distance = cv2.distanceTransform((~outside).astype(np.uint8), cv2.DIST_L2, 5)
    far = steel & features.usable & (distance > 0.3 * distance.max())
    depth = 0
    for plane in (features.light, features.red, features.blue):
        reference, spread = float(np.median(plane[far])), max(2.0, _spread(plane[far]))
        depth = max(depth, _depth(plane, distance, steel, reference, spread))
    return steel & (distance <= depth) if depth > 1 else np.zeros(steel.shape, bool)


def _depth(plane: Plane, distance: Plane, steel: Mask, reference: float, spread: float) -> int:
    for step in range(1, 30):
        ring = steel & (distance > step) & (distance <= step + 1)
        if not ring.any() or abs(float(np.median(plane[ring])) - reference) < 1.0 * spread:
            return step
    return 1
