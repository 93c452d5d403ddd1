"""Draw one field: a mixture of populations or a material without needles, etched and imaged.

Lengths, shapes and tones are drawn from ranges wider than any steel has, so that the network does
not learn one look. They are assumptions, not measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from drawn.needles import materials
from drawn.needles.canvas import NO_OWNER, PIXEL_UM, NeedleCanvas, degrade, draw_soft_field
from drawn.needles.plates import Population, fill_packets, scatter

NEEDLE_FREE_SHARE, MIXED_SHARE = 0.2, 0.12
"""Shares of fields without needles and of fields with needles in a part only."""
TEXTURED_SHARE, BIMODAL_SHARE, LATH_SHARE, PACKET_SHARE = 0.15, 0.16, 0.12, 0.2
"""Shares of fields with needles: on a textured ground; fine and coarse; laths; filled packets."""
SHORTEST_UM, LONGEST_UM = 4.0, 45.0
"""Range of the median length before needles hide or stop each other."""


@dataclass(frozen=True, slots=True)
class DrawnField:
    """A drawn micrograph with its truth.

    Args:
        grey: (h, w) uint8, as a camera would give it, 0.2 µm per px.
        owner: (h, w) int32, number of the needle visible at each pixel, 0 is none.
        axes: One (k, 2) array per needle, px; needle n is `axes[n - 1]`.
        has_needles: (h, w) bool, where there is a structure of needles at all.
    """

    grey: NDArray[np.uint8]
    owner: NDArray[np.int32]
    axes: list[NDArray[np.float64]]
    has_needles: NDArray[np.bool_]


def draw_field(rng: Generator, side: int = 384) -> DrawnField:
    """Draw a random field of `side` × `side` px; the same stream draws the same field."""
    kind = rng.random()
    if kind < NEEDLE_FREE_SHARE:
        draw = materials.NEEDLE_FREE[int(rng.integers(len(materials.NEEDLE_FREE)))]
        grey = draw(rng, side)
        nothing = np.zeros((side, side), bool)
        return DrawnField(degrade(grey, rng), np.zeros((side, side), np.int32), [], nothing)
    canvas = _draw_needles(rng, side)
    everywhere = np.ones((side, side), bool)
    if kind < NEEDLE_FREE_SHARE + MIXED_SHARE:
        draw = materials.NEEDLE_FREE[int(rng.integers(len(materials.NEEDLE_FREE)))]
        other = draw_soft_field(side, rng, rng.uniform(100, 400)) > rng.uniform(-0.4, 1.0)
        canvas.grey[other] = draw(rng, side)[other]
        canvas.owner[other] = NO_OWNER
        everywhere &= ~other
    return DrawnField(degrade(canvas.grey, rng), canvas.owner, canvas.axes, everywhere)


def _draw_needles(rng: Generator, side: int) -> NeedleCanvas:
    length_um = float(np.exp(rng.uniform(np.log(SHORTEST_UM), np.log(LONGEST_UM))))
    style = rng.random()
    canvas = NeedleCanvas.blank(side, int(rng.uniform(90, 235)))
    if rng.random() < TEXTURED_SHARE:
        _draw_background_texture(rng, canvas)
    main = _sample_population(rng, length_um)
    if style < BIMODAL_SHARE:
        fine = replace(
            _sample_population(rng, max(0.45 * length_um, SHORTEST_UM)),
            coverage=rng.uniform(0.8, 1.8),
        )
        scatter(fine, rng, canvas)
        bands = draw_soft_field(side, rng, max(1.2 * length_um / PIXEL_UM, 60), 3.0)
        scatter(main, rng, canvas, bands > np.quantile(bands, rng.uniform(0.2, 0.75)))
    elif style < BIMODAL_SHARE + LATH_SHARE:
        scatter(_sample_laths(rng, main), rng, canvas)
    elif style < BIMODAL_SHARE + LATH_SHARE + PACKET_SHARE:
        laths = _sample_laths(rng, main)
        fill_packets(laths, rng, canvas)
        if rng.random() < 0.2:  # coarse needles between the packets
            sparse = _sample_population(rng, min(2 * length_um, LONGEST_UM))
            scatter(replace(sparse, coverage=rng.uniform(0.1, 0.4)), rng, canvas)
    else:
        scatter(main, rng, canvas)
    _draw_overlays(rng, canvas)
    return canvas


def _sample_laths(rng: Generator, population: Population) -> Population:
    return replace(
        population,
        packets=rng.uniform(0.6, 0.95),
        variants=int(rng.integers(3, 7)),
        blunt=rng.uniform(0.15, 0.6),
        aspect=rng.uniform(4, 10),
        coverage=rng.uniform(1.2, 2.4),
        grain=rng.uniform(1.0, 3.0),
        abutting=rng.uniform(0.2, 0.8),
        bend=population.bend / 2,
    )


def _sample_population(rng: Generator, length_um: float) -> Population:
    edges = int(rng.integers(0, 3))
    # A needle without outline is visible only if its tone differs from that of its neighbours.
    tone_spread = rng.uniform(12, 40) if edges == 0 else rng.uniform(4, 35)
    stopping = float(rng.random() < 0.45) * rng.uniform(0.5, 1.0)
    coverage = float(np.exp(rng.uniform(np.log(0.15), np.log(2.2))))
    return Population(
        length_um=min(
            (1.3 if stopping else 1.0) * length_um, LONGEST_UM
        ),  # stopped ones are shorter
        spread=rng.uniform(0.15, 0.6),
        aspect=rng.uniform(5, 16),
        coverage=coverage * (rng.uniform(1, 1.8) if stopping else 1.0),
        tone=rng.uniform(60, 190),
        tone_spread=tone_spread,
        edge=-rng.uniform(30, 80) if rng.random() < 0.8 else rng.uniform(25, 70),
        edges=edges,
        halo=float(rng.random() < 0.15) * rng.choice([-1, 1]) * rng.uniform(15, 50),
        midrib=float(rng.random() < 0.2) * rng.choice([-1, 1]) * rng.uniform(15, 50),
        blunt=rng.uniform(0.35, 1.1),
        bend=rng.uniform(0, 0.12) * (rng.random() < 0.6),
        kinked=rng.uniform(0, 0.3) * (rng.random() < 0.4),
        branched=rng.uniform(0, 0.4) * (rng.random() < 0.3),
        packets=rng.uniform(0, 0.6),
        variants=int(rng.choice([0, 3, 4, 6, 6, 8])),
        grain=rng.uniform(0.9, 3.0),
        longest_first=bool(rng.random() < 0.75),
        abutting=float(rng.random() < 0.3) * rng.uniform(0.1, 0.5),
        stopping=stopping,
        edge_spread=float(rng.random() < 0.5) * rng.uniform(0.2, 0.7),
        shading=float(rng.random() < 0.12) * rng.choice([-1, 1]) * rng.uniform(8, 30),
        striped=float(rng.random() < 0.08) * rng.choice([-1, 1]) * rng.uniform(15, 40),
    )


def _draw_background_texture(rng: Generator, canvas: NeedleCanvas) -> None:
    draw = (materials.draw_texture, materials.draw_ferrite, materials.draw_spheroidite)
    canvas.grey[:] = draw[int(rng.integers(len(draw)))](rng, canvas.side)


def _draw_overlays(rng: Generator, canvas: NeedleCanvas) -> None:
    if rng.random() < 0.4:
        tone = int(rng.uniform(180, 245) if rng.random() < 0.8 else rng.uniform(20, 80))
        materials.add_austenite(rng, canvas, rng.uniform(0.005, 0.06), tone)
    if rng.random() < 0.5:
        tone = int(rng.uniform(190, 246) if rng.random() < 0.7 else rng.uniform(10, 70))
        materials.add_carbides(
            rng, canvas, rng.uniform(0.003, 0.05), tone, int(rng.uniform(20, 110))
        )
    if rng.random() < 0.2:
        materials.add_scratches(rng, canvas, int(rng.integers(1, 7)))
