# ruff: noqa: C901, PLR0917, PLR0912, PLR0915 - a drawing is made of numbers and cases
"""Burn graphics into a drawn micrograph as programs do: bar, label, band, boxes, measurements.

In:  pixels and a generator of random numbers. Out: pixels, and the truth to the pixel.
Next: `drawn`. Looks are those that labs' programs are known for, not those that a finder likes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Box = tuple[int, int, int, int]

NICE = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7.5, 8)
STYLES = ("solid", "caps", "ruler", "comb", "broken", "arrows", "thin", "checker", "titled")
STYLE_SHARES = (0.135,) * 7 + (0.0275,) * 2
COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "yellow": (255, 255, 0),
    "blue": (0, 0, 255),
    "green": (0, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "orange": (255, 140, 0),
    "dark green": (0, 120, 0),
    "light grey": (225, 225, 225),
}
_FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSans-Oblique.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
)
STROKES = "strokes"
"""Instead of a font's path: OpenCV's stroke font, which has no µ."""


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


@cache
def fonts():
    """Return the files of Matplotlib's fonts: they are the same on each PC, as are drawings."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return [str(folder / name) for name in _FONTS]


@cache
def font(path, size):
    """Load a font once."""
    return ImageFont.truetype(path, size)


class Canvas:
    """Pixels that graphics are burned into, and which pixels those are."""

    def __init__(self, pixels, rng, *, colour):
        self.pixels = pixels.copy()
        self.rng = rng
        self.colour = colour
        self.graphics = np.zeros(pixels.shape[:2], bool)
        self.marks = self.graphics.copy()  # what was measured or pointed at, no bar
        self.bar_place = (0.03, 0.97)

    # ------------------------------------------------------------------------------ info band

    def add_band(self):
        """Lay an info band across the field; it need not reach the edge."""
        rng = self.rng
        height, width = self.pixels.shape[:2]
        tall = int(rng.uniform(0.06, 0.14) * height)
        gap = int(rng.uniform(4, 25)) if rng.random() < 0.25 else 0
        top = gap if rng.random() < 0.25 else height - gap - tall
        papers = [(255, 255, 255), (0, 0, 0), (230, 230, 230), (30, 30, 30), (20, 40, 110)]
        paper = papers[int(rng.choice(5, p=[0.48, 0.34, 0.08, 0.06, 0.04]))]
        box = (0, top, width, top + tall)
        self.pixels[top : top + tall] = paper
        ink = self._ink(box)
        if rng.random() < 0.3:
            cv2.rectangle(self.pixels, (0, top), (width - 1, top + tall - 1), ink, 1)
        self.graphics[top : top + tall] = True
        return box

    def band_words(self, box, *, bar):
        """Write what programs write into a band; leave room for the bar."""
        rng = self.rng
        width = self.pixels.shape[1]
        x0, y0, x1, y1 = box
        ink = self._ink((x0, y0, x1, y1))
        path = self._any_font()
        rows = int(rng.choice([1, 2, 2, 3]))
        size = int(np.clip((y1 - y0) * rng.uniform(0.5, 0.8) / max(1.6, rows), 9, 34))
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
            "View field: 207 µm",
            "Objective 50x  NA 0.8",
            "Feld 4 / 12",
        ]
        rng.shuffle(texts)
        self.bar_place = (0.03, 0.4) if rng.random() < 0.5 else (0.6, 0.97)
        if not bar:
            self.bar_place = (2, 2)
        rules = rng.random() < 0.25
        for row in range(rows):
            y = y0 + (row + 0.5) / rows * (y1 - y0) - 0.6 * size
            x = 0.03 * width if self.bar_place[0] > 0.5 else 0.45 * width
            limit = 0.97 * width if self.bar_place[0] < 0.5 else 0.56 * width
            for text in texts[row::rows]:
                w, _ = self._measure(text, path, size)
                if x + w > limit:
                    break
                self._write(text, (int(x), int(y)), path, size, ink)
                x += w + rng.uniform(1.2, 3) * size
                if rules and row == 0:
                    at = int(x - 0.6 * size)
                    self.pixels[y0 + 2 : y1 - 2, at : at + 1] = ink

    # ----------------------------------------------------------------------------- micron bar

    def add_bar(self, style, band):
        """Burn in one micron bar with its label; say where it is and what it states."""
        rng = self.rng
        height, width = self.pixels.shape[:2]
        um, um_per_px, unit = self._length(width, band)
        line_px = round(um / um_per_px)
        path = self._any_font()
        label = self._label(um, unit, path)
        if rng.random() < 0.03 and band is None:
            label = ""
        size = int(np.clip(height * rng.uniform(0.02, 0.05), 11, 48))
        if band is not None:
            size = int(np.clip((band[3] - band[1]) * rng.uniform(0.28, 0.42), 10, 34))
        text = self._measure(label, path, size) if label else (0, 0)
        thick = int(np.clip(rng.uniform(0.1, 0.45) * size, 2, 22))
        if style in ("caps", "arrows", "broken", "thin"):
            thick = int(rng.integers(1, 5))
        tick = int(np.clip(size * rng.uniform(0.5, 1.0), 3 * thick + 4, 60))
        tall = {"caps": tick, "ruler": tick, "comb": tick, "broken": tick}.get(style, thick)
        if style == "arrows":
            tall = max(thick, 7)
        place = str(rng.choice(["above", "below", "right", "left"], p=[0.35, 0.48, 0.12, 0.05]))
        if style == "titled" and label and line_px > text[0] + 12 and text[1] + 6 < 0.4 * line_px:
            place, tall = "inside", text[1] + 6
        elif style == "titled":
            style = "solid"
        if style == "broken" and line_px > text[0] + 60 and label:
            place = "inside"
        elif style == "broken":
            style = "caps"
        pad = max(3, int(0.25 * size))
        box_w, box_h, line_at, text_at = _layout(place, line_px, tall, text, pad)
        if band is not None and box_h > band[3] - band[1] - 2:  # beside each other they fit
            tick = min(tick, band[3] - band[1] - 6)
            tall, pad = min(tall, max(thick, tick)), 2
            place = place if place == "inside" else "right"
            box_w, box_h, line_at, text_at = _layout(place, line_px, tall, text, pad)
        numbered = place == "below" and style in ("ruler", "comb") and rng.random() < 0.12
        if numbered := numbered and bool(label) and line_px > text[0] + size:
            box_w += text[0] // 2 + pad
            text_at = (line_at[0] + line_px - text[0] // 2, text_at[1])
        paper = None
        if band is not None:
            x_low, x_high = int(self.bar_place[0] * width), int(self.bar_place[1] * width)
            x = int(
                np.clip(rng.integers(x_low, max(x_low + 1, x_high - box_w)), 2, width - box_w - 2)
            )
            y = band[1] + max(1, (band[3] - band[1] - box_h) // 2)
            y = int(np.clip(y, 0, height - box_h - 1))
            colour = self._ink(band)
            name = "black" if sum(colour) < 380 else "white"
            if rng.random() < 0.1 and self.colour:
                name = str(rng.choice(["red", "green"] if name == "black" else ["yellow", "cyan"]))
                colour = COLOURS[name]
        else:
            x, y = self._corner(box_w, box_h)
            boxed = rng.random() < 0.45
            name, colour, paper = self._colour(x, y, box_w, box_h, boxed=boxed)
        line = (x + line_at[0], y + line_at[1], x + line_at[0] + line_px, y + line_at[1] + tall)
        outlined = band is None and paper is None and style != "checker" and rng.random() < 0.12
        before = self.pixels.copy() if outlined else None
        true = self._draw_line(style, line, thick, tick, colour, text[0])
        if label:
            ink = colour
            if style == "titled":
                ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
            self._write(label, (x + text_at[0], y + text_at[1]), path, size, ink)
            if numbered:
                self._write("0", (x + line_at[0], y + text_at[1]), path, size, ink)
        if before is not None:
            self._outline(before, colour)
        box = (x, y, x + box_w, y + box_h)
        self.graphics[y : y + box_h, x : x + box_w] = True
        return DrawnBar(style, name, line, box, float(true), label, um if label else None)

    def _outline(self, before, colour):
        """Put an edge of the opposite tone around what was just drawn."""
        drawn = (self.pixels != before).any(axis=2).astype(np.uint8)
        edge = (cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > 0) & (drawn == 0)
        self.pixels[edge] = (0, 0, 0) if sum(colour) > 250 else (255, 255, 255)

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
        if um >= 20 and rng.random() < 0.02:
            inches = (25.4, 50.8, 127.0, 254.0, 508.0)
            um, unit = min(inches, key=lambda length: abs(np.log(length / um))), "in"
        return um, um / px, unit

    def _label(self, um, unit, path):
        rng = self.rng
        value = um * {"µm": 1, "nm": 1000, "mm": 0.001, "in": 1 / 25400}[unit]
        number = f"{value:.6g}"
        if value == round(value) and rng.random() < 0.1 and value < 100:
            number = f"{value:.1f}"
        if rng.random() < 0.05 and value < 1000:
            number = f"{value:.2f}" if round(value, 2) == value else number
        if rng.random() < 0.3:
            number = number.replace(".", ",")
        written = {"µm": ["\u00b5m", "\u03bcm", "um"][int(rng.choice(3, p=[0.5, 0.35, 0.15]))]}
        space = "" if rng.random() < 0.25 else " "
        unit = written.get(unit, unit)
        if path == STROKES:
            unit = unit.replace("\u00b5", "u").replace("\u03bc", "u")
        before = ""
        if rng.random() < 0.03:
            before = str(rng.choice(["Bar = ", "Scale: ", "Maßstab: ", "Scale bar "]))
            before = before.replace("ß", "ss") if path == STROKES else before
        return before + number + space + unit

    def _corner(self, w, h):
        rng = self.rng
        height, width = self.pixels.shape[:2]
        edge = int(rng.uniform(0.002, 0.04) * width)
        right = rng.random() < 0.7
        low = rng.random() < 0.75
        x = width - edge - w if right else edge
        if rng.random() < 0.08:
            x = (width - w) // 2
        y = height - edge - h if low else edge
        return int(np.clip(x, 0, width - w - 1)), int(np.clip(y, 0, height - h - 1))

    def _colour(self, x, y, w, h, *, boxed):
        """Choose a colour that people would still see there; lay a box under it where wanted."""
        rng = self.rng
        under = self.pixels[y : y + h, x : x + w]
        paper = None
        if boxed:
            paper, names = ((255, 255, 255), ["black", "black", "red", "blue", "dark green"])
            if rng.random() < 0.4:
                paper, names = ((0, 0, 0), ["white", "white", "yellow", "red", "green", "cyan"])
            solid = 1.0 if rng.random() < 0.75 else rng.uniform(0.5, 0.9)
            if solid < 1:
                names = names[:2]
            under[:] = np.rint(solid * np.array(paper) + (1 - solid) * under)
            if rng.random() < 0.25:
                ink = tuple(255 - c for c in paper)
                cv2.rectangle(self.pixels, (x, y), (x + w - 1, y + h - 1), ink, 1)
        else:
            light = float(under.mean()) >= 150
            names = ["black", "black", "red", "blue"] if light else ["white", "white", "yellow"]
            names += ["magenta", "dark green"] if light else ["red", "cyan", "orange", "light grey"]
        name = str(names[int(rng.integers(len(names)))])
        return name, COLOURS[name], paper

    def _draw_line(self, style, line, thick, tick, colour, text_w):
        """Draw a bar's line; say how many pixels stand for its label."""
        x0, y0, x1, y1 = line
        middle = (y0 + y1) // 2
        top = middle - thick // 2
        image = self.pixels
        if style in ("solid", "thin", "titled"):
            image[y0:y1, x0:x1] = colour
            return x1 - x0
        if style == "checker":
            cuts = np.round(np.linspace(x0, x1, int(self.rng.integers(3, 6)) + 1)).astype(int)
            for i, (left, right) in enumerate(pairwise(cuts)):
                image[y0:y1, left:right] = colour
                if i % 2 and y1 - y0 >= 4 and right - left > 6:
                    inner = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
                    image[y0 + 1 : y1 - 1, left + 1 : right - 1] = inner
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
            return self._ticks(line, colour, 1, hang=not flat)
        if style == "comb":
            return self._ticks(line, colour, int(self.rng.integers(1, 3)), hang=False)
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

    def _ticks(self, line, colour, wide, *, hang):
        """Draw a ruler's ticks, each fifth or only the outer ones tall, or all alike."""
        x0, y0, x1, y1 = line
        n = 10 if x1 - x0 > 60 else 5
        places = np.round(np.linspace(x0, x1 - wide, n + 1)).astype(int)
        tall_every = int(self.rng.choice([1, 5, n]))
        for i, x in enumerate(places):
            short = 0 if i % tall_every == 0 else int(0.35 * (y1 - y0))
            rows = slice(y0, y1 - short) if hang else slice(y0 + short, y1)
            self.pixels[rows, x : x + wide] = colour
        return float(places[-1] - places[0])

    # ---------------------------------------------------------------------------------- words

    def _any_font(self):
        if self.rng.random() < 0.07:
            return STROKES
        return fonts()[int(self.rng.integers(len(fonts())))]

    def _ink(self, box):
        x0, y0, _, y1 = box
        level = self.pixels[y0 : y0 + 3, x0 + 3 : x0 + 6].mean()
        if y1 - y0 > 8:
            level = self.pixels[(y0 + y1) // 2, x0 + 3 : x0 + 6].mean()
        return (0, 0, 0) if level > 128 else (255, 255, 255)

    def _measure(self, text, path, size):
        if path == STROKES:
            (w, h), below = cv2.getTextSize(text, 0, size / 30, 1 + (size > 20))
            return w + 2, h + below + 2
        left, top, right, bottom = font(path, size).getbbox(text)
        return int(right - min(0, left)) + 1, int(bottom - min(0, top)) + 1

    def _write(self, text, at, path, size, colour):
        colour = tuple(int(c) for c in colour)
        smooth = self.rng.random() >= 0.2  # older programs write without
        if path == STROKES:
            text = text.replace("°", "").replace("µ", "u")
            (_, h), _ = cv2.getTextSize(text, 0, size / 30, 1 + (size > 20))
            kind = cv2.LINE_AA if smooth else cv2.LINE_8
            foot = (at[0] + 1, at[1] + h + 1)
            cv2.putText(self.pixels, text, foot, 0, size / 30, colour, 1 + (size > 20), kind)
            return
        image = Image.fromarray(self.pixels)
        pen = ImageDraw.Draw(image)
        if not smooth:
            pen.fontmode = "1"
        pen.text(at, text, fill=colour, font=font(path, size))
        self.pixels = np.array(image)

    # ---------------------------------------------------------------------------- distractors

    def distract(self):
        """Burn in what is no bar: measurements, arrows, stamps, outlines, a grid."""
        before = self.pixels.copy()
        for _ in range(int(self.rng.integers(1, 4))):
            self._one_distractor()
        self.marks |= (self.pixels != before).any(axis=2)

    def _one_distractor(self):
        rng = self.rng
        height, width = self.pixels.shape[:2]
        path = self._any_font()
        size = int(np.clip(0.02 * height, 10, 28))
        x, y = int(rng.uniform(0.1, 0.7) * width), int(rng.uniform(0.2, 0.7) * height)
        kind = int(rng.integers(8))
        if kind == 0:  # a measurement's box
            words = str(rng.choice(["Pa 1 = 2.680 µm", "L1: 13.47 µm", "Pb R1 = 45.1 °"]))
            w, h = self._measure(words, path, size)
            self.pixels[y : y + h + 8, x : x + w + 12] = 0
            self._write(words, (x + 6, y + 3), path, size, (255, 255, 255))
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
        elif kind == 4:  # a distance between two strokes, at any angle
            other = (x + int(rng.uniform(-150, 150)), y + int(rng.uniform(20, 150)))
            cv2.line(self.pixels, (x, y), other, (0, 255, 0), 1 + int(rng.integers(2)))
            self._write(f"{rng.uniform(3, 99):.2f} µm", (x + 8, y - size), path, size, (0, 255, 0))
        elif kind == 5:  # an underlined caption
            w, h = self._measure("Probe A / Rand", path, size)
            self._write("Probe A / Rand", (x, y), path, size, (0, 0, 0))
            self.pixels[y + h + 2 : y + h + 4, x : x + w] = 0
        elif kind == 6:  # a cross-hair through the whole field
            self.pixels[height // 2, :] = (255, 255, 255)
            self.pixels[:, width // 2] = (255, 255, 255)
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
    if place in ("right", "left") and tw:
        h = max(tall, th)
        line_at, at = (pad, pad + (h - tall) // 2), (2 * pad + line_px, pad + (h - th) // 2)
        if place == "left":
            line_at, at = (2 * pad + tw, line_at[1]), (pad, at[1])
        return line_px + tw + 3 * pad, h + 2 * pad, line_at, at
    w = max(line_px, tw)
    line_x, text_x = pad + (w - line_px) // 2, pad + (w - tw) // 2
    gap = pad if tw else 0
    if place == "above":
        return w + 2 * pad, tall + th + gap + 2 * pad, (line_x, pad + th + gap), (text_x, pad)
    return w + 2 * pad, tall + th + gap + 2 * pad, (line_x, pad), (text_x, pad + tall + gap)


# ----------------------------------------------------------------------------------- the export


def resampled(pixels, bars, rng):
    """Make a picture smaller or larger, as exports for documents do."""
    factor = float(rng.choice([0.6, 0.75, 0.8, 1.25, 1.5])) if rng.random() < 0.7 else 0.5
    factor = factor if pixels.shape[0] * factor >= 480 else 1.3
    how = cv2.INTER_AREA if factor < 1 and rng.random() < 0.6 else cv2.INTER_LINEAR
    if rng.random() < 0.3:
        how = cv2.INTER_CUBIC
    height, width = (round(side * factor) for side in pixels.shape[:2])
    across, down = width / pixels.shape[1], height / pixels.shape[0]
    moved = tuple(
        replace(
            bar,
            line=_moved(bar.line, across, down),
            box=_moved(bar.box, across, down),
            line_px=bar.line_px * across,
        )
        for bar in bars
    )
    return cv2.resize(pixels, (width, height), interpolation=how), moved


def _moved(box, across, down):
    x0, y0, x1, y1 = box
    return (
        int(x0 * across),
        int(y0 * down),
        int(np.ceil(x1 * across)),
        int(np.ceil(y1 * down)),
    )


def with_palette(pixels, rng):
    """Give a picture 256 colours or fewer, with or without dithering."""
    image = Image.fromarray(pixels)
    dither = Image.Dither.FLOYDSTEINBERG if rng.random() < 0.5 else Image.Dither.NONE
    colours = int(rng.choice([64, 128, 256]))
    return np.array(image.quantize(colours, dither=dither).convert("RGB"))


def as_jpeg(pixels, quality, *, halved):
    """Write and read as JPEG; `halved`: colour at half the resolution, as most programs do."""
    half, full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    _, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [*options, half if halved else full])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
