"""Draw scale bars into real texture with cairo, in 26 looks of vendors and image programs.

Drawn apart from the reader's work. A set of 260 in these looks was read once, on 2026-12-02; from
then on they are development, and the split "cairo" draws others of their kind, on other textures.
Every line is meant from outer end to outer end, ticks included, but for the dots. Looks take turns
with the seeds, so 26 seeds in a row draw each once.

Fonts are families by name through cairo's toy API: Roboto, Open Sans, Inter, Cantarell, Lato, Noto
Sans, Roboto Condensed, Nimbus Sans, Fira Sans; with serifs C059, Linux Libertine O, Noto Serif,
P052. Fontconfig replaces those that are not installed, so a bar depends on the machine. Cairo is
no dependency: `pip install cairocffi`, and the library libcairo2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cairocffi as cairo
import numpy as np
from burned_bars import compress, vary_texture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    RGBA = tuple[float, float, float, float]
    Point = tuple[float, float]

FAMILIES = ("Roboto", "Open Sans", "Inter", "Cantarell", "Lato", "Noto Sans", "Roboto Condensed",
            "Nimbus Sans", "Fira Sans")  # fmt: skip
SERIFS = ("C059", "Linux Libertine O", "Noto Serif", "P052")
WHITE, BLACK, YELLOW = (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 1.0), (1.0, 0.9, 0.0, 1.0)
SHADE, GLASS, COAL = (0.0, 0.0, 0.0, 0.85), (1.0, 1.0, 1.0, 0.72), (0.1, 0.1, 0.1, 1.0)
TINTS = ((0.9, 0.05, 0.05, 1.0), (0.1, 0.2, 0.9, 1.0), (0.0, 0.65, 0.15, 1.0))
MICRO = (1, 2, 5, 10, 20, 25, 50, 100, 200, 300, 500)
LENGTHS = (
    *((number, "µm") for number in MICRO * 3),
    *((number, "nm") for number in (100, 200, 500)),
    *((number, "mm") for number in (1, 0.5, 0.2, 0.1)),
    *((2.5, "µm"), (12.5, "µm"), (10, "мкм"), (50, "мкм"), (20, "um"), (100, "um")),
)
UM = {"µm": 1.0, "um": 1.0, "мкм": 1.0, "nm": 0.001, "mm": 1000.0}
LONG, LONG_NARROW, LONG_STANDING = (0.09, 0.3), (0.15, 0.3), (0.09, 0.2)  # of the width
NARROW_PX = 900
LETTERS, LEAST_LETTERS_PX = (0.024, 0.045), 14  # of the height
CORNERS = ("br", "br", "br", "bl", "tr")


def burn_cairo(
    seed: int, rng: Generator, texture: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], str, str, float, float]:
    """Burn a bar into a texture.

    Args:
        seed: Chooses the look: one after the other.
        rng: Source of all that is drawn by chance.
        texture: (h, w, 3) uint8, RGB, without graphics.

    Returns:
        Pixels, (h, w, 3) uint8; look; label; length of the line in pixels and in µm.
    """
    name, draw = list(LOOKS.items())[seed % len(LOOKS)]
    pixels = vary_texture(rng, texture)
    if pixels.shape[0] > pixels.shape[1]:  # a strip's values need the width
        pixels = np.rot90(pixels)
    height, width = pixels.shape[:2]
    canvas = np.ascontiguousarray(  # (h, w, 4), BGR and a byte that cairo leaves alone
        np.pad(pixels[:, :, ::-1], ((0, 0), (0, 0), (0, 1)), constant_values=255)
    )
    surface = cairo.ImageSurface(
        cairo.FORMAT_RGB24, width, height, data=memoryview(canvas).cast("B"), stride=4 * width
    )
    pen = _Pen(cairo.Context(surface), pixels, rng)
    number, unit = LENGTHS[int(rng.integers(len(LENGTHS)))]
    figures = f"{number:g}".replace(".", str(rng.choice([".", ","])))
    label = figures + ("" if rng.random() < 1 / 3 else " ") + unit
    shares = LONG_NARROW if width <= NARROW_PX else LONG
    is_standing = name.startswith("standing")
    long = round(width * float(rng.uniform(*(LONG_STANDING if is_standing else shares))))
    line_px = draw(pen, long, label)
    surface.flush()
    burned = np.ascontiguousarray(canvas[:, :, 2::-1])
    if rng.random() < 0.4 and name not in ("tinted", "yellow_right"):
        grey = burned @ np.array((0.299, 0.587, 0.114))  # ITU-R BT.601
        burned = np.repeat(np.rint(grey).astype(np.uint8)[:, :, None], 3, axis=2)
    if rng.random() < 0.5:
        burned = np.ascontiguousarray(compress(rng, burned))
    kind = "standing" if is_standing else "level"
    return burned, f"{name}-{kind}-{unit}", label, float(line_px), number * UM[unit]


class _Pen:
    """A context of cairo with one picture's letters."""

    def __init__(self, context: cairo.Context, pixels: NDArray[np.uint8], rng: Generator) -> None:
        self.context, self.rng, self._pixels = context, rng, pixels
        self.height, self.width = pixels.shape[:2]
        self.size = max(LEAST_LETTERS_PX, self.height * float(rng.uniform(*LETTERS)))
        self.family = str(rng.choice(FAMILIES))
        self._is_bold = bool(rng.random() < 0.35)
        if rng.random() < 0.3:
            context.set_antialias(cairo.ANTIALIAS_NONE)

    def measure(self, words: str, *, size: float = 0.0, bold: bool = False) -> Point:
        """Select the font; return left bearing and width of words, pixels."""
        weight = cairo.FONT_WEIGHT_BOLD if bold or self._is_bold else cairo.FONT_WEIGHT_NORMAL
        self.context.select_font_face(self.family, cairo.FONT_SLANT_NORMAL, weight)
        self.context.set_font_size(size or self.size)
        left, _, wide, *_ = self.context.text_extents(words)
        return left, wide

    def write(
        self,
        words: str,
        at: Point,
        ink: RGBA,
        *,
        anchor: float = 0.5,
        outline: RGBA | None = None,
        turn: float = 0.0,
        size: float = 0.0,
        bold: bool = False,
    ) -> None:
        """Write words; anchor: share of them left of `at`, which is on their baseline."""
        left, wide = self.measure(words, size=size, bold=bold)
        self.context.save()
        self.context.translate(*at)
        self.context.rotate(turn)
        self.context.move_to(-anchor * wide - (left if anchor else 0), 0)
        self.context.text_path(words)
        if outline is not None:
            self.context.set_source_rgba(*outline)
            self.context.set_line_width(max(2, 0.12 * self.size))
            self.context.set_line_join(cairo.LINE_JOIN_ROUND)
            self.context.stroke_preserve()
        self.context.set_source_rgba(*ink)
        self.context.fill()
        self.context.restore()

    def fill(self, x: float, y: float, wide: float, tall: float, ink: RGBA) -> None:
        """Fill a rectangle."""
        self.context.rectangle(x, y, wide, tall)
        self.context.set_source_rgba(*ink)
        self.context.fill()

    def frame(self, box: tuple[float, float, float, float], ink: RGBA, thick: float) -> None:
        """Stroke a rectangle: left, top, width, height."""
        self.context.rectangle(*box)
        self.context.set_source_rgba(*ink)
        self.context.set_line_width(thick)
        self.context.stroke()

    def trace(self, points: Sequence[Point], ink: RGBA, thick: float) -> None:
        """Stroke a line through points."""
        self.context.set_line_cap(cairo.LINE_CAP_BUTT)
        self.context.set_line_join(cairo.LINE_JOIN_MITER)
        for point in points:
            self.context.line_to(*point)
        self.context.set_source_rgba(*ink)
        self.context.set_line_width(thick)
        self.context.stroke()

    def add_ticks(
        self, start: Point, long: float, reach: float, ink: RGBA, *, thick: float = 2
    ) -> None:
        """Stroke the ticks of a level line, within its ends, `reach` above and below it."""
        x, y = start
        for tick in (x + thick / 2, x + long - thick / 2):
            self.trace([(tick, y - reach), (tick, y + reach)], ink, thick)

    def place(self, long: float, up: float, down: float, corner: str = "") -> tuple[int, int]:
        """Return the start of a line with room above and below it, in a corner."""
        margin = self.height * float(self.rng.uniform(0.02, 0.05))
        corner = corner or str(self.rng.choice(CORNERS))
        x = self.width - 1.6 * margin - long if corner[1] == "r" else 1.6 * margin
        y = self.height - margin - down if corner[0] == "b" else margin + up
        return round(x), round(y)

    def place_above(self, long: float) -> tuple[int, int]:
        """Return the start of a line with its label above."""
        return self.place(long, 1.6 * self.size, 0.9 * self.size)

    def lay_strip(self, tall: float, ink: RGBA) -> float:
        """Fill the foot of the picture; return its upper edge."""
        self.fill(0, self.height - tall, self.width, tall, ink)
        return self.height - tall

    def contrast(self, x: float, y: float, wide: float, tall: float) -> tuple[RGBA, RGBA]:
        """Return ink and outline: white on dark, black on light."""
        rows = slice(max(0, int(y)), int(y + tall))
        part = self._pixels[rows, max(0, int(x)) : int(x + wide)]
        return (WHITE, BLACK) if part.size == 0 or part.mean() < 128 else (BLACK, WHITE)

    def contrast_above(self, x: float, y: float, long: float) -> tuple[RGBA, RGBA]:
        """Return ink and outline of a line with its label above."""
        return self.contrast(x, y - self.size, long, 1.6 * self.size)

    def choose_outline(self, outline: RGBA) -> RGBA | None:
        """Return an outline in every second picture."""
        return outline if self.rng.random() < 0.5 else None


