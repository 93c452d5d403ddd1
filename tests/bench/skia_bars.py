"""Burn scale bars into real texture with Skia, in looks of vendors' programs.

Two halves share no font, no look and no texture: the reader is developed on "skia"; no picture of
"report" is looked at before its figures are published, but both are drawn by this one program.
Ticks are meant from middle to middle, every other line from end to end.

Fonts come from Debian's fonts-dejavu, -liberation, -lato, -urw-base35, -hack, -texgyre, -go,
-quicksand, -inconsolata, -jetbrains-mono, -linuxlibertine, -tuffy and -croscore. Skia is no
dependency: `pip install skia-python`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import skia
from burned_bars import BLACK, UM_PER_PX, WHITE, YELLOW, list_fonts, vary_texture
from skia import Rect

if TYPE_CHECKING:
    from pathlib import Path

    from burned_bars import Colour
    from numpy.random import Generator
    from numpy.typing import NDArray

RGBA = skia.kRGBA_8888_ColorType
GREEN, RED, BLUE, CYAN = (0, 200, 0), (225, 0, 0), (0, 0, 200), (0, 230, 230)
MAGENTA, ORANGE, PALE, NAVY = (255, 0, 255), (255, 140, 0), (225, 225, 225), (0, 0, 90)
NICE = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500)
LONG = (0.08, 0.34)  # of the width
LONG_INSIDE = (0.2, 0.4)  # of one that has the words in it
LEAST_LONG_PX, LEAST_LETTERS_PX = 76, 13  # as exported
UNLIKE, MOST_ALIKE = 65, 0.03  # grey values by which ink is seen, but for this share of pixels
FRACTIONS = {"1/2 mm": 500.0, "½ mm": 500.0, "1/4 mm": 250.0, "1/2 µm": 0.5, "1⁄2 mm": 500.0}
SHARE_OF_FRACTIONS = 0.04
VALUES = ("EHT = 15.00 kV", "WD = 8.2 mm", "Mag = 1.00 K X", "HV 20.0 kV", "Det: ETD", "x500",
          "Signal A = SE2", "12 May 2021", "Spot 3.5", "1024 x 768", "Probe 200 pA", "15:32:08",
          "20.0kV 9.6mm x2.00k SE", "Sample 4711-A", "Aperture 30 µm", "Vac: HiVac")  # fmt: skip
FAMILIES = {
    "skia": (
        "LiberationSans-Regular.ttf",
        "LiberationSans-Bold.ttf",
        "LiberationMono-Bold.ttf",
        "DejaVuSans.ttf",
        "DejaVuSans-Bold.ttf",
        "DejaVuSansMono.ttf",
        "Lato-Regular.ttf",
        "Lato-Heavy.ttf",
        "NimbusSansNarrow-Regular.otf",
        "NimbusRoman-Regular.otf",
        "Hack-Regular.ttf",
    ),
    "report": (
        "texgyreheros-regular.otf",
        "texgyreheros-bold.otf",
        "texgyreadventor-regular.otf",
        "Go-Regular.ttf",
        "Go-Medium.ttf",
        "Go-Mono.ttf",
        "Quicksand-Bold.ttf",
        "Inconsolata.otf",
        "JetBrainsMono-Regular.ttf",
        "LinBiolinum_R.otf",
        "tuffy_bold.ttf",
        "Tinos-Bold.ttf",
    ),
}


@dataclass(frozen=True)
class Look:
    """A vendor's way to draw a bar.

    Args:
        line: Kind of line.
        place: Of the words, seen from the line.
        ground: What lies under line and words.
        inks: Colours of the line, one of which is chosen.
        units: How µm is written.
        words: Colour of the words; None: the line's.
        paper: Colour of the ground.
        thick: Of the line, lowest and highest share of the letters' size.
    """

    line: str
    place: str
    ground: str
    inks: tuple[Colour, ...]
    units: tuple[str, ...] = ("µm", "µm", "μm", "um")
    words: Colour | None = None
    paper: Colour = WHITE
    thick: tuple[float, float] = (0.12, 0.3)


LOOKS = {
    "skia": {
        "corner_box": Look("beam", "above", "corner", (GREEN,), words=RED, thick=(0.08, 0.12)),
        "overlay_red": Look("solid", "above", "none", (RED, WHITE, YELLOW)),
        "overlay_bold": Look("solid", "below", "none", (WHITE, BLACK), thick=(0.3, 0.6)),
        "dark_strip": Look("beam", "right", "strip", (WHITE,), paper=BLACK, thick=(0.06, 0.12)),
        "white_strip": Look("solid", "above", "strip", (BLACK,), thick=(0.1, 0.2)),
        "framed_box": Look("down", "below", "framed", (BLACK,), thick=(0.08, 0.14)),
        "broken": Look("broken", "inside", "plate", (BLACK, BLUE), thick=(0.08, 0.14)),
        "broken_bare": Look("broken", "inside", "none", (WHITE, BLACK), thick=(0.1, 0.16)),
        "outlined": Look("rounded", "above", "outline", (WHITE, YELLOW), thick=(0.2, 0.4)),
        "upright_beam": Look("upright_beam", "right", "plate", (BLACK,), thick=(0.1, 0.16)),
        "upright_bare": Look("upright", "left", "outline", (WHITE,), thick=(0.2, 0.35)),
        "ruler": Look("ruler", "above", "plate", (BLACK, RED), thick=(0.08, 0.14)),
        "ruler_bare": Look("ruler", "below", "shadow", (WHITE, YELLOW), thick=(0.1, 0.16)),
        "double": Look("double", "above", "glass", (BLACK, NAVY), thick=(0.3, 0.5)),
        "cells": Look("cells", "below", "plate", (BLACK,), thick=(0.25, 0.4)),
        "shadowed": Look("solid", "above", "shadow", (WHITE, CYAN), thick=(0.15, 0.4)),
        "dimension": Look("arrows", "above", "plate", (BLACK, BLUE), thick=(0.07, 0.12)),
        "inlaid": Look("inlaid", "inside", "none", (WHITE, BLACK, YELLOW), thick=(1.3, 1.6)),
    },
    "report": {
        "black_corner": Look("beam", "above", "corner", (YELLOW,), words=WHITE, paper=BLACK,
                             thick=(0.1, 0.14)),
        "rounded_glass": Look("solid", "left", "rounded_glass", (BLACK, BLUE), ("мкм", "μm")),
        "top_strip": Look("down", "left", "top_strip", (NAVY,), paper=PALE, thick=(0.07, 0.12)),
        "two_rows": Look("up", "above", "strip", (WHITE,), ("um", "μm"), paper=NAVY,
                         thick=(0.06, 0.1)),
        "cyrillic": Look("solid", "below", "plate", (BLACK,), ("мкм",)),
        "cyrillic_bare": Look("beam", "above", "outline", (WHITE,), ("мкм",), thick=(0.12, 0.2)),
        "upright_ruler": Look("upright_ruler", "right", "plate", (BLACK,), thick=(0.1, 0.14)),
        "upright_strip": Look("upright", "right", "shadow", (YELLOW, WHITE), thick=(0.25, 0.4)),
        "cradle": Look("up", "inside", "none", (WHITE, BLACK), thick=(0.1, 0.16)),
        "capsule": Look("rounded", "below", "plate", (BLUE, RED), thick=(0.25, 0.45)),
        "hollow": Look("hollow", "above", "plate", (BLACK,), thick=(0.3, 0.5)),
        "sandwich": Look("sandwich", "below", "none", (WHITE,), words=WHITE, thick=(0.4, 0.6)),
        "halves": Look("halves", "above", "framed", (BLACK,), thick=(0.25, 0.4)),
        "comb": Look("comb", "below", "strip", (WHITE,), ("um", "μm"), paper=BLACK,
                     thick=(0.07, 0.12)),
        "open_arrows": Look("open_arrows", "below", "plate", (BLACK, RED), thick=(0.07, 0.12)),
        "magenta": Look("solid", "right", "none", (MAGENTA, ORANGE, CYAN), thick=(0.2, 0.5)),
        "glowing": Look("beam", "below", "glow", (BLACK, NAVY), thick=(0.12, 0.2)),
        "plain": Look("solid", "above_left", "none", (WHITE, BLACK), ("microns", "μm", "um"),
                      thick=(0.15, 0.3)),
    },
}  # fmt: skip


def burn_skia(
    split: str, rng: Generator, texture: NDArray[np.uint8], folder: Path
) -> tuple[NDArray[np.uint8], str, str, float, float]:
    """Burn a bar into a texture.

    Args:
        split: "skia" or "report".
        rng: Source of all that is drawn by chance.
        texture: (h, w, 3) uint8, RGB, without graphics.
        folder: Of fonts.

    Returns:
        Pixels, (h, w, 3) uint8; look; label; length of the line in pixels and in µm.
    """
    pixels = vary_texture(rng, texture)
    name = str(rng.choice(list(LOOKS[split])))
    look = LOOKS[split][name]
    factor = float(rng.uniform(0.45, 0.95)) if rng.random() < 0.3 else 1.0  # as exported
    um, um_per_px, label = _choose_length(rng, look, pixels.shape, factor)
    size = min(pixels.shape[:2]) * float(rng.uniform(0.024, 0.05))
    fonts = list_fonts(FAMILIES[split], folder)
    font, label = _choose_font(rng, fonts, label, max(LEAST_LETTERS_PX / factor + 1, size))
    bar = _Bar(rng, look, label, font, um / um_per_px)
    pixels = bar.burn(pixels)
    width = pixels.shape[1]
    if factor < 1:
        pixels = _reduce(rng, pixels, factor)
    if rng.random() < 0.6:
        quality = int(rng.integers(62, 97))
        encoded = _to_image(pixels).encodeToData(skia.EncodedImageFormat.kJPEG, quality)
        pixels = _to_rgb(skia.Image.MakeFromEncoded(encoded))
    return pixels, f"{name}-{look.line}-{look.place}", label, bar.long * pixels.shape[1] / width, um


def _choose_length(
    rng: Generator, look: Look, shape: tuple[int, ...], factor: float
) -> tuple[float, float, str]:
    """Return a usual length, µm, the scale, µm per pixel, and the length in words."""
    side = shape[0] if look.line.startswith("upright") else shape[1]
    shares = LONG_INSIDE if look.place == "inside" else LONG
    low, most = max(LEAST_LONG_PX / factor, shares[0] * side), shares[1] * side
    most = max(most, 2.6 * low)
    if rng.random() < SHARE_OF_FRACTIONS:
        label = str(rng.choice(list(FRACTIONS)))
        return FRACTIONS[label], FRACTIONS[label] / float(rng.uniform(low, most)), label
    while True:
        um_per_px = float(np.exp(rng.uniform(*np.log(UM_PER_PX))))
        usual = [n * 10.0**p for n in NICE for p in (-3, -1, 0, 1, 3)]
        fitting = [um for um in usual if low <= um / um_per_px <= most and 0.01 <= um <= 9000]
        if fitting:
            break
    um = float(round(rng.choice(fitting), 6))
    unit, value = str(rng.choice(look.units)), um
    if um < 0.1 or (um < 1 and rng.random() < 0.6):
        unit, value = "nm", 1000 * um
    elif um >= 1000 or (um >= 200 and rng.random() < 0.25):
        unit, value = "mm", um / 1000
    number = f"{value:.6g}"
    if 1 <= value < 1000 and rng.random() < 0.12:
        number = f"{value:.1f}"
    if rng.random() < 0.4:
        number = number.replace(".", ",")
    return um, um_per_px, number + (" " if len(unit) > 2 or rng.random() < 0.65 else "") + unit


def _choose_font(
    rng: Generator, paths: list[str], label: str, size: float
) -> tuple[skia.Font, str]:
    """Return a font that has all letters of a label, and the label."""
    fonts = [skia.Font(skia.Typeface.MakeFromFile(path), size) for path in rng.permutation(paths)]
    complete = [font for font in fonts if 0 not in font.textToGlyphs(label)]
    if not complete:  # as programs with such a font write
        return fonts[0], label.replace("µ", "u").replace("μ", "u").replace("мкм", "um")
    font = complete[0]
    edgings = (skia.Font.Edging.kAntiAlias,) * 3
    edgings += (skia.Font.Edging.kAlias, skia.Font.Edging.kSubpixelAntiAlias)
    font.setEdging(edgings[int(rng.integers(len(edgings)))])
    font.setSubpixel(bool(rng.random() < 0.5))
    return font, label


def _add_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels with an opaque fourth channel, RGBA."""
    return np.ascontiguousarray(np.pad(pixels, ((0, 0), (0, 0), (0, 1)), constant_values=255))


