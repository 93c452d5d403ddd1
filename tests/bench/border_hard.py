"""Compose what the border network mistakes: filled mounts, rims next to bleeding, coarse steel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from border_filled import Image, choose_size, fill_resin
from composites import Composite
from drawn.border import BORDERS, draw_depth, draw_resin
from drawn.steel import soft_noise

PLAIN = ("dark", "grey", "bright", "shaded", "grainy", "defocused", "bubbles", "cloudy")
WHOLE = ("network", "colonies", "carbides", "phases", "shaded", "tilted", "uneven")


@dataclass(frozen=True)
class Zones:
    """What lies along the edge of a mounted specimen, (h, w) bool each."""

    rim: np.ndarray
    bleeding: np.ndarray
    coating: np.ndarray


def make_uneven(rgb, rng):
    """Make steel look different from place to place, as it does without any border."""
    height, width = rgb.shape[:2]
    kind = str(rng.choice(["tilt", "lamp", "bands", "segregation", "phase"]))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    along = (x * np.cos(angle) + y * np.sin(angle))[:, :, None]
    if kind == "lamp":
        return rgb * (1 + rng.uniform(0.15, 0.45) * along)
    if kind == "bands":
        pitch = rng.uniform(4, 18)
        wave = np.sin(along * pitch + 0.8 * soft_noise(rng, height, width, 0.3 * width)[:, :, None])
        return rgb * (1 + rng.uniform(0.08, 0.25) * np.tanh(3 * wave))
    if kind == "tilt":
        share = np.clip(along + rng.uniform(-0.5, 0.5), 0, 1)
        other = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(2, 6))
    elif kind == "segregation":
        cloud = soft_noise(rng, height, width, rng.uniform(0.1, 0.4) * width)[:, :, None]
        share = 0.35 * np.clip(0.5 + 2 * cloud, 0, 1)
        other = cv2.GaussianBlur(rgb, (0, 0), 4) * rng.uniform(0.6, 1.2)
    else:
        cloud = soft_noise(rng, height, width, rng.uniform(0.06, 0.2) * width)
        phase = (cloud > rng.uniform(0.4, 1.2)).astype(np.float32)
        share = cv2.GaussianBlur(phase, (0, 0), 1.5)[:, :, None]
        tone, spread = rng.uniform(30, 230), rng.uniform(2, 15)
        other = tone + spread * rng.normal(0, 1, (height, width, 1))
    return rgb * (1 - share) + other * share


# ---------------------------------------------------------------------------------- the evidence


# ---------------------------------------------------------------------------------------- mounts


def mount_hard(
    rgb: Image, rng: np.random.Generator, draw_other: Callable[[], Image], *, filled: bool
) -> Composite:
    """Mount a texture in a filled resin or a plain one; it mostly has a rim or bleeding."""
    height, width = rgb.shape[:2]
    kind = str(rng.choice(BORDERS))
    depth = draw_depth(rng, kind, height, width)
    rough = rng.uniform(0.2, 3.0)
    depth = depth + rough * (soft_noise(rng, height, width, 6) + soft_noise(rng, height, width, 25))
    if filled:
        resin = fill_resin(rgb, rng, draw_other)
    else:
        plain = str(rng.choice(PLAIN))
        resin = draw_resin(rng, plain, height, width, float(rgb.mean()), rgb, colour=False)
    rgb, zones = _change_edge(rgb, rng, depth, often=not filled)
    soft = rng.uniform(0.5, 3.5)
    alpha = 1 / (1 + np.exp(-np.clip(depth / soft, -20, 20)))[:, :, None]
    out = rgb * alpha + resin * (1 - alpha)
    out = _open_gap(out, rng, depth)
    out = out + rng.normal(0, rng.uniform(0, 3), (height, width))[:, :, None]
    pixels = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(60, 96))
        _, packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        pixels = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    outside = depth < 0
    dirty = outside | zones.bleeding | zones.coating
    words = {"border": kind}
    return Composite(pixels, words, dirty, zones.rim & ~dirty, zones.bleeding, zones.coating)


def _open_gap(out: Image, rng: np.random.Generator, depth: Image) -> Image:
    """Draw a dark gap, a bright rim or neither at the edge, at times along a part of it."""
    draw = rng.random()
    if draw < 0.45:
        return out
    height, width = depth.shape
    wide = choose_size(rng, 1.5, 10)
    share = np.exp(-(((depth + wide) / wide) ** 4))
    if rng.random() < 0.4:
        share = share * np.clip(0.5 + 1.5 * soft_noise(rng, height, width, 0.3 * width), 0, 1)
    if draw < 0.75:
        return out * (1 - rng.uniform(0.4, 0.95) * share[:, :, None])
    return out + rng.uniform(20, 110) * np.exp(-((depth / wide) ** 2))[:, :, None]


# ------------------------------------------------------------------------------ along the edge


def _change_edge(
    rgb: Image, rng: np.random.Generator, depth: Image, *, often: bool
) -> tuple[Image, Zones]:
    """Draw a rim, bleeding or a coating on the steel, or none of them."""
    nothing = np.zeros(depth.shape, bool)
    draw = rng.random() / (0.85 if often else 0.4)
    if draw < 0.5:
        rgb, rim = _lay_rim(rgb, rng, depth)
        return rgb, Zones(rim, nothing, nothing)
    if draw < 0.9:
        rgb, bleeding = _bleed(rgb, rng, depth)
        return rgb, Zones(nothing, bleeding, nothing)
    if draw < 1.0:
        thick = rng.uniform(7, 42)
        coating = (depth >= 0) & (depth < thick)
        step = rng.choice([-1, 1]) * rng.uniform(35, 90)
        tone = float(np.clip(float(rgb.mean()) + step, 10, 250))
        rgb = rgb.copy()
        rgb[coating] = tone + rng.uniform(1, 6) * rng.normal(0, 1, (int(coating.sum()), 1))
        return rgb, Zones(nothing, nothing, coating)
    return rgb, Zones(nothing, nothing, nothing)


def _lay_rim(rgb: Image, rng: np.random.Generator, depth: Image) -> tuple[Image, np.ndarray]:
    """Decarburise, nitride or coat the rim, even along the edge."""
    height, width = depth.shape
    deep = rng.uniform(0.03, 0.16) * min(height, width)
    at = depth + rng.uniform(0.03, 0.15) * deep * soft_noise(rng, height, width, 30)
    kind = str(rng.choice(["decarburised", "decarburised", "nitrided", "nitrided", "coated"]))
    fade = rng.uniform(0.15, 1.0)  # share of the depth over which it fades
    share = np.clip((1.2 - at / deep) / fade, 0, 1)
    if kind == "decarburised":
        smooth = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(1.5, 6))
        kept = rng.uniform(0.1, 0.7)
        rim = kept * rgb + (1 - kept) * smooth + rng.uniform(8, 70)
    elif kind == "nitrided":
        rim = rgb * rng.uniform(0.4, 0.85)
        if rng.random() < 0.3:  # a white layer at the very edge
            rim = rim + rng.uniform(40, 120) * (at < rng.uniform(0.1, 0.3) * deep)[:, :, None]
    else:
        share = (at < deep).astype(np.float32)
        tone = float(np.clip(rgb.mean() + rng.choice([-1, 1]) * rng.uniform(35, 80), 15, 248))
        rim = tone + rng.uniform(2, 8) * soft_noise(rng, height, width, 3)[:, :, None]
    changed = rgb * (1 - share[:, :, None]) + rim * share[:, :, None]
    return changed.astype(np.float32), (depth >= 0) & (share > 0.1)


def _bleed(rgb: Image, rng: np.random.Generator, depth: Image) -> tuple[Image, np.ndarray]:
    """Darken or stain the steel from the gap inwards, uneven along the edge."""
    height, width = depth.shape
    wave = np.clip(soft_noise(rng, height, width, choose_size(rng, 30, 160)), -1, 1)
    reach = rng.uniform(12, 100) * (0.6 + rng.uniform(0.2, 0.5) * wave)
    fall = np.clip(1 - depth / np.maximum(reach, 4), 0, 1)
    if rng.random() < 0.35:
        fall = np.clip(rng.uniform(2, 6) * fall, 0, 1)  # a front, as a dried drop has
    dark = fall * rng.uniform(0.1, 0.55)
    if rng.random() < 0.3:
        dark *= np.clip(0.5 + 1.5 * soft_noise(rng, height, width, 0.3 * width), 0, 1)
    dark[depth < 0] = 0
    stained = rgb * (1 - dark[:, :, None])
    if rng.random() < 0.2:  # a film that also hides the structure
        film = cv2.GaussianBlur(stained, (0, 0), rng.uniform(1, 4))
        stained = np.where(dark[:, :, None] > 0, 0.5 * stained + 0.5 * film, stained)
    return stained.astype(np.float32), dark > 0.06


# ---------------------------------------------------------------------------------------- whole


def coarsen(rgb: Image, rng: np.random.Generator) -> Image:
    """Return steel without a mount whose structure is coarse or uneven."""
    for kind in rng.choice(WHOLE, 1 + int(rng.random() < 0.35), replace=False):
        rgb = {
            "network": _lay_network, "colonies": _lay_colonies, "carbides": _lay_carbides,
            "phases": _lay_phases, "shaded": _shade, "tilted": _tilt, "uneven": make_uneven,
        }[str(kind)](rgb, rng)  # fmt: skip
    return np.clip(rgb, 0, 255).astype(np.float32)


def _divide(rng: np.random.Generator, height: int, width: int, count: int) -> tuple[Image, Image]:
    """Return the distance from each pixel to the sides of its grain, and the grain's number."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bend = rng.uniform(0.2, 1.0) * np.sqrt(height * width / count) * 0.3
    for sigma in (60, 15):
        x = x + bend * soft_noise(rng, height, width, sigma)
        y = y + bend * soft_noise(rng, height, width, sigma)
        bend *= 0.3
    seeds = rng.uniform(-0.1, 1.1, (count, 2)) * (width, height)
    nearest = np.full((height, width), np.inf, np.float32)
    second = nearest.copy()
    marks = np.zeros((height, width), np.int32)
    for mark, (at_x, at_y) in enumerate(seeds):
        away = np.hypot(x - np.float32(at_x), y - np.float32(at_y))
        closer = away < nearest
        second = np.where(closer, nearest, np.minimum(second, away))
        marks[closer] = mark
        nearest = np.minimum(nearest, away)
    return (second - nearest) / 2, marks


