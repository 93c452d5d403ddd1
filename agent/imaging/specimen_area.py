# ruff: noqa: PLR2004 - shares and cells, measured on real borders and said where they stand
"""Say where in a micrograph the specimen ends and the mount begins.

In:  the pixels, and what graphics cover. Out: `Border`: which cells are steel. Next: `crop`.
The outside is known by what it is: a region in contact with the frame, parted from the rest by
one edge no longer than that contact, even in itself, smoother than the rest or of another
tone, and with none of its kind inside. A dark phase fails that by its shape, by its kin or by
its own structure, so it stays in.
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
OCTAVE = 32  # units of the energy planes for a factor of two


@dataclass(frozen=True, slots=True)
class Border:
    """Where the steel is, cell by cell.

    Args:
        steel: (gh, gw) bool: cells of clean steel; outside, bleeding and safety are False.
        outside: (gh, gw) bool: cells beyond the specimen's edge, bleeding not included.
        bleeding: (gh, gw) bool: cells inside the edge that are discoloured by the gap.
        warnings: Stable words: "bleeding", "second_material".
    """

    steel: Mask
    outside: Mask
    bleeding: Mask
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Features:
    """What each cell looks like; each plane (gh, gw) float32.

    Args:
        light, red, blue: L, a and b of the cell's mean colour, 0 to 255.
        fine, coarse: Energy at 1 to 3 and at 3 to 15 pixels, in logarithms, over 5 × 5 cells.
        sharp_fine, sharp_coarse: The same over single cells.
        usable: What graphics leave.
    """

    light: Plane
    red: Plane
    blue: Plane
    fine: Plane
    coarse: Plane
    sharp_fine: Plane
    sharp_coarse: Plane
    usable: Mask

    def planes(self) -> Iterator[Plane]:
        yield from (self.light, self.fine, self.coarse, self.red, self.blue)


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
    outside = _refined(features, outside)
    steel_side = _largest(_filled(usable & ~outside) & usable)
    outside = usable & ~steel_side
    bleeding = _bleeding(features, outside, steel_side)
    unclean = (outside | bleeding).astype(np.uint8)
    margin = cv2.dilate(unclean, np.ones((5, 5), np.uint8)) > 0
    steel = steel_side & ~margin
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
        fine=_log(fine, usable, 5),
        coarse=_log(coarse, usable, 5),
        sharp_fine=_log(fine, usable, 1),
        sharp_coarse=_log(coarse, usable, 1),
        usable=usable,
    )


def _log(energy: Plane, usable: Mask, over: int) -> Plane:
    """Smooth an energy over some cells, of usable ones only, and take its logarithm."""
    weight = usable.astype(np.float32)
    smoothed = energy.astype(np.float32) * weight
    if over > 1:
        smoothed = cv2.blur(smoothed, (over, over)) / np.maximum(
            cv2.blur(weight, (over, over)), 1e-3
        )
    logs: Plane = (OCTAVE * np.log2(smoothed + 0.5)).astype(np.float32)
    return logs


# -------------------------------------------------------------------------------- the outside


def _outside(features: _Features) -> Mask | None:
    """Try every way of cutting the cells in two; unite the likely outsides, if there are any."""
    nothing = np.zeros(features.usable.shape, bool)
    scored: list[tuple[float, Mask]] = []
    seen: set[tuple[int, ...]] = set()
    frame = _frame(features.usable)
    for plane in features.planes():
        for mask in _cuts(plane, features.usable):
            parts = list(_parts(mask, features.usable, frame))
            together = np.logical_or.reduce([nothing, *parts])
            for part in [*parts, together] if len(parts) > 1 else parts:
                key = (int(part.sum()) // 150, *(int(v) // 3 for v in _bounds(part)))
                if key not in seen:
                    seen.add(key)
                    score = _evidence(features, part, apart_from=together & ~part)["score"]
                    if score > _BELIEVED:
                        scored.append((score, part))
    outside = nothing
    for _, part in sorted(scored, key=lambda pair: -pair[0]):
        shared = (part & outside).sum()
        if not outside.any() or (shared > 0.8 * outside.sum() and part.sum() > outside.sum()):
            outside = part  # the same outside, with its darker or smoother half
        elif shared < 0.1 * part.sum():
            own = part & ~outside
            likely = _evidence(features, own, apart_from=outside)["score"] > _BELIEVED
            if likely and _alike(features, own, outside):
                outside = outside | own
    believed = outside.any() and outside.sum() <= 0.95 * features.usable.sum()
    return outside if believed else None


_BELIEVED = 0.2


def _alike(features: _Features, part: Mask, outside: Mask) -> bool:
    """Say whether a second region is a mount of the same kind as the first, if shaded."""
    one, other = _Look.of(features, part), _Look.of(features, outside)
    room = np.maximum([25.0, 24.0, 24.0, 8.0, 8.0], 2.0 * (one.spread + other.spread))
    return bool((np.abs(one.middle - other.middle) <= room).all())


def _cuts(plane: Plane, usable: Mask) -> Iterator[Mask]:
    """Yield both sides of the cuts that split the values of a plane best."""
    values = plane[usable]
    if not values.size:
        return
    low, high = np.percentile(values, [0.5, 99.5])
    if high - low < 4:
        return
    scaled = np.clip((plane - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    flat = scaled[usable].reshape(1, -1)
    first = _otsu(flat)
    cuts = {first}
    for part in (flat[flat <= first], flat[flat > first]):
        if part.size > 0.05 * flat.size:
            cuts.add(_otsu(part.reshape(1, -1)))
    for cut in sorted(cuts):
        yield (scaled <= cut) & usable
        yield (scaled > cut) & usable


def _otsu(values: Plane) -> int:
    cut, _ = cv2.threshold(values, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return int(cut)


def _parts(mask: Mask, usable: Mask, frame: Mask) -> Iterator[Mask]:
    """Yield the parts of a mask that touch the frame and have an edge no longer than that."""
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, marks, stats, _ = cv2.connectedComponentsWithStats(cleaned, connectivity=4)
    contacts = np.bincount(marks[frame], minlength=count)
    for mark in range(1, count):
        contact = int(contacts[mark])
        area = int(stats[mark, cv2.CC_STAT_AREA])
        if contact < 0.15 * min(mask.shape) or not 0.01 <= area / max(1, usable.sum()) <= 0.93:
            continue
        part = _filled(marks == mark, below=0.04 * usable.size) & usable
        if _edge_length(part, usable) <= 1.35 * contact:
            yield part


def _frame(usable: Mask) -> Mask:
    """Say which cells lie at the image's edge or against an info band."""
    rows, columns = usable.shape
    inner = cv2.morphologyEx(usable.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    full = np.flatnonzero(usable.mean(axis=1) > 0.5)
    top, bottom = (int(full[0]), int(full[-1])) if full.size else (0, rows - 1)
    frame = np.zeros((rows, columns), bool)
    frame[[top, bottom], :] = True
    frame[top : bottom + 1, [0, columns - 1]] = True
    framed: Mask = frame & (inner > 0)
    return framed


def _edge_length(part: Mask, usable: Mask) -> float:
    """Say how long (cells) the edge between a part and the rest is, smoothed over 5 cells."""
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.5)
    down = np.diff(soft, axis=0)[:, :-1]
    across = np.diff(soft, axis=1)[:-1, :]
    seen = cv2.erode(usable.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)[:-1, :-1]
    return float(np.hypot(down, across)[seen > 0].sum())


