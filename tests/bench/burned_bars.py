"""Burn scale bars into real texture in looks that `scale_bars.Pen` does not draw.

Two kits share no font and few looks: the reader is developed on "tuning"; the failures of "blind"
are never inspected. Line and words are drawn as coverage in [0, 1], with or without anti-aliasing,
with outline, shadow or plate; the picture may be resampled and compressed afterwards. The scale is
drawn first, so that every bar states one that a micrograph can have. Ink is chosen as a person
would choose it: it differs from nearly all of the pixels below, or it gets an outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from drawn.graphics import fonts
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Mask = NDArray[np.float32]  # (h, w) coverage in [0, 1]
    Colour = tuple[int, int, int]

NICE = (1, 2, 2.5, 3, 4, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500)
UM_PER_PX = (0.002, 8.0)
UNLIKE = 60  # grey values in a channel by which ink differs from what lies below it …
MOST_ALIKE = 0.1  # … but for this share of the pixels below line and words
SUPERSAMPLED = 4
WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (255, 255, 0)


@dataclass(frozen=True)
class Kit:
    """Looks of one split; a look is drawn as often as it is listed.

    Args:
        number: Of the seeds.
        half: Split of the textures.
        fonts: File names; those that exist are used.
        lines: Kinds of line.
        places: Of the words, seen from the line.
        grounds: What lies under line and words.
        inks: Colours of line and words.
        units: How µm is written.
        corners: Shares of width and height where the group stands.
    """

    number: int
    half: str
    fonts: tuple[str, ...]
    lines: tuple[str, ...]
    places: tuple[str, ...]
    grounds: tuple[str, ...]
    inks: tuple[Colour, ...]
    units: tuple[str, ...]
    corners: tuple[tuple[float, float], ...]


TUNING = Kit(
    number=2,
    half="development",
    fonts=(
        "Lato-Regular.ttf",
        "Lato-Bold.ttf",
        "NimbusSans-Regular.otf",
        "NimbusSans-Bold.otf",
        "C059-Roman.otf",
        "NimbusMonoPS-Bold.otf",
        "Hack-Regular.ttf",
        "DejaVuSans.ttf",
        "DejaVuSans-Bold.ttf",
        "DejaVuSerif.ttf",
    ),
    lines=("solid", "solid", "thin", "caps", "up", "steps", "cells", "chevrons", "broken"),
    places=("above", "above", "below", "below", "below-left", "right", "left"),
    grounds=("none", "none", "none", "glow", "outline", "plate", "glass", "words", "line"),
    inks=(WHITE, WHITE, WHITE, BLACK, BLACK, YELLOW, (255, 0, 0), (0, 0, 200), (230, 230, 230)),
    units=("µm", "µm", "μm", "um", "micron"),
    corners=((0, 1), (1, 1), (1, 1), (0, 0), (1, 0), (0.5, 1)),
)
BLIND = Kit(
    number=3,
    half="test",
    fonts=(
        "LiberationSans-Regular.ttf",
        "LiberationSans-Bold.ttf",
        "LiberationSerif-Regular.ttf",
        "LiberationMono-Regular.ttf",
        "Roboto-Regular.ttf",
        "Roboto-Medium.ttf",
        "OpenSans-Regular.ttf",
        "OpenSans-Semibold.ttf",
        "Carlito-Regular.ttf",
        "Carlito-Bold.ttf",
        "DejaVuSansCondensed.ttf",
        "STIXGeneral.ttf",
    ),
    lines=("solid", "solid", "thin", "beam", "down", "halves", "rounded", "arrows", "gap"),
    places=("above", "above", "below", "below", "above-left", "above-right", "right", "left"),
    grounds=("none", "none", "none", "shadow", "outline", "plate", "glass", "words", "band"),
    inks=(WHITE, WHITE, WHITE, BLACK, BLACK, YELLOW, (0, 255, 0), (255, 0, 0), (0, 255, 255)),
    units=("µm", "µm", "µm", "μm", "um", "microns"),
    corners=((0, 1), (1, 1), (1, 1), (0, 0), (1, 0), (0.5, 1)),
)
KITS = {"tuning": TUNING, "blind": BLIND}


@dataclass(frozen=True)
class Group:
    """Line and words as drawn.

    Args:
        line: (h, w) coverage of the line.
        words: (h, w) coverage of the words.
        line_px: The length that the words state, pixels.
    """

    line: Mask
    words: Mask
    line_px: float

    @property
    def ink(self) -> Mask:
        """Coverage of both."""
        return np.maximum(self.line, self.words)


@cache
def list_fonts(names: tuple[str, ...], folder: Path) -> list[str]:
    """Return the paths of named fonts that exist in a folder or among the tests' own."""
    there = {path.name: str(path) for path in sorted(folder.rglob("*.[ot]t[bf]"))}
    there |= {Path(path).name: path for path in fonts()}
    paths = [there[name] for name in names if name in there]
    if not paths:
        raise SystemExit(f"{folder}: no font of this split; unpack Debian's fonts there.")
    return paths


