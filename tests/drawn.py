# ruff: noqa: FBT003, PLR0917 - a drawing is made of numbers and cases
"""Draw micrographs of which everything is known: steel, border, bleeding, bar, band, distractors.

In:  a seed. Out: `Drawn`: pixels, and the truth to the pixel. For tests and benches only; the
demo draws its own. Varied on purpose, since what is judged are other labs' programs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from drawn_graphics import STYLE_SHARES, STYLES, Canvas, as_jpeg, resampled, with_palette

if TYPE_CHECKING:
    from drawn_graphics import DrawnBar

Box = tuple[int, int, int, int]

BORDERS = ("straight", "wavy", "corner", "two_sides", "round")
MOUNTS = ("dark", "grey", "bright", "shaded", "grainy", "defocused", "bubbles", "coloured")
STEELS = ("needles", "bright_needles", "grains", "spheres", "particles", "lamellae")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A micrograph and its truth.

    Args:
        pixels: (h, w, 3) uint8, RGB. bars, band: what was burned in.
        outside, bleeding, graphics: (h, w) bool. words: what was chosen, for tables.
        marks: (h, w) bool, measurements and arrows; they may be kept, better not.
    """

    pixels: np.ndarray
    bars: tuple[DrawnBar, ...]
    band: Box | None
    outside: np.ndarray
    bleeding: np.ndarray
    graphics: np.ndarray
    words: dict[str, str]
    marks: np.ndarray

    @property
    def dirty(self):
        """Every pixel that may not be kept."""
        return self.outside | self.bleeding | self.graphics


def draw(
    seed: int,
    *,
    size: tuple[int, int] | None = None,
    bar: str | bool | None = None,
    border: str | bool | None = None,
    band: bool | None = None,
    distractors: bool | None = None,
) -> Drawn:
    """Draw one micrograph.

    Args:
        seed: The same seed draws the same micrograph.
        size: (height, width); None: chosen.
        bar: A style, False for none, True or None for any (None: also none at times).
        border: A kind, False for none, True or None for any (None: also none at times).
        band: Whether there is an info band; None: chosen.
        distractors: Whether texts and boxes that are no bar are drawn; None: chosen.
    """
    rng = np.random.default_rng(seed)
    height, width = size or _sizes(rng)
    if bar is None:
        bar = bool(rng.random() < 0.7)
    if border is None:
        border = bool(rng.random() < 0.5)
    if band is None:
        band = bool(bar) and bool(rng.random() < 0.35)
    if distractors is None:
        distractors = bool(rng.random() < 0.35)
    words: dict[str, str] = {}
    colour = bool(rng.random() < 0.5)
    grey = _steel(rng, height, width, words)
    outside = np.zeros((height, width), bool)
    bleeding = outside.copy()
    rgb = _tinted(grey, rng, colour=colour)
    if border:
        kind = border if isinstance(border, str) else str(rng.choice(BORDERS))
        words["border"] = kind
        rgb, outside, bleeding = _mounted(rgb, rng, kind, words, colour=colour)
    rgb = _photographed(rgb, rng)
    canvas = Canvas(rgb, rng, colour=colour)
    if distractors:
        canvas.distract()
    found, band_box = (), None
    if band:
        band_box = canvas.add_band()
        canvas.band_words(band_box, bar=bool(bar))
    if bar:
        style = bar if isinstance(bar, str) else str(rng.choice(STYLES, p=STYLE_SHARES))
        found = (canvas.add_bar(style, band_box),)
    words["bar"] = found[0].style if found else "none"
    drawn = Drawn(
        canvas.pixels, found, band_box, outside, bleeding, canvas.graphics, words, canvas.marks
    )
    return _exported(drawn, rng, may_resample=size is None)


def draw_panels(seed: int) -> Drawn:
    """Draw two fields side by side in one picture, each with its bar."""
    rng = np.random.default_rng([seed, 2])
    height = int(rng.choice([600, 768, 960]))
    one, other = (
        draw(2 * seed + side, size=(height, int(height * 1.1)), bar=True, border=False, band=False)
        for side in (0, 1)
    )
    shift = one.pixels.shape[1]
    moved = tuple(
        replace(bar, line=_shifted(bar.line, shift), box=_shifted(bar.box, shift))
        for bar in other.bars
    )
    return Drawn(
        np.hstack([one.pixels, other.pixels]),
        one.bars + moved,
        None,
        *(
            np.hstack([getattr(half, mask) for half in (one, other)])
            for mask in ("outside", "bleeding", "graphics")
        ),
        {**one.words, "panels": "2"},
        np.hstack([one.marks, other.marks]),
    )