def _raggedness(part: Mask, usable: Mask) -> float:
    """Say how much longer the edge is than when drawn with a broad brush; 1 is smooth."""
    broad = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 6) > 0.5
    return _edge_length(part, usable) / max(8.0, _edge_length(broad, usable))


def _spans(part: Mask) -> bool:
    """Say whether a part runs along the whole of one side of the image."""
    rims = (part[:2].any(axis=0), part[-2:].any(axis=0), part[:, :2].any(1), part[:, -2:].any(1))
    return any(float(rim.mean()) > 0.9 for rim in rims)


def _bounds(part: Mask) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


@dataclass(frozen=True, slots=True)
class _Look:
    """How the cells of a region look: middle, spread and upper tenth of each plane."""

    middle: NDArray[Any]
    spread: NDArray[Any]
    upper: NDArray[Any]

    @classmethod
    def of(cls, features: _Features, cells: Mask) -> _Look:
        values = np.stack([plane[cells] for plane in features.planes()])
        low, middle, high, upper = np.percentile(values, [16, 50, 84, 90], axis=1)
        return cls(middle, (high - low) / 2, upper)


def _evidence(features: _Features, outside: Mask, apart_from: Mask) -> dict[str, float]:
    """Weigh what speaks for a region being the outside; a score above 0 is believed.

    Args:
        features: What the cells look like.
        outside: The region.
        apart_from: Cells that may be outside too: they are no witness.
    """
    refused = {"score": -9.0}
    usable = features.usable
    inside = usable & ~outside & ~apart_from
    deep_out, deep_in = _shrunk(outside), _shrunk(inside)
    if inside.sum() < 0.04 * usable.sum() or min(deep_out.sum(), deep_in.sum()) < 25:
        return refused
    out, into = _Look.of(features, deep_out), _Look.of(features, deep_in)
    spread = np.maximum(2.0, 0.5 * (out.spread + into.spread))
    apart = np.abs(out.middle - into.middle) / spread
    tone = float(max(apart[0], apart[3], apart[4], _step(features, outside, inside)))
    smoother = float(into.upper[2] - out.upper[2]) / OCTAVE
    evenness = float(out.spread[2]) / OCTAVE
    kin, flat = _kin(features, out, deep_in)
    area = float(outside.sum() / usable.sum())
    structure = float(max(apart[1], apart[2]))
    score = 1.2 * min(smoother, 2.5) + 0.45 * min(tone, 4.0) - 3.1
    if smoother < 0.4:  # as rough as the steel: then by another texture and another tone
        score = 0.35 * min(structure, 4.0) + 0.45 * min(tone, 4.0) - 2.4
        score -= 2.0 * max(0.0, -0.6 - smoother) + 8.0 * max(0.0, area - 0.7)
    score -= 8.0 * max(0.0, evenness - 0.35)
    score -= 2.0 * max(0.0, _raggedness(outside, usable) - 1.1)
    score -= 14.0 * max(0.0, kin - 0.02)
    if area < 0.15:  # one large grain among others is as flat as a mount
        score -= 10.0 * max(0.0, flat - 0.05) * (1 - area / 0.15)
    spans = _spans(outside)
    score -= 35.0 * max(0.0, (0.015 if spans else 0.06) - area)
    score += 0.5 * (spans and area > 0.12 and smoother > 2.0)
    return {
        "score": score,
        "smoother": smoother,
        "tone": tone,
        "structure": structure,
        "evenness": evenness,
        "kin": kin,
        "flat": flat,
        "area": area,
    }


