"""Draw micrographs a third way: packets of parallel laths, seen by a sharpening grey camera.

In:  a structure code, a seed, a kind of strangeness. Out: pixels, and the mask of what is strange.
What holds on the demo's look and on `other_drawing`'s may be tuned to both, so this one shares no
line with either: hard-edged laths whose width varies, dark-field tones (bright needles on dark
steel), a camera without colour, with an unsharp mask, white noise and uneven light, no JPEG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from other_drawing import Other

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Plane = NDArray[np.float32]
    Mask = NDArray[np.bool_]

PACKET_UM = {"5": 60.0, "6": 42.0, "7": 28.0, "8": 18.0, "9-10": 10.0}
"""Typical packet size, as long as its laths, per size number; made up, only the order is real."""

LOCAL = ("inclusion", "pearlite", "ferrite", "crack", "stain")
WHOLE = ("pearlitic", "cast_iron", "ferritic", "empty", "weave")


def draw(
    code: str,
    *,
    seed: int,
    strange: str = "",
    strange_um: float | None = None,
    um_per_px: float = 0.2,
    size: tuple[int, int] = (800, 600),
) -> Other:
    """Draw one field; arguments as in `other_drawing.draw`."""
    rng = np.random.default_rng([seed, 303])
    shape = (size[1], size[0])
    steel = _steel(rng, code[0], PACKET_UM[code[1:]] * rng.lognormal(0, 0.08), shape, um_per_px)
    mask = None
    if strange in LOCAL:
        mask = _outline(rng, strange, shape, um_per_px, strange_um)
        inner = _inside(rng, strange, steel, um_per_px)
        share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.25 / um_per_px, 0.3))
        steel = steel * (1 - share) + inner * share
    elif strange in WHOLE:
        steel = _foreign(rng, strange, shape, um_per_px)
    return Other(_camera(rng, steel, um_per_px), mask, um_per_px)


# ------------------------------------------------------------------ steel


def _steel(
    rng: Generator, subtype: str, packet_um: float, shape: tuple[int, int], um: float
) -> Plane:
    packet = _cut(rng, shape, packet_um / um)
    width_um = {"G": 2.6, "B": 1.8, "M": 1.3}[subtype] * (packet_um / 28) ** 0.45
    laths = _laths(rng, packet, width_um / um)
    if subtype == "G":  # plates of two tones, and a ground between them
        ground = _cloud(rng, shape, 0.8 / um) * 0.05 + 0.34
        plates = np.where(laths > 0.25, 0.66, np.where(laths < -0.55, 0.2, ground))
        return plates.astype(np.float32)
    if subtype == "B":  # sheaves, with carbides in rows between them
        dots = (_cloud(rng, shape, 0.35 / um) > 1.3) & (np.abs(laths) < 0.35)
        return (0.42 + 0.16 * np.sign(laths) * np.abs(laths) ** 0.6 + 0.3 * dots).astype(np.float32)
    tone = rng.normal(0, 0.05, int(packet.max()) + 1)[packet]
    return (0.5 + tone + 0.1 * laths).astype(np.float32)


def _cut(rng: Generator, shape: tuple[int, int], side_px: float) -> NDArray[np.int64]:
    """Cut a field into convex packets by random lines of limited reach: no Voronoi cells."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    warp = 0.25 * side_px
    x = x + warp * _cloud(rng, shape, side_px / 2)
    y = y + warp * _cloud(rng, shape, side_px / 2)
    turn = rng.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    column = np.floor(along / side_px).astype(np.int64)
    shift = rng.uniform(0, 1, 2048)[column % 2048] * side_px
    row = np.floor((across + shift) / side_px).astype(np.int64)
    return (column * 7919 + row * 104729) % 4093


def _laths(rng: Generator, packet: NDArray[np.int64], width_px: float) -> Plane:
    height, width = packet.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi, 4093)[packet]
    wide = np.maximum(width_px * rng.lognormal(0, 0.25, 4093), 1.6)[packet]
    bend = 0.6 * _cloud(rng, packet.shape, 6 * width_px)
    at = (x * np.cos(angle) + y * np.sin(angle)) / wide + bend
    jitter = np.interp(at.ravel() % 977, np.arange(978), rng.normal(0, 0.9, 978)).reshape(at.shape)
    return np.clip(2.2 * np.sin(np.pi * (at + jitter)), -1, 1).astype(np.float32)


