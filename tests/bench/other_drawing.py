"""Draw micrographs as another program would: filtered noise instead of drawn needles.

In:  a structure code, a seed, a kind of strangeness. Out: pixels, and the mask of what is strange.
The thresholds of `model.ood.detector` must hold on a look that nobody tuned them to, so this
drawing shares no line with `agent.demo`: needles are ridges of anisotropic noise inside grains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

NEEDLE_UM = {"5": 46.0, "6": 32.0, "7": 22.0, "8": 14.0, "9-10": 7.5}
"""Typical needle length per size number; made up, only the order is real."""

CODES = ("B7", "B8", "B9-10", "G7", "G8", "G9-10", "M8", "M9-10")
COARSE = ("B5", "B6", "G5", "G6", "M6", "M7")
LOCAL = ("inclusion", "pearlite", "ferrite", "crack", "stain")
WHOLE = ("pearlitic", "cast_iron", "ferritic", "empty", "cells")

Grey = "NDArray[np.float32]"


@dataclass(frozen=True)
class Other:
    """One drawn field: RGB pixels, and where the strange thing is (None: known, or everywhere)."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    um_per_px: float


def draw(
    code: str,
    *,
    seed: int,
    strange: str = "",
    strange_um: float | None = None,
    um_per_px: float = 0.2,
    size: tuple[int, int] = (800, 600),
) -> Other:
    """Draw one field.

    Args:
        code: Such as "G8".
        seed: The same seed, the same field.
        strange: One of `LOCAL`, `WHOLE`, or "".
        strange_um: Radius of a local strange thing, else by chance.
        um_per_px: Size of a pixel.
        size: Width and height in pixels.
    """
    rng = np.random.default_rng([seed, 77])
    width, height = size
    grey = _steel(rng, code[0], NEEDLE_UM[code[1:]], (height, width), um_per_px)
    mask = None
    if strange in LOCAL:
        mask = _shape(rng, strange, (height, width), um_per_px, strange_um)
        grey = _local(rng, strange, grey, mask, um_per_px)
    elif strange in WHOLE:
        grey = _whole(rng, strange, (height, width), um_per_px)
    return Other(
        _camera(rng, grey, um_per_px, mask if strange == "stain" else None), mask, um_per_px
    )


# ------------------------------------------------------------------ steel


def _steel(
    rng: Generator, subtype: str, length_um: float, shape: tuple[int, int], um: float
) -> Grey:
    length_um *= float(np.exp(rng.normal(0, 0.1)))
    aspect = {"G": 8.0, "B": 9.0, "M": 5.0}[subtype]
    grain_um = length_um * {"G": 1.5, "B": 2.0, "M": 1.2}[subtype]
    ridges = _needles(rng, shape, length_um / um, aspect, grain_um / um)
    if subtype == "G":
        austenite = np.clip(_soft(rng, shape, 1.3 / um) - 1.25, 0, 1)
        return (
            0.52
            + 0.17 * ridges
            + 0.35 * austenite * (length_um > 10)
            + _carbides(rng, shape, um, 0.02)
        )
    if subtype == "B":
        fine = _needles(rng, shape, 0.45 * length_um / um, 6.0, 0.8 * grain_um / um)
        band = _soft(rng, shape, 28 / um, stretch=3.0) > rng.uniform(-0.2, 0.6)
        mixed = np.where(
            cv2.GaussianBlur(band.astype(np.float32), (0, 0), 1.5 / um) > 0.5, ridges - 0.7, fine
        )
        return 0.58 + 0.15 * mixed + _carbides(rng, shape, um, 0.05)
    return 0.66 + 0.11 * ridges


def _needles(
    rng: Generator, shape: tuple[int, int], long_px: float, aspect: float, grain_px: float
) -> Grey:
    label = _grains(rng, shape, grain_px)
    start = rng.uniform(0, np.pi, int(label.max()) + 1)
    turns = 9
    which = np.floor(start[label] / np.pi * turns).astype(int) % turns
    second = (which + rng.integers(2, 5, int(label.max()) + 1)[label]) % turns
    layers = [_ridges(rng, shape, long_px, aspect, np.pi * k / turns) for k in range(turns)]
    stack = np.stack(layers)
    first = np.take_along_axis(stack, which[None], 0)[0]
    other = np.take_along_axis(stack, second[None], 0)[0]
    out = np.where(np.abs(first) > 0.55 * np.abs(other), first, other)
    return np.tanh(1.4 * out).astype(np.float32)


def _ridges(
    rng: Generator, shape: tuple[int, int], long_px: float, aspect: float, angle: float
) -> Grey:
    noise = np.fft.rfft2(rng.standard_normal(shape))
    fy = np.fft.fftfreq(shape[0])[:, None]
    fx = np.fft.rfftfreq(shape[1])[None]
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = -fx * np.sin(angle) + fy * np.cos(angle)
    wide = max(long_px / aspect, 2.5)
    gain = np.exp(-((along * long_px) ** 2) * 1.6) * np.exp(
        -(((np.abs(across) * wide - 0.5) / 0.22) ** 2)
    )
    out = np.fft.irfft2(noise * gain, shape)
    return (out / out.std()).astype(np.float32)