def _kin(features: _Features, out: _Look, inside: Mask) -> tuple[float, float]:
    """Say which share of the inside, in patches, looks like the outside, and is as flat."""
    like = inside.copy()
    for plane, middle, spread in zip(features.planes(), out.middle, out.spread, strict=True):
        like &= np.abs(plane - middle) <= 2.0 * max(3.0, float(spread))
    flat = inside & (features.coarse <= out.upper[2])
    kernel = np.ones((5, 5), np.uint8)
    shares = [
        float(cv2.morphologyEx(cells.astype(np.uint8), cv2.MORPH_OPEN, kernel).sum())
        / max(1, int(inside.sum()))
        for cells in (like, flat)
    ]
    return shares[0], shares[1]


def _step(features: _Features, outside: Mask, inside: Mask) -> float:
    """Say how much the light steps at the edge itself, in spreads: a shaded mount has no tone."""
    out, into = outside.astype(np.float32), inside.astype(np.float32)
    light = features.light
    size = (9, 9)
    out_weight, in_weight = cv2.blur(out, size), cv2.blur(into, size)
    out_mean = cv2.blur(light * out, size) / np.maximum(out_weight, 1e-3)
    in_mean = cv2.blur(light * into, size) / np.maximum(in_weight, 1e-3)
    edge = (out_weight > 0.3) & (in_weight > 0.3)
    if edge.sum() < 10:
        return 0.0
    rest_out, rest_in = (light - out_mean)[outside], (light - in_mean)[inside]
    spread = max(2.0, 0.5 * (_spread(rest_out) + _spread(rest_in)))
    return float(np.percentile(np.abs(out_mean - in_mean)[edge], 40)) / spread


def _spread(values: Plane) -> float:
    low, high = np.percentile(values, [16, 84])
    return float(high - low) / 2


def _shrunk(mask: Mask) -> Mask:
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=1)
    return eroded > 0


def _filled(mask: Mask, below: float = np.inf) -> Mask:
    """Fill the holes of a mask, of fewer cells than that: what is enclosed belongs to it."""
    count, marks, stats, _ = cv2.connectedComponentsWithStats(
        (~mask).astype(np.uint8), connectivity=4
    )
    closed = stats[:, cv2.CC_STAT_AREA] < below
    closed[0] = False
    for rim in (marks[0], marks[-1], marks[:, 0], marks[:, -1]):
        closed[rim] = False
    del count
    filled: Mask = mask | closed[marks]
    return filled


def _largest(mask: Mask) -> Mask:
    count, marks, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    best: Mask = marks == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return best


# ------------------------------------------------------------------------------- the exact edge