def burn_look(
    kit: Kit, rng: Generator, texture: NDArray[np.uint8], folder: Path
) -> tuple[NDArray[np.uint8], str, str, float, float]:
    """Burn a bar of a kit into a texture.

    Args:
        kit: The looks.
        rng: Source of all that is drawn by chance.
        texture: (h, w, 3) uint8, RGB, without graphics.
        folder: Of fonts.

    Returns:
        Pixels, (h, w, 3) uint8; look; label; length of the line in pixels and in µm.
    """
    pixels = vary_texture(rng, texture)
    height, width = pixels.shape[:2]
    line, ground = str(rng.choice(kit.lines)), str(rng.choice(kit.grounds))
    place = "inside" if line in ("broken", "gap") else str(rng.choice(kit.places))
    um_per_px = float(np.exp(rng.uniform(*np.log(UM_PER_PX))))
    um = _choose_length(rng, um_per_px * width)
    label = _write_length(rng, kit, um)
    group = _draw_group(
        rng,
        (line, place),
        label=label,
        long=um / um_per_px,
        high=int(max(13, min(height, width) * rng.uniform(0.024, 0.048))),
        font=str(rng.choice(list_fonts(kit.fonts, folder))),
    )
    pixels = _lay(rng, kit, pixels, group, ground)
    factor = float(rng.uniform(0.75, 1.3)) if rng.random() < 0.15 else 1.0
    if factor != 1.0:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)
        factor = pixels.shape[1] / width
    if rng.random() < 0.55:
        pixels = compress(rng, pixels)
    look = f"{ground}-{line}-{place}"
    return np.ascontiguousarray(pixels), look, label, group.line_px * factor, um


