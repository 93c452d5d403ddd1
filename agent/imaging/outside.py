# ruff: noqa: PLR2004 - shares and cells, measured on drawn and real borders
"""Say which cells lie beyond the specimen, by what they are.

In:  `Cells`. Out: the outside, or None. Next: `specimen_area`, which draws the edge exactly.
Every way of cutting the cells in two is tried. A region is a candidate if it touches the frame
and its edge is hardly longer than that contact; it is believed by how smooth and how even it is,
how well its look can be told from the rest, how that steps at the edge, its size and its shape. A
dark phase fails that by its shape, by its kin or by its own structure, so it stays in. How much
each of these counts is fitted, not guessed: see `belief`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from agent.imaging import belief
from agent.imaging.cells import OCTAVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.cells import Cells, Mask, Plane

BELIEVED = 0.6
"""Logarithm of the odds from which a region is believed to be outside."""
SECOND_MATERIAL = 2.0
"""Logarithm of the odds from which a field without an outside is said to show two materials."""

KNOWN_KIND = 2.0
"""What a region gains by being of the kind of an outside that was found already."""
AS_LIKELY = 2.0
"""A larger region takes a smaller one's place if its odds are no lower than by that."""
GATHERED = 0.9
"""How unevenly pores, particles and cracks have to lie for a large region to be material. Set by
hand, for real layers, where it is 1.0 to 1.5: drawn ones are too few and too regular to teach it.
In a drawn filler it is mostly 0.6 to 0.85."""
STREWN = 2.0
"""What a region with other spots comes behind by: of two sides that could be the outside, the one
without any is it."""
ROUGH_SPOT, HARD_SPOT = (OCTAVE * float(np.log2(grey + 0.5)) for grey in (7.0, 18.0))
"""Roughness of pores, particles and cracks in grey values: scratches have less than the first,
and the grains of a filler, which lie below the focus, less than the second."""


def belief_in(cells: Cells, region: Mask, rivals: Mask, *, least: float = BELIEVED) -> float | None:
    """Say the logarithm of the odds that a region is outside.

    Args:
        cells: What they look like.
        region: (gh, gw) bool.
        rivals: Cells that may be outside too: they say nothing of the steel.
        least: Lower odds than that are of no use.

    Returns:
        None where the region or the rest is too small to be judged, or the odds are too low.
    """
    sides = Sides.of(cells, region, rivals)
    return None if sides is None else _odds(cells, sides, at_a_glance(cells, sides), least)


def _odds(cells: Cells, sides: Sides, seen: NDArray[np.float64], least: float) -> float | None:
    """Look closer as long as what was seen, first at a glance, leaves it open."""
    odds = belief.OUTSIDE_CONSTANT + belief.said(belief.OUTSIDE, belief.AT_A_GLANCE, seen)
    if odds + belief.at_most(belief.AT_SECOND_SIGHT + belief.CLOSELY) <= least:
        return None
    odds += belief.said(belief.OUTSIDE, belief.AT_SECOND_SIGHT, at_second_sight(cells, sides))
    if odds + belief.at_most(belief.CLOSELY) <= least:
        return None
    odds += belief.said(belief.OUTSIDE, belief.CLOSELY, closely(cells, sides))
    return odds if odds > least else None


