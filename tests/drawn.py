# ruff: noqa: C901, FBT003, PLR0917 - a drawing is made of numbers and cases
"""Draw micrographs of which everything is known: steel, border, bleeding, bar, band, distractors.

In:  a seed. Out: `Drawn`: pixels, and the truth to the pixel. For tests and benches only; the
demo draws its own. Varied on purpose, since what is judged are other labs' programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Box = tuple[int, int, int, int]

NICE = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 8)
STYLES = ("solid", "caps", "ruler", "comb", "broken", "arrows", "thin")
BORDERS = ("straight", "wavy", "corner", "two_sides", "round")
MOUNTS = ("dark", "grey", "bright", "shaded", "grainy", "defocused", "bubbles", "coloured")
STEELS = ("needles", "bright_needles", "grains", "spheres", "particles", "lamellae")
COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "blue": (0, 0, 255),
    "green": (0, 255, 0),
}
_SYSTEM_FONTS = (
    "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSans-Bold.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf",
    "/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf",
    "/usr/share/fonts/opentype/urw-base35/NimbusSansNarrow-Regular.otf",
    "/usr/share/fonts/truetype/noto/NotoSansMono-Regular.ttf",
)


@dataclass(frozen=True, slots=True)
class DrawnBar:
    """A bar as drawn: `line` and `box` (x0, y0, x1, y1), um None when it has no label."""

    style: str
    colour: str
    line: Box
    box: Box
    line_px: float
    label: str
    um: float | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A micrograph and its truth.

    Args:
        pixels: (h, w, 3) uint8, RGB. bars, band: what was burned in.
        outside, bleeding, graphics: (h, w) bool. words: what was chosen, for tables.
    """

    pixels: np.ndarray
    bars: tuple[DrawnBar, ...]
    band: Box | None
    outside: np.ndarray
    bleeding: np.ndarray
    graphics: np.ndarray
    words: dict[str, str]

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
    canvas = _Canvas(rgb, rng, colour=colour)
    if distractors:
        canvas.distract()
    found, band_box = (), None
    if band:
        band_box = canvas.add_band()
        canvas.band_words(band_box, bar=bool(bar))
    if bar:
        style = bar if isinstance(bar, str) else str(rng.choice(STYLES))
        found = (canvas.add_bar(style, band_box),)
    words["bar"] = found[0].style if found else "none"
    pixels = canvas.pixels
    if rng.random() < 0.6:
        quality = int(rng.integers(60, 101))
        words["jpeg"] = str(quality)
        pixels = _jpeg(pixels, quality)
    return Drawn(pixels, found, band_box, outside, bleeding, canvas.graphics, words)


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


def _jpeg(pixels, quality):
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, data = cv2.imencode(".jpg", pixels[:, :, ::-1], options)
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])


# ------------------------------------------------------------------------------------ graphics


@cache
def _fonts():
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    own = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf")
    found = [path for path in _SYSTEM_FONTS if Path(path).exists()]
    return [*found, *(str(folder / name) for name in own)]


@cache
def _font(path, size):
    return ImageFont.truetype(path, size)


