"""Draw mounts with a structure of their own: fillers, grain, steel out of focus, another structure.

A person calls none of them the specimen; the tables and the first network took many for steel.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from composites import repeat_mirrored
from drawn.steel import soft_noise

Image = np.ndarray
"""(h, w, 3) float32, RGB; (h, w) float32 where it is called grey."""
FILLS = (
    "flakes", "beads", "speckle", "mineral", "fibres", "pores", "blurred", "blurred", "other",
    "other",
)  # fmt: skip


def fill_resin(rgb: Image, rng: np.random.Generator, draw_other: Callable[[], Image]) -> Image:
    """Return a resin with a structure of its own, of the size of the steel."""
    height, width = rgb.shape[:2]
    fill = str(rng.choice(FILLS))
    if fill == "blurred":
        grey = _defocus(rgb, rng)
    elif fill == "other":
        grey = _rescale(draw_other(), rng, height, width)
    else:
        grey = np.full((height, width), _choose_tone(rng, float(rgb.mean())), np.float32)
        draw_fill = {
            "flakes": _lay_flakes, "beads": _lay_beads, "speckle": _lay_speckle,
            "mineral": _lay_grains, "fibres": _lay_fibres, "pores": _lay_pores,
        }[fill]  # fmt: skip
        grey = draw_fill(grey, rng)
        if rng.random() < 0.25:
            grey = _lay_speckle(grey, rng)
    if rng.random() < 0.15:
        grey = _scratch(grey, rng)
    grey = grey + rng.uniform(0, 10) * soft_noise(rng, height, width, 0.4 * width)
    return np.repeat(np.clip(grey, 0, 255)[:, :, None], 3, axis=2).astype(np.float32)


def _choose_tone(rng: np.random.Generator, steel: float) -> float:
    """Return a dark, middle or bright tone, or one near that of the steel."""
    ranges = [(8, 60), (60, 160), (160, 240), (steel - 30, steel + 30)]
    low, high = ranges[int(rng.integers(len(ranges)))]
    return float(np.clip(rng.uniform(low, high), 5, 245))


def _choose_step(rng: np.random.Generator, tone: float) -> float:
    """Return how much a filler is brighter or darker than its resin."""
    up = rng.random() < (0.75 if tone < 128 else 0.3)
    return float(rng.uniform(12, 110) * (1 if up else -1))


def choose_size(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a size between two, each octave as likely as another."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _lay_flakes(grey: Image, rng: np.random.Generator) -> Image:
    """Strew flat particles, such as copper, seen from their side: in all directions or one."""
    height, width = grey.shape
    length = choose_size(rng, 6, 70)
    thin = length / rng.uniform(2.5, 12)
    step = _choose_step(rng, float(grey.mean()))
    spread = rng.choice([0.3, 4.0])
    lean = rng.uniform(0, np.pi)
    for _ in range(min(4000, int(rng.uniform(0.1, 0.8) * grey.size / (length * max(thin, 2))))):
        half = np.array([length, max(1.0, thin)]) * rng.uniform(0.3, 1.2) / 2
        angle = lean + spread * rng.normal()
        corners = np.array([[-1, -0.4], [0.2, -1], [1, 0.3], [-0.3, 1]]) * half
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        centre = rng.uniform(0, 1, 2) * (width, height)
        tone = float(grey[0, 0] + step * rng.uniform(0.5, 1.2))
        fixed = np.round((centre + corners @ turn) * 16).astype(np.int32)
        cv2.fillPoly(grey, [fixed], tone, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.5))


def _lay_beads(grey: Image, rng: np.random.Generator) -> Image:
    """Strew glass beads, full or hollow, even or of many sizes."""
    height, width = grey.shape
    size, spread = choose_size(rng, 2, 28), rng.uniform(0.05, 0.6)
    tone = float(grey[0, 0])
    step, hollow = _choose_step(rng, tone), rng.random() < 0.3
    for _ in range(min(4000, int(rng.uniform(0.03, 0.25) * grey.size / size**2))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        radius = max(1, round(size * np.exp(spread * rng.normal())))
        inner = tone + step * rng.uniform(0.7, 1.1)
        cv2.circle(grey, centre, radius, inner, -1, cv2.LINE_AA)
        if hollow and radius > 2:
            cv2.circle(grey, centre, int(0.7 * radius), tone - 0.3 * step, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.8))


def _lay_speckle(grey: Image, rng: np.random.Generator) -> Image:
    """Add a grain of one to three scales."""
    height, width = grey.shape
    total = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        sigma = choose_size(rng, 0.4, 14)
        aspect = rng.choice([1.0, 1.0, rng.uniform(0.3, 3)])
        noise = rng.normal(0, 1, (height, width)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigma, sigmaY=max(0.4, sigma * aspect))
        total += noise / max(1e-6, float(noise.std()))
    if rng.random() < 0.3:
        total = np.tanh(2 * total)  # spots with sides
    return grey + rng.uniform(6, 34) * total / max(1e-6, float(total.std()))


def _lay_grains(grey: Image, rng: np.random.Generator) -> Image:
    """Strew angular grains of several tones, as of quartz or alumina."""
    height, width = grey.shape
    size = choose_size(rng, 3, 45)
    base = float(grey[0, 0])
    steps = [_choose_step(rng, base) for _ in range(int(rng.integers(1, 4)))]
    for _ in range(min(3000, int(rng.uniform(0.1, 0.6) * grey.size / size**2))):
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
        radius = size * rng.uniform(0.3, 1.0, len(angles)) * rng.uniform(0.4, 1)
        centre = rng.uniform(0, 1, 2) * (width, height)
        corners = centre + np.stack([np.cos(angles) * radius, np.sin(angles) * radius], 1)
        tone = base + steps[int(rng.integers(len(steps)))] * rng.uniform(0.5, 1.1)
        cv2.fillPoly(grey, [np.round(corners * 16).astype(np.int32)], tone, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.5, 2.5))


def _lay_fibres(grey: Image, rng: np.random.Generator) -> Image:
    """Strew glass fibres: long, thin, even, some seen from their end."""
    height, width = grey.shape
    thick = max(1, round(choose_size(rng, 1, 9)))
    step = _choose_step(rng, float(grey.mean()))
    tone, lean, spread = float(grey[0, 0]), rng.uniform(0, np.pi), rng.choice([0.15, 0.6, 3.0])
    for _ in range(int(rng.uniform(0.15, 0.6) * height * width / (thick * 0.35 * width))):
        middle = rng.uniform(0, 1, 2) * (width, height)
        angle = lean + spread * rng.normal()
        half = rng.uniform(0.02, 0.3) * width * np.array([np.cos(angle), np.sin(angle)])
        ends = np.round([middle - half, middle + half]).astype(int).tolist()
        cv2.line(grey, ends[0], ends[1], tone + step * rng.uniform(0.5, 1.1), thick, cv2.LINE_AA)
    return cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.4, 1.5))


def _lay_pores(grey: Image, rng: np.random.Generator) -> Image:
    """Open pores and clouds between them, as in a sintered or a foamed mount."""
    height, width = grey.shape
    sigma = choose_size(rng, 2, 18)
    cloud = soft_noise(rng, height, width, sigma) + 0.4 * soft_noise(rng, height, width, sigma / 2)
    share = np.clip(0.5 + rng.uniform(1, 6) * (cloud - rng.uniform(-0.3, 1.2)), 0, 1)
    return grey + share * _choose_step(rng, float(grey.mean()))


def _scratch(grey: Image, rng: np.random.Generator) -> Image:
    height, width = grey.shape
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (height + width)
    layer = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(5, 60))):
        middle = rng.uniform(0, 1, 2) * (width, height)
        ends = np.round([middle - reach, middle + reach]).astype(int).tolist()
        cv2.line(layer, ends[0], ends[1], rng.uniform(-50, 50), int(rng.integers(1, 3)))
    return grey + cv2.GaussianBlur(layer, (0, 0), 0.7)


def _defocus(rgb: Image, rng: np.random.Generator) -> Image:
    """Return the steel itself, out of focus and of another tone: its flank, or its mirror image."""
    grey = rgb.mean(axis=2)[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]
    blurred = cv2.GaussianBlur(np.ascontiguousarray(grey), (0, 0), choose_size(rng, 1.5, 14))
    mean = float(blurred.mean())
    shift = rng.choice([-1, 1]) * rng.uniform(12, 90)
    tone = float(np.clip(mean + shift, 15, 240))
    return (tone + rng.uniform(0.4, 1.3) * (blurred - mean)).astype(np.float32)


def _rescale(other: Image, rng: np.random.Generator, height: int, width: int) -> Image:
    """Return another structure much finer or coarser than steel of this scale, of another tone."""
    grey = np.ascontiguousarray(other.mean(axis=2))
    scale = rng.uniform(0.15, 0.5) if rng.random() < 0.5 else rng.uniform(1.6, 5)
    if scale < 1:
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        tile = repeat_mirrored(small, height, width)
    else:
        high, wide = int(len(grey) / scale), int(grey.shape[1] / scale)
        y, x = int(rng.integers(len(grey) - high)), int(rng.integers(grey.shape[1] - wide))
        tile = cv2.resize(
            grey[y : y + high, x : x + wide], (width, height), interpolation=cv2.INTER_CUBIC
        )
        if rng.random() < 0.5:
            tile = cv2.GaussianBlur(tile, (0, 0), rng.uniform(1, 6))
    mean = float(tile.mean())
    tone = _choose_tone(rng, mean)
    return (tone + rng.uniform(0.3, 1.0) * (tile - mean)).astype(np.float32)