def outside_of(cells: Cells) -> tuple[Mask | None, bool]:
    """Find the regions that lie beyond the specimen.

    Half as many cells each way are enough to know what is outside, and four times as fast.

    Returns:
        The outside, or None where the field is specimen throughout; and whether that then shows
        a second material.
    """
    shape = cells.usable.shape
    cells = cells.halved()
    judged: list[tuple[float, Mask]] = []
    second = False
    for region, rivals in candidates(cells):
        sides = Sides.of(cells, region, rivals)
        if sides is None:
            continue
        seen = at_a_glance(cells, sides)
        second = second or belief.of_two_materials(seen) > SECOND_MATERIAL
        odds = _odds(cells, sides, seen, BELIEVED)
        if odds is None:
            continue
        spots = _spots_lie(cells, sides)
        if spots == "gathered":
            second = True  # it is material, however much it looks like a mount otherwise
        else:
            judged.append((odds - (STREWN if spots else 0.0), region))
    judged.sort(key=lambda pair: -pair[0])
    outside = _joined(cells, judged)
    if not outside.any() or count_of(outside) > 0.95 * count_of(cells.usable):
        return None, second or bool(judged)
    outside = _with_its_kind(cells, outside)
    large = cv2.resize(outside.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
    return large > 0, False


def _joined(cells: Cells, judged: list[tuple[float, Mask]]) -> Mask:
    """Join regions, each after its odds, the most believed first, to one outside."""
    outside = np.zeros(cells.usable.shape, bool)
    for odds, region in judged:
        shared, area = count_of(region & outside), count_of(outside)
        as_likely = odds > judged[0][0] - AS_LIKELY
        if not area or (as_likely and shared > 0.8 * area and count_of(region) > area):
            outside = region  # the same outside, with its darker or smoother half
        elif shared < 0.1 * count_of(region):
            own = region & ~outside
            if belief_in(cells, own, outside) is not None and _alike(cells, own, outside):
                outside = outside | own
    return outside


def _with_its_kind(cells: Cells, outside: Mask) -> Mask:
    """Look again for what is of the same kind: at another side, in a corner, as a sliver."""
    inside = cells.usable & ~outside
    deep_out, deep_in = shrunk(outside, 2), shrunk(inside, 2)
    if min(count_of(deep_out), count_of(deep_in)) < 12:
        return outside
    alike = told_apart(cells.looks, deep_out, deep_in) > 0
    found = outside.copy()
    for part in _parts(alike & inside, cells, least=0.06):
        if belief_in(cells, part, outside, least=BELIEVED - KNOWN_KIND) is not None:
            found |= part
    return found if count_of(found) <= 0.95 * count_of(cells.usable) else outside


# --------------------------------------------------------------------------------- candidates


def candidates(cells: Cells) -> Iterator[tuple[Mask, Mask]]:
    """Yield regions that could be the outside, each with what may be outside beside it."""
    seen: list[tuple[int, Mask]] = []
    for plane in _planes(cells):
        for mask in _cuts(plane, cells.usable):
            parts = list(_parts(mask, cells))
            if not parts:
                continue
            together = np.logical_or.reduce(parts)
            for part in [*parts, together] if len(parts) > 1 else parts:
                area = count_of(part)
                if not any(_same(part, area, *one) for one in seen):
                    seen.append((area, part))
                    yield part, together & ~part


def _planes(cells: Cells) -> Iterator[Plane]:
    """Yield what cells are told apart by: each look, focus, and what the looks say together."""
    yield from np.moveaxis(cells.looks, -1, 0)
    yield cells.coarse - cells.fine
    values = cells.looks[cells.usable]
    if len(values) < 2:
        return
    scaled = (cells.looks - values.mean(axis=0)) / np.maximum(NOISE, values.std(axis=0))
    _, axes = np.linalg.eigh(np.cov(scaled[cells.usable].T))
    for axis in (-1, -2):
        yield 20 * (scaled @ axes[:, axis].astype(np.float32))


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


_MOST = 0.88
"""Larger, and what is left is rather the paper around a micron bar than a specimen."""


def _parts(mask: Mask, cells: Cells, least: float = 0.12) -> Iterator[Mask]:
    """Yield the parts of a mask that touch the frame and have an edge no longer than that.

    Args:
        mask: (gh, gw) bool.
        cells: For what is usable, and where the frame is.
        least: Shortest contact with the frame, as a share of the shorter side.
    """
    usable = cells.usable
    cleaned = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    marks, areas = parted(cleaned)
    contacts = np.bincount(marks[cells.frame], minlength=len(areas))
    shares = areas / max(1, count_of(usable))
    likely = (contacts >= least * min(mask.shape)) & (shares >= 0.004) & (shares <= _MOST)
    for mark in np.flatnonzero(likely[1:]) + 1:
        part = filled(marks == mark, below=0.04 * usable.size) & usable
        if _edge_length(part, cells) <= 1.35 * contacts[mark]:
            yield part


def _edge_length(part: Mask, cells: Cells) -> float:
    """Say how long (cells) the edge between a part and the rest is, smoothed over 3 cells."""
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 1.0)
    across, down = (cv2.Sobel(soft, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5) for dx in (1, 0))
    return float(cv2.magnitude(across, down)[cells.amid].sum())


def _same(one: Mask, area: int, other_area: int, other: Mask) -> bool:
    return abs(area - other_area) < 0.03 * area and count_of(one ^ other) < 0.03 * area


# ------------------------------------------------------------------------------------ evidence


_LOW, _MIDDLE, _HIGH = 0.1, 0.5, 0.9