def vary_texture(rng: Generator, texture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a texture turned, mirrored, cut and enlarged."""
    pixels = np.rot90(texture, int(rng.integers(4)))
    pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    height, width = pixels.shape[:2]
    share = rng.uniform(0.7, 1.0)
    tall, wide = int(height * share), int(width * share)
    y, x = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    size = float(rng.uniform(800, 2000)) / max(wide, tall)
    cut = np.ascontiguousarray(pixels[y : y + tall, x : x + wide])
    return np.asarray(cv2.resize(cut, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC))


def _choose_length(rng: Generator, wide_um: float) -> float:
    """Return a usual length, µm, of 9 to 32 % of a width."""
    usual = [n * 10.0**p for p in (-3, 0, 3) for n in NICE]
    usual += [n / 10 for n in (1, 2, 2.5, 5)]
    fitting = [um for um in usual if 0.09 * wide_um <= um <= 0.32 * wide_um]
    return float(rng.choice(fitting))


def _write_length(rng: Generator, kit: Kit, um: float) -> str:
    """Return a length in words as programs write it."""
    unit, value = str(rng.choice(kit.units)), um
    if um < 0.1 or (um < 1 and rng.random() < 0.7):
        unit, value = "nm", 1000 * um
    elif um > 500:
        unit, value = "mm", um / 1000
    number = f"{value:g}"
    if value >= 1 and rng.random() < 0.12:
        number = f"{value:.{int(rng.integers(1, 3))}f}"
    if "." in number and rng.random() < 0.25:
        number = number.replace(".", ",")
    is_word = unit.lower().startswith("micron")
    return number + (" " if is_word or rng.random() < 0.6 else "") + unit


def _draw_group(
    rng: Generator, look: tuple[str, str], *, label: str, long: float, high: int, font: str
) -> Group:
    """Draw line and words; see `Group`."""
    kind, place = look
    k = SUPERSAMPLED if rng.random() < 0.6 else 1
    long = long if k > 1 else float(round(long))
    pen = ImageFont.truetype(font, high * k)
    left, top, right, foot = (float(side) for side in pen.getbbox(label))
    words_w, words_h = (right - left) / k, (foot - top) / k
    tall = high * rng.uniform(0.12, 0.45)
    thin = max(1.0, high * rng.uniform(0.05, 0.11))
    tall, thin = (tall, thin) if k > 1 else (float(round(tall)), float(round(thin)))
    tall = {"solid": max(2.0, tall), "thin": thin}.get(kind, max(6.0, 3 * thin, tall))
    gap = high * rng.uniform(0.2, 0.5)
    middle = max(words_h, tall) / 2
    if place in ("right", "left"):
        w, h = long + words_w + 1.6 * gap, 2 * middle
        x, y = (0.0 if place == "right" else w - long), middle - tall / 2
        at = ((w - words_w if place == "right" else 0.0), middle - words_h / 2)
    elif place == "inside":
        long = max(long, words_w + 2 * gap + 3 * high)
        w, h, x, y = long, 2 * middle, 0.0, middle - tall / 2
        at = ((long - words_w) / 2, middle - words_h / 2)
    else:
        w, h = max(long, words_w), words_h + gap + tall
        aside = 0.0 if place.endswith("left") else 1.0 if place.endswith("right") else 0.5
        x, at_x = aside * (w - long), aside * (w - words_w)
        above = place.startswith("above")
        y, at = (words_h + gap if above else 0.0), (at_x, 0.0 if above else tall + gap)
    room = 3
    shift = (rng.uniform(0, 1, 2) if k > 1 else np.zeros(2)) + room
    size = (int(w + 2 * room + 3) * k, int(h + 2 * room + 3) * k)
    line, words = (Image.new("L", size) for _ in range(2))
    hole = (at[0] - gap, at[0] + words_w + gap) if place == "inside" else None
    stroke = _Stroke(ImageDraw.Draw(line), k, (x + shift[0], y + shift[1]), thin)
    line_px = stroke.draw(kind, long, tall, hole and (hole[0] - x, hole[1] - x))
    draw = ImageDraw.Draw(words)
    draw.fontmode = "1" if k == 1 and rng.random() < 0.4 else "L"
    corner = [round((a + b) * k) for a, b in zip(at, shift, strict=True)]
    draw.text((corner[0] - left, corner[1] - top), label, font=pen, fill=255)
    masks = [np.asarray(image, np.float32) / 255 for image in (line, words)]
    if k > 1:
        down = (size[0] // k, size[1] // k)
        masks = [cv2.resize(mask, down, interpolation=cv2.INTER_AREA) for mask in masks]
    return Group(masks[0], masks[1], line_px)


class _Stroke:
    """Draws one line in pixels of an image that is `k` times as large."""

    def __init__(
        self, draw: ImageDraw.ImageDraw, k: int, at: tuple[float, float], thin: float
    ) -> None:
        self._draw, self._k, self._at, self._thin = draw, k, at, thin

    def draw(self, kind: str, long: float, tall: float, hole: tuple[float, float] | None) -> float:
        """Draw a line of a kind; return the length that its label states, pixels."""
        thin = self._thin
        middle = (tall - thin) / 2
        if kind in ("solid", "thin"):
            self._fill(0, 0, long, tall)
            return self._round(long)
        if kind == "rounded":
            x0, y0, x1, y1 = self._box(0, 0, long, tall)
            self._draw.rounded_rectangle([x0, y0, x1, y1], radius=(y1 - y0) / 2, fill=255)
            return self._round(long)
        if kind in ("cells", "halves"):
            self._draw_cells(5 if kind == "cells" else 2, long, tall)
            return self._round(long)
        if kind in ("arrows", "chevrons"):
            self._draw_arrows(kind, long, max(7.0, tall))
            return self._round(long)
        ends = (0.0, long - thin)
        places = [*ends, (long - thin) / 2] if kind == "steps" else [*ends]
        base = {"up": tall - thin, "steps": tall - thin, "down": 0.0}.get(kind, middle)
        for number, x in enumerate(places):
            short = 0.4 * tall if number == 2 else 0.0
            if kind != "broken":  # a broken line without ticks
                self._fill(x, short, x + thin, tall)
        runs = [(0.0, long)] if hole is None else [(0.0, hole[0]), (hole[1], long)]
        for first, last in runs:
            self._fill(first, base, last, base + thin)
        return self._round(long) if kind == "broken" else self._round(long) - self._round(thin)

    def _round(self, size: float) -> float:
        return round(size * self._k) / self._k

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
        """Return whole columns and rows, the last ones inclusive."""
        k, (x, y) = self._k, self._at
        left, top = round((x + x0) * k), round((y + y0) * k)
        right, foot = left + round((x1 - x0) * k), top + max(k, round((y1 - y0) * k))
        if x1 >= x0:
            right = round((x) * k) + round(x1 * k)
            left = round((x) * k) + round(x0 * k)
        return left, top, right - 1, foot - 1

    def _fill(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self._draw.rectangle(self._box(x0, y0, x1, y1), fill=255)

    def _draw_cells(self, count: int, long: float, tall: float) -> None:
        cuts = np.linspace(0, long, count + 1)
        rim = max(1.0, min(self._thin, tall / 4))
        for number in range(count):
            if number % 2 == 0:
                self._fill(cuts[number], 0, cuts[number + 1], tall)
            else:
                self._fill(cuts[number], 0, cuts[number + 1], rim)
                self._fill(cuts[number], tall - rim, cuts[number + 1], tall)
        if count % 2 == 0:
            self._fill(long - rim, 0, long, tall)

    def _draw_arrows(self, kind: str, long: float, tall: float) -> None:
        k, (x, y) = self._k, self._at
        thin = self._thin
        self._fill(1, (tall - thin) / 2, long - 1, (tall + thin) / 2)
        for tip, inwards in ((0.0, 1), (long, -1)):
            back, wide = tip + inwards * tall * 0.9, inwards * 1.4 * thin
            corners = [(tip, tall / 2), (back, 0.0), (back, tall)]
            if kind == "chevrons":
                inner = [(back + wide, tall), (tip + 1.4 * wide, tall / 2), (back + wide, 0.0)]
                corners = [corners[0], corners[2], *inner, corners[1]]
            points = [(round((x + a) * k) - (inwards < 0), round((y + b) * k)) for a, b in corners]
            self._draw.polygon(points, fill=255)


def _lay(
    rng: Generator, kit: Kit, pixels: NDArray[np.uint8], group: Group, ground: str
) -> NDArray[np.uint8]:
    """Lay plate, outline and ink over a texture."""
    height, width = pixels.shape[:2]
    tall, wide = group.ink.shape
    pad = int(rng.uniform(0.15, 0.5) * tall) if ground in ("plate", "glass", "band") else 0
    margin = int(rng.uniform(0.01, 0.04) * width)
    across, down = kit.corners[int(rng.integers(len(kit.corners)))]
    x = round(margin + pad + across * (width - wide - 2 * (margin + pad)))
    y = round(margin + pad + down * (height - tall - 2 * (margin + pad)))
    if ground == "band":
        y = height - tall - pad
    x, y = max(0, min(x, width - wide)), max(0, min(y, height - tall))
    out = pixels.astype(np.float32)
    paper = WHITE if rng.random() < 0.4 else BLACK
    box = _find_plate(group, ground, (x, y), pad, pixels.shape)
    if box is not None:
        part = out[box[1] : box[3], box[0] : box[2]]
        solid = float(rng.uniform(0.55, 0.8)) if ground == "glass" else 1.0
        part[:] = (1 - solid) * part + solid * np.array(paper, np.float32)
    here = out[y : y + tall, x : x + wide]
    ink, seen = _choose_ink(rng, kit, here, group.ink)
    if ground in ("outline", "glow", "shadow") or not seen:
        away = BLACK if sum(ink) > 300 else WHITE
        blend(here, _spread(group.ink, ground), away)
    blend(here, group.ink, ink)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _find_plate(
    group: Group, ground: str, at: tuple[int, int], pad: int, shape: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """Return the box of the plate under a group, None without one."""
    if ground not in ("plate", "glass", "band", "words", "line"):
        return None
    height, width = shape[:2]
    mask = {"words": group.words, "line": group.line}.get(ground, group.ink)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    by = pad or 4
    x0, y0, x1, y1 = columns[0] - by, rows[0] - by, columns[-1] + 1 + by, rows[-1] + 1 + by
    box = (at[0] + x0, at[1] + y0, at[0] + x1, at[1] + y1)
    if ground == "band":
        return (0, max(0, int(box[1])), width, height)
    return (
        max(0, int(box[0])),
        max(0, int(box[1])),
        min(width, int(box[2])),
        min(height, int(box[3])),
    )


def _choose_ink(
    rng: Generator, kit: Kit, under: NDArray[np.float32], ink: Mask
) -> tuple[Colour, bool]:
    """Return an ink that is seen on what lies under it, and whether there is one."""
    near = cv2.dilate(ink, np.ones((5, 5), np.uint8)) > 0
    colours = under[near]
    alike = [
        float(np.mean(np.abs(colours - np.array(c, np.float32)).max(axis=1) < UNLIKE))
        for c in kit.inks
    ]
    seen = [c for c, share in zip(kit.inks, alike, strict=True) if share <= MOST_ALIKE]
    if seen:
        return seen[int(rng.integers(len(seen)))], True
    return kit.inks[int(np.argmin(alike))], False


def _spread(ink: Mask, ground: str) -> Mask:
    """Return the coverage of an outline, a glow or a shadow."""
    if ground == "shadow":
        return np.asarray(
            cv2.warpAffine(ink, np.array([[1, 0, 1.5], [0, 1, 1.5]]), ink.shape[::-1])
        )
    wide = np.asarray(cv2.dilate(ink, np.ones((3, 3), np.uint8)))
    if ground == "glow":
        return np.asarray(cv2.GaussianBlur(cv2.dilate(ink, np.ones((5, 5), np.uint8)), (0, 0), 1.2))
    return wide


def blend(part: NDArray[np.float32], mask: Mask, colour: Colour) -> None:
    """Blend a colour into a part of a picture, in place."""
    part[:] = part + mask[:, :, None] * (np.array(colour, np.float32) - part)


def compress(rng: Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels as a JPEG file keeps them."""
    half, full = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(72, 97))]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, half if rng.random() < 0.6 else full]
    _, packed = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), options)
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1])