def _lay_network(rgb: Image, rng: np.random.Generator) -> Image:
    """Lay proeutectoid ferrite or carbide along coarse grain boundaries."""
    height, width = rgb.shape[:2]
    away, _ = _divide(rng, height, width, int(choose_size(rng, 3, 40)))
    thick = choose_size(rng, 3, 40) * (1 + 0.5 * soft_noise(rng, height, width, 40))
    share = 1 / (1 + np.exp(np.clip((away - thick) / rng.uniform(0.7, 3), -20, 20)))
    return _fill_phase(rgb, rng, share)


def _lay_phases(rgb: Image, rng: np.random.Generator) -> Image:
    """Lay patches of a second phase, some of which touch the frame."""
    height, width = rgb.shape[:2]
    sigma = choose_size(rng, 0.03, 0.25) * width
    cloud = soft_noise(rng, height, width, sigma) + 0.3 * soft_noise(rng, height, width, sigma / 4)
    cloud = cloud + rng.uniform(0, 0.3) * soft_noise(rng, height, width, 5)
    share = np.clip(0.5 + rng.uniform(3, 25) * (cloud - rng.uniform(0, 1.1)), 0, 1)
    return _fill_phase(rgb, rng, share)


def _lay_carbides(rgb: Image, rng: np.random.Generator) -> Image:
    """Lay one to seven large particles, most of them at the frame."""
    height, width = rgb.shape[:2]
    mask = np.zeros((height, width), np.float32)
    size = choose_size(rng, 0.06, 0.3) * width
    for _ in range(int(rng.integers(1, 8))):
        centre = rng.uniform(0, 1, 2) * (width, height)
        if rng.random() < 0.7:
            side = int(rng.integers(2))
            centre[side] = rng.choice([0, (width, height)[side]]) + rng.normal(0, 0.3) * size
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(5, 14))))
        radius = size * rng.uniform(0.4, 1.0, len(angles)) * rng.uniform(0.4, 1)
        corners = np.stack([np.cos(angles) * radius, rng.uniform(0.3, 1) * np.sin(angles) * radius])
        turn = rng.uniform(0, np.pi)
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ corners
        cv2.fillPoly(mask, [np.round(centre + turned.T).astype(np.int32)], 1.0, cv2.LINE_AA)
    round_by = rng.uniform(0.6, 14)
    mask = cv2.GaussianBlur(mask, (0, 0), round_by)
    share = np.clip(0.5 + (mask - 0.5) * max(1, round_by * rng.uniform(0.5, 1.5)), 0, 1)
    return _fill_phase(rgb, rng, share)