def _grains(rng: Generator, shape: tuple[int, int], grain_px: float) -> NDArray[np.int32]:
    count = max(int(shape[0] * shape[1] / grain_px**2), 3)
    apart = np.full(shape, 255, np.uint8)
    apart[rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)] = 0
    _, label = cv2.distanceTransformWithLabels(
        apart, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return label


def _soft(rng: Generator, shape: tuple[int, int], sigma_px: float, stretch: float = 1.0) -> Grey:
    noise = rng.standard_normal(shape).astype(np.float32)
    out = cv2.GaussianBlur(noise, (0, 0), sigmaX=sigma_px * stretch, sigmaY=sigma_px)
    return (out - out.mean()) / out.std()


def _carbides(rng: Generator, shape: tuple[int, int], um: float, share: float) -> Grey:
    field = _soft(rng, shape, 0.45 / um)
    cut = np.quantile(field, 1 - share)
    return 0.22 * np.clip((field - cut) * 3, 0, 1)


# ------------------------------------------------------------------ strange things


def _shape(
    rng: Generator, kind: str, shape: tuple[int, int], um: float, radius_um: float | None
) -> NDArray[np.bool_]:
    default = {
        "inclusion": (4, 8),
        "pearlite": (11, 18),
        "ferrite": (11, 18),
        "stain": (12, 20),
        "crack": (22, 45),
    }
    radius = (radius_um or rng.uniform(*default[kind])) / um
    cy, cx = rng.uniform(0.3, 0.7, 2) * shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    if kind == "crack":
        mask = np.zeros(shape, np.uint8)
        heading = rng.uniform(0, 2 * np.pi)
        point = np.array([cx, cy]) - radius * np.array([np.cos(heading), np.sin(heading)])
        for _ in range(30):
            heading += rng.normal(0, 0.22)
            after = point + 2 * radius / 30 * np.array([np.cos(heading), np.sin(heading)])
            cv2.line(
                mask,
                point.astype(int),
                after.astype(int),
                1,
                max(int(rng.uniform(0.8, 1.8) / um), 1),
            )
            point = after
        return mask.astype(bool)
    ragged = 1 + 0.18 * _soft(rng, shape, max(radius / 2, 1.0))
    return np.hypot(x - cx, y - cy) < radius * ragged


def _local(rng: Generator, kind: str, grey: Grey, mask: NDArray[np.bool_], um: float) -> Grey:
    if kind == "stain":
        return grey
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.3 / um)
    inner = {
        "inclusion": lambda: 0.16 + 0.05 * _soft(rng, grey.shape, 1 / um),
        "pearlite": lambda: _lamellae(rng, grey.shape, um),
        "ferrite": lambda: _ferrite(rng, grey.shape, um),
        "crack": lambda: np.full(grey.shape, 0.07, np.float32),
    }[kind]()
    return grey * (1 - soft) + inner * soft


def _lamellae(rng: Generator, shape: tuple[int, int], um: float) -> Grey:
    label = _grains(rng, shape, 13 / um)
    angle = rng.uniform(0, np.pi, label.max() + 1)[label]
    wave = np.maximum(rng.uniform(0.7, 1.5, label.max() + 1) / um, 3.0)[label]
    y, x = np.mgrid[: shape[0], : shape[1]]
    bend = 1.5 * _soft(rng, shape, 5 / um)
    return (
        0.5 + 0.22 * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave + bend)
    ).astype(np.float32)


def _ferrite(rng: Generator, shape: tuple[int, int], um: float) -> Grey:
    label = _grains(rng, shape, 10 / um)
    tone = rng.uniform(0.8, 0.95, label.max() + 1)[label].astype(np.float32)
    edge = cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    return np.where(edge, 0.4, tone).astype(np.float32)


def _whole(rng: Generator, kind: str, shape: tuple[int, int], um: float) -> Grey:
    if kind == "pearlitic":
        return _lamellae(rng, shape, um)
    if kind == "ferritic":
        pearlite = _soft(rng, shape, 5 / um) > 0.6
        return np.where(pearlite, _lamellae(rng, shape, um), _ferrite(rng, shape, um))
    if kind == "cast_iron":
        flakes = np.abs(_soft(rng, shape, 6 / um)) < 0.07
        return np.where(flakes, 0.1, 0.85 + 0.02 * _soft(rng, shape, 3 / um)).astype(np.float32)
    if kind == "empty":
        return 0.6 + 0.03 * _soft(rng, shape, 40 / um)
    spots = _soft(rng, shape, 4 / um)
    return (0.8 - 0.4 * np.clip(spots - 0.8, 0, 1)).astype(np.float32)


# ------------------------------------------------------------------ camera


def _camera(
    rng: Generator, grey: Grey, um: float, stain: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    height, width = grey.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    fall = 1 - rng.uniform(0, 0.15) * (((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 2)
    grey = 0.55 + (grey - 0.55) * rng.uniform(0.8, 1.2) + rng.normal(0, 0.04)
    grey = np.clip(grey, 0.01, 1) ** rng.uniform(0.85, 1.2)
    grey = (
        cv2.GaussianBlur(
            grey.astype(np.float32), (0, 0), np.hypot(0.15 / um, rng.uniform(0.3, 0.8))
        )
        * fall
    )
    gains = np.array([rng.normal(1.02, 0.03), 1.0, rng.normal(0.94, 0.05)])
    rgb = grey[..., None] * gains
    if stain is not None:
        cover = cv2.GaussianBlur(stain.astype(np.float32), (0, 0), 1.0 / um)[..., None]
        tint = np.array([(0.5, 0.6, 0.95), (0.9, 0.62, 0.3)][int(rng.integers(2))])
        rgb = rgb * (1 - cover * (1 - tint))
    rgb += rng.normal(0, 0.008, rgb.shape) + rng.normal(0, 0.01, grey.shape)[..., None] * np.sqrt(
        np.clip(rgb, 0, 1)
    )
    pixels = (np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    _, coded = cv2.imencode(
        ".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(85, 96))]
    )
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].copy()