def _to_image(pixels: NDArray[np.uint8]) -> skia.Image:
    return skia.Image.fromarray(_add_alpha(pixels), colorType=RGBA)


def _to_rgb(image: skia.Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image.toarray(colorType=RGBA)[:, :, :3])


def _reduce(rng: Generator, pixels: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Return pixels as an export of fewer pixels keeps them."""
    how = ((skia.FilterMode.kLinear, skia.MipmapMode.kLinear), (skia.CubicResampler.Mitchell(),))
    sampling = skia.SamplingOptions(*how[int(rng.integers(2))])
    wide, high = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
    return _to_rgb(_to_image(pixels).resize(wide, high, sampling))


class _Bar:
    """One bar with its words, drawn around the left (or upper) end of its line."""

    def __init__(
        self, rng: Generator, look: Look, label: str, font: skia.Font, long: float
    ) -> None:
        self._rng, self._look, self._label, self._font = rng, look, label, font
        self._size = font.getSize()
        self.long = float(round(long)) if rng.random() < 0.6 else long
        self._thick = max(2.0, round(self._size * float(rng.uniform(*look.thick))))
        self._smooth = bool(rng.random() < 0.7)
        self._is_upright = look.line.startswith("upright")
        self._tall = self._get_height()
        self._words = skia.Rect.MakeEmpty()
        font.measureText(label, bounds=self._words)
        if look.place == "inside":  # else the words cover the line
            self.long = max(self.long, self._words.width() + 3 * self._size)
        self._at = self._place_words(float(rng.uniform(0.3, 0.6)) * self._size)

    def _get_height(self) -> float:
        """Return how far a line reaches across itself, pixels."""
        line, thick = self._look.line, self._thick
        if line in ("beam", "broken", "upright_beam", "down", "up", "comb", "upright_ruler"):
            return max(4 * thick, self._size * float(self._rng.uniform(0.4, 0.8)))
        if line in ("ruler", "arrows", "open_arrows"):
            return max(5 * thick, self._size * float(self._rng.uniform(0.5, 0.8)))
        return thick

    def _place_words(self, gap: float) -> tuple[float, float]:
        """Return where the words' box starts, x and y, seen from the start of the line."""
        wide, high = self._words.width(), self._words.height()
        line = self._line_box()
        middle = (line.left() + line.right() - wide) / 2
        level = (line.top() + line.bottom() - high) / 2
        if self._look.line == "up" and self._look.place == "inside":
            return middle, line.bottom() - self._thick - 0.5 * gap - high
        return {
            "above": (middle, line.top() - gap - high),
            "above_left": (line.left(), line.top() - gap - high),
            "below": (middle, line.bottom() + gap),
            "right": (line.right() + gap, level),
            "left": (line.left() - gap - wide, level),
            "inside": (middle, level),
        }[self._look.place]

    def _line_box(self) -> Rect:
        half = self._tall / 2
        if self._is_upright:
            return Rect.MakeLTRB(-half, 0, half, self.long)
        return Rect.MakeLTRB(0, -half, self.long, half)

    def _words_box(self) -> Rect:
        return Rect.MakeXYWH(*self._at, self._words.width(), self._words.height())

    def burn(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Burn the bar into pixels (h, w, 3) where its ink is seen."""
        look, rng = self._look, self._rng
        height, width = pixels.shape[:2]
        box = self._line_box()
        box.join(self._words_box())
        grey = pixels @ np.array((0.299, 0.587, 0.114), np.float32)
        bare = look.ground in ("none", "outline", "shadow", "glow")
        pad = float(rng.uniform(0.25, 0.6)) * self._size
        ink, x, y, ground = look.inks[0], 0.0, 0.0, look.ground
        for _ in range(24):
            ink = look.inks[int(rng.integers(len(look.inks)))]
            x, y = self._choose_place(box, pad, (height, width))
            if not bare or self._is_seen(grey, ink, x, y):
                break
        else:
            ground = "outline" if ground in ("none", "glow") else ground
        array = _add_alpha(pixels)
        canvas = skia.Canvas(array, colorType=RGBA)
        canvas.translate(x, y)
        words = ink if look.words is None else look.words
        self._lay_ground(canvas, ground, box, pad, (x, y, width, height))
        if look.line == "inlaid":
            words = BLACK if sum(ink) > 300 else WHITE
        if ground in ("outline", "glow", "shadow"):
            self._spread(canvas, ground, BLACK if sum(ink) > 300 else WHITE)
        self._draw(canvas, _paint(ink, smooth=self._smooth), _paint(words, smooth=True))
        return np.ascontiguousarray(array[:, :, :3])

    def _choose_place(self, box: Rect, pad: float, shape: tuple[int, int]) -> tuple[float, float]:
        """Return where the start of the line stands in the picture."""
        rng, (height, width) = self._rng, shape
        margin = pad + float(rng.uniform(0.01, 0.04)) * width
        corners = ((1, 1), (1, 1), (0, 1), (0, 1), (0.5, 1), (1, 0), (0, 0))
        across, down = corners[int(rng.integers(len(corners)))]
        if self._look.ground == "corner":
            across, down, margin = float(rng.integers(2)), 1.0, pad
        if self._look.ground in ("strip", "top_strip"):
            across, down = float(rng.choice([0.02, 0.5, 0.98])), float(self._look.ground == "strip")
            margin = pad
        x = margin + across * (width - box.width() - 2 * margin) - box.left()
        y = margin + down * (height - box.height() - 2 * margin) - box.top()
        return (float(round(x)), float(round(y))) if rng.random() < 0.6 else (x, y)

    def _is_seen(self, grey: NDArray[np.float32], ink: Colour, x: float, y: float) -> bool:
        """Return whether an ink differs from what lies around line and words."""
        light = float(np.dot(ink, (0.299, 0.587, 0.114)))
        boxes = [self._line_box()]
        boxes += [] if self._look.line == "inlaid" else [self._words_box()]
        for box in boxes:
            rows = slice(max(0, int(y + box.top()) - 4), int(y + box.bottom()) + 4)
            part = grey[rows, max(0, int(x + box.left()) - 4) : int(x + box.right()) + 4]
            if not part.size or float(np.mean(np.abs(part - light) < UNLIKE)) > MOST_ALIKE:
                return False
        return True

    def _lay_ground(
        self,
        canvas: skia.Canvas,
        ground: str,
        box: Rect,
        pad: float,
        picture: tuple[float, float, int, int],
    ) -> None:
        """Lay a plate or a strip with other values."""
        x, y, width, height = picture
        paint, plate = _paint(self._look.paper), box.makeOutset(pad, pad)
        if ground == "corner":  # the words are wider than the box
            line = self._line_box().makeOutset(pad, pad)
            plate = Rect.MakeLTRB(line.left(), plate.top(), line.right(), plate.bottom())
        if ground in ("strip", "top_strip"):
            top = -y if ground == "top_strip" else plate.top()
            plate = Rect.MakeLTRB(-x, top, width - x, plate.bottom() if top == -y else height - y)
        if ground in ("glass", "rounded_glass"):
            paint.setAlphaf(float(self._rng.uniform(0.6, 0.85)))
        if ground == "rounded_glass":
            canvas.drawRoundRect(plate, 0.5 * pad, 0.5 * pad, paint)
        elif ground in ("plate", "framed", "glass", "corner", "strip", "top_strip"):
            canvas.drawRect(plate.makeOffset(0, 0), paint)
        if ground == "framed":
            canvas.drawRect(plate, _paint(BLACK, stroke=max(1.0, self._size / 14)))
        if ground in ("strip", "top_strip"):
            self._write_values(canvas, plate, box.makeOutset(pad, pad))

    def _write_values(self, canvas: skia.Canvas, strip: Rect, taken: Rect) -> None:
        """Write other values of a microscope next to a bar in its strip."""
        rng, left = self._rng, strip.left() + self._size
        base = (strip.top() + strip.bottom()) / 2 + 0.35 * self._size
        paint = _paint(self._look.words or self._look.inks[0])
        for value in rng.permutation(VALUES):
            if rng.random() < 0.25:
                break
            wide = self._font.measureText(str(value))
            if left < taken.right() and left + wide > taken.left() - self._size:
                left = taken.right() + self._size
            if left + wide > strip.right() - 4:
                break
            canvas.drawString(str(value), left, base, self._font, paint)
            left += wide + self._size * float(rng.uniform(0.8, 2.5))

    def _spread(self, canvas: skia.Canvas, ground: str, colour: Colour) -> None:
        """Draw the outline, the glow or the shadow of line and words."""
        by = max(1.0, self._size / 14)
        if ground == "shadow":
            paint = _paint(colour)
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, 0.4 * by))
            canvas.save()
            canvas.translate(by, by)
            self._draw(canvas, paint, paint)
            canvas.restore()
            return
        paint = _paint(colour)
        if ground == "glow":
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, by))
        self._draw(canvas, paint, paint, wider=by)

    def _draw(
        self, canvas: skia.Canvas, line: skia.Paint, words: skia.Paint, *, wider: float = 0.0
    ) -> None:
        """Draw line and words; wider: by which their outline is beyond them, pixels."""
        canvas.save()
        if self._is_upright:
            canvas.rotate(90)
        for box in self._list_rects():
            canvas.drawRect(box.makeOutset(wider, wider), line)
        if self._look.line == "open_arrows":
            line = _as_stroke(line, self._thick + 2 * wider)
        for path in self._list_paths(wider):
            canvas.drawPath(path, line)
        canvas.restore()
        if self._look.line in ("cells", "halves", "hollow", "sandwich") and not wider:
            self._draw_inside(canvas)
        paint = skia.Paint(words)
        if wider:
            paint.setStyle(skia.Paint.kStrokeAndFill_Style)
            paint.setStrokeWidth(2 * wider)
        x, y = self._at[0] - self._words.left(), self._at[1] - self._words.top()
        canvas.drawString(self._label, x, y, self._font, paint)

    def _list_rects(self) -> list[Rect]:
        """Return the rectangles of a level line."""
        kind, long, thick, tall = self._look.line, self.long, self._thick, self._tall
        half, t = tall / 2, thick / 2
        whole = Rect.MakeLTRB(0, -t, long, t)

        def tick(x: float, top: float, foot: float) -> Rect:
            return Rect.MakeLTRB(x - t, top, x + t, foot)

        gap, third = 0.35 * self._size, max(1.0, round(thick / 3))
        ends = self._at[0] - gap, self._at[0] + self._words.width() + gap
        base = -half if kind == "down" else half - thick
        based = [Rect.MakeLTRB(-t, base, long + t, base + thick)]
        lines = {
            "arrows": [Rect.MakeLTRB(half, -t, long - half, t)],
            "broken": [Rect.MakeLTRB(0, -t, ends[0], t), Rect.MakeLTRB(ends[1], -t, long, t)],
            "double": [Rect.MakeLTRB(0, -t, long, third - t), Rect.MakeLTRB(0, t - third, long, t)],
            **{kind: [] for kind in ("rounded", "open_arrows", "comb")},
            **{kind: [*based] for kind in ("down", "up", "ruler", "upright_ruler")},
        }
        rects = lines.get(kind, [whole])
        if kind in ("beam", "upright_beam", "broken", "down", "up"):
            return [*rects, tick(0, -half, half), tick(long, -half, half)]
        if kind in ("comb", "ruler", "upright_ruler"):
            ticks = np.linspace(0, long, 11 if kind == "comb" or long > 25 * thick else 6)
            tall = (0, len(ticks) // 2, len(ticks) - 1) if len(ticks) % 2 else (0, len(ticks) - 1)
            tops = [-half if i in tall else 0.0 for i in range(len(ticks))]
            return [*rects, *(tick(x, top, half) for x, top in zip(ticks, tops, strict=True))]
        return rects

    def _list_paths(self, wider: float) -> list[skia.Path]:
        """Return the parts of a line that are no rectangles."""
        kind, long, t, half = self._look.line, self.long, self._thick / 2, self._tall / 2
        path = skia.Path()
        if kind == "rounded":
            box = Rect.MakeLTRB(0, -t, long, t).makeOutset(wider, wider)
            path.addRoundRect(box, t + wider, t + wider)
        for start, inwards in ((0.0, 1), (long, -1)):
            if kind == "arrows":
                back = start + inwards * 1.6 * half
                corners = [(start, 0), (back, 0.6 * half), (back, -0.6 * half)]
                path.addPoly([skia.Point(*corner) for corner in corners], close=True)
            elif kind == "open_arrows":  # the tip of a stroke is beyond its corner
                tip = start + inwards * t / np.sin(np.arctan2(0.7, 1.2))
                back = tip + inwards * 1.2 * half
                path.moveTo(back, -0.7 * half).lineTo(tip, 0).lineTo(back, 0.7 * half)
                path.moveTo(tip, 0).lineTo(long / 2, 0)
        return [] if path.isEmpty() else [path]

    def _draw_inside(self, canvas: skia.Canvas) -> None:
        """Draw the other colour of a line of two."""
        kind, long, t = self._look.line, self.long, self._thick / 2
        thin = max(1.0, round(self._thick / 6))
        other = _paint(self._look.paper if kind != "sandwich" else BLACK, smooth=self._smooth)
        if kind == "sandwich":
            canvas.drawRect(Rect.MakeLTRB(0, -t / 3, long, t / 3), other)
            return
        if kind == "hollow":
            canvas.drawRect(Rect.MakeLTRB(thin, thin - t, long - thin, t - thin), other)
            return
        count = 2 if kind == "halves" else 5
        for first in range(0 if kind == "halves" else 1, count, 2):
            left, right = long * first / count, long * (first + 1) / count
            canvas.drawRect(Rect.MakeLTRB(left + thin, thin - t, right - thin, t - thin), other)


def _paint(colour: Colour, *, smooth: bool = True, stroke: float = 0.0) -> skia.Paint:
    paint = skia.Paint(Color=skia.Color(*colour), AntiAlias=smooth)
    return _as_stroke(paint, stroke) if stroke else paint


def _as_stroke(paint: skia.Paint, wide: float) -> skia.Paint:
    stroke = skia.Paint(paint)
    stroke.setStyle(skia.Paint.kStroke_Style)
    stroke.setStrokeWidth(wide)
    return stroke