def _draw_plain(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 0, 1.5 * pen.size)
    thick = max(4, pen.height // 110)
    ink, _ = pen.contrast(x, y, long, 2 * pen.size)
    pen.fill(x, y, long, thick, ink)
    pen.write(label, (x + long / 2, y + thick + 1.05 * pen.size), ink, bold=True)
    return long


def _draw_plain_box(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 12, 1.6 * pen.size)
    thick = max(4, pen.height // 120)
    pen.fill(x - 8, y - 8, long + 16, thick + 1.45 * pen.size + 10, BLACK)
    pen.fill(x, y, long, thick, WHITE)
    pen.write(label, (x + long / 2, y + thick + 1.05 * pen.size), WHITE)
    return long


def _draw_outlined_beam(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.5 * pen.size, 0.6 * pen.size)
    reach = 0.35 * pen.size
    for ink, thick in ((BLACK, 5), (WHITE, 2)):
        over = (thick - 2) / 2
        pen.trace([(x + 1 - over, y), (x + long - 1 + over, y)], ink, thick)
        for tick in (x + 1, x + long - 1):
            pen.trace([(tick, y - reach - over), (tick, y + reach + over)], ink, thick)
    pen.write(label, (x + long / 2, y - reach - 4), WHITE, outline=BLACK)
    return long


def _draw_glass_box(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.9 * pen.size, 0.8 * pen.size, "br")
    thick = max(3, pen.height // 160)
    pen.fill(x - 14, y - 1.7 * pen.size, long + 28, 2.3 * pen.size + thick, GLASS)
    pen.fill(x, y, long, thick, BLACK)
    pen.write(label, (x + long / 2, y - 0.4 * pen.size), BLACK)
    return long


def _draw_values_strip(pen: _Pen, long: float, label: str) -> float:
    top = pen.lay_strip(2.7 * pen.size, BLACK)
    x, size = 0.03 * pen.width, 0.72 * pen.size
    level = round(top + 0.68 * 2.7 * pen.size) + 0.5
    pen.write(label, (x + long / 2, top + 1.1 * pen.size), WHITE)
    pen.trace([(x, level), (x + long, level)], WHITE, 2)
    pen.add_ticks((x, level), long, 0.3 * pen.size, WHITE)
    start = max(x + long + 1.5 * pen.size, 0.42 * pen.width)
    by = pen.rng.choice(["1.00", "2.50", "5.00"])
    columns = (("EHT = 15.00 kV", "Signal A = SE2"), ("WD = 8.4 mm", f"Mag = {by} K X"),
               ("Date: 12 Mar 2024", "Time: 14:05:31"))  # fmt: skip
    for number, (upper, lower) in enumerate(columns):
        left = start + number * (pen.width - start) / 3
        if left + pen.measure(lower, size=size)[1] < pen.width:
            pen.write(upper, (left, top + 1.1 * pen.size), WHITE, anchor=0, size=size)
            pen.write(lower, (left, top + 2.1 * pen.size), WHITE, anchor=0, size=size)
    return long


def _draw_bracket(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 0.9 * pen.size, 1.6 * pen.size)
    reach, thick = 0.55 * pen.size, int(pen.rng.integers(2, 5))
    ink, outline = pen.contrast(x, y - reach, long, 2 * pen.size)
    left, right = x + thick / 2, x + long - thick / 2
    pen.trace([(left, y - reach), (left, y), (right, y), (right, y - reach)], ink, thick)
    foot = (x + long / 2, y + 1.2 * pen.size)
    pen.write(label, foot, ink, outline=pen.choose_outline(outline))
    return long


def _draw_halves(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.4 * pen.size, 0.8 * pen.size)
    thick = max(6, round(0.4 * pen.size))
    pen.fill(x - 2, y - 2, long + 4, thick + 4, BLACK)
    pen.fill(x, y, long / 2, thick, WHITE)
    pen.write(label, (x + long / 2, y - 0.4 * pen.size), WHITE, outline=BLACK)
    pen.frame((x - 1, y - 1, long + 2, thick + 2), WHITE, 1)
    return long + 2


def _draw_corner_box(pen: _Pen, long: float, label: str) -> float:
    wide, tall, reach = long + 2 * pen.size, 2.3 * pen.size, 0.28 * pen.size
    left, top = pen.width - wide, pen.height - tall
    pen.fill(left, top, wide, tall, BLACK)
    x, y = round(left + pen.size), round(top + 0.74 * tall) + 0.5
    pen.trace([(x, y), (x + long, y)], WHITE, 1)
    pen.add_ticks((x, y), long, reach, WHITE, thick=1)
    pen.write(label, (x + long / 2, top + 1.2 * pen.size), WHITE)
    return long


def _draw_yellow_right(pen: _Pen, long: float, label: str) -> float:
    wide = pen.measure(label)[1]
    x, y = pen.place(long + wide + pen.size, pen.size, 0.9 * pen.size)
    thick = max(4, round(0.22 * pen.size))
    pen.fill(x, y, long, thick, YELLOW)
    at = (x + long + 0.5 * pen.size, y + thick / 2 + 0.35 * pen.size)
    pen.write(label, at, YELLOW, anchor=0, outline=(0, 0, 0, 0.8))
    return long


def _draw_block_in_strip(pen: _Pen, long: float, label: str) -> float:
    tall, size = 1.9 * pen.size, 0.85 * pen.size
    top = pen.lay_strip(tall, COAL)
    base = top + 0.65 * tall
    values = "SEI   20kV   X1,500   WD 11mm"
    pen.write(values, (0.02 * pen.width, base), WHITE, anchor=0, size=size)
    x = round(pen.width - long - pen.measure(label, size=size)[1] - 1.6 * pen.size)
    pen.fill(x, round(top + 0.4 * tall), long, max(4, round(0.16 * tall)), WHITE)
    pen.write(label, (x + long + 0.5 * pen.size, base), WHITE, anchor=0, size=size)
    return long


def _draw_dots(pen: _Pen, long: float, label: str) -> float:
    """Draw eleven dots, meant from middle to middle as their makers do."""
    tall, size, radius = 2.1 * pen.size, 0.8 * pen.size, max(1.6, 0.09 * pen.size)
    top = pen.lay_strip(tall, BLACK)
    x = pen.width - long - 1.5 * pen.size
    for number in range(11):
        left = round(x + long * number / 10 - radius)
        high = 2 * radius if number % 5 else 4 * radius
        pen.fill(left, top + 0.25 * tall, 2 * radius, high, WHITE)
    values = "S-4800 10.0kV 8.2mm x2.00k SE(M)"
    pen.write(values, (0.02 * pen.width, top + 0.72 * tall), WHITE, anchor=0, size=size)
    pen.write(label, (x + long, top + 0.9 * tall), WHITE, anchor=1, size=size)
    return long


def _draw_label_within(pen: _Pen, long: float, label: str) -> float:
    wide = pen.measure(label)[1]
    long = max(long, int(1.9 * wide))
    x, y = pen.place(long, pen.size, pen.size)
    reach, gap = 0.4 * pen.size, wide / 2 + 0.35 * pen.size
    ink, _ = pen.contrast(x, y - reach, long, 1.4 * pen.size)
    pen.trace([(x, y), (x + long / 2 - gap, y)], ink, 2)
    pen.trace([(x + long / 2 + gap, y), (x + long, y)], ink, 2)
    pen.add_ticks((x, y), long, reach, ink)
    pen.write(label, (x + long / 2, y + 0.35 * pen.size), ink)
    return long


def _draw_arrows_within(pen: _Pen, long: float, label: str) -> float:
    wide, tall, head = pen.measure(label)[1], 1.9 * pen.size, 0.32 * pen.size
    y = pen.lay_strip(tall, WHITE) + tall / 2
    long = max(long, int(2.3 * wide))
    x, gap = round(pen.width - long - pen.size), wide / 2 + 0.35 * pen.size
    for tip, inwards in ((x, 1), (x + long, -1)):
        pen.trace([(tip + inwards, y - 1.3 * head), (tip + inwards, y + 1.3 * head)], BLACK, 2)
        start, back = tip + 2 * inwards, tip + inwards * (2 + head)
        pen.trace([(start, y), (x + long / 2 - inwards * gap, y)], BLACK, 1.6)
        pen.trace([(back, y - head), (start, y), (back, y + head)], BLACK, 1.6)
    pen.write(label, (x + long / 2, y + 0.35 * pen.size), BLACK)
    values, size = "HV 20.00 kV   det ETD   spot 4.0   HFW 41.4 µm", (x - 2 * pen.size) / 26
    size = max(1.0, min(0.8 * pen.size, size))
    pen.write(values, (pen.size, y + 0.3 * pen.size), BLACK, anchor=0, size=size)
    return long


def _draw_arrows_open(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.6 * pen.size, 0.8 * pen.size)
    head, thick = 0.4 * pen.size, int(pen.rng.integers(2, 4))
    ink, _ = pen.contrast_above(x, y, long)
    pen.trace([(x + thick, y), (x + long - thick, y)], ink, thick)
    for end, inwards in ((x, 1), (x + long, -1)):
        tip, back = end + 0.9 * inwards * thick, end + inwards * (1.3 * head + thick)
        pen.trace([(back, y - head), (tip, y), (back, y + head)], ink, thick)
    pen.write(label, (x + long / 2, y - 0.55 * pen.size), ink)
    return long


def _draw_arrows_filled(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.6 * pen.size, 0.8 * pen.size)
    head = 0.33 * pen.size
    ink, outline = pen.contrast_above(x, y, long)
    pen.trace([(x + 2 * head, y), (x + long - 2 * head, y)], ink, 3)
    for tip, inwards in ((x, 1), (x + long, -1)):
        for corner in ((0, 0), (2.4, -1), (2.4, 1)):
            pen.context.line_to(tip + inwards * corner[0] * head, y + corner[1] * head)
        pen.context.close_path()
        pen.context.set_source_rgba(*ink)
        pen.context.fill()
    top = (x + long / 2, y - 0.6 * pen.size)
    pen.write(label, top, ink, outline=pen.choose_outline(outline))
    return long


def _draw_ruler(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.9 * pen.size, 0.8 * pen.size)
    ink, _ = pen.contrast_above(x, y, long)
    pen.trace([(x, y), (x + long, y)], ink, 2)
    for number in range(11):
        reach = pen.size * {0: 0.65, 5: 0.45, 10: 0.65}.get(number, 0.25)
        tick = x + 1 + (long - 2) * number / 10
        pen.trace([(tick, y - reach), (tick, y)], ink, 2)
    pen.write(label, (x + long / 2, y - 0.85 * pen.size), ink)
    return long


def _draw_comb(pen: _Pen, long: float, label: str) -> float:
    wide, size = pen.measure(label)[1], pen.size
    corner = str(pen.rng.choice(["bl", "br"]))
    x, y = pen.place(long + 0.6 * wide, 1.2 * size, 1.5 * size, corner)
    count = int(pen.rng.integers(4, 6))
    pen.fill(x - size, y - 1.75 * size, long + 2 * size + 0.6 * wide, 2.9 * size, BLACK)
    pen.trace([(x, y), (x + long, y)], WHITE, 2)
    for number in range(count + 1):
        reach = size * (0.6 if number in (0, count) else 0.35)
        tick = x + 1 + (long - 2) * number / count
        pen.trace([(tick, y), (tick, y + reach)], WHITE, 2)
    pen.write("0", (x + 1, y - 0.4 * size), WHITE)
    pen.write(label, (x + long, y - 0.4 * size), WHITE)
    return long


def _draw_glow(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place_above(long)
    for ring in range(9, 0, -1):
        over = 0.6 * ring
        pen.trace([(x - over, y), (x + long + over, y)], (0, 0, 0, 0.13), 3 + 2.2 * ring)
    pen.trace([(x, y), (x + long, y)], WHITE, 3)
    left, wide = pen.measure(label)
    base = y - 0.6 * pen.size
    for ring in range(6, 0, -1):
        pen.context.move_to(x + long / 2 - wide / 2 - left, base)
        pen.context.text_path(label)
        pen.context.set_source_rgba(0, 0, 0, 0.16)
        pen.context.set_line_width(2 * ring)
        pen.context.stroke()
    pen.write(label, (x + long / 2, base), WHITE)
    return long


def _draw_shadow(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place_above(long)
    thick, by = max(4, round(0.22 * pen.size)), max(2, round(0.09 * pen.size))
    base = y - 0.45 * pen.size
    pen.fill(x + by, y + by, long, thick, SHADE)
    pen.fill(x, y, long, thick, WHITE)
    pen.write(label, (x + long / 2 + by, base + by), SHADE)
    pen.write(label, (x + long / 2, base), WHITE)
    return long


def _draw_standing_turned(pen: _Pen, long: float, label: str) -> float:
    x, y = round(pen.width - 1.3 * pen.size), round(pen.height - 1.2 * pen.size)
    ink, outline = pen.contrast(x - 1.5 * pen.size, y - long, 2 * pen.size, long)
    pen.fill(x, y - long, max(4, round(0.25 * pen.size)), long, ink)
    at = (x - 0.45 * pen.size, y - long / 2)
    pen.write(label, at, ink, turn=-math.pi / 2, outline=pen.choose_outline(outline))
    return long


def _draw_standing_ticks(pen: _Pen, long: float, label: str) -> float:
    wide, reach = pen.measure(label)[1], 0.4 * pen.size
    x, y = round(1.6 * pen.size), round(pen.height - 1.5 * pen.size)
    ink, outline = pen.contrast(x - reach, y - long, wide + 2 * pen.size, long)
    pen.trace([(x, y), (x, y - long)], ink, 2)
    for tick in (y - 1, y - long + 1):
        pen.trace([(x - reach, tick), (x + reach, tick)], ink, 2)
    at = (x + reach + 0.3 * pen.size, y - long / 2 + 0.35 * pen.size)
    pen.write(label, at, ink, anchor=0, outline=outline)
    return long


def _draw_tinted(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place_above(long)
    thick, ink = max(4, round(0.25 * pen.size)), TINTS[int(pen.rng.integers(len(TINTS)))]
    pen.fill(x - 10, y - 1.6 * pen.size, long + 20, 2 * pen.size + thick, WHITE)
    pen.fill(x, y, long, thick, ink)
    pen.write(label, (x + long / 2, y - 0.42 * pen.size), ink)
    return long


def _draw_hollow(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.6 * pen.size, pen.size)
    ink, _ = pen.contrast(x, y - pen.size, long, 2 * pen.size)
    pen.frame((x + 1, y + 1, long - 2, round(0.55 * pen.size)), ink, 2)
    pen.write(label, (x + long / 2, y - 0.45 * pen.size), ink)
    return long


def _draw_chequered(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 1.6 * pen.size, pen.size)
    thick, count = round(0.35 * pen.size), int(pen.rng.integers(4, 6))
    long = round(long / count) * count
    pen.fill(x - 1, y - 1, long + 2, thick + 2, BLACK)
    for number in range(0, count, 2):
        pen.fill(x + long * number / count, y, long / count, thick, WHITE)
    pen.write(label, (x + long / 2, y - 0.6 * pen.size), WHITE, outline=BLACK)
    return long


def _draw_large_left(pen: _Pen, long: float, label: str) -> float:
    x, y = pen.place(long, 0.8 * pen.size, 1.9 * pen.size, "bl")
    thick, size = max(6, round(0.3 * pen.size)), 1.15 * pen.size
    pen.fill(x - 2, y - 2, long + 4, thick + 4, BLACK)
    pen.fill(x, y, long, thick, WHITE)
    at = (x, y + thick + 1.2 * pen.size)
    pen.write(label, at, WHITE, anchor=0, outline=BLACK, bold=True, size=size)
    return long


def _draw_serif_line(pen: _Pen, long: float, label: str) -> float:
    x, top = pen.place(long, 1.6 * pen.size, 0.8 * pen.size)
    pen.family, thick = str(pen.rng.choice(SERIFS)), int(pen.rng.integers(1, 3))
    ink, _ = pen.contrast(x, top - pen.size, long, 1.5 * pen.size)
    y = top + (0.5 if thick == 1 else 0.0)
    pen.trace([(x, y), (x + long, y)], ink, thick)
    pen.add_ticks((x, y), long, 0.25 * pen.size, ink, thick=thick)
    pen.write(label, (x + long / 2, y - 0.5 * pen.size), ink)
    return long


LOOKS: dict[str, Callable[[_Pen, float, str], float]] = {
    "plain": _draw_plain,
    "plain_box": _draw_plain_box,
    "outlined_beam": _draw_outlined_beam,
    "glass_box": _draw_glass_box,
    "values_strip": _draw_values_strip,
    "bracket": _draw_bracket,
    "halves": _draw_halves,
    "corner_box": _draw_corner_box,
    "yellow_right": _draw_yellow_right,
    "block_in_strip": _draw_block_in_strip,
    "dots": _draw_dots,
    "label_within": _draw_label_within,
    "arrows_within": _draw_arrows_within,
    "arrows_open": _draw_arrows_open,
    "arrows_filled": _draw_arrows_filled,
    "ruler": _draw_ruler,
    "comb": _draw_comb,
    "glow": _draw_glow,
    "shadow": _draw_shadow,
    "standing_turned": _draw_standing_turned,
    "standing_ticks": _draw_standing_ticks,
    "tinted": _draw_tinted,
    "hollow": _draw_hollow,
    "chequered": _draw_chequered,
    "large_left": _draw_large_left,
    "serif_line": _draw_serif_line,
}