def _refined(features: _Features, outside: Mask) -> Mask:
    """Draw the edge anew, cell by cell, from what both sides look like further in."""
    inside = features.usable & ~outside
    deep_out, deep_in = _shrunk(outside), _shrunk(inside)
    if min(deep_out.sum(), deep_in.sum()) < 25:
        return outside
    planes = np.stack(
        [
            features.light,
            features.red,
            features.blue,
            cv2.blur(features.sharp_fine, (3, 3)),
            cv2.blur(features.sharp_coarse, (3, 3)),
        ],
        axis=-1,
    )
    out, into = planes[deep_out], planes[deep_in]
    within = 0.5 * (np.cov(out.T) + np.cov(into.T)) + 4.0 * np.eye(planes.shape[-1])
    axis = np.linalg.solve(within, into.mean(axis=0) - out.mean(axis=0))
    value = planes @ axis
    cut = 0.5 * (np.median(value[deep_out]) + np.median(value[deep_in]))
    near = cv2.dilate(outside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    sure = cv2.erode(outside.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
    redrawn = (sure | (near & (value < cut))).astype(np.uint8)
    redrawn = cv2.morphologyEx(redrawn, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    redrawn = cv2.morphologyEx(redrawn, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    result: Mask = (redrawn > 0) & features.usable
    return result if result.sum() > 0.3 * outside.sum() else outside


# ----------------------------------------------------------------------------------- bleeding


def _bleeding(features: _Features, outside: Mask, steel: Mask) -> Mask:
    """Mark the steel that is discoloured from the edge inwards, as far as that goes.

    Along the edge, piece by piece, tone and colour are followed inwards until they are what
    they are further in. A stain that does not touch the edge is not marked.
    """
    nothing = np.zeros(steel.shape, bool)
    distance, nearest = cv2.distanceTransformWithLabels(
        (~outside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    reach = int(min(0.3 * max(steel.shape), 0.5 * float(distance[steel].max(initial=0))))
    if reach < 8:
        return nothing
    places = np.zeros((int(nearest.max()) + 1, 2), int)
    places[nearest[outside]] = np.argwhere(outside)
    piece = places[nearest] // _PIECE
    key = piece[:, :, 0] * 1000 + piece[:, :, 1]
    step = np.minimum(distance.astype(int), 2 * reach)
    pieces = np.unique(key[steel & (distance < 3)])
    depths = {one: _depth(features, steel & (key == one), step, reach) for one in pieces.tolist()}
    bled = [depth for depth in depths.values() if depth > 3]
    # Where much of the edge has bled, a piece that seems clean is one where the front is faint.
    least = 0.7 * float(np.median(bled)) if len(bled) > 0.3 * len(depths) else 0.0
    found = nothing.copy()
    for one, depth in depths.items():
        if max(depth, least) > 3:
            found |= steel & (key == one) & (step <= 1.3 * max(depth, least) + 2)
    marked: Mask = found
    return marked


_PIECE = 16  # cells of the edge that are followed inwards together


def _depth(features: _Features, cells: Mask, step: Plane, reach: int) -> int:
    """Say how many cells inwards a piece of the edge is discoloured."""
    steps = step[cells]
    count = np.bincount(steps, minlength=2 * reach + 1)
    deepest = 0
    for plane, least in ((features.light, 2.0), (features.red, 0.8), (features.blue, 0.8)):
        values = plane[cells]
        total = np.bincount(steps, weights=values, minlength=2 * reach + 1)
        profile = np.where(count >= 4, total / np.maximum(count, 1), np.nan)
        far = profile[reach // 2 :]
        far = far[np.isfinite(far)]
        if len(far) < 5:
            continue
        middle, spread = float(np.median(far)), max(least, _spread(far))
        strange = np.abs(profile[1 : reach + 1] - middle) > 2.0 * spread
        back = np.flatnonzero(~strange[2:] & ~np.roll(strange, -1)[2:])
        depth = int(back[0]) + 2 if back.size else reach
        if strange[1:5].sum() >= 3 and not (depth > 10 and _ends_sharply(profile, depth, middle)):
            deepest = max(deepest, depth)
    return deepest


def _ends_sharply(profile: Plane, depth: int, middle: float) -> bool:
    """Say whether a zone ends in a step: then it is a layer of its own, and no stain."""
    within = profile[2 : max(3, depth - 2)]
    height = float(np.nanmedian(np.abs(within - middle)))
    around = profile[max(0, depth - 3) : depth + 3]
    return float(np.nanmax(around) - np.nanmin(around)) > 0.6 * height