def _shifted(box, by):
    return (box[0] + by, box[1], box[2] + by, box[3])


def _exported(drawn, rng, *, may_resample):
    """Save the picture as programs do: another size, a palette, JPEG once or twice."""
    pixels, bars, band = drawn.pixels, drawn.bars, drawn.band
    masks = [drawn.outside, drawn.bleeding, drawn.graphics, drawn.marks]
    words = dict(drawn.words)
    if may_resample and rng.random() < 0.1:
        pixels, bars = resampled(pixels, bars, rng)
        height, width = pixels.shape[:2]
        words["resampled"] = f"{width / drawn.pixels.shape[1]:.2f}"
        if band is not None:
            share = height / drawn.pixels.shape[0]
            band = (0, int(band[1] * share), width, int(np.ceil(band[3] * share)))
        masks = [
            cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
            for mask in masks
        ]
    if rng.random() < 0.04:
        words["palette"] = "yes"
        pixels = with_palette(pixels, rng)
    if rng.random() < 0.6:
        quality = int(rng.integers(60, 101))
        words["jpeg"] = str(quality)
        pixels = as_jpeg(pixels, quality, halved=rng.random() < 0.7)
        if rng.random() < 0.15:
            words["jpeg"] += ", 90"
            pixels = as_jpeg(pixels, 90, halved=True)
    return Drawn(pixels, bars, band, *masks[:3], words, masks[3])


def _sizes(rng):
    choices = ((480, 640), (600, 800), (768, 1024), (960, 1280), (1024, 1280), (1024, 1024))
    return choices[int(rng.integers(len(choices)))]


# --------------------------------------------------------------------------------------- steel


def _steel(rng, height, width, words):
    kind = str(rng.choice(STEELS, p=[0.4, 0.12, 0.15, 0.12, 0.09, 0.12]))
    words["steel"] = kind
    draw_it = {
        "needles": _needles,
        "bright_needles": _bright_needles,
        "grains": _grains,
        "spheres": _spheres,
        "particles": _particles,
        "lamellae": _lamellae,
    }[kind]
    return draw_it(rng, height, width)


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


def _tinted(grey, rng, *, colour):
    rgb = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32)
    if colour:
        rgb *= np.array([rng.normal(1.02, 0.04), 1.0, rng.normal(0.92, 0.07)], np.float32)
    return rgb


# -------------------------------------------------------------------------------------- border