@dataclass(frozen=True, slots=True)
class Sides:
    """A region and the rest, each (gh, gw) bool, and what surely is of either."""

    region: Mask
    rest: Mask
    deep_out: Mask
    deep_in: Mask

    @classmethod
    def of(cls, cells: Cells, region: Mask, rivals: Mask) -> Sides | None:
        """Tell the sides, as for `belief_in`; None where one is too small to be judged."""
        rest = cells.usable & ~region & ~rivals
        if count_of(rest) < 0.04 * count_of(cells.usable):
            return None
        deep_out, deep_in = shrunk(region, 2), shrunk(rest, 2)
        if min(count_of(deep_out), count_of(deep_in)) < 12:
            return None
        return cls(region, rest, deep_out, deep_in)


def witnesses(cells: Cells, region: Mask, rivals: Mask) -> NDArray[np.float64] | None:
    """Say what speaks for a region being outside: a number for each of `belief.WITNESSES`.

    None where the region or the rest is too small to be judged.
    """
    sides = Sides.of(cells, region, rivals)
    if sides is None:
        return None
    return np.concatenate([look(cells, sides) for look in (at_a_glance, at_second_sight, closely)])


def at_a_glance(cells: Cells, sides: Sides) -> NDArray[np.float64]:
    """Say what is quickly seen, as `belief.AT_A_GLANCE` names it: looks, size and shape."""
    out, into = (Look.of(cells.looks[thinned(deep)]) for deep in (sides.deep_out, sides.deep_in))
    gap = max(out.low[2] - into.high[2], into.low[2] - out.high[2])
    usable = count_of(cells.usable)
    edge = _edge_length(sides.region, cells)
    return np.array(
        [
            (into.high[2] - out.high[2]) / OCTAVE,
            out.middle[0] - into.middle[0],
            gap / OCTAVE,
            out.middle[1] / OCTAVE,
            out.high[0] - out.low[0],
            (out.high[1] - out.low[1]) / OCTAVE,
            np.log(count_of(sides.region) / usable),
            np.log(count_of(sides.deep_in) / usable),
            edge / max(1, count_of(sides.region & cells.frame)),
            convexity(largest(sides.rest)),
        ]
    )


def at_second_sight(cells: Cells, sides: Sides) -> NDArray[np.float64]:
    """Say what is seen soon, as `belief.AT_SECOND_SIGHT` names it: steps, and what stands out."""
    brighter, rougher = _steps(cells, sides.region, sides.rest)
    spots, fineness = _spots(cells, sides.deep_out)
    spots_beside, _ = _spots(cells, sides.deep_in)
    return np.array([brighter, rougher / OCTAVE, spots, spots_beside, fineness])


