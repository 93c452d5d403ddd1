"""Burn micron bars into real micrographs as microscope programs do; no drawing of the tests' own.

In:  a micrograph without graphics. Out: the same with a bar, and what is true of it.
The textures are real, so what is found here says more than on drawn steel; the overlays follow what
programs are seen to write, each with lengths, fonts, colours and places of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from drawn.graphics import fonts
from PIL import Image, ImageDraw, ImageFont

BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)
YELLOW, GREEN, GREY = (255, 255, 0), (0, 255, 0), (230, 230, 230)

SEEN = 100  # grey values between an ink and what it is written on
LENGTHS_UM = (1, 2, 5, 10, 20, 25, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500, 1000)


@dataclass(frozen=True)
class Style:
    """How a program writes its bar.

    Args:
        line: "solid", "ticks" at both ends, "dots" for a ruler without a line, "broken" by its
            label.
        inks: Colours to choose from. paper: of the box or band, None: over the micrograph itself.
        place: "corner" or "band". below: whether the label stands below. shadow: a dark copy.
        decimals: Of the number, as "100.00 µm".
    """

    line: str
    inks: tuple[tuple[int, int, int], ...]
    paper: tuple[int, int, int] | None = None
    place: str = "corner"
    below: bool = False
    shadow: bool = False
    decimals: int | None = None


STYLES = {
    "solid above": Style("solid", (BLACK, WHITE, RED)),
    "solid below": Style("solid", (WHITE, BLACK), below=True),
    "solid, white only": Style("solid", (WHITE,)),
    "ticks": Style("ticks", (BLACK, WHITE)),
    "ticks in colour": Style("ticks", (RED, BLUE, YELLOW, GREEN)),
    "ticks with shadow": Style("ticks", (WHITE,), below=True, shadow=True, decimals=2),
    "ticks in a box": Style("ticks", (BLACK,), WHITE),
    "ticks in a dark box": Style("ticks", (WHITE,), BLACK),
    "solid in a box": Style("solid", (BLACK,), WHITE),
    "solid in a dark box": Style("solid", (WHITE,), BLACK),
    "plot": Style("solid", (BLACK,), GREY, below=True),
    "band, broken": Style("broken", (WHITE,), BLACK, "band"),
    "band, dots": Style("dots", (WHITE,), BLACK, "band", decimals=1),
    "white band, dots": Style("dots", (BLACK,), WHITE, "band", decimals=1),
    "band, solid": Style("solid", (WHITE,), BLACK, "band"),
    "band, ticks": Style("ticks", (WHITE,), BLACK, "band"),
    "white band, solid": Style("solid", (BLACK,), WHITE, "band"),
}


@dataclass(frozen=True)
class Burnt:
    """A micrograph with a bar.

    Args:
        pixels: (h, w, 3) uint8, RGB. style: its name in `STYLES`. label: as written.
        line: Box of the bar. line_px: what stands for the label. um: the label in µm.
    """

    pixels: np.ndarray
    style: str
    label: str
    line: tuple[int, int, int, int]
    line_px: float
    um: float


def burnt(pixels: np.ndarray, seed: tuple[int, ...]) -> Burnt:
    """Write a bar of any style into a micrograph, (h, w, 3) uint8; the same seed the same bar."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(STYLES)))
    style, um = STYLES[name], float(rng.choice(LENGTHS_UM))
    words = _label(rng, style, um)
    long = int(pixels.shape[1] * rng.uniform(0.1, 0.33))
    high = max(11, int(pixels.shape[0] * rng.uniform(0.02, 0.045)))
    before = pixels
    if style.place == "band" and rng.random() < 0.5:  # below the picture, not over it
        more = max(24, int(2.2 * high))
        before = np.vstack([pixels, np.zeros((more, *pixels.shape[1:]), np.uint8)])
    pen = _Pen(before, rng, style=style, words=words, long=long, high=high)
    line = pen.band() if style.place == "band" else pen.corner()
    after = np.asarray(pen.picture)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 97))]
        _, data = cv2.imencode(".jpg", after[:, :, ::-1], quality)
        after = cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]
    length = line[2] - line[0] - (style.line != "solid")  # of ticks: from centre to centre
    return Burnt(np.ascontiguousarray(after), name, words, line, float(length), um)


def _label(rng: np.random.Generator, style: Style, um: float) -> str:
    unit = str(rng.choice(["µm", "μm", "um"], p=[0.6, 0.25, 0.15]))
    if um >= 1000:
        um, unit = um / 1000, "mm"
    number = f"{um:g}" if style.decimals is None else f"{um:.{style.decimals}f}"
    return number + str(rng.choice(["", " "])) + unit


