# ruff: noqa: FBT003, PLR0917 - a drawing is made of numbers
"""Draw etched steel of many looks, in grey.

In:  a generator of random numbers. Out: (h, w) uint8, and the look's name. Next: `drawn`.
"""

from __future__ import annotations

import cv2
import numpy as np

STEELS = (
    "needles",
    "bright_needles",
    "grains",
    "spheres",
    "particles",
    "lamellae",
    "packets",
    "etched",
    "pale",
)
_SHARES = (0.32, 0.1, 0.12, 0.1, 0.07, 0.09, 0.08, 0.07, 0.05)


def steel(rng, height, width, words, *, kind=None):
    """Draw one look, and keep its name in `words`."""
    kind = kind or str(rng.choice(STEELS, p=_SHARES))
    words["steel"] = kind
    draw_it = {
        "needles": _needles,
        "bright_needles": _bright_needles,
        "grains": _grains,
        "spheres": _spheres,
        "particles": _particles,
        "lamellae": _lamellae,
        "packets": _packets,
        "etched": _etched,
        "pale": _pale,
    }[kind]
    return draw_it(rng, height, width)


def soft_noise(rng, height, width, sigma):
    """Draw slow noise, mean 0, standard deviation about 1."""
    h, w = max(2, int(height / sigma) + 2), max(2, int(width / sigma) + 2)
    noise = rng.normal(0, 1, (h, w)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _lens(rng, x, y, length, thin, angle):
    t = np.linspace(-1, 1, 7)
    half = (1 - t**2) * thin / 2
    along = np.concatenate([t, t[::-1]]) * length / 2
    across = np.concatenate([half, -half])
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([x + c * along - s * across, y + s * along + c * across], 1)


def _needles(rng, height, width):
    grey = np.full((height, width), rng.uniform(120, 200), np.uint8)
    length = rng.uniform(25, 110)
    n = int(min(6000, 2.2 * height * width / (length * length / 8)))
    angles = rng.uniform(0, np.pi, 12)
    for scale in np.sort(rng.lognormal(0, 0.35, n))[::-1]:
        polygon = _lens(
            rng,
            rng.uniform(0, width),
            rng.uniform(0, height),
            length * scale,
            length * scale / rng.uniform(5, 11),
            angles[rng.integers(12)] + rng.normal(0, 0.06),
        )
        tone = int(np.clip(rng.normal(115, 35), 20, 250))
        fixed = np.round(polygon * 16).astype(np.int32)
        cv2.fillPoly(grey, [fixed], tone, lineType=cv2.LINE_AA, shift=4)
        cv2.polylines(grey, [fixed], True, max(0, tone - 35), 1, cv2.LINE_AA, 4)
    return grey


def _bright_needles(rng, height, width):
    grey = np.full((height, width), rng.uniform(60, 120), np.uint8)
    speckle = cv2.GaussianBlur(rng.normal(0, 40, (height, width)).astype(np.float32), (0, 0), 1.5)
    grey = np.clip(grey + speckle, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(60, 250))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle = 0.0 if rng.random() < 0.25 else rng.uniform(0, np.pi)
        polygon = _lens(rng, x, y, rng.uniform(30, 200), rng.uniform(2, 9), angle)
        tone = int(rng.integers(200, 256))
        fixed = np.round(polygon * 16).astype(np.int32)
        cv2.fillPoly(grey, [fixed], tone, lineType=cv2.LINE_AA, shift=4)
    return grey


def _cells(rng, height, width, grain):
    seeds = np.ones((height, width), np.uint8)
    n = max(4, int(height * width / grain**2))
    seeds[rng.integers(0, height, n), rng.integers(0, width, n)] = 0
    _, marks = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return marks


def _grains(rng, height, width):
    marks = _cells(rng, height, width, rng.uniform(30, 130))
    spread = rng.uniform(0, 25)
    tones = np.clip(rng.normal(rng.uniform(150, 235), spread, marks.max() + 1), 60, 255)
    grey = tones[marks].astype(np.uint8)
    edge = (np.abs(np.diff(marks, axis=0, prepend=marks[:1])) > 0) | (
        np.abs(np.diff(marks, axis=1, prepend=marks[:, :1])) > 0
    )
    edge = cv2.dilate(edge.astype(np.uint8), np.ones((2, 2), np.uint8)) > 0
    grey[edge] = rng.integers(30, 90)
    return grey


def _spheres(rng, height, width):
    grey = np.full((height, width), rng.uniform(70, 130), np.uint8)
    size = rng.uniform(1.5, 6)
    for _ in range(int(min(9000, 0.1 * height * width / (3 * size**2)))):
        axes = np.maximum(1, rng.lognormal(np.log(size), 0.35, 2)).astype(int)
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        tone = int(rng.integers(160, 250))
        cv2.ellipse(grey, centre, axes.tolist(), rng.uniform(0, 180), 0, 360, tone, -1, cv2.LINE_AA)
    return grey


def _particles(rng, height, width):
    grey = np.full((height, width), rng.uniform(170, 245), np.uint8)
    for _ in range(int(rng.integers(80, 500))):
        radius = int(np.clip(rng.lognormal(1.8, 0.6), 2, 30))
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(grey, centre, radius, int(rng.integers(20, 110)), -1, cv2.LINE_AA)
    return grey


def _lamellae(rng, height, width):
    marks = _cells(rng, height, width, rng.uniform(60, 160))
    n = marks.max() + 1
    angle, pitch = rng.uniform(0, np.pi, n)[marks], rng.uniform(4, 12, n)[marks]
    y, x = np.mgrid[:height, :width]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / pitch)
    return np.clip(130 + 55 * wave, 0, 255).astype(np.uint8)


def _packets(rng, height, width):
    """Parallel laths in packets: a mean tone and a direction per packet, no clear outlines."""
    marks = _cells(rng, height, width, rng.uniform(40, 180))
    n = marks.max() + 1
    angle, pitch = rng.uniform(0, np.pi, n)[marks], rng.uniform(5, 20, n)[marks]
    tone = rng.normal(rng.uniform(100, 190), 14, n)[marks]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bent = 6 * soft_noise(rng, height, width, 25)
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle) + bent) / pitch)
    return np.clip(tone + rng.uniform(10, 30) * wave, 0, 255).astype(np.uint8)


def _etched(rng, height, width):
    """Structure without outlines: noise of many sizes, as bainite at low magnification."""
    grey = np.full((height, width), rng.uniform(90, 190), np.float32)
    fade = rng.uniform(0.4, 1.1)
    for sigma in (2, 4, 8, 16, 32):
        grey += 26 * (2 / sigma) ** (1 - fade) * soft_noise(rng, height, width, sigma)
    return np.clip(grey, 0, 255).astype(np.uint8)


def _pale(rng, height, width):
    """Hardly etched: a flat tone, faint boundaries, a few possible inclusions."""
    marks = _cells(rng, height, width, rng.uniform(25, 80))
    grey = np.full((height, width), rng.uniform(150, 235), np.float32)
    edge = np.abs(np.diff(marks, axis=0, prepend=marks[:1])) > 0
    edge |= np.abs(np.diff(marks, axis=1, prepend=marks[:, :1])) > 0
    grey[edge] -= rng.uniform(10, 45)
    grey = np.clip(cv2.GaussianBlur(grey, (0, 0), 0.8), 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(5, 60))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(
            grey, centre, int(rng.integers(1, 6)), int(rng.integers(20, 90)), -1, cv2.LINE_AA
        )
    return grey
