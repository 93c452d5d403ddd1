# ruff: noqa: PLR2004 - cells and spreads, measured on drawn and real borders
"""Follow what the edge does to the steel beside it: bleeding, and layers of another material.

In:  `Cells`, the outside, the steel. Out: `Along`, and what is doubted. Next: `specimen_area`.
Piece by piece along the edge, tone and colour are followed inwards until they are what they are
further in. Bleeding fades out; a zone that ends in a step is a layer of its own, such as a
coating. How much pieces of clean steel differ from each other is measured further in, so that
a field of large grains is not taken for a stained one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.imaging.outside import count_of, off_the_usual, shading, spread_of

if TYPE_CHECKING:
    from agent.imaging.cells import Cells, Mask, Plane

PIECE = 16  # cells of the edge that are followed inwards together
RIM = 4  # cells that the edge itself may darken or brighten
DOUBTED = 10
"""Cells from the edge within which steel is doubted that does not look like the rest …"""
NOT_DOUBTED = 97.0
"""… by more than so many per cent of the steel further in do."""
APART = 1e4  # more than any two tones differ
_PATCH = 1.5  # cells, standard deviation of the blur before cells are doubted
_TONES = (("light", 2.0, 4.0), ("red", 0.8, 3.0), ("blue", 0.8, 3.0))
"""What is followed; the least spread, since smaller differences are not trusted; and how many
spreads off clean steel is discoloured: more for light, since grains differ in it by themselves."""


@dataclass(frozen=True, slots=True)
class Along:
    """What lies along the edge.

    Args:
        bleeding: (gh, gw) bool, steel that is discoloured.
        layer: (gh, gw) bool, a coating, or the shadow, gap or bright rim of the edge itself.
        coated: The layer is too thick for a rim: it is another material.
    """

    bleeding: Mask
    layer: Mask
    coated: bool


@dataclass(frozen=True, slots=True)
class _Strip:
    """The steel along an edge, cut across into pieces and along into steps.

    Args:
        piece: (gh, gw) int, the piece of the edge that is nearest.
        step: (gh, gw) int, cells from the edge; those beyond `2 * reach` count as there.
        reach: How far in bleeding is looked for; beyond it the steel is taken for clean.
    """

    piece: Plane
    step: Plane
    reach: int


@dataclass(frozen=True, slots=True)
class _Zone:
    """How far (cells) a piece of the edge looks other than the steel, and how that ends."""

    depth: int
    sharp: bool


def along_edge(cells: Cells, outside: Mask, steel: Mask) -> Along:
    """Find bleeding and layers along an edge.

    Args:
        cells: What they look like.
        outside: (gh, gw) bool, one side of the edge.
        steel: (gh, gw) bool, the other side.
    """
    nothing = np.zeros(steel.shape, bool)
    strip = _strip(outside, steel)
    if strip.reach < 8:
        return Along(nothing, nothing, coated=False)
    zones, whole = _zones(cells, steel, strip)
    thick = _thickness(zones, whole)
    layer = steel & (strip.step <= thick + (thick > RIM))
    depths = np.array([0 if zone.sharp else zone.depth for zone in zones])
    bled = depths[depths > 3]
    # Where much of the edge has bled, a piece that seems clean is one where the front is faint.
    least = 0.7 * float(np.median(bled)) if len(bled) > 0.3 * len(zones) else 0.0
    if not whole.sharp and whole.depth > RIM + 1:
        least = max(least, 0.8 * whole.depth)
    depths = np.maximum(depths, least)[strip.piece]
    bleeding = steel & (depths > 3) & (strip.step <= 1.3 * depths + 2)
    return Along(bleeding & ~layer, layer, coated=thick > RIM)


def _thickness(zones: list[_Zone], whole: _Zone) -> float:
    """Say how thick (cells) a layer is, which is about the same all along; 0: there is none."""
    layered = np.array([zone.depth for zone in zones if zone.sharp])
    if layered.size:
        usual = float(np.median(layered))
        if (np.abs(layered - usual) <= max(1.0, 0.25 * usual)).sum() > 0.5 * len(zones):
            return usual
    return float(whole.depth) if whole.sharp and whole.depth <= RIM else 0.0


def _strip(outside: Mask, steel: Mask) -> _Strip:
    distance, nearest = cv2.distanceTransformWithLabels(
        (~outside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros((int(nearest.max()) + 1, 2), int)
    places[nearest[outside]] = np.argwhere(outside)
    middle = np.array(steel.shape) / 2 - 0.5  # pieces are the same in a turned field
    block = np.rint((places[nearest[steel]] - middle) / PIECE).astype(int)
    piece = np.zeros(steel.shape, int)
    piece[steel] = np.unique(block[:, 0] * 1000 + block[:, 1], return_inverse=True)[1]
    reach = int(min(0.3 * max(steel.shape), 0.5 * float(distance[steel].max(initial=0))))
    return _Strip(piece, np.minimum(distance.astype(int), 2 * reach), reach)


def _zones(cells: Cells, steel: Mask, strip: _Strip) -> tuple[list[_Zone], _Zone]:
    """Follow every piece of the edge inwards, and all of them together."""
    deep = steel & (strip.step > strip.reach)
    whole = _Zone(0, sharp=False)
    zones = [whole] * (int(strip.piece.max()) + 1)
    for name, least, spreads in _TONES:
        plane = _tone(cells, name)
        plane = plane - shading(plane, deep)
        means, medians = (seen_by(plane, steel, strip) for seen_by in (_means, _medians))
        seen = zones
        for profiles in (means, medians):
            limit = spreads * _spread_of_clean(profiles, strip, least)
            zones = [
                _deeper(zone, _surer(before, _zone(profile, limit, strip.reach)))
                for zone, before, profile in zip(zones, seen, profiles, strict=True)
            ]
        together = _means(plane, steel, replace(strip, piece=np.zeros_like(strip.piece)))
        spread = _spread_of_clean(means, strip, least)
        error = max(least, _error_of_all(means[:, strip.reach :], spread))
        whole = _surer(whole, _zone(together[0], spreads * error, strip.reach))
    return zones, whole


def _spread_of_clean(profiles: Plane, strip: _Strip, least: float) -> float:
    """Say how much pieces of clean steel differ, further in."""
    clean = profiles[:, strip.reach :]
    return max(least, spread_of(clean[np.isfinite(clean)]))


def _deeper(one: _Zone, other: _Zone) -> _Zone:
    return max(one, other, key=lambda zone: zone.depth)


def _surer(seen: _Zone, coloured: _Zone) -> _Zone:
    """Believe what a colour says, if it says anything: it follows no grain and no lamp."""
    return coloured if coloured.depth > RIM or coloured.depth > seen.depth else seen


def _tone(cells: Cells, name: str) -> Plane:
    """Say a plane of light or colour; a colour for its light, since a dark grain has less of it."""
    plane: Plane = getattr(cells, name)
    return plane if name == "light" else (plane - 128) * (128 / np.maximum(cells.light, 32))


def _means(plane: Plane, steel: Mask, strip: _Strip) -> Plane:
    """Say how a plane changes from the edge inwards, (pieces, steps), 0 where steel is clean."""
    where, count = _places(steel, strip)
    sums = np.bincount(where, weights=plane[steel], minlength=count.size)
    return _profiles(sums / np.maximum(count, 1), count, strip)


def _medians(plane: Plane, steel: Mask, strip: _Strip) -> Plane:
    """Say the same by medians, which coarse particles do not move."""
    where, count = _places(steel, strip)
    # One sort for all medians: each place has values of its own, far from the next one's.
    ordered = np.sort(APART * where + plane[steel])
    middle = np.minimum(np.cumsum(count) - count + count // 2, len(ordered) - 1)
    return _profiles(ordered[middle] - APART * np.arange(count.size), count, strip)


def _places(steel: Mask, strip: _Strip) -> tuple[Plane, Plane]:
    """Number the places of the strip, piece by piece; say where each cell is, and how many are."""
    steps = 2 * strip.reach + 1
    where = strip.piece[steel] * steps + strip.step[steel]
    return where, np.bincount(where, minlength=(int(strip.piece.max()) + 1) * steps)


def _profiles(tones: Plane, count: Plane, strip: _Strip) -> Plane:
    """Lay tones of places out as (pieces, steps), measured against the clean steel's."""
    rows = np.where(count >= 4, tones, np.nan).reshape(-1, 2 * strip.reach + 1)
    profiles: Plane = rows - np.nanmedian(rows[:, strip.reach :])
    return profiles