def _soft(rng, height, width, sigma):
    """Draw slow noise, mean 0, standard deviation about 1."""
    h, w = max(2, int(height / sigma) + 2), max(2, int(width / sigma) + 2)
    noise = rng.normal(0, 1, (h, w)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _depth(rng, kind, height, width):
    """Say how deep in the specimen every pixel lies, in pixels; below 0 is outside."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if kind == "round":
        radius = 0.5 * min(height, width) * rng.uniform(0.8, 1.3)
        cx, cy = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
        return radius - np.hypot(x - cx, y - cy)

    def half(angle, share):
        nx, ny = np.cos(angle), np.sin(angle)
        along = x * nx + y * ny
        low, high = along.min(), along.max()
        return along - (low + share * (high - low))

    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else rng.integers(4) * np.pi / 2
    angle += rng.normal(0, 0.05)
    depth = half(angle, rng.uniform(0.08, 0.6))
    if kind == "wavy":
        depth = depth + 0.02 * min(height, width) * _soft(rng, height, width, 0.25 * width)
    if kind == "corner":
        depth = np.minimum(depth, half(angle + np.pi / 2, rng.uniform(0.08, 0.4)))
    if kind == "two_sides":
        depth = half(angle, rng.uniform(0.06, 0.25))
        depth = np.minimum(
            depth, half(angle + np.pi + rng.normal(0, 0.03), rng.uniform(0.06, 0.25))
        )
    return depth


def _mounted(rgb, rng, kind, words, *, colour):
    height, width = rgb.shape[:2]
    depth = _depth(rng, kind, height, width)
    rough = rng.uniform(0.3, 3.0)
    depth = depth + rough * _soft(rng, height, width, 6) + rough * _soft(rng, height, width, 25)
    outside = depth < 0
    mount = str(rng.choice(MOUNTS))
    words["mount"] = mount
    steel = rgb.mean()
    resin = _resin(rng, mount, height, width, steel, rgb, colour=colour)
    bleeding = np.zeros((height, width), bool)
    if rng.random() < 0.35:
        words["bleeding"] = "yes"
        reach = rng.uniform(15, 90) * (0.6 + 0.4 * np.clip(_soft(rng, height, width, 60), -1, 1))
        strength = np.clip(1 - depth / np.maximum(reach, 4), 0, 1) * rng.uniform(0.3, 0.6)
        strength[outside] = 0
        tint = np.array([1.0, 0.75, 0.5] if rng.random() < 0.6 else [0.6, 0.75, 1.0], np.float32)
        if not colour:
            tint = np.full(3, 0.6, np.float32)
        rgb = rgb * (1 - strength[:, :, None] * (1 - tint) * 1.6)
        bleeding = strength > 0.1
    soft = rng.uniform(0.7, 4.0)
    alpha = 1 / (1 + np.exp(-np.clip(depth / soft, -20, 20)))
    out = rgb * alpha[:, :, None] + resin * (1 - alpha[:, :, None])
    if rng.random() < 0.3:  # a bright rounded rim
        out += (60 * np.exp(-((depth / (2 * soft)) ** 2)))[:, :, None]
    if rng.random() < 0.15 and kind != "round":
        words["coating"] = "yes"
        thick = rng.uniform(8, 40)
        layer = (depth >= 0) & (depth < thick)
        tone = float(np.clip(steel + rng.choice([-70, 70]), 20, 250))
        out[layer] = tone + 4 * rng.normal(0, 1, (int(layer.sum()), 1))
        outside = depth < thick
    return out, outside, bleeding & ~outside


def _resin(rng, mount, height, width, steel, rgb, *, colour):
    slow = _soft(rng, height, width, 0.4 * width)
    if mount == "dark":
        grey = rng.uniform(5, 45) + 4 * slow
    elif mount == "bright":
        grey = rng.uniform(225, 250) + 4 * slow
    elif mount == "shaded":
        y = np.linspace(-1, 1, height)[:, None] * np.ones((1, width))
        grey = rng.uniform(60, 130) + rng.choice([-1, 1]) * 40 * y + 4 * slow
    elif mount == "grainy":
        grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.2)
        tone = float(np.clip(steel + rng.choice([-60, 60]), 25, 235))
        grey = tone + 28 * grain + 4 * slow
    elif mount == "defocused":
        grey = 0.7 * cv2.GaussianBlur(rgb.mean(axis=2), (0, 0), 12) + 3 * slow
        grey = grey - 25 if rng.random() < 0.7 else grey + 40
    else:
        tone = float(np.clip(steel + rng.choice([-55, 55]), 25, 240))
        grey = tone + 5 * slow
    resin = np.repeat(np.asarray(grey, np.float32)[:, :, None], 3, axis=2)
    resin = np.broadcast_to(resin, (height, width, 3)).copy()
    if mount == "bubbles":
        for _ in range(int(rng.integers(4, 25))):
            centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            radius = int(rng.integers(4, 40))
            tone = float(resin[0, 0, 0] + rng.choice([-35, 35]))
            cv2.circle(resin, centre, radius, (tone,) * 3, -1, cv2.LINE_AA)
            cv2.circle(resin, centre, radius, (tone - 40,) * 3, 2, cv2.LINE_AA)
        resin = cv2.GaussianBlur(resin, (0, 0), 2)
    if mount == "coloured" and colour:
        resin *= np.array(
            [[1.15, 0.8, 0.6], [0.7, 0.85, 1.15], [0.75, 1.1, 0.8]][int(rng.integers(3))],
            np.float32,
        )
    return resin


def _photographed(rgb, rng):
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0, 0.16) * (x**2 + y**2) / 2 + rng.uniform(-0.06, 0.06) * x
    out = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), rng.uniform(0.4, 1.0))
    out = out * light[:, :, None].astype(np.float32)
    out += rng.normal(0, rng.uniform(0.8, 5), (height, width, 1)).astype(np.float32)
    return np.clip(out, 0, 255).astype(np.uint8)