class _Pen:
    """Writes one bar."""

    def __init__(self, pixels, rng, *, style, words, long, high) -> None:
        self.picture = Image.fromarray(pixels)
        self._draw = ImageDraw.Draw(self.picture)
        self._rng, self._style, self._words, self._long = rng, style, words, long
        self._font_file = str(rng.choice([f for f in fonts() if str(f).endswith((".ttf", ".otf"))]))
        self._font = ImageFont.truetype(self._font_file, high)
        self._ink = style.inks[0]
        self._thick = max(2, int(pixels.shape[0] * rng.uniform(0.003, 0.01)))
        self._tick = max(6, int(0.45 * high))
        self._gap = max(2, int(high * rng.uniform(0.15, 0.5)))

    def corner(self) -> tuple[int, int, int, int]:
        """Write into a corner, on paper of its own or over the micrograph."""
        width, height = self.picture.size
        wide, tall = self._size(self._words)
        bar = self._thick if self._style.line == "solid" else self._tick
        pad = self._gap + 4 if self._style.paper else 0
        w, h = max(self._long, wide) + 2 * pad, tall + self._gap + bar + 2 * pad
        aside = int(width * self._rng.uniform(0.01, 0.04))
        x = aside if self._rng.random() < 0.3 else width - aside - w
        y = aside if self._rng.random() < 0.15 else height - aside - h
        if self._style.paper:
            self._draw.rectangle([x, y, x + w - 1, y + h - 1], fill=self._style.paper)
        else:
            self._ink = self._seen_on(np.asarray(self.picture)[y : y + h, x : x + w])
        bar_y = y + pad if self._style.below else y + pad + tall + self._gap
        words_y = bar_y + bar + self._gap if self._style.below else y + pad
        self._write(x + (w - wide) // 2, words_y, self._words)
        return self._bar(x + (w - self._long) // 2, bar_y)

    def _seen_on(self, ground: np.ndarray) -> tuple[int, int, int]:
        """Choose an ink that can be seen where it is written, as people do."""
        usual = np.median(ground.reshape(-1, 3), axis=0)
        inks = [i for i in self._style.inks if np.abs(np.array(i) - usual).max() >= SEEN]
        if not inks:
            return WHITE if usual[0] < 128 else BLACK
        return inks[int(self._rng.integers(len(inks)))]

    def band(self) -> tuple[int, int, int, int]:
        """Write into a band over the whole width, after other words."""
        width, height = self.picture.size
        wide, tall = self._size(self._words)
        top = height - max(24, int(2.2 * self._font.size))
        self._draw.rectangle([0, top, width, height], fill=self._style.paper)
        if self._style.line == "broken":
            self._long = max(self._long, wide + 60)
        x = width - int(0.02 * width) - max(self._long, wide)
        at = int(0.02 * width)
        for word in ("15.00 kV", "2500 x", "WD 8.5 mm", "SE", "11/26/2026", "Aperture = 30.00 µm"):
            if at + self._size(word)[0] > x - 20:
                break
            self._write(at, top + (height - top - tall) // 2, word)
            at += self._size(word)[0] + self._font.size
        if self._style.line == "broken":
            y = (top + height) // 2
            self._write(x + (self._long - wide) // 2, y - tall // 2, self._words)
            return self._bar(x, y - self._tick // 2, hole=wide + 16)
        self._write(x + (max(self._long, wide) - wide) // 2, top + 3, self._words)
        bar = self._thick if self._style.line == "solid" else self._tick
        return self._bar(x, min(height - bar - 2, top + tall + 7))

    def _bar(self, x: int, y: int, hole: int = 0) -> tuple[int, int, int, int]:
        copies = [(1, BLACK), (0, self._ink)] if self._style.shadow else [(0, self._ink)]
        for by, ink in copies:
            self._bar_in(x + by, y + by, ink, hole)
        tall = self._thick if self._style.line == "solid" else self._tick
        return (x, y, x + self._long, y + tall)

    def _bar_in(self, x: int, y: int, ink: tuple[int, int, int], hole: int) -> None:
        last = x + self._long - 1
        thin = max(1, self._thick // 2)
        if self._style.line == "solid":
            self._draw.rectangle([x, y, last, y + self._thick - 1], fill=ink)
            return
        ticks = np.linspace(x, last, 11 if self._style.line == "dots" else 2).round().astype(int)
        for number, at in enumerate(ticks.tolist()):
            short = 0 if number % 5 == 0 or len(ticks) == 2 else self._tick // 3
            self._draw.line([at, y, at, y + self._tick - short], fill=ink, width=thin)
        middle = y + self._tick // 2
        if self._style.line == "ticks":
            self._draw.line([x, middle, last, middle], fill=ink, width=thin)
        elif self._style.line == "broken":
            half = (self._long - hole) // 2
            self._draw.line([x, middle, x + half, middle], fill=ink, width=thin)
            self._draw.line([last - half, middle, last, middle], fill=ink, width=thin)

    def _size(self, words: str) -> tuple[int, int]:
        x0, y0, x1, y1 = self._draw.textbbox((0, 0), words, font=self._font)
        return int(x1 - x0), int(y1 - y0)

    def _write(self, x: int, y: int, words: str) -> None:
        left, top, _, _ = self._draw.textbbox((0, 0), words, font=self._font)
        copies = [(1, BLACK), (0, self._ink)] if self._style.shadow else [(0, self._ink)]
        for by, ink in copies:
            self._draw.text((x - left + by, y - top + by), words, font=self._font, fill=ink)