def _error_of_all(clean: Plane, spread: float) -> float:
    """Say how far the mean of all pieces of clean steel is off, since neighbours are alike.

    Source:
        Standard error of the mean of a first-order autoregressive row.
    """
    off = np.nan_to_num(clean)
    square = float((off**2).mean())
    kept = float((off[:-1] * off[1:]).mean()) / square if len(off) > 1 and square > 0 else 0.0
    alike = min(0.9, max(0.0, kept))
    return spread * float(np.sqrt((1 + alike) / (1 - alike) / len(off)))


def _zone(profile: Plane, limit: float, reach: int) -> _Zone:
    """Follow one profile inwards: to the first three steps that look clean.

    A zone without an end in reach is no zone: then grains or the lamp differ, not the edge.
    """
    strange = np.abs(profile[1 : reach + 1]) > limit
    if strange[:4].sum() < 2:
        return _Zone(0, sharp=False)
    back = np.flatnonzero(~strange[1:-2] & ~strange[2:-1] & ~strange[3:])
    depth = int(back[0]) + 1 if back.size else reach
    if depth > 0.8 * reach:
        return _Zone(0, sharp=False)
    return _Zone(depth, sharp=_ends_sharply(profile, depth))


def _ends_sharply(profile: Plane, depth: int) -> bool:
    """Say whether a zone ends in a step: then it is a layer of its own, and no stain."""
    within = profile[2 : max(4, depth - 1)]
    height = float(np.nanmedian(np.abs(within)))
    around = profile[max(1, depth - 2) : depth + 3]
    return float(np.nanmax(around) - np.nanmin(around)) > 0.6 * height


def doubtful(cells: Cells, beyond: Mask, steel: Mask) -> Mask:
    """Find what lies against the edge and does not look like the steel further in.

    It may be a gap, or bleeding too faint or too patchy to be followed; a little steel is lost
    with it. The tone of single cells is compared, where `along_edge` compares pieces of the edge.

    Args:
        cells: What they look like.
        beyond: (gh, gw) bool, one side of the edge, bleeding included.
        steel: (gh, gw) bool, the other side.
    """
    distance = cv2.distanceTransform((~beyond).astype(np.uint8), cv2.DIST_L2, 5)
    deep = steel & (distance > min(DOUBTED, 0.5 * float(distance[steel].max(initial=0))))
    if count_of(deep) < 100:
        return np.zeros(steel.shape, bool)
    off = np.zeros(steel.shape, np.float32)
    for name, least, _ in _TONES:
        own = off_the_usual(_tone(cells, name), steel, deep, _PATCH)
        off = np.maximum(off, np.abs(own) / max(least, spread_of(own[deep])))
    odd = steel & (off > np.percentile(off[deep], NOT_DOUBTED)) & (distance <= DOUBTED)
    _, marks = cv2.connectedComponents((odd | beyond).astype(np.uint8), connectivity=4)
    return odd & np.isin(marks, np.unique(marks[beyond]))
