"""Draw line and words of a scale bar as coverage, in the kinds that `fresh_bars` lists.

Ends are centres of ticks, tips of arrows and edges of filled bars; ticks are thin beside the line,
so that measuring from outer edge to outer edge is right within 2 % as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Mask = NDArray[np.float32]

FINE = 8  # by which an anti-aliased drawing is larger before it is reduced
ROOM = 3  # pixels around a group
THINNEST_SMOOTH = 1.5  # pixels; less would fade between two rows
THICKEST_TICK = 0.011  # of the length of the line
BITMAP_SIZES = (16, 18, 20, 22, 24, 28, 32)  # pixels, of Terminus


@dataclass(frozen=True)
class Drawn:
    """Line and words as drawn.

    Args:
        kind: Of the line.
        place: Of the words, seen from the line.
        line: (h, w) coverage of the line in [0, 1].
        words: (h, w, 1 or 3) coverage of the words, for red, green and blue where they differ.
        tone: (h, w) in [0, 1], how much the line is mixed with its opposite.
        line_px: The length that the words state, pixels.
    """

    kind: str
    place: str
    line: Mask
    words: Mask
    tone: Mask
    line_px: float

    @property
    def ink(self) -> Mask:
        """Coverage of both, (h, w)."""
        return np.maximum(self.line, self.words.max(axis=2))


@dataclass(frozen=True)
class Type:
    """Letters: path of the font, size in pixels, "crisp", "smooth" or "subpixel"."""

    path: str
    size: int
    edges: str


class Sheet:
    """An empty drawing, `k` times as large as its pixels."""

    def __init__(self, width: float, height: float, k: int) -> None:
        self.k = k
        self._size = (int(np.ceil(width)) * k, int(np.ceil(height)) * k)
        self._line, self._words = (Image.new("L", self._size) for _ in range(2))
        self._on_line = ImageDraw.Draw(self._line)
        self._tone = np.zeros(self._size[::-1], np.float32)

    def snap(self, size: float) -> float:
        """Return the nearest size that can be drawn."""
        return round(size * self.k) / self.k

    def fill(self, x0: float, y0: float, x1: float, y1: float, ink: int = 255) -> None:
        """Fill a box of the line; no side is thinner than one step of the drawing."""
        left, top, right, foot = (round(side * self.k) for side in (x0, y0, x1, y1))
        box = (left, top, max(left, right - 1), max(top, foot - 1))
        self._on_line.rectangle(box, fill=ink)

    def fill_rounded(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Fill a box with half circles as its ends."""
        left, top, right, foot = (round(side * self.k) for side in (x0, y0, x1, y1))
        self._on_line.rounded_rectangle(
            (left, top, right - 1, foot - 1), radius=(foot - top) / 2, fill=255
        )

    def fill_polygon(self, points: list[tuple[float, float]]) -> None:
        """Fill a polygon of the line."""
        self._on_line.polygon(
            [(min(round(x * self.k), self._size[0] - 1), round(y * self.k)) for x, y in points],
            fill=255,
        )

    def shade(self, y0: float, y1: float, how: str) -> None:
        """Shade the line between two rows: a gradient, or a bevel of dark lower edges."""
        top, foot = round(y0 * self.k), round(y1 * self.k)
        if how == "gradient":
            self._tone[top:foot] = np.linspace(0, 0.4, foot - top, dtype=np.float32)[:, None]
        else:
            self._tone[foot - max(self.k, (foot - top) // 5) : foot] = 0.45

    def write(self, x: float, y: float, text: str, letters: Type) -> None:
        """Write words with the top left corner of their ink at a point."""
        pen, up = load_font(letters, self.k)
        left, top, right, foot = (int(side) for side in pen.getbbox(text))
        part = Image.new("L", (right - left, foot - top))
        draw = ImageDraw.Draw(part)
        draw.fontmode = "1" if letters.edges == "crisp" else "L"
        draw.text((-left, -top), text, font=pen, fill=255)
        part = part.resize((part.width * up, part.height * up), Image.Resampling.NEAREST)
        self._words.paste(part, (round(x * self.k), round(y * self.k)), part)

    def reduce(self, edges: str) -> tuple[Mask, Mask, Mask]:
        """Return line (h, w), words (h, w, 1 or 3) and tone (h, w)."""
        size = (self._size[0] // self.k, self._size[1] // self.k)
        line, words, tone = (
            cv2.resize(np.asarray(mask, np.float32), size, interpolation=cv2.INTER_AREA)
            for mask in (self._line, self._words, self._tone)
        )
        channels = [words]
        if edges == "subpixel" and self.k > 1:
            wide = np.asarray(self._words, np.float32)
            shifted = [np.roll(wide, by, axis=1) for by in (round(self.k / 3), 0)]
            shifted.append(np.roll(wide, -round(self.k / 3), axis=1))
            channels = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in shifted]
        return line / 255, np.stack(channels, axis=2) / 255, tone


def load_font(letters: Type, k: int = 1) -> tuple[ImageFont.FreeTypeFont, int]:
    """Return a font and how much larger its letters are then drawn, which bitmaps need."""
    if letters.path.endswith(".otb"):
        size = min(BITMAP_SIZES, key=lambda size: abs(size - letters.size))
        return ImageFont.truetype(letters.path, size), k
    return ImageFont.truetype(letters.path, letters.size * k), 1


def spell_micro(text: str, letters: Type) -> str:
    """Return a text with the micro sign that its font has: its own, or the Greek letter."""
    pen, _ = load_font(letters)
    missing = bytes(pen.getmask("\uf8fe"))
    for sign, other in (("\u03bc", "\u00b5"), ("\u00b5", "\u03bc")):
        if sign in text and bytes(pen.getmask(sign)) == missing:
            return text.replace(sign, other)
    return text


def measure_words(text: str, letters: Type) -> tuple[float, float]:
    """Return width and height of the ink of words, pixels."""
    pen, _ = load_font(letters, FINE)
    k = 1 if letters.path.endswith(".otb") else FINE
    left, top, right, foot = (float(side) for side in pen.getbbox(text))
    return (right - left) / k, (foot - top) / k


def draw_bar(
    rng: Generator, kind: str, place: str, *, label: str, long: float, letters: Type
) -> Drawn:
    """Draw line and words.

    Args:
        rng: Source of sizes.
        kind: Of the line; a plainer one where the words do not fit into it.
        place: Of the words, seen from the line.
        label: The words.
        long: Length of the line, pixels.
        letters: Of the words.
    """
    k = 1 if letters.edges == "crisp" else FINE
    words_w, words_h = measure_words(label, letters)
    high = float(letters.size)
    if (
        kind in ("cradle", "inlaid", "gap")
        and long < words_w + (3.0 if kind == "gap" else 1.0) * high
    ):
        kind, place = ("solid" if kind == "inlaid" else "ticked"), "above"
    if kind == "upright":
        place = "right" if place in ("above", "right") else "left"
    gap, thin, tall = _choose_sizes(
        rng, kind, long=long, high=high, words_h=words_h, is_crisp=k == 1
    )
    inside = kind in ("cradle", "inlaid", "gap")
    w, h = (tall, long) if kind == "upright" else (long, tall)
    beside = place in ("right", "left")
    if inside:
        place = "inside"
        width, height = w, max(h, words_h)
        x, y = 0.0, (height - h) / 2
        at = ((w - words_w) / 2, 0.0 if kind == "cradle" else (height - words_h) / 2)
    elif kind == "numbered":
        place, before = "ends", high
        width, height = before + long + words_w, h + gap + words_h
        x, y, at = before, height - h, (before + long - 0.35 * words_w, 0.0)
    elif beside:
        width, height = w + 1.5 * gap + words_w, max(h, words_h)
        x, y = (0.0 if place == "right" else width - w), (height - h) / 2
        at = (width - words_w if place == "right" else 0.0, (height - words_h) / 2)
    else:
        width, height = max(w, words_w), h + gap + words_h
        aside = {"left": 0.0, "right": 1.0}.get(place.partition("_")[2], 0.5)
        x, above = aside * (width - w), place.startswith("above")
        at = (aside * (width - words_w), 0.0 if above else h + gap)
        y = words_h + gap if above else 0.0
    sheet = Sheet(width + 2 * ROOM + 2, height + 2 * ROOM + 2, k)
    by = (rng.uniform(0, 1, 2) if k > 1 else np.zeros(2)) + ROOM
    left, top = sheet.snap(x + by[0]), sheet.snap(y + by[1])
    hole = (words_w + 1.4 * gap) if kind == "gap" else 0.0
    line_px = draw_line(sheet, kind, (left, top), (sheet.snap(long), tall, thin, hole))
    corner = (sheet.snap(at[0] + by[0]), sheet.snap(at[1] + by[1]))
    sheet.write(*corner, label, letters)
    if kind == "numbered":
        sheet.write(left - 0.25 * high, corner[1] + 0.02 * high, "0", letters)
    line, words, tone = sheet.reduce(letters.edges)
    return Drawn(kind, place, line, words, tone, line_px)


def _choose_sizes(
    rng: Generator, kind: str, *, long: float, high: float, words_h: float, is_crisp: bool
) -> tuple[float, float, float]:
    """Return distance to the words, thickness of thin strokes and height of the line, pixels."""
    gap = high * rng.uniform(0.18, 0.6)
    thin = max(1.0, min(high * rng.uniform(0.05, 0.12), THICKEST_TICK * long))
    tall = high * {
        "solid": rng.uniform(0.12, 0.85),
        "slim": 0.0,
        "pill": rng.uniform(0.1, 0.3),
        "dashed": rng.uniform(0.12, 0.3),
        "ticked": rng.uniform(0.35, 1.0),
        "comb": rng.uniform(0.45, 0.8),
        "ruler": rng.uniform(0.45, 0.8),
    }.get(kind, rng.uniform(0.35, 0.8))
    tall = {
        "slim": max(2.0, round(thin * 1.4)),
        "pill": min(max(3.0, tall), 0.025 * long),
        "inlaid": words_h + 2 * max(2.0, 0.22 * high),
        "cradle": words_h + gap + thin,
        "upright": high * rng.uniform(0.15, 0.5),
    }.get(kind, max(3.0 if kind in ("solid", "dashed") else 8.0, tall))
    return gap, float(round(thin)) if is_crisp else max(THINNEST_SMOOTH, thin), float(round(tall))


def draw_line(
    sheet: Sheet,
    kind: str,
    at: tuple[float, float],
    sizes: tuple[float, float, float, float],
) -> float:
    """Draw a line; return the length that its words state, pixels.

    Args:
        sheet: Is drawn on.
        kind: Of the line.
        at: Its top left corner, pixels.
        sizes: Length, height, thickness of thin strokes and width of the hole, pixels.
    """
    (x, y), (long, tall, thin, _) = at, sizes
    end, foot = x + long, y + tall
    if kind in ("solid", "slim", "inlaid", "gradient", "bevel"):
        sheet.fill(x, y, end, foot)
        if kind in ("gradient", "bevel"):
            sheet.shade(y, foot, kind)
    elif kind == "upright":
        sheet.fill(x, y, x + tall, y + long)
    elif kind == "pill":
        sheet.fill_rounded(x, y, end, foot)
    elif kind == "hollow":
        sheet.fill(x, y, end, foot)
        sheet.fill(x + thin, y + thin, end - thin, foot - thin, ink=0)
    elif kind == "dashed":
        cuts = [sheet.snap(x + long * number / 9) for number in range(10)]
        for first, last in zip(cuts[::2], cuts[1::2], strict=True):
            sheet.fill(first, y, last, foot)
    elif kind in ("checker", "numbered"):
        _draw_cells(sheet, (x, y), long, tall, thin, two_rows=kind == "checker")
    elif kind in ("walled", "stealth"):
        _draw_arrows(sheet, (x, y), long, tall, thin, walls=kind == "walled")
    else:
        return _draw_ticks(sheet, kind, (x, y), sizes)
    return long


def _draw_cells(
    sheet: Sheet, at: tuple[float, float], long: float, tall: float, thin: float, *, two_rows: bool
) -> None:
    """Draw cells that are filled in turns: two rows, or one in a frame."""
    (x, y), count = at, 4
    thin = min(thin, max(1.0, tall // 8))
    cuts = [sheet.snap(x + long * number / count) for number in range(count + 1)]
    middle = sheet.snap(y + tall / 2)
    sheet.fill(x, y, x + long, y + tall)
    for number in range(count):
        first, last = cuts[number] + thin, cuts[number + 1] - thin
        if two_rows:
            upper = number % 2 == 0
            sheet.fill(first, (y if upper else middle) + thin, last,
                       (middle if upper else y + tall) - thin, ink=0)  # fmt: skip
        elif number % 2:
            sheet.fill(first, y + thin, last, y + tall - thin, ink=0)


def _draw_arrows(
    sheet: Sheet, at: tuple[float, float], long: float, tall: float, thin: float, *, walls: bool
) -> None:
    """Draw a line with an arrow at each end: before a wall, or with a notch in its back."""
    (x, y), middle = at, at[1] + tall / 2
    sheet.fill(x + thin, middle - thin / 2, x + long - thin, middle + thin / 2)
    half = tall * (0.28 if walls else 0.42)
    for tip, inwards in ((x, 1), (x + long, -1)):
        back = tip + inwards * 2.4 * half
        notch = back if walls else back - inwards * 0.7 * half
        point = tip if inwards > 0 else tip - 1 / sheet.k
        sheet.fill_polygon(
            [(point, middle), (back, middle - half), (notch, middle), (back, middle + half)]
        )
        if walls:
            first = tip if inwards > 0 else tip - thin
            sheet.fill(first, y, first + thin, y + tall)


def _draw_ticks(
    sheet: Sheet,
    kind: str,
    at: tuple[float, float],
    sizes: tuple[float, float, float, float],
) -> float:
    """Draw ticks with a line at their middle, their foot or none; return first to last, pixels."""
    (x, y), (long, tall, thin, hole) = at, sizes
    thin = max(1 / sheet.k, sheet.snap(thin))
    count = {"comb": 11, "ruler": 6 if round(long) % 2 else 11}.get(kind, 2)
    starts = [sheet.snap(x + (long - thin) * number / (count - 1)) for number in range(count)]
    for number, start in enumerate(starts):
        is_short = kind == "ruler" and number % (5 if count > 6 else count - 1)
        sheet.fill(start, y, start + thin, y + tall * (0.55 if is_short else 1.0))
    base = {"cradle": y + tall - thin, "ruler": y}.get(kind, y + (tall - thin) / 2)
    middle = x + long / 2
    runs = [(x, middle - hole / 2), (middle + hole / 2, x + long)] if hole else [(x, x + long)]
    for first, last in runs if kind != "comb" else []:
        sheet.fill(first, base, last, base + thin)
    return starts[-1] - starts[0]
