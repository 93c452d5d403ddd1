# ruff: noqa: PLR2004 - cells and spreads, measured on drawn and real borders
"""Detect bleeding and layers of another material along the edge of the specimen.

Tone and colour are followed inwards piece by piece along the edge until they match the interior.
Bleeding fades out; a zone that ends in a step is a separate layer, such as a coating. The spread
between pieces of clean steel is measured in the interior, so that a field of large grains does
not count as stained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from agent.imaging.specimen.grid import (
    Cells,
    Mask,
    Plane,
    compute_deviation,
    compute_spread,
    count_cells,
    fit_shading,
    label_parts,
)

PIECE = 16  # cells of the edge that are followed inwards together
RIM = 4  # cells that the edge itself may darken or brighten
DOUBTED = 10
"""Cells from the edge within which steel unlike the interior is excluded …"""
NOT_DOUBTED, PATCH = 97.0, 80
"""… if a patch of so many cells deviates more than this percentile of the interior …"""
ALONG = 0.14
"""… and this share of the cells there does (sound steel has 7 to 13 %, bleeding 15 to 28) …"""
EXTREME = 99.9
"""… or the patch deviates more on average than this percentile of the interior."""
_ALL_ALONG = 0.7  # share of the pieces of the edge that a rim of the steel has
_HALF = 0.45  # share of the pieces that shows how deep a rim is
_VERY_EVENLY = 0.35  # as _EVENLY, where that alone decides
_EVENLY = 0.6  # width between the quarters of its depths, as a share of the usual depth
_TONE = 4.0  # units of L
_MUCH_LIGHTER = 8.0  # units of L: a zone as light is a rim even where it is uneven
_FEW = 0.2  # share of the pieces whose zone may fade where the whole edge has a layer
_DEEP = 8  # cells: bleeding seldom reaches as far all along the edge, and as evenly
_TINT = 3.0  # units of a and b: bleeding is brown or blue
APART = 1e4  # larger than any difference of two tones
_PATCH = 1.5  # cells, sigma of the blur before single cells are compared
_TONES = (("light", 2.0, 4.0), ("red", 0.8, 3.0), ("blue", 0.8, 3.0))
"""Plane, smallest credible spread, limit in spreads: higher for light, in which grains differ."""

_CHANGE = {"light": 8.0, "red": 2.0, "blue": 2.0}
"""Smallest change of a tone that is evidence of a zone."""
EVIDENCE, DEEP = 2.3, 10.0
"""Spreads of the field from which a zone is cut, and cells of its depth per spread: the deeper it
is, the more shading alone differs."""
USUAL = 0.8
"""Share of that by which 3 in 10 of its pieces differ: coarse structure differs in fewer."""


@dataclass(frozen=True, slots=True)
class EdgeZones:
    """Bleeding and layers along the edge.

    Args:
        bleeding: (gh, gw) bool, discoloured steel.
        layer: (gh, gw) bool, the shadow, gap or bright rim of the edge.
        surface: (gh, gw) bool, a deeper rim of the specimen: a coating or a nitrided layer that
            ends in a step, or decarburised steel.
        coated: That rim ends in a step: another material.
    """

    bleeding: Mask
    layer: Mask
    surface: Mask
    coated: bool


@dataclass(frozen=True, slots=True)
class _Strip:
    """The steel along an edge, divided into pieces along it and steps away from it.

    Args:
        piece: (gh, gw) int, index of the nearest piece of the edge.
        step: (gh, gw) int, distance from the edge in cells, at most `2 * reach`.
        reach: Search depth of bleeding, cells; steel beyond is clean.
    """

    piece: Plane
    step: Plane
    reach: int


@dataclass(frozen=True, slots=True)
class _Zone:
    """Depth in cells of the deviating zone of a piece, and whether it ends in a step."""

    depth: int
    sharp: bool


def detect_along_edge(cells: Cells, outside: Mask, steel: Mask) -> EdgeZones:
    """Detect bleeding and layers along an edge.

    Args:
        cells: Features of the cells.
        outside: (gh, gw) bool, one side of the edge.
        steel: (gh, gw) bool, the other side.
    """
    nothing = np.zeros(steel.shape, bool)
    strip = _build_strip(outside, steel)
    if strip.reach < 8:
        return EdgeZones(nothing, nothing, nothing, coated=False)
    zones, whole = _follow_pieces(cells, steel, strip)
    thick = _compute_thickness(zones, whole)
    coated = thick > RIM
    layer = steel & (strip.step <= thick + coated)
    depths = np.array([0 if zone.sharp else zone.depth for zone in zones])
    bled = depths[depths > 3]
    # Where much of the edge has bled, a piece that seems clean has a faint front.
    least = 0.7 * float(np.median(bled)) if len(bled) > 0.3 * len(zones) else 0.0
    if not whole.sharp and whole.depth > RIM + 1:
        least = max(least, 0.8 * whole.depth)
    depths = np.maximum(depths, least)[strip.piece]
    bleeding = steel & (depths > 3) & (strip.step <= 1.3 * depths + 2)
    bleeding &= ~layer
    if coated:
        return EdgeZones(bleeding, nothing, layer, coated=True)
    deep = steel & (strip.step > strip.reach)
    even = _compute_even_depth(zones)
    rim = steel & (strip.step <= 1.3 * even + 2) & ~layer
    if even and _is_rim_of_steel(cells, rim, deep, np.array([]), _DEEP):
        return EdgeZones(nothing, layer, rim, coated=False)
    all_along = not whole.sharp and whole.depth > RIM + 1
    all_along = all_along or len(bled) >= _ALL_ALONG * len(zones)
    every = np.array([zone.depth for zone in zones if zone.depth > 3])
    if all_along and _is_rim_of_steel(cells, bleeding, deep, every, whole.depth):
        return EdgeZones(nothing, layer, bleeding, coated=False)
    if _is_lighter(cells, bleeding, deep):
        return EdgeZones(nothing, layer, bleeding, coated=False)
    return EdgeZones(bleeding, layer, nothing, coated=False)


def measure_evidence(
    cells: Cells, zone: Mask, outside: Mask, steel: Mask
) -> tuple[int, float] | None:
    """Return how deep a zone is and by how much it differs, or None if the field itself does too.

    The outer half of the zone is compared in each piece of the edge with a ring behind the zone.
    The same difference between deeper rings gives the field's own spread, and its shading. On
    composed fields drawn rims and bleeding reach 2.3 to 10 spreads; sound steel mostly less than 2,
    more where it is deep and shaded.

    Args:
        cells: Features of the cells.
        zone: (gh, gw) bool, along the edge.
        outside: (gh, gw) bool, one side of the edge.
        steel: (gh, gw) bool, the other side.

    Returns:
        Depth in cells, and the difference in spreads of the field; None as well where the steel is
        too narrow to know.
    """
    strip = _build_strip(outside, steel)
    pieces = int(strip.piece.max()) + 1
    deepest = np.zeros(pieces, int)
    np.maximum.at(deepest, strip.piece[zone], strip.step[zone])
    present = deepest > 0
    if strip.reach < 8 or not present.any():
        return None
    depth = int(np.median(deepest[present]))
    half = max(2, depth // 2)
    needed = max(EVIDENCE, depth / DEEP)
    for name, least, _ in _TONES:
        plane = _get_tone(cells, name)

        def mean(top: int, plane: Plane = plane) -> Plane:
            ring = steel & (strip.step >= top) & (strip.step < top + half)
            count = np.bincount(strip.piece[ring], minlength=pieces)
            sums = np.bincount(strip.piece[ring], weights=plane[ring], minlength=pieces)
            return np.where(count >= 6, sums / np.maximum(count, 1), np.nan)

        tops = range(depth + 2, 2 * strip.reach - depth - half, max(2, half))
        deeper = np.array([mean(top) - mean(top + depth + 1) for top in tops])
        deeper = deeper[np.isfinite(deeper)]
        own = (mean(1) - mean(depth + 2))[present]
        own = own[np.isfinite(own)] - np.median(deeper) if deeper.size else own[:0]
        if len(deeper) < 4 or not own.size:
            continue
        spread = max(least, compute_spread(deeper))
        low, many_low, many_high, high = np.percentile(own, [20, 30, 70, 80])
        for change, usual in ((-low, -many_low), (high, many_high)):
            if change >= max(_CHANGE[name], needed * spread) and usual >= USUAL * needed * spread:
                return depth, float(change / spread)
    return None


def _is_rim_of_steel(cells: Cells, zone: Mask, deep: Mask, depths: Plane, whole_depth: int) -> bool:
    """Return whether a zone that fades out is decarburised or nitrided steel, not bleeding.

    Heat treatment works evenly from the surface: all along the edge and about equally deep; steel
    without carbides is lighter, nitrided steel darker. What bleeds from the gap is dark too, but
    patchy, shallow or coloured.

    Args:
        cells: Features of the cells.
        zone: (gh, gw) bool, the deviating steel.
        deep: (gh, gw) bool, the interior.
        depths: Depth in cells of each piece of the edge where it is clear.
        whole_depth: Depth in cells where the whole edge is averaged.
    """
    if min(count_cells(zone), count_cells(deep)) < 50:
        return False
    if len(depths) > 2:
        low, usual, high = np.percentile(depths, [25, 50, 75])
        if usual <= RIM + 1 or high - low > _EVENLY * usual:
            return False
    tints = [
        abs(float(np.median(plane[zone]) - np.median(plane[deep])))
        for plane in (cells.red, cells.blue)
    ]
    lighter = float(np.median(cells.light[zone]) - np.median(cells.light[deep]))
    darker_rim = lighter < -_TONE and whole_depth >= _DEEP
    return max(tints) < _TINT and (lighter > _TONE or darker_rim)


def _is_lighter(cells: Cells, zone: Mask, deep: Mask) -> bool:
    """Return whether a zone is lighter than the interior and not coloured: no bleeding is."""
    if min(count_cells(zone), count_cells(deep)) < 50:
        return False
    light, *tints = (
        float(plane[zone].mean() - np.median(plane[deep]))
        for plane in (cells.light, cells.red, cells.blue)
    )
    return light > _MUCH_LIGHTER and max(map(abs, tints)) < _TINT


def _compute_even_depth(zones: list[_Zone]) -> float:
    """Return the depth in cells of a zone that is about equally deep all along, 0 without one.

    Whether a piece ends in a step does not count: coarse particles decide it.
    """
    depths = np.array([zone.depth for zone in zones if zone.depth > 3])
    if len(depths) < max(4, _HALF * len(zones)):
        return 0.0
    low, usual, high = np.percentile(depths, [25, 50, 75])
    return float(usual) if usual > RIM + 1 and high - low <= _VERY_EVENLY * usual else 0.0


def _compute_thickness(zones: list[_Zone], whole: _Zone) -> float:
    """Return the thickness of a layer in cells, about constant along the edge; 0: no layer."""
    layered = np.array([zone.depth for zone in zones if zone.sharp])
    if layered.size:
        usual = float(np.median(layered))
        if (np.abs(layered - usual) <= max(1.0, 0.25 * usual)).sum() > 0.5 * len(zones):
            return usual
    if not whole.sharp or RIM < whole.depth < _DEEP:
        return 0.0
    fading = sum(not zone.sharp and zone.depth > 3 for zone in zones)
    if whole.depth > RIM and fading > _FEW * len(zones):
        return 0.0
    return float(whole.depth)  # pieces of coarse steel are too small to show it each


def _build_strip(outside: Mask, steel: Mask) -> _Strip:
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


def _follow_pieces(cells: Cells, steel: Mask, strip: _Strip) -> tuple[list[_Zone], _Zone]:
    """Return the zone of every piece, and of all pieces together."""
    deep = steel & (strip.step > strip.reach)
    whole = _Zone(0, sharp=False)
    zones = [whole] * (int(strip.piece.max()) + 1)
    for name, least, spreads in _TONES:
        plane = _get_tone(cells, name)
        plane = plane - fit_shading(plane, deep)
        means, medians = (
            profile_of(plane, steel, strip) for profile_of in (_compute_means, _compute_medians)
        )
        previous = zones
        for profiles in (means, medians):
            limit = spreads * _compute_clean_spread(profiles, strip, least)
            zones = [
                _max_depth(
                    zone, _prefer_colour(before, _follow_profile(profile, limit, strip.reach))
                )
                for zone, before, profile in zip(zones, previous, profiles, strict=True)
            ]
        together = _compute_means(plane, steel, replace(strip, piece=np.zeros_like(strip.piece)))
        spread = _compute_clean_spread(means, strip, least)
        error = max(least, _compute_mean_error(means[:, strip.reach :], spread))
        whole = _prefer_colour(whole, _follow_profile(together[0], spreads * error, strip.reach))
    return zones, whole


def _compute_clean_spread(profiles: Plane, strip: _Strip, least: float) -> float:
    """Return the spread between pieces of clean steel in the interior, at least `least`."""
    clean = profiles[:, strip.reach :]
    return max(least, compute_spread(clean[np.isfinite(clean)]))


def _max_depth(first: _Zone, second: _Zone) -> _Zone:
    return max(first, second, key=lambda zone: zone.depth)


def _prefer_colour(zone: _Zone, colour_zone: _Zone) -> _Zone:
    """Return the zone of a colour if it has one, since colour follows neither grain nor lamp."""
    return colour_zone if colour_zone.depth > RIM or colour_zone.depth > zone.depth else zone


def _get_tone(cells: Cells, name: str) -> Plane:
    """Return a plane; colours are scaled by light, since a dark grain has less colour."""
    plane: Plane = getattr(cells, name)
    return plane if name == "light" else (plane - 128) * (128 / np.maximum(cells.light, 32))


def _compute_means(plane: Plane, steel: Mask, strip: _Strip) -> Plane:
    """Return mean profiles from the edge inwards, (pieces, steps), 0 for clean steel."""
    where, count = _number_places(steel, strip)
    sums = np.bincount(where, weights=plane[steel], minlength=count.size)
    return _to_profiles(sums / np.maximum(count, 1), count, strip)


def _compute_medians(plane: Plane, steel: Mask, strip: _Strip) -> Plane:
    """Return median profiles, (pieces, steps), which coarse particles do not shift."""
    where, count = _number_places(steel, strip)
    # One sort for all medians: an offset per place keeps the values of places apart.
    ordered = np.sort(APART * where + plane[steel])
    middle = np.minimum(np.cumsum(count) - count + count // 2, len(ordered) - 1)
    return _to_profiles(ordered[middle] - APART * np.arange(count.size), count, strip)


def _number_places(steel: Mask, strip: _Strip) -> tuple[Plane, Plane]:
    """Return the place number of each steel cell, and the number of cells per place."""
    steps = 2 * strip.reach + 1
    where = strip.piece[steel] * steps + strip.step[steel]
    return where, np.bincount(where, minlength=(int(strip.piece.max()) + 1) * steps)


def _to_profiles(tones: Plane, count: Plane, strip: _Strip) -> Plane:
    """Return tones as (pieces, steps), relative to clean steel."""
    rows = np.where(count >= 4, tones, np.nan).reshape(-1, 2 * strip.reach + 1)
    profiles: Plane = rows - np.nanmedian(rows[:, strip.reach :])
    return profiles


def _compute_mean_error(clean: Plane, spread: float) -> float:
    """Return the standard error of the mean of all pieces of clean steel, neighbours correlated.

    Source:
        Standard error of the mean of a first-order autoregressive series.
    """
    off = np.nan_to_num(clean)
    square = float((off**2).mean())
    correlation = (
        float((off[:-1] * off[1:]).mean()) / square if len(off) > 1 and square > 0 else 0.0
    )
    bounded = min(0.9, max(0.0, correlation))
    return spread * float(np.sqrt((1 + bounded) / (1 - bounded) / len(off)))


def _follow_profile(profile: Plane, limit: float, reach: int) -> _Zone:
    """Return the zone of one profile: up to the first three clean steps.

    A zone without an end in reach does not count: then grains or the lamp differ, not the edge.
    """
    deviates = np.abs(profile[1 : reach + 1]) > limit
    if deviates[:4].sum() < 2:
        return _Zone(0, sharp=False)
    clean = np.flatnonzero(~deviates[1:-2] & ~deviates[2:-1] & ~deviates[3:])
    depth = int(clean[0]) + 1 if clean.size else reach
    if depth > 0.8 * reach:
        return _Zone(0, sharp=False)
    return _Zone(depth, sharp=_ends_sharply(profile, depth))


def _ends_sharply(profile: Plane, depth: int) -> bool:
    """Return whether a zone ends in a step: a separate layer, not a stain."""
    within = profile[2 : max(4, depth - 1)]
    around = profile[max(1, depth - 2) : depth + 3]
    if np.isnan(within).all() or np.isnan(around).all():  # no cell of these depths is steel
        return False
    height = float(np.nanmedian(np.abs(within)))
    return float(np.nanmax(around) - np.nanmin(around)) > 0.6 * height


def find_deviating(cells: Cells, beyond: Mask, steel: Mask) -> Mask:
    """Return steel against the edge that deviates from the interior.

    It may be a gap, or bleeding too faint or patchy to follow; a little steel is lost with it.
    Single cells are compared here, pieces of the edge in `detect_along_edge`.

    Args:
        cells: Features of the cells.
        beyond: (gh, gw) bool, one side of the edge, bleeding included.
        steel: (gh, gw) bool, the other side.
    """
    distance = cv2.distanceTransform((~beyond).astype(np.uint8), cv2.DIST_L2, 5)
    deep = steel & (distance > min(DOUBTED, 0.5 * float(distance[steel].max(initial=0))))
    if count_cells(deep) < 100:
        return np.zeros(steel.shape, bool)
    off = np.zeros(steel.shape, np.float32)
    for name, least, _ in _TONES:
        own = compute_deviation(_get_tone(cells, name), steel, deep, _PATCH)
        off = np.maximum(off, np.abs(own) / max(least, compute_spread(own[deep])))
    near = steel & (distance <= DOUBTED)
    limit, extreme = np.percentile(off[deep], [NOT_DOUBTED, EXTREME])
    odd = near & (off > limit)
    marks, areas = label_parts(odd)
    touching = cv2.dilate(beyond.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    joined = np.zeros(len(areas), bool)
    joined[marks[touching & odd]] = True
    joined &= areas >= PATCH
    joined[0] = False
    if count_cells(odd) < ALONG * count_cells(near):
        means = np.bincount(marks.ravel(), off.ravel()) / np.maximum(areas, 1)
        joined &= means > extreme
    wide: Mask = cv2.dilate(joined[marks].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return wide & steel