class _Canvas:
    def __init__(self, pixels, rng, *, colour):
        self.pixels = pixels.copy()
        self.rng = rng
        self.colour = colour
        self.graphics = np.zeros(pixels.shape[:2], bool)
        self.taken: list[Box] = []

    def add_band(self):
        rng = self.rng
        height, width = self.pixels.shape[:2]
        tall = int(rng.uniform(0.06, 0.14) * height)
        gap = int(rng.uniform(4, 25)) if rng.random() < 0.25 else 0
        top = gap if rng.random() < 0.25 else height - gap - tall
        paper = [(255, 255, 255), (0, 0, 0), (230, 230, 230), (30, 30, 30)][
            int(rng.choice(4, p=[0.5, 0.35, 0.08, 0.07]))
        ]
        box = (0, top, width, top + tall)
        self.pixels[top : top + tall] = paper
        if rng.random() < 0.3:
            ink = 255 - np.array(paper)
            cv2.rectangle(self.pixels, (0, top), (width - 1, top + tall - 1), ink.tolist(), 1)
        self.graphics[top : top + tall] = True
        self.taken.append(box)
        return box

    def band_words(self, box, *, bar):
        rng = self.rng
        width = self.pixels.shape[1]
        x0, y0, x1, y1 = box
        ink = self._ink((x0, y0, x1, y1))
        path = _fonts()[int(rng.integers(len(_fonts())))]
        size = int(np.clip((y1 - y0) * rng.uniform(0.22, 0.38), 9, 34))
        texts = [
            "EHT = 5.00 kV",
            "WD = 8.5 mm",
            "Mag = 1.50 K X",
            "Aperture Size = 30.00 µm",
            "Signal A = SE2",
            "Date :10 Jul 2017",
            "2019/05/07  15:12",
            "x500",
            "HV 15.0 kV",
            "HFW 1.73 mm",
            "Spot 3.0",
            "Operator: Huber",
            "100Cr6  850 °C / 20 min",
        ]
        rng.shuffle(texts)
        self.bar_place = (0.03, 0.4) if rng.random() < 0.5 else (0.6, 0.97)
        if not bar:
            self.bar_place = (2, 2)
        for row, y in enumerate((y0 + 0.1 * (y1 - y0), y0 + 0.55 * (y1 - y0))):
            x = 0.03 * width if self.bar_place[0] > 0.5 else 0.45 * width
            limit = 0.97 * width if self.bar_place[0] < 0.5 else 0.56 * width
            for text in texts[row::2]:
                w, _ = self._measure(text, path, size)
                if x + w > limit:
                    break
                self._write(text, (int(x), int(y)), path, size, ink)
                x += w + rng.uniform(1.2, 3) * size

    def add_bar(self, style, band):
        rng = self.rng
        height, width = self.pixels.shape[:2]
        um, um_per_px, unit = self._length(width, band)
        line_px = round(um / um_per_px)
        label = self._label(um, unit)
        if rng.random() < 0.03 and band is None:
            label = ""
        size = int(np.clip(height * rng.uniform(0.02, 0.05), 11, 48))
        if band is not None:
            size = int(np.clip((band[3] - band[1]) * rng.uniform(0.28, 0.42), 10, 34))
        path = _fonts()[int(rng.integers(len(_fonts())))]
        text = self._measure(label, path, size) if label else (0, 0)
        thick = int(np.clip(rng.uniform(0.1, 0.45) * size, 2, 22))
        if style in ("caps", "arrows", "broken", "thin"):
            thick = int(np.clip(rng.integers(1, 5), 1, 4))
        tick = int(np.clip(size * rng.uniform(0.5, 1.0), 3 * thick + 4, 60))
        tall = {"caps": tick, "ruler": tick, "comb": tick, "broken": tick}.get(style, thick)
        if style == "arrows":
            tall = max(thick, 7)
        place = str(rng.choice(["above", "below", "right"], p=[0.35, 0.5, 0.15]))
        if style == "broken" and line_px > text[0] + 60 and label:
            place = "inside"
        elif style == "broken":
            style = "caps"
        pad = max(3, int(0.25 * size))
        box_w, box_h, line_at, text_at = _layout(place, line_px, tall, text, pad)
        if band is not None:
            x_low, x_high = int(self.bar_place[0] * width), int(self.bar_place[1] * width)
            x = int(
                np.clip(rng.integers(x_low, max(x_low + 1, x_high - box_w)), 2, width - box_w - 2)
            )
            y = band[1] + max(1, (band[3] - band[1] - box_h) // 2)
            y = int(np.clip(y, 0, height - box_h - 1))
            colour = self._ink(band)
            colour_name = "black" if sum(colour) < 380 else "white"
            if rng.random() < 0.1 and self.colour:
                colour_name = str(rng.choice(["red", "green", "blue"]))
                colour = COLOURS[colour_name]
        else:
            x, y = self._corner(box_w, box_h)
            boxed = rng.random() < 0.45
            colour_name, colour = self._colour(x, y, box_w, box_h, boxed=boxed)
        line = (x + line_at[0], y + line_at[1], x + line_at[0] + line_px, y + line_at[1] + tall)
        true = self._draw_line(style, line, thick, tick, colour, text[0])
        if style in ("caps", "ruler", "comb", "broken"):
            line_px = true
        box = (x, y, x + box_w, y + box_h)
        if label:
            self._write(label, (x + text_at[0], y + text_at[1]), path, size, colour, exact=True)
        self.graphics[y : y + box_h, x : x + box_w] = True
        return DrawnBar(style, colour_name, line, box, float(true), label, um if label else None)

    def _length(self, width, band):
        """Choose µm per pixel and a round length that is a good share of the width."""
        rng = self.rng
        while True:
            um_per_px = float(np.exp(rng.uniform(np.log(0.015), np.log(2.5))))
            share = rng.uniform(0.05, 0.32 if band is not None else 0.3)
            rough = share * width * um_per_px
            power = 10.0 ** np.floor(np.log10(rough))
            value = NICE[int(np.argmin([abs(np.log(rough / power / n)) for n in NICE]))]
            if value not in (1, 2, 5) and rng.random() < 0.6:
                continue
            um = value * power
            if 28 < um / um_per_px < 0.35 * width:
                break
        unit = "µm"
        if um < 1 or (um <= 5 and um == round(um) and rng.random() < 0.1):
            unit = "nm" if (um * 1000) == round(um * 1000) and rng.random() < 0.8 else "µm"
        if um >= 100 and rng.random() < 0.25:
            unit = "mm"
        px = max(28, round(um / um_per_px))
        return um, um / px, unit

    def _label(self, um, unit):
        rng = self.rng
        value = um * {"µm": 1, "nm": 1000, "mm": 0.001}[unit]
        number = f"{value:g}"
        if value == round(value) and rng.random() < 0.1 and value < 100:
            number = f"{value:.1f}"
        if rng.random() < 0.3:
            number = number.replace(".", ",")
        written = {"µm": ["\u00b5m", "\u03bcm", "um"][int(rng.choice(3, p=[0.5, 0.35, 0.15]))]}
        space = "" if rng.random() < 0.25 else " "
        return number + space + written.get(unit, unit)

    def _corner(self, w, h):
        rng = self.rng
        height, width = self.pixels.shape[:2]
        edge = int(rng.uniform(0.008, 0.04) * width)
        right = rng.random() < 0.7
        low = rng.random() < 0.75
        x = width - edge - w if right else edge
        if rng.random() < 0.08:
            x = (width - w) // 2
        y = height - edge - h if low else edge
        return int(np.clip(x, 0, width - w - 1)), int(np.clip(y, 0, height - h - 1))

    def _colour(self, x, y, w, h, *, boxed):
        rng = self.rng
        under = self.pixels[y : y + h, x : x + w]
        if boxed:
            paper, names = ((255, 255, 255), ["black", "black", "red", "blue"])
            if rng.random() < 0.4:
                paper, names = ((0, 0, 0), ["white", "white", "yellow", "red", "green"])
            self.pixels[y : y + h, x : x + w] = paper
            if rng.random() < 0.25:
                ink = tuple(255 - c for c in paper)
                cv2.rectangle(self.pixels, (x, y), (x + w - 1, y + h - 1), ink, 1)
        else:
            level = float(under.mean())
            names = ["white"] if level < 150 else ["black"]
            names += ["red", "blue"] if level > 150 else ["yellow", "red"]
        name = str(names[int(rng.integers(len(names)))])
        return name, COLOURS[name]

    def _draw_line(self, style, line, thick, tick, colour, text_w):
        x0, y0, x1, y1 = line
        middle = (y0 + y1) // 2
        top = middle - thick // 2
        image = self.pixels
        if style in ("solid", "thin"):
            image[y0:y1, x0:x1] = colour
            return x1 - x0
        if style == "arrows":
            image[top : top + thick, x0 + 2 : x1 - 2] = colour
            for tip, back in ((x0, x0 + 6), (x1 - 1, x1 - 7)):
                corners = np.array([[tip, middle], [back, middle - 3], [back, middle + 3]])
                cv2.fillPoly(image, [corners.astype(np.int32)], colour)
            return x1 - x0
        if style == "ruler":
            flat = bool(self.rng.random() < 0.5)
            base = y1 - thick if flat else y0
            image[base : base + thick, x0:x1] = colour
            return self._ticks(line, colour, 1)
        if style == "comb":
            return self._ticks(line, colour, int(self.rng.integers(1, 3)))
        wide = max(1, min(thick, 3))
        image[y0:y1, x0 : x0 + wide] = colour
        image[y0:y1, x1 - wide : x1] = colour
        if style == "broken":
            gap = text_w + 2 * max(4, tick // 4)
            cut = (x0 + x1 - gap) // 2
            image[top : top + thick, x0:cut] = colour
            image[top : top + thick, cut + gap : x1] = colour
        else:
            image[top : top + thick, x0:x1] = colour
        return x1 - x0 - wide

    def _ticks(self, line, colour, wide):
        x0, y0, x1, y1 = line
        n = 10 if x1 - x0 > 60 else 5
        places = np.round(np.linspace(x0, x1 - wide, n + 1)).astype(int)
        for i, x in enumerate(places):
            short = 0 if i % 5 == 0 or self.rng.random() < 0 else int(0.35 * (y1 - y0))
            self.pixels[y0 + short : y1, x : x + wide] = colour
        return float(places[-1] - places[0])

    def _ink(self, box):
        x0, y0, _, y1 = box
        level = self.pixels[y0 : y0 + 3, x0 + 3 : x0 + 6].mean()
        if y1 - y0 > 8:
            level = self.pixels[(y0 + y1) // 2, x0 + 3 : x0 + 6].mean()
        return (0, 0, 0) if level > 128 else (255, 255, 255)

    def _measure(self, text, path, size):
        left, top, right, bottom = _font(path, size).getbbox(text)
        return int(right - min(0, left)) + 1, int(bottom - min(0, top)) + 1

    def _write(self, text, at, path, size, colour, *, exact=False):
        del exact
        image = Image.fromarray(self.pixels)
        pen = ImageDraw.Draw(image)
        if self.rng.random() < 0.2:
            pen.fontmode = "1"  # not anti-aliased, as older programs write
        pen.text(at, text, fill=tuple(int(c) for c in colour), font=_font(path, size))
        self.pixels = np.array(image)

    def distract(self):
        """Burn in what is no bar: measurements, arrows, stamps, outlines."""
        rng = self.rng
        height, width = self.pixels.shape[:2]
        path = _fonts()[int(rng.integers(len(_fonts())))]
        size = int(np.clip(0.02 * height, 10, 28))
        for _ in range(int(rng.integers(1, 4))):
            x, y = int(rng.uniform(0.1, 0.7) * width), int(rng.uniform(0.2, 0.7) * height)
            kind = int(rng.integers(5))
            if kind == 0:  # a measurement's box
                w, h = self._measure("Pa 1 = 2.680 µm", path, size)
                self.pixels[y : y + h + 8, x : x + w + 12] = 0
                self._write("Pa 1 = 2.680 µm", (x + 6, y + 3), path, size, (255, 255, 255))
            elif kind == 1:  # a measured distance
                end = x + int(rng.uniform(40, 200))
                cv2.arrowedLine(self.pixels, (x, y), (end, y), (255, 255, 0), 2)
                cv2.arrowedLine(self.pixels, (end, y), (x, y), (255, 255, 0), 2)
                self._write("d = 13.47 µm", (x, y - size - 6), path, size, (255, 255, 0))
            elif kind == 2:  # a stamp
                stamp = str(rng.choice(["2024-11-03 14:22", "A-4711 / 3", "500x", "Schliff 12"]))
                self._write(stamp, (x, y), path, size, (255, 255, 255))
            elif kind == 3:  # a region of interest
                end = (x + int(rng.uniform(50, 250)), y + int(rng.uniform(40, 200)))
                cv2.rectangle(self.pixels, (x, y), end, (255, 0, 0), 2)
            else:  # an arrow
                tip = (x + int(rng.uniform(-90, 90)), y + int(rng.uniform(-90, 90)))
                cv2.arrowedLine(self.pixels, (x, y), tip, (255, 255, 255), 2)


def _layout(place, line_px, tall, text, pad):
    """Place line and label in their box: (box w, box h, line at, text at)."""
    tw, th = text
    if place == "inside":
        h = max(tall, th)
        at = (pad + (line_px - tw) // 2, pad + (h - th) // 2)
        return line_px + 2 * pad, h + 2 * pad, (pad, pad + (h - tall) // 2), at
    if place == "right" and tw:
        h = max(tall, th)
        line_at, at = (pad, pad + (h - tall) // 2), (2 * pad + line_px, pad + (h - th) // 2)
        return line_px + tw + 3 * pad, h + 2 * pad, line_at, at
    w = max(line_px, tw)
    line_x, text_x = pad + (w - line_px) // 2, pad + (w - tw) // 2
    gap = pad if tw else 0
    h = tall + th + gap
    if place == "above":
        return w + 2 * pad, h + 2 * pad, (line_x, pad + th + gap), (text_x, pad)
    return w + 2 * pad, h + 2 * pad, (line_x, pad), (text_x, pad + tall + gap)
