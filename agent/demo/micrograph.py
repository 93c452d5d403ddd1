"""Draw a micrograph of known structure code, scale, bar and border, reproducibly by its seed.

Drawn micrographs serve the demo and the tests. They are not steel: no accuracy measured on them
may be quoted as one on steel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agent.demo.anomalies import KINDS, draw_anomaly, draw_photograph, find_box
from agent.demo.scale_bar import STYLES, Bar, burn_in
from agent.demo.steel import Canvas, draw_soft_field, draw_steel

# --- render a drawn relief as a microscope's picture: etch, light, lens, sensor, mount ------------
# An `Appearance` belongs to a specimen (its etch) and a microscope (its light), so fields of one
# specimen are similar, as in a laboratory.


@dataclass(frozen=True, slots=True)
class Appearance:
    """Appearance of one specimen under one microscope.

    Args:
        contrast: Of the etch, around 1.
        exposure: Offset of grey levels, in [0, 1] units.
        gamma: Of the camera.
        tint: RGB gains.
        vignetting: Loss of light in the corners, 0 to 1.
        blur_um: Standard deviation of the lens blur, µm.
        noise: Standard deviation of the sensor noise, in [0, 1] units.
    """

    contrast: float
    exposure: float
    gamma: float
    tint: tuple[float, float, float]
    vignetting: float
    blur_um: float
    noise: float

    @classmethod
    def of(cls, rng: Generator) -> Appearance:
        """Draw a random look."""
        warm = rng.uniform(0, 1)
        return cls(
            contrast=rng.uniform(0.8, 1.2),
            exposure=rng.normal(0, 0.035),
            gamma=rng.uniform(0.85, 1.2),
            tint=(
                1.0 + 0.05 * warm + rng.normal(0, 0.02),
                1.0 + rng.normal(0, 0.012),
                1.0 - 0.10 * warm + rng.normal(0, 0.03),
            ),
            vignetting=rng.uniform(0, 0.15),
            blur_um=rng.uniform(0.13, 0.18),
            noise=rng.uniform(0.006, 0.016),
        )


@dataclass(frozen=True, slots=True)
class Mount:
    """The specimen's edge: resin outside, with or without a stain inside.

    Args:
        beyond: (h, w) float32, distance in µm beyond the edge; negative inside the specimen.
        polygon: Outline of the specimen in pixels.
        bleed_um: Reach of a stain into the specimen in µm; 0: no stain.
        kind: "dark", "grey" or "bright" resin.
    """

    beyond: NDArray[np.float32]
    polygon: tuple[tuple[float, float], ...]
    bleed_um: float
    kind: str


def draw_mount(rng: Generator, canvas: Canvas) -> Mount:
    """Draw a specimen edge in the outer part of the field."""
    height, width = canvas.grey.shape
    angle = rng.choice([0, 0.5, 1, 1.5]) * np.pi + rng.normal(0, 0.12)
    outward = np.array([np.cos(angle), np.sin(angle)])
    reach = abs(outward) @ np.array([width, height]) / 2
    depth_px = reach * (1 - 2 * rng.uniform(0.08, 0.25))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = (y - height / 2) * outward[0] - (x - width / 2) * outward[1]
    waves = sum(
        rng.normal(0, a) * np.sin(2 * np.pi * along / w + rng.uniform(0, 6))
        for a, w in ((5.0, 0.9 * width), (2.0, 0.25 * width), (0.8, 0.07 * width))
    )
    across = (x - width / 2) * outward[0] + (y - height / 2) * outward[1]
    beyond = (across - depth_px - waves * 0.2 / canvas.um_per_px) * canvas.um_per_px
    return Mount(
        beyond=beyond.astype(np.float32),
        polygon=_trace_outline(beyond < 0),
        bleed_um=rng.uniform(5, 22) if rng.random() < 0.5 else 0.0,
        kind=str(rng.choice(["dark", "grey", "bright"], p=[0.45, 0.4, 0.15])),
    )


def _trace_outline(inside: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    contours, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    largest = cv2.approxPolyDP(max(contours, key=cv2.contourArea), 1.0, True)
    return tuple((float(x), float(y)) for x, y in largest[:, 0])


def render(
    canvas: Canvas,
    look: Appearance,
    rng: Generator,
    *,
    mount: Mount | None,
    defocus_um: float = 0.0,
) -> NDArray[np.uint8]:
    """Render the picture.

    Args:
        canvas: The relief.
        look: Its appearance.
        rng: Source of the noise.
        mount: The specimen's edge, or None where the field is all steel.
        defocus_um: Standard deviation of an additional blur, µm; 0: in focus.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    grey = canvas.grey.astype(np.float32) / 255
    sigma_px = max(look.blur_um / canvas.um_per_px, 0.45)
    grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px), np.float32)
    grey = 0.5 + (grey - 0.5) * look.contrast + look.exposure
    grey += 0.018 * draw_soft_field(rng, canvas, wave_um=60, stretch=2)
    colour: NDArray[np.float32] = np.dstack([grey * np.float32(gain) for gain in look.tint])
    # Nital colours the dark phases warm and leaves the bright ones neutral.
    colour += (0.55 - grey)[..., None] * np.array([0.05, 0.0, -0.05], np.float32)
    if mount is not None:
        colour = _add_mount(colour, mount, rng, canvas)
    if defocus_um:
        blurred = cv2.GaussianBlur(colour, (0, 0), defocus_um / canvas.um_per_px)
        colour = np.asarray(blurred, np.float32)
    colour *= _compute_vignetting(look.vignetting, *grey.shape)
    colour = np.asarray(np.clip(colour, 0, 1) ** look.gamma, np.float32)
    noise = rng.standard_normal(grey.shape, dtype=np.float32) * look.noise
    colour += noise[..., None] + rng.standard_normal(colour.shape, dtype=np.float32) * 0.004
    pixels: NDArray[np.uint8] = np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8)
    return pixels


