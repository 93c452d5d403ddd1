"""Needles seen in section: plates and laths with exact outlines, alone or in packets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drawn.needles.canvas import NO_OWNER, PIXEL_UM, NeedleCanvas
from drawn.needles.materials import draw_cells

STATIONS = np.linspace(0, 1, 15)
"""Points along the axis at which the outline is known, 0 and 1 are the tips."""
LONGEST_UM = 110.0
SHORTEST_PX = 4.0
LEAST_STRIPED_PX = 6.0


@dataclass(frozen=True, slots=True)
class Population:
    """One population of needles.

    Args:
        length_um: Median length, µm.
        spread: Log-normal sigma of the length.
        aspect: Length over largest width.
        coverage: Summed area of the needles over the area of the field.
        tone: Mean grey, 0 to 255.
        tone_spread: Standard deviation of the grey between needles.
        edge: Grey difference of the outline; negative is darker.
        edges: 0 none, 1 one flank, 2 both flanks.
        halo: Grey difference of a second line outside the outline, 0 is none.
        midrib: Grey difference of the midrib, 0 is none.
        blunt: Exponent of the width along the axis: 1 is a lens, 0.2 a lath.
        bend: Largest sagitta over length.
        kinked: Share of needles with a kink.
        branched: Share of needles that start at the flank of another one.
        packets: Share of needles along the first direction of their grain.
        variants: Number of directions in a grain; 0 is any direction.
        grain: Diameter of a grain over the median length.
        longest_first: Whether long needles tend to be drawn first and are crossed later.
        abutting: Share of needles that are two, tip to tip in one line, as laths often are.
        stopping: Share of needles that end where they meet an earlier one, as plates grow.
        edge_spread: Log-normal sigma of the outline's grey difference between needles.
        shading: Grey difference between the two halves of a needle, 0 is none.
        striped: Grey difference of rows of fine carbides across a needle, 0 is none.
    """

    length_um: float
    spread: float
    aspect: float
    coverage: float
    tone: float
    tone_spread: float
    edge: float
    edges: int
    halo: float
    midrib: float
    blunt: float
    bend: float
    kinked: float
    branched: float
    packets: float
    variants: int
    grain: float
    longest_first: bool
    abutting: float = 0.0
    stopping: float = 0.0
    edge_spread: float = 0.0
    shading: float = 0.0
    striped: float = 0.0


def scatter(
    population: Population,
    rng: Generator,
    canvas: NeedleCanvas,
    where: NDArray[np.bool_] | None = None,
) -> None:
    """Draw a population over the canvas, or only where its centres are allowed.

    Args:
        population: What to draw.
        rng: Source of randomness.
        canvas: Drawn in place.
        where: (h, w) bool, pixels where a centre may be.
    """
    length = population.length_um / PIXEL_UM
    side = canvas.side
    margin = min(0.5 * length, 0.25 * side)
    mean_area = 0.66 * length**2 * np.exp(2 * population.spread**2) / population.aspect
    count = int(population.coverage * (side + 2 * margin) ** 2 / mean_area) + 1
    centres = rng.uniform(-margin, side + margin, (count, 2))
    if where is not None:
        column, row = np.clip(centres, 0, side - 1).astype(int).T
        centres = centres[where[row, column]]
    if not len(centres):
        return
    angles, tints = _choose_directions(population, rng, centres, side, length)
    lengths = length * rng.lognormal(0, population.spread, len(centres))
    lengths = np.clip(lengths, SHORTEST_PX, LONGEST_UM / PIXEL_UM)
    widths = np.maximum(lengths / (population.aspect * rng.lognormal(0, 0.25, len(centres))), 2.0)
    centres, angles = _branch(population, rng, centres, angles, lengths)
    if population.abutting:
        centres, angles, lengths, widths, tints = _split(
            population, rng, centres, angles, lengths, widths, tints
        )
    axes = _build_axes(population, rng, centres, angles, lengths)
    tones = population.tone + tints + rng.normal(0, population.tone_spread, len(centres))
    jitter = rng.lognormal(0, 0.5, len(centres))
    order = np.argsort(-lengths * jitter if population.longest_first else jitter)
    stops = rng.random(len(centres)) < population.stopping
    for index in order.tolist():
        axis, width = axes[index], float(widths[index])
        if stops[index]:
            stopped = clip_axis(axis, canvas.owner, NO_OWNER)
            if stopped is None:
                continue
            width *= (_measure(stopped) / _measure(axis)) ** 0.6
            axis = stopped
        paint(population, rng, canvas, axis, max(width, 2.0), float(tones[index]))


def clip_axis(
    axis: NDArray[np.float64], label: NDArray[np.integer], free: int
) -> NDArray[np.float64] | None:
    """Return the longest part of an axis that is free, or None below 4 px.

    Args:
        axis: (k, 2) points from tip to tip, px.
        label: (h, w) number of what is there; outside of it all is free.
        free: The number through which the axis may pass.
    """
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(axis, axis=0), axis=1))])
    place = np.linspace(0, steps[-1], max(int(steps[-1]), 2) + 1)
    points = np.stack([np.interp(place, steps, axis[:, k]) for k in (0, 1)], axis=1)
    column, row = np.rint(points).astype(int).T
    height, width = label.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    blocked = np.zeros(len(place), bool)
    blocked[inside] = label[row[inside], column[inside]] != free
    change = np.flatnonzero(np.diff(np.concatenate([[True], blocked, [True]]).astype(np.int8)))
    runs = change.reshape(-1, 2)
    if not len(runs):
        return None
    start, end = runs[np.argmax(runs[:, 1] - runs[:, 0])] - (0, 1)
    if place[end] - place[start] < SHORTEST_PX:
        return None
    kept = np.linspace(place[start], place[end], len(STATIONS))
    return np.stack([np.interp(kept, steps, axis[:, k]) for k in (0, 1)], axis=1)


def _measure(axis: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(axis, axis=0), axis=1).sum())


def _choose_directions(
    population: Population,
    rng: Generator,
    centres: NDArray[np.float64],
    side: int,
    length: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if population.variants == 0:
        return rng.uniform(0, np.pi, len(centres)), np.zeros(len(centres))
    pitch = max(population.grain * length, 20.0)
    seeds = rng.uniform(-0.1 * side, 1.1 * side, (int((1.2 * side / pitch) ** 2) + 3, 2))
    home = cKDTree(seeds).query(centres)[1]
    first = rng.uniform(0, np.pi, len(seeds))
    variant = rng.integers(0, population.variants, len(centres))
    variant = np.where(rng.random(len(centres)) < population.packets, 0, variant)
    spread = rng.normal(0, 0.07, len(centres))
    angles = first[home] + variant * np.pi / population.variants + spread
    return angles, rng.normal(0, 5, len(seeds))[home]


def _branch(
    population: Population,
    rng: Generator,
    centres: NDArray[np.float64],
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = len(centres)
    child = rng.random(count) < population.branched
    parent = rng.integers(0, count, count)
    offset = rng.choice([-1, 1], count) * rng.uniform(0.35, 1.2, count)
    turned = np.where(child, angles[parent] + offset, angles)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    start = centres[parent] + along[parent] * (
        lengths[parent] * rng.uniform(-0.4, 0.4, count)
    ).reshape(-1, 1)
    heading = np.stack([np.cos(turned), np.sin(turned)], axis=1)
    moved = start + heading * lengths[:, None] / 2
    return np.where(child[:, None], moved, centres), turned


def _split(
    population: Population,
    rng: Generator,
    centres: NDArray[np.float64],
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
    widths: NDArray[np.float64],
    tints: NDArray[np.float64],
) -> tuple[NDArray[np.float64], ...]:
    """Replace a share of the needles by two of the same width that meet at their tips."""
    chosen = rng.random(len(lengths)) < population.abutting
    at = rng.uniform(0.25, 0.75, len(lengths)) - 0.5  # of the length, from the centre
    gap = rng.uniform(-1, 2, len(lengths))
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    parts = []
    for low, high, keep in ((-0.5, at, chosen), (at, 0.5, chosen), (-0.5, 0.5, ~chosen)):
        middle = centres + along * (lengths * (low + high) / 2)[:, None]
        length = np.maximum(lengths * (high - low) - np.where(chosen, gap, 0), SHORTEST_PX)
        turned = angles + np.where(chosen, rng.normal(0, 0.03, len(angles)), 0)
        parts.append((middle[keep], turned[keep], length[keep], widths[keep], tints[keep]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _build_axes(
    population: Population,
    rng: Generator,
    centres: NDArray[np.float64],
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> NDArray[np.float64]:
    count = len(centres)
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1)[:, None]
    sagitta = rng.normal(0, population.bend / 2, (count, 1))
    shape = sagitta * (4 * STATIONS * (1 - STATIONS) - 2 / 3)
    kink_at = rng.uniform(0.25, 0.75, (count, 1))
    kink = (rng.random((count, 1)) < population.kinked) * rng.normal(0, 0.16, (count, 1))
    shape = shape + kink * np.abs(STATIONS - kink_at)
    steps = (STATIONS - 0.5)[None, :, None] * lengths[:, None, None]
    points: NDArray[np.float64] = (
        centres[:, None] + along * steps + across * (shape * lengths[:, None])[..., None]
    )
    return points


def _build_flanks(
    population: Population, axes: NDArray[np.float64], widths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    tangent = np.gradient(axes, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-9)
    normal = np.stack([-tangent[..., 1], tangent[..., 0]], axis=2)
    profile = (4 * STATIONS * (1 - STATIONS)) ** population.blunt
    half = normal * (profile[None] * widths[:, None] / 2)[..., None]
    return axes + half, axes - half


def paint(
    population: Population,
    rng: Generator,
    canvas: NeedleCanvas,
    axis: NDArray[np.float64],
    width: float,
    tone: float,
) -> None:
    """Draw one needle and keep its axis.

    Args:
        population: Its look.
        rng: Source of randomness.
        canvas: Drawn in place.
        axis: (15, 2) points from tip to tip, px.
        width: Largest width, px.
        tone: Grey, 0 to 255.
    """
    if axis.max() < 0 or (axis.min(axis=0) > canvas.side).any() or (axis.max(axis=0) < 0).any():
        return
    left, right = (flank[0] for flank in _build_flanks(population, axis[None], np.array([width])))
    outline = np.vstack([left, right[::-1]])
    canvas.axes.append(axis)
    if population.halo:
        canvas.line(outline, _to_tone(tone + population.halo), 3, closed=True)
    canvas.fill(outline, _to_tone(tone), owner=len(canvas.axes))
    if population.shading:
        half = np.vstack([left, axis[::-1]])
        canvas.fill(half, _to_tone(tone + population.shading), owner=len(canvas.axes))
    if population.striped and width > LEAST_STRIPED_PX:
        _paint_stripes(population, rng, canvas, axis, width, tone)
    if population.midrib:
        canvas.line(axis[2:-2], _to_tone(tone + population.midrib))
    edge = population.edge
    if population.edge_spread:
        edge *= float(rng.lognormal(-0.3, population.edge_spread))
    if population.edges:
        canvas.line(left, _to_tone(tone + edge))
    if population.edges > 1:
        canvas.line(right, _to_tone(tone + edge))


def _paint_stripes(
    population: Population,
    rng: Generator,
    canvas: NeedleCanvas,
    axis: NDArray[np.float64],
    width: float,
    tone: float,
) -> None:
    """Draw short parallel lines at about 60° to the axis, as carbides in lower bainite."""
    along = (axis[-1] - axis[0]) / max(float(np.linalg.norm(axis[-1] - axis[0])), 1e-9)
    turn = np.deg2rad(60)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    half = rotation @ along * 0.3 * width
    count = int(_measure(axis) / rng.uniform(3, 8))
    for at in rng.uniform(0.12, 0.88, count).tolist():
        middle = np.array([np.interp(at, STATIONS, axis[:, k]) for k in (0, 1)])
        canvas.line(np.stack([middle - half, middle + half]), _to_tone(tone + population.striped))


def _to_tone(value: float) -> int:
    return int(min(max(value, 3), 250))


# --- packets of laths that fill the field side by side, tip to tip, without gaps ------------------


def fill_packets(population: Population, rng: Generator, canvas: NeedleCanvas) -> None:
    """Draw laths in rows over the whole canvas; each packet has one direction.

    A lath ends where the next one of its row begins, or at the border of its packet.

    Args:
        population: Lengths, shapes and tones; `grain` is the packet's diameter over the length.
        rng: Source of randomness.
        canvas: Drawn in place.
    """
    length = population.length_um / PIXEL_UM
    pitch = max(population.grain * length, 25.0)
    home = draw_cells(rng, canvas.side, pitch)
    overlap = rng.uniform(1.0, 1.5)
    for packet in np.unique(home).tolist():
        row, column = np.nonzero(home == packet)
        middle = np.array([column.mean(), row.mean()])
        reach = float(np.hypot(column - middle[0], row - middle[1]).max()) + 2
        angle = rng.uniform(0, np.pi)
        tint = rng.normal(0, 8)
        for axis, width in _iter_laths(population, rng, middle, reach, angle):
            clipped = clip_axis(axis, home, packet)
            if clipped is not None:
                tone = population.tone + tint + rng.normal(0, population.tone_spread)
                paint(population, rng, canvas, clipped, overlap * width, float(tone))


def _iter_laths(
    population: Population, rng: Generator, middle: NDArray[np.float64], reach: float, angle: float
) -> list[tuple[NDArray[np.float64], float]]:
    """Return the axes and widths of the laths of one packet, in random order."""
    length = population.length_um / PIXEL_UM
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    laths = []
    at = -reach
    while at < reach:
        width = max(length / population.aspect * rng.lognormal(0, 0.3), 2.0)
        place = -reach - rng.uniform(0, 1) * length
        while place < reach:
            size = length * rng.lognormal(0, population.spread)
            size = min(max(size, 2 * SHORTEST_PX), LONGEST_UM / PIXEL_UM)
            sagitta = rng.normal(0, population.bend / 2) * (4 * STATIONS * (1 - STATIONS))
            turn = rng.normal(0, 0.03)
            points = (
                middle
                + along * (place + size * STATIONS)[:, None]
                + across * (at + size * (sagitta + turn * (STATIONS - 0.5)))[:, None]
            )
            laths.append((points, width))
            place += size + rng.uniform(0, 1)
        at += width
    return [laths[index] for index in rng.permutation(len(laths)).tolist()]