def _cloud(rng: Generator, shape: tuple[int, int], sigma_px: float) -> Plane:
    """Soft noise of unit spread: small noise drawn and enlarged."""
    step = max(sigma_px * 1.7, 1.0)
    small = rng.standard_normal((int(shape[0] / step) + 4, int(shape[1] / step) + 4))
    large = cv2.resize(small.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (large - large.mean()) / large.std()


# ------------------------------------------------------------------ strange things


def _outline(
    rng: Generator, kind: str, shape: tuple[int, int], um: float, radius_um: float | None
) -> Mask:
    reach = {
        "inclusion": (4, 8),
        "pearlite": (11, 18),
        "ferrite": (11, 18),
        "crack": (22, 45),
        "stain": (13, 22),
    }[kind]
    radius = (radius_um or rng.uniform(*reach)) / um
    centre = rng.uniform(0.3, 0.7, 2) * (shape[1], shape[0])
    drawn = np.zeros(shape, np.uint8)
    if kind == "crack":
        steps = np.cumsum(rng.normal(0, 0.35, 24))
        path = np.cumsum(np.stack([np.cos(steps), np.sin(steps)], 1), axis=0) * 2 * radius / 24
        path = path - path.mean(axis=0) + centre
        cv2.polylines(
            drawn, [path.astype(np.int32)], isClosed=False, color=1,
            thickness=max(1, round(rng.uniform(0.9, 1.6) / um)),
        )  # fmt: skip
        return drawn.astype(bool)
    turn = np.linspace(0, 2 * np.pi, 13)[:-1]
    radii = radius * rng.uniform(0.75, 1.2, 12)
    corners = centre + radii[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    cv2.fillPoly(drawn, [corners.astype(np.int32)], 1)
    return drawn.astype(bool)


def _inside(rng: Generator, kind: str, steel: Plane, um: float) -> Plane:
    inner: dict[str, Callable[[], Plane]] = {
        "inclusion": lambda: 0.1 + 0.03 * _cloud(rng, steel.shape, 1.5 / um),
        "pearlite": lambda: _lamellae(rng, steel.shape, um),
        "ferrite": lambda: _grains(rng, steel.shape, 9 / um, 0.8),
        "crack": lambda: np.full(steel.shape, 0.05, np.float32),
        "stain": lambda: steel * np.float32(rng.choice([0.55, 1.45])),
    }
    return inner[kind]().astype(np.float32)


def _lamellae(rng: Generator, shape: tuple[int, int], um: float) -> Plane:
    colony = _cut(rng, shape, 12 / um)
    y, x = np.mgrid[: shape[0], : shape[1]]
    angle = rng.uniform(0, np.pi, 4093)[colony]
    wave = np.maximum(rng.uniform(0.6, 1.3, 4093) / um, 2.8)[colony]
    bend = 0.8 * _cloud(rng, shape, 4 / um)
    stripes = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wave + bend)
    return np.where(stripes > 0, 0.62, 0.3).astype(np.float32)


def _grains(rng: Generator, shape: tuple[int, int], side_px: float, tone: float) -> Plane:
    label = _cut(rng, shape, side_px)
    edge = cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    grey = tone + rng.uniform(-0.06, 0.06, 4093)[label]
    return np.where(edge, 0.35, grey).astype(np.float32)


def _foreign(rng: Generator, kind: str, shape: tuple[int, int], um: float) -> Plane:
    if kind == "pearlitic":
        return _lamellae(rng, shape, um)
    if kind == "ferritic":
        patches = _cloud(rng, shape, 6 / um) > 0.7
        return np.where(patches, _lamellae(rng, shape, um), _grains(rng, shape, 14 / um, 0.75))
    if kind == "cast_iron":
        nodules = _cloud(rng, shape, 9 / um) > 1.2
        return np.where(nodules, 0.08, _grains(rng, shape, 20 / um, 0.8)).astype(np.float32)
    if kind == "empty":
        return 0.55 + 0.02 * _cloud(rng, shape, 60 / um)
    y, x = np.mgrid[: shape[0], : shape[1]]  # cloth, or paper
    warp = np.sin(x * 2 * np.pi / (3 / um)) * np.sin(y * 2 * np.pi / (3 / um))
    return (0.5 + 0.2 * warp + 0.05 * _cloud(rng, shape, 2 / um)).astype(np.float32)


# ------------------------------------------------------------------ camera


def _camera(rng: Generator, steel: Plane, um: float) -> NDArray[np.uint8]:
    seen = cv2.GaussianBlur(steel, (0, 0), float(np.hypot(0.13 / um, rng.uniform(0.25, 0.7))))
    seen = seen + rng.uniform(0.2, 0.6) * (seen - cv2.GaussianBlur(seen, (0, 0), 2.0))
    height, width = steel.shape
    y, x = np.mgrid[:height, :width]
    tilt = rng.normal(0, 0.04, 2)
    light = 1 + tilt[0] * (x / width - 0.5) + tilt[1] * (y / height - 0.5)
    seen = (seen - 0.45) * rng.uniform(0.85, 1.15) + 0.45 + rng.normal(0, 0.025)
    grey = np.clip(seen * light, 0, 1) + rng.normal(0, rng.uniform(0.008, 0.02), steel.shape)
    pixels = (np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2)