def _fill_phase(rgb: Image, rng: np.random.Generator, share: Image) -> Image:
    """Fill a phase with one tone, a little structure, and at times an outline."""
    mean = float(rgb.mean())
    tone = float(np.clip(mean + rng.choice([-1, 1]) * rng.uniform(20, 110), 5, 250))
    soft = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(1, 8))
    inner = tone + rng.uniform(0, 0.6) * (soft - mean)
    if rng.random() < 0.3:
        inner = inner + 6 * soft_noise(rng, *share.shape, rng.uniform(3, 20))[:, :, None]
    out = rgb * (1 - share[:, :, None]) + inner * share[:, :, None]
    if rng.random() < 0.5:
        outline = 4 * share * (1 - share)
        out = out + rng.choice([-70, -40, 30, 60]) * outline[:, :, None]
    return out.astype(np.float32)


def _lay_colonies(rgb: Image, rng: np.random.Generator) -> Image:
    """Lay colonies of lamellae, each in a direction, of a pitch and a tone of its own."""
    height, width = rgb.shape[:2]
    count = int(choose_size(rng, 2, 30))
    away, marks = _divide(rng, height, width, count)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = rng.uniform(1, 10)
    x = x + wave * soft_noise(rng, height, width, 50)
    y = y + wave * soft_noise(rng, height, width, 50)
    angles = rng.uniform(0, np.pi, count).astype(np.float32)[marks]
    pitch = choose_size(rng, 4, 40) * np.exp(rng.uniform(0.1, 0.7) * rng.normal(size=count))
    along = x * np.cos(angles) + y * np.sin(angles)
    stripes = np.sin(2 * np.pi * along / np.maximum(3, pitch).astype(np.float32)[marks])
    stripes = np.tanh(rng.uniform(0.5, 4) * (stripes + rng.uniform(-0.5, 0.5)))
    contrast = rng.uniform(8, 50) * rng.uniform(0.3, 1, count).astype(np.float32)[marks]
    tones = rng.normal(0, rng.uniform(3, 30), count).astype(np.float32)[marks]
    lines = rng.choice([0, -40, 40]) * np.exp(-((away / 2) ** 2))
    plane = (contrast * stripes + tones + lines)[:, :, None]
    kept = rng.uniform(0, 0.6)
    return (float(rgb.mean()) + kept * (rgb - float(rgb.mean())) + plane).astype(np.float32)


def _shade(rgb: Image, rng: np.random.Generator) -> Image:
    """Darken a corner, a side or the whole rim of the field, with the structure in it."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    at = rng.uniform(-1, 1, 2)
    away = np.hypot(x - at[0], y - at[1]) / 1.5
    fall = np.clip(away, 0, 1.6) ** rng.uniform(1, 3) + 0.15 * soft_noise(rng, height, width, 200)
    step = rng.choice([-1, -1, 1]) * rng.uniform(0.15, 0.45)
    return (rgb * (1 + step * fall[:, :, None])).astype(np.float32)


def _tilt(rgb: Image, rng: np.random.Generator) -> Image:
    """Blur the field towards one side, with or without a change of light."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    share = np.clip(x * np.cos(angle) + y * np.sin(angle) + rng.uniform(-0.5, 0.6), 0, 1)
    share = share[:, :, None]
    mild = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(1, 3))
    strong = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(3, 8))
    low = np.clip(2 * share, 0, 1)
    high = np.clip(2 * share - 1, 0, 1)
    out = (rgb * (1 - low) + mild * low) * (1 - high) + strong * high
    return (out * (1 + rng.uniform(-0.2, 0.2) * share)).astype(np.float32)