def _compute_vignetting(vignetting: float, height: int, width: int) -> NDArray[np.float32]:
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return np.asarray(1 - vignetting * (x**2 + y**2) / 2, np.float32)[..., None]


def _add_mount(
    colour: NDArray[np.float32], mount: Mount, rng: Generator, canvas: Canvas
) -> NDArray[np.float32]:
    beyond = mount.beyond
    if mount.bleed_um:
        front = mount.bleed_um * (1 + 0.35 * draw_soft_field(rng, canvas, wave_um=12, stretch=1))
        depth = np.clip(1 + beyond / np.maximum(front, 2.0), 0, 1)[..., None]
        stain = np.array([(0.62, 0.42, 0.22), (0.32, 0.40, 0.62)][rng.integers(2)], np.float32)
        colour = (colour * (1 - depth**0.6 * (1 - stain))).astype(np.float32)
    resin = _draw_resin(mount.kind, rng, canvas)
    rounding = np.clip(1 + beyond / 3.0, 0, 1)[..., None]
    colour = (colour * (1 - 0.3 * rounding)).astype(np.float32)  # the edge is rounded by polishing
    outside = np.clip(beyond / (1.5 * canvas.um_per_px) + 0.5, 0, 1)[..., None]
    framed: NDArray[np.float32] = colour * (1 - outside) + resin * outside
    return framed


def _draw_resin(kind: str, rng: Generator, canvas: Canvas) -> NDArray[np.float32]:
    tone = {"dark": (0.05, 0.16), "grey": (0.32, 0.5), "bright": (0.8, 0.9)}[kind]
    resin = np.full(canvas.grey.shape, rng.uniform(*tone), np.float32)
    resin += 0.02 * draw_soft_field(rng, canvas, wave_um=25, stretch=1)
    width, height = canvas.size_um
    for _ in range(rng.integers(0, 7) if kind == "grey" else 0):  # bubbles
        place = (rng.uniform(0, 1, 2) * (width, height) / canvas.um_per_px).astype(int)
        radius = int(rng.uniform(2, 7) / canvas.um_per_px)
        cv2.circle(resin, place.tolist(), radius, float(rng.uniform(0.15, 0.7)), -1, cv2.LINE_AA)
    blurred = np.asarray(cv2.GaussianBlur(resin, (0, 0), 1.2 / canvas.um_per_px), np.float32)
    coloured: NDArray[np.float32] = blurred[..., None] * np.array([1.0, 0.97, 0.93], np.float32)
    return coloured


# --- draw a micrograph of known structure code, scale, bar and border, reproducibly by its seed ---


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