def closely(cells: Cells, sides: Sides) -> NDArray[np.float64]:
    """Say what costs most, as `belief.CLOSELY` names it: which cell looks like which side."""
    odds = told_apart(cells.looks, sides.deep_out, sides.deep_in)
    mistaken = (sides.deep_in & (odds > 0)).astype(np.uint8)
    kin = cv2.morphologyEx(mistaken, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    own = odds[sides.deep_out]
    rim = shrunk(sides.region, 1) & ~shrunk(sides.region)
    return np.array(
        [
            (own > 0).mean(),
            _at(np.sort(own), 0.05),
            (np.abs(odds[cells.usable]) < 1.5).mean(),
            np.sqrt(cv2.countNonZero(kin) / count_of(sides.deep_in)),
            (odds[rim] < 0).mean() if rim.any() else 0.0,
        ]
    )


def _spots_lie(cells: Cells, sides: Sides) -> Literal["", "strewn", "gathered"]:
    """Say how pores, particles or cracks lie in a large region; "" where nothing stands out.

    Scratches and the grains of a filler come near to that. But scratches are faint, and the
    grains are soft and, as a filler is mixed, lie as densely everywhere; pores and cracks gather.
    """
    if count_of(sides.region) <= 0.35 * count_of(cells.usable):
        return ""
    deep = sides.deep_out
    own = np.sort(cells.sharp_coarse[thinned(deep)])
    rough = _at(own, 0.95)
    if rough <= _at(own, _MIDDLE) + 1.8 * OCTAVE:
        return ""
    gather = _unevenness(deep & (cells.sharp_coarse >= rough), deep) > GATHERED
    return "gathered" if rough > (ROUGH_SPOT if gather else HARD_SPOT) else "strewn"


def _unevenness(spots: Mask, among: Mask, block: int = 8) -> float:
    """Say how much the density of spots differs from block to block: deviation over mean."""
    size = tuple(max(1, round(cells / block)) for cells in among.shape[::-1])
    held, of_spots = (
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for mask in (among, spots)
    )
    density = of_spots[held > 0.5] / held[held > 0.5]
    return float(density.std() / max(1e-6, float(density.mean()))) if density.size else 0.0


def _spots(cells: Cells, deep: Mask) -> tuple[float, float]:
    """Say how much rougher the roughest cells of a side are than most, and how fine they are.

    Pores, particles and lines are such cells; where the side is out of focus they are not fine.
    """
    some = thinned(deep)
    fine, coarse = cells.sharp_fine[some], cells.sharp_coarse[some]
    ordered = np.sort(coarse)
    fineness = np.sort((fine - coarse)[coarse >= _at(ordered, _HIGH)])
    stand_out = _at(ordered, 0.95) - _at(ordered, _MIDDLE)
    return float(stand_out) / OCTAVE, float(_at(fineness, _MIDDLE)) / OCTAVE


@dataclass(frozen=True, slots=True)
class Look:
    """How the cells of a region look: middle and both tenths of each plane of `looks`."""

    low: NDArray[Any]
    middle: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def of(cls, values: Plane) -> Look:
        """Sum up looks, (n, 5)."""
        ordered = np.sort(values, axis=0)
        return cls(*(_at(ordered, share) for share in (_LOW, _MIDDLE, _HIGH)))


def _at(ordered: Plane, share: float) -> Plane:
    value: Plane = ordered[int(share * (len(ordered) - 1))]
    return value


NOISE = np.array([2.0, 3.0, 3.0, 1.0, 1.0])
"""Differences in light, roughness and colour that are not trusted."""
GAPS = np.array([8.0, 12.0, 12.0, 2.0, 2.0])
"""What a gap between two regions' looks is counted in."""


def told_apart(looks: Plane, out: Mask, into: Mask, limit: float = 12.0) -> Plane:
    """Say of every cell whether it looks like one region or like another.

    Args:
        looks: (gh, gw, 5) float32, as `Cells.looks`.
        out: (gh, gw) bool, cells that surely are of the first kind.
        into: Cells that surely are of the other.
        limit: No cell says more than that, either way.

    Returns:
        (gh, gw): logarithm of the odds that a cell is of the first kind.

    Source:
        Quadratic discriminant. Ours is trimmed, since either region may hold a little of the
        other, and follows slow shading of the first kind's light.
    """
    looks = looks.copy()
    looks[:, :, 0] -= shading(looks[:, :, 0], out)
    each = [_strange(looks, mask) for mask in (into, out)]
    return np.clip(0.5 * (each[0] - each[1]), -limit, limit)


def _strange(looks: Plane, kind: Mask) -> Plane:
    """Say how unlike a kind every cell is: squared distance, and how wide the kind is."""
    values = np.ascontiguousarray(looks[thinned(kind)].T)  # (5, n), twice as quick as (n, 5)
    apart = np.abs(values - _middle(values))
    width = np.maximum(NOISE[:, None], 1.5 * _middle(apart))
    ordinary = values[:, (apart <= 3.5 * width).all(axis=0)]
    if ordinary.shape[1] < max(16, 0.5 * values.shape[1]):
        ordinary = values
    centre = ordinary.mean(axis=1)
    spread = np.cov(ordinary) + np.diag(NOISE**2)
    half = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
    off = (looks - centre.astype(np.float32)) @ half
    distance: Plane = np.einsum("...i,...i", off, off) + np.linalg.slogdet(spread)[1]
    return distance


def thinned(mask: Mask, to: int = 1500) -> Mask:
    """Leave about so many cells of a mask, enough for a median: the same ones in a turned field."""
    share = count_of(mask) // to
    return mask & _scattered(*mask.shape, share) if share > 1 else mask


@cache
def _scattered(rows: int, columns: int, share: int) -> Mask:
    """Choose one cell in so many as if by chance, the same when the field is turned or mirrored."""
    y, x = np.minimum(np.arange(rows), np.arange(rows)[::-1])[:, None], np.arange(columns)
    x = np.minimum(x, x[::-1])
    numbers = ((x + y) * 73856093 ^ (x * y) * 19349663) >> 4
    chosen: Mask = numbers % share == 0
    return chosen


def _middle(values: Plane) -> Plane:
    """Say the median of each row, (rows, 1)."""
    middle: Plane = np.sort(values)[:, values.shape[1] // 2, None]
    return middle


@cache
def _terms(rows: int, columns: int) -> Plane:
    """Say the terms of a surface of second order at every cell, (rows, columns, 6)."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].astype(np.float32)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def shading(light: Plane, kind: Mask) -> Plane:
    """Follow how the light of a kind changes across it: a surface of second order, over all."""
    terms = _terms(*light.shape)
    some = thinned(kind)
    known, values = terms[some], light[some]
    off = np.abs(known @ _fitted(known, values) - values)
    near = off <= max(3.0, 3 * float(np.median(off)))
    surface = terms @ _fitted(known[near], values[near]).astype(np.float32)
    of_kind = surface[kind]
    held: Plane = np.clip(surface, of_kind.min(), of_kind.max())
    return held


def _fitted(terms: Plane, values: Plane) -> Plane:
    """Fit a surface to the values, (n,), of cells with such terms, (n, 6), hardly bent by noise."""
    bend = terms.T @ terms + np.diag([1e-3, 1, 1, 1, 1, 1]) * 0.002 * len(terms)
    return np.linalg.solve(bend, terms.T @ values)


def off_the_usual(plane: Plane, steel: Mask, kind: Mask, patch: float) -> Plane:
    """Say how far each patch of steel is off the tone of a kind, slow shading left out.

    Args:
        plane: (gh, gw), a tone.
        steel: (gh, gw) bool, what is averaged over.
        kind: (gh, gw) bool, whose tone is the usual one.
        patch: Cells, standard deviation of the blur.
    """
    weight = steel.astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), patch), 1e-3)
    level = plane - shading(plane, kind)
    smooth: Plane = cv2.GaussianBlur(level * weight, (0, 0), patch) / share
    return smooth - float(np.median(smooth[kind]))


def _steps(cells: Cells, outside: Mask, inside: Mask) -> tuple[float, float]:
    """Say how light and coarse roughness step at the edge itself: a shaded mount has no tone."""
    weights = [cv2.blur(mask.astype(np.float32), (5, 5)) for mask in (outside, inside)]
    edge = (weights[0] > 0.25) & (weights[1] > 0.25)
    if count_of(edge) < 10:
        return 0.0, 0.0
    light, coarse = (
        float(
            np.subtract(
                *(
                    (cv2.blur(plane * mask, (5, 5))[edge] / weight[edge]).mean()
                    for mask, weight in zip((outside, inside), weights, strict=True)
                )
            )
        )
        for plane in (cells.light, cells.coarse)
    )
    return light, coarse


def spread_of(values: Plane) -> float:
    """Say half the width of the middle two thirds: a standard deviation that outliers spare."""
    ordered = np.sort(values)
    last = len(ordered) - 1
    return float(ordered[int(0.84 * last)] - ordered[int(0.16 * last)]) / 2


def _alike(cells: Cells, part: Mask, outside: Mask) -> bool:
    """Say whether a second region is a mount of the same kind as the first, if shaded."""
    one, other = (Look.of(cells.looks[thinned(mask)]) for mask in (part, outside))
    room = np.maximum([25.0, 24.0, 24.0, 8.0, 8.0], one.high - one.low + other.high - other.low)
    return bool((np.abs(one.middle - other.middle) <= room).all())


# ---------------------------------------------------------------------------- shapes of regions


def count_of(mask: Mask) -> int:
    """Say how many cells are in a mask."""
    return int(np.count_nonzero(mask))


def convexity(mask: Mask) -> float:
    """Say which share of its convex hull a mask fills, holes counted as filled."""
    outlines, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    area = sum(cv2.contourArea(outline) for outline in outlines)
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    return float((area + 1) / (hull + 1))


def shrunk(mask: Mask, by: int = 3) -> Mask:
    """Leave what lies so many cells inside a mask; the image's edge takes nothing away."""
    kernel = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    eroded = cv2.erode(mask.astype(np.uint8), kernel, borderValue=1)
    return eroded > 0


def parted(mask: Plane, connectivity: int = 4) -> tuple[Plane, NDArray[np.intp]]:
    """Number the connected parts of a mask from 1; say of which each cell is, and their areas."""
    _, marks = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return marks, np.bincount(marks.ravel())


def filled(mask: Mask, below: float = np.inf) -> Mask:
    """Fill the holes of a mask, of fewer cells than that: what is enclosed belongs to it."""
    marks, areas = parted(~mask)
    closed = areas < below
    closed[0] = False
    for rim in (marks[0], marks[-1], marks[:, 0], marks[:, -1]):
        closed[rim] = False
    return mask | closed.take(marks) if closed.any() else mask


def largest(mask: Mask) -> Mask:
    """Leave the largest connected part of a mask."""
    marks, areas = parted(mask)
    if len(areas) <= 2:
        return mask
    best: Mask = marks == 1 + int(np.argmax(areas[1:]))
    return best
