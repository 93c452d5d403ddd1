"""Packets of laths that fill the field side by side, tip to tip, without gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.needles.drawing.canvas import PIXEL_UM
from model.needles.drawing.materials import draw_cells
from model.needles.drawing.plates import LONGEST_UM, SHORTEST_PX, STATIONS, clip_axis, paint

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from model.needles.drawing.canvas import NeedleCanvas
    from model.needles.drawing.plates import Population


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
