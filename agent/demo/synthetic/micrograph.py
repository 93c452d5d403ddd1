"""Draw a micrograph of known structure code, scale, bar and border, reproducibly by its seed.

Drawn micrographs serve the demo and the tests. They are not steel: no accuracy measured on them
may be quoted as one on steel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.demo.synthetic.anomalies import KINDS, draw_anomaly, draw_photograph, find_box
from agent.demo.synthetic.optics import Appearance, draw_mount, render
from agent.demo.synthetic.scale_bar import STYLES, burn_in
from agent.demo.synthetic.steel import Canvas, draw_steel

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from agent.demo.synthetic.optics import Mount
    from agent.demo.synthetic.scale_bar import Bar

Box = tuple[int, int, int, int]

TRAINED = ("G7", "G8", "G9-10", "B7", "B8", "B9-10", "M8", "M9-10")
"""The structure codes of the paper that have enough images."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn micrograph with its ground truth.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        code: The structure code; for an unusual one, what it is based on.
        um_per_px: µm per pixel.
        bar: The micron bar, or None.
        specimen: Outline of the specimen in pixels; the whole frame without a border.
        bleed_um: Reach of a stain from the border in µm; 0: no stain.
        strange: The kind of anomaly, "" for none.
        where: Box of a local anomaly in pixels, x1/y1 exclusive, or None.
        seed: Its seed.
    """

    pixels: NDArray[np.uint8]
    code: str
    um_per_px: float
    bar: Bar | None
    specimen: tuple[tuple[float, float], ...]
    bleed_um: float
    strange: str
    where: Box | None
    seed: int


def draw_micrograph(
    code: str,
    *,
    seed: int,
    um_per_px: float = 0.2,
    size: tuple[int, int] = (800, 600),
    strange: str = "",
    bar: str | None = "",
    border: bool | None = None,
    specimen: int | None = None,
) -> Drawn:
    """Draw one micrograph.

    Args:
        code: Structure code such as "G8"; sizes 5 to 9-10 of G, B and M.
        seed: The same seed draws the same micrograph.
        um_per_px: µm per pixel; 0.2 and 0.1 stand for the usual 500x and 1000x.
        size: Width and height in pixels.
        strange: One of `strange.KINDS`, or "".
        bar: A style of `overlay.STYLES`, "" for a random one (nine in ten have one), None for no
            bar.
        border: Whether the specimen's edge is in the field; None: random, one in six.
        specimen: Seed of the specimen's look (etch, light); fields of one specimen share it.
    """
    if strange and strange not in KINDS:
        raise ValueError(f"no strange kind is called {strange!r}; there are {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, 1])
    look = Appearance.of(np.random.default_rng([seed if specimen is None else specimen, 2]))
    width, height = size
    canvas = Canvas(np.zeros((height, width), np.uint8), um_per_px)
    subtype, number = code[0], code[1:]
    draw_steel(subtype, number, rng, canvas)
    where = draw_anomaly(strange, rng, canvas) if strange else None
    edge = rng.random() < 1 / 6
    mount = (
        draw_mount(rng, canvas) if (edge and not strange if border is None else border) else None
    )
    pixels = _photograph(canvas, look, rng, mount, strange)
    if strange == "stain":
        pixels, where = _add_stain(pixels, rng, canvas)
    style = _choose_style(bar, rng)
    drawn_bar = None
    if style:
        pixels, drawn_bar = burn_in(pixels, um_per_px, rng, style, note=f"Field {seed % 1000:03d}")
    whole = ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))
    return Drawn(
        pixels=pixels,
        code=code,
        um_per_px=um_per_px,
        bar=drawn_bar,
        specimen=mount.polygon if mount else whole,
        bleed_um=mount.bleed_um if mount else 0.0,
        strange=strange,
        where=where,
        seed=seed,
    )


def _photograph(
    canvas: Canvas, look: Appearance, rng: Generator, mount: Mount | None, strange: str
) -> NDArray[np.uint8]:
    if strange == "photograph":
        return draw_photograph(rng, *canvas.grey.shape)
    if strange == "over_etched":
        grey = canvas.grey.astype(np.float32)
        canvas.grey[:] = np.clip((grey - 128) * 1.7 + 70, 0, 255).astype(np.uint8)
    defocus_um = rng.uniform(1.0, 1.8) if strange == "defocus" else 0.0
    return render(canvas, look, rng, mount=mount, defocus_um=defocus_um)


def _add_stain(
    pixels: NDArray[np.uint8], rng: Generator, canvas: Canvas
) -> tuple[NDArray[np.uint8], Box]:
    height, width = canvas.grey.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre = rng.uniform(0.3, 0.7, 2) * (width, height)
    reach = rng.uniform(12, 22) / canvas.um_per_px
    distance = np.hypot(x - centre[0], y - centre[1]) / reach
    cover = (1 / (1 + np.exp((distance - 1) * 9)))[..., None]
    stain = np.array([(0.45, 0.55, 0.95), (0.9, 0.6, 0.3)][int(rng.integers(2))])
    drawn = np.clip(pixels * (1 - cover * (1 - stain)), 0, 255).astype(np.uint8)
    return drawn, find_box(cover[..., 0] > 0.5)


def _choose_style(bar: str | None, rng: Generator) -> str:
    if bar is None:
        return ""
    chance = rng.random()
    chosen = str(rng.choice(STYLES))
    return bar or (chosen if chance < 0.9 else "")
