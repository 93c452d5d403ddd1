"""Render a drawn relief as a microscope's picture: etch, light, lens, sensor, mount.

An `Appearance` belongs to a specimen (its etch) and a microscope (its light), so fields of one
specimen are similar, as in a laboratory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from agent.demo.synthetic.steel import Canvas, draw_soft_field

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


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
