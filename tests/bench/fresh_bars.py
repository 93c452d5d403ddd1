"""Burn scale bars into real texture as programs of the field draw them; the split "fresh".

Shares follow the field: most bars are a plain line with its words above
or below (`fresh_programs`). Info strips, with other values beside the bar, are drawn by
`fresh_strips`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from burned_bars import BLACK, UM_PER_PX, WHITE, blend, compress, list_fonts, vary_texture
from fresh_lines import Drawn, Type, draw_bar, spell_micro
from fresh_programs import FONTS, PROGRAMS
from fresh_strips import add_strip

if TYPE_CHECKING:
    from burned_bars import Colour
    from fresh_programs import Program
    from numpy.random import Generator
    from numpy.typing import NDArray

NICE = (1, 2, 5, 10, 20, 50, 100, 200, 500)
LESS_NICE = (1.5, 2.5, 3, 4, 6, 8, 12, 15, 25, 30, 40, 60, 70, 75, 80, 120, 150, 250, 300, 400, 600)
LONG = (0.07, 0.4)  # of the width
LEAST_LONG_PX = 80
LEAST_LETTERS_PX = 13  # size of the font in the picture as written
UNLIKE = 70  # grey values in a channel by which ink differs from the texture around it …
MOST_ALIKE, MOST_ALIKE_BLOCK = 0.03, 0.1  # … but for these shares; of a block more may be
UNLIKE_LIGHT = 65  # likewise, of the brightness
UNLIKE_PAPER = 120  # grey values by which ink differs from a plate
LIGHT = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601
BLOCKS = ("solid", "inlaid", "bevel", "gradient", "upright")
CORNERS = ((1, 1), (1, 1), (1, 1), (1, 1), (0, 1), (0, 1), (0.5, 1), (1, 0), (0, 0), (0.93, 0.6))
GREYS = ((60, 60, 60), (205, 205, 205))
TINTS = ((255, 250, 205), (20, 40, 90), (200, 225, 255), (90, 0, 0), (255, 235, 60))


def burn_fresh(
    rng: Generator, texture: NDArray[np.uint8], folder: Path
) -> tuple[NDArray[np.uint8], str, str, float, float]:
    """Burn a bar into a texture.

    Args:
        rng: Source of all that is drawn by chance.
        texture: (h, w, 3) uint8, RGB, without graphics.
        folder: Of fonts.

    Returns:
        Pixels, (h, w, 3) uint8; look; label; length of the line in pixels and in µm.
    """
    pixels = vary_texture(rng, texture)
    if rng.random() < 0.4:
        pixels = _turn_grey(pixels)
    shares = np.array([program.share for program in PROGRAMS.values()])
    name = str(rng.choice(list(PROGRAMS), p=shares / shares.sum()))
    program = PROGRAMS[name]
    factor, how = _choose_factor(rng, pixels.shape[1])
    um, um_per_px = _choose_length(rng, pixels.shape, name)
    letters = _choose_letters(rng, program, folder, min(pixels.shape[:2]), factor)
    label = _write_length(rng, um, letters)
    kind, long = str(rng.choice(program.lines)), um / um_per_px
    if name == "strip":
        pixels, drawn = add_strip(rng, pixels, kind, label=label, long=long,
                                  letters=letters, um_per_px=um_per_px)  # fmt: skip
        ground = kind
    else:
        place = str(rng.choice(program.places))
        drawn = draw_bar(rng, kind, place, label=label, long=long, letters=letters)
        pixels, ground = _lay(rng, program, pixels, drawn)
    width = pixels.shape[1]
    if factor != 1.0:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how)
    for _ in range(int(rng.choice(3, p=[0.45, 0.42, 0.13]))):
        pixels = compress(rng, pixels)
    line_px = drawn.line_px * pixels.shape[1] / width
    look = f"{ground}-{drawn.kind}-{drawn.place}"
    return np.ascontiguousarray(pixels), look, label, line_px, um


def _turn_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


def _choose_factor(rng: Generator, width: int) -> tuple[float, int]:
    """Return by how much the picture is enlarged afterwards, and how."""
    chance = rng.random()
    if chance < 0.05 and width <= 1100:
        return 2.0, cv2.INTER_NEAREST
    if chance < 0.15:
        return float(rng.uniform(0.6, 0.95)), cv2.INTER_AREA
    if chance < 0.27:
        return float(rng.uniform(1.05, 1.6)), int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR]))
    return 1.0, cv2.INTER_AREA


def _choose_length(rng: Generator, shape: tuple[int, ...], name: str) -> tuple[float, float]:
    """Return a usual length, µm, and the scale, µm per pixel."""
    wide, high = shape[1], shape[0]
    um_per_px = float(np.exp(rng.uniform(*np.log(UM_PER_PX))))
    numbers = LESS_NICE if rng.random() < 0.2 else NICE
    usual = {n * 10.0**p for n in numbers for p in (-3, -1, 0, 3)}
    low, most = max(LEAST_LONG_PX, LONG[0] * wide), LONG[1] * wide
    if name == "upright":
        most = max(2.6 * low, min(most, 0.5 * high))
    fitting = sorted(um for um in usual if low <= um / um_per_px <= most and um >= 0.01)
    while not fitting:
        um_per_px *= 1.3
        fitting = sorted(um for um in usual if low <= um / um_per_px <= most and um >= 0.01)
    return float(round(rng.choice(fitting), 6)), um_per_px


def _choose_letters(
    rng: Generator, program: Program, folder: Path, side: int, factor: float
) -> Type:
    """Return letters that can still be read when the picture has been reduced."""
    family = FONTS[str(rng.choice(program.fonts))]
    paths = list_fonts(tuple(name for names in FONTS.values() for name in names), folder)
    paths = [path for path in paths if Path(path).name in family] or paths
    size = max(LEAST_LETTERS_PX / min(1.0, factor), side * rng.uniform(*program.size))
    return Type(str(rng.choice(paths)), round(size + 0.5), str(rng.choice(program.edges)))


def _write_length(rng: Generator, um: float, letters: Type) -> str:
    """Return a length in words as programs write it."""
    units = ("µm", "µm", "µm", "μm", "μm", "um", "um", "microns", "MICRONS", "Micron", "UM")
    unit, value = str(rng.choice(units, p=[0.2, 0.2, 0.2, 0.1, 0.1, 0.07, 0.07, *[0.015] * 4])), um
    if um < 0.1 or (um < 1 and rng.random() < 0.65) or (um <= 5 and rng.random() < 0.06):
        unit, value = "nm", 1000 * um
    elif um >= 1000 or (um >= 100 and rng.random() < 0.12):
        unit, value = ("mm", um / 1000) if rng.random() < 0.8 else (unit, um)
    number = f"{value:.6g}"
    if value >= 1 and value < 1000 and rng.random() < 0.15:
        number = f"{value:.{int(rng.integers(1, 3))}f}"
    if "." in number and rng.random() < 0.3:
        number = number.replace(".", ",")
    words = number + (" " if len(unit) > 2 or rng.random() < 0.6 else "") + unit
    if rng.random() < 0.04:
        words = str(rng.choice(["Scale bar: ", "Bar = ", "Scale: ", "= "])) + words
    return spell_micro(words, letters)


def _lay(
    rng: Generator, program: Program, pixels: NDArray[np.uint8], drawn: Drawn
) -> tuple[NDArray[np.uint8], str]:
    """Lay plate and ink over a texture; return the pixels and what lies below the ink."""
    ground = str(rng.choice(program.grounds))
    inks = tuple(dict.fromkeys(program.inks)) if rng.random() < 0.5 else program.inks
    is_grey = bool((pixels[:, :, 0] == pixels[:, :, 2]).all())
    if is_grey and rng.random() < 0.7:  # a microscope that stores grey pictures
        inks = tuple(ink for ink in inks if len(set(ink)) == 1) or (WHITE, BLACK)
    out = pixels.astype(np.float32)
    if ground == "none":
        corner, ink = _find_bare_place(rng, inks, out, drawn)
        if ink is not None:
            _blend_ink(rng, out, drawn, corner, ink)
            return np.clip(np.rint(out), 0, 255).astype(np.uint8), ground
        ground = "plate"
    pad = int(max(4, rng.uniform(0.12, 0.45) * min(drawn.ink.shape)))
    corner, box = _place_plate(rng, pixels.shape, drawn, pad, ground)
    paper = _choose_paper(rng, ground, inks)
    fits = [ink for ink in inks if _measure_contrast(ink, paper) >= UNLIKE_PAPER]
    ink = fits[int(rng.integers(len(fits)))] if fits else _choose_opposite(paper)
    _lay_plate(rng, out, ground, box, paper=paper, ink=ink)
    _blend_ink(rng, out, drawn, corner, ink)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8), ground


def _find_bare_place(
    rng: Generator, inks: tuple[Colour, ...], out: NDArray[np.float32], drawn: Drawn
) -> tuple[tuple[int, int], Colour | None]:
    """Find where an ink is seen on the texture; one in eight bars lies half on a bright grain."""
    tall, wide = drawn.ink.shape
    on_grain, best = rng.random() < 0.12, (-1.0, (0, 0), None)
    for _ in range(24 if on_grain else 12):
        x, y = _choose_corner(rng, out.shape, drawn, 0)
        if on_grain:
            x = int(rng.uniform(0.02, 0.98) * max(1, out.shape[1] - wide))
            y = int(rng.uniform(0.02, 0.98) * max(1, out.shape[0] - tall))
        here = out[y : y + tall, x : x + wide]
        seen = [ink for ink in inks if _is_seen(ink, here, drawn)]
        if not seen:
            continue
        ink = seen[int(rng.integers(len(seen)))]
        if not on_grain:
            return (x, y), ink
        uneven = abs(float(here[:, : wide // 2].mean() - here[:, wide // 2 :].mean()))
        if uneven > best[0]:
            best = (uneven, (x, y), ink)
    return best[1], best[2]


def _is_seen(ink: Colour, here: NDArray[np.float32], drawn: Drawn) -> bool:
    """Return whether an ink differs from what lies around line and words."""
    is_block = drawn.kind in BLOCKS
    masks = [(drawn.line, MOST_ALIKE_BLOCK if is_block else MOST_ALIKE)]
    if drawn.kind != "inlaid":
        masks.append((drawn.words.max(axis=2), MOST_ALIKE))
    off = here - np.array(ink, np.float32)
    unlike = (np.abs(off).max(axis=2) >= UNLIKE) & (np.abs(off @ LIGHT) >= UNLIKE_LIGHT)
    near = [(cv2.dilate(mask, np.ones((5, 5), np.uint8)) > 0, most) for mask, most in masks]
    return all(float(unlike[mask].mean()) >= 1 - most for mask, most in near)


def _choose_corner(
    rng: Generator, shape: tuple[int, ...], drawn: Drawn, pad: int
) -> tuple[int, int]:
    """Return the top left corner of a group that is kept off the edges."""
    (height, width), (tall, wide) = shape[:2], drawn.ink.shape
    margin = pad + int(rng.uniform(0.008, 0.05) * width)
    across, down = CORNERS[int(rng.integers(len(CORNERS)))]
    x = round(margin + across * (width - wide - 2 * margin))
    y = round(margin + down * (height - tall - 2 * margin))
    return max(0, min(x, width - wide)), max(0, min(y, height - tall))


def _place_plate(
    rng: Generator, shape: tuple[int, ...], drawn: Drawn, pad: int, ground: str
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Return where the group stands, and the box of its plate."""
    (height, width), (tall, wide) = shape[:2], drawn.ink.shape
    x, y = _choose_corner(rng, shape, drawn, pad)
    if ground == "corner":
        left = rng.random() < 0.3
        x, y = (pad if left else width - wide - pad), height - tall - pad
    x, y = max(0, x), max(0, y)
    box = (
        max(0, x - pad),
        max(0, y - pad),
        min(width, x + wide + pad),
        min(height, y + tall + pad),
    )
    return (x, y), box


def _choose_paper(rng: Generator, ground: str, inks: tuple[Colour, ...]) -> Colour:
    papers: tuple[Colour, ...] = {"grey": GREYS, "tint": TINTS}.get(ground, (WHITE, BLACK))
    if ground in ("boxed", "rounded"):
        papers = (WHITE, WHITE, BLACK)
    fits = [p for p in papers if any(_measure_contrast(ink, p) >= UNLIKE_PAPER for ink in inks)]
    return fits[int(rng.integers(len(fits)))] if fits else papers[0]


def _measure_contrast(ink: Colour, paper: Colour) -> float:
    """Return the difference of two colours in grey values."""
    return abs(float(np.subtract(ink, paper) @ LIGHT))


def _choose_opposite(colour: Colour) -> Colour:
    return BLACK if float(np.array(colour) @ LIGHT) > 127 else WHITE


def _lay_plate(
    rng: Generator,
    out: NDArray[np.float32],
    ground: str,
    box: tuple[int, int, int, int],
    *,
    paper: Colour,
    ink: Colour,
) -> None:
    """Lay a plate: whole or translucent, with a frame or rounded corners."""
    left, top, right, foot = box
    part = out[top:foot, left:right]
    mask = np.zeros(part.shape[:2], np.float32)
    radius = int(min(mask.shape) * rng.uniform(0.12, 0.25)) if ground == "rounded" else 0
    cv2.rectangle(mask, (radius, 0), (mask.shape[1] - 1 - radius, mask.shape[0] - 1), 1.0, -1)
    if radius:
        cv2.rectangle(mask, (0, radius), (mask.shape[1] - 1, mask.shape[0] - 1 - radius), 1.0, -1)
        for x in (radius, mask.shape[1] - 1 - radius):
            for y in (radius, mask.shape[0] - 1 - radius):
                cv2.circle(mask, (x, y), radius, 1.0, -1, cv2.LINE_AA)
    solid = float(rng.uniform(0.6, 0.85)) if ground == "film" else 1.0
    blend(part, mask * solid, paper)
    if ground == "boxed" or (ground == "rounded" and rng.random() < 0.5):
        thick = int(rng.integers(1, 3))
        inner = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=thick,
                          borderType=cv2.BORDER_CONSTANT, borderValue=0)  # fmt: skip
        blend(part, mask - inner, ink)


def _blend_ink(
    rng: Generator, out: NDArray[np.float32], drawn: Drawn, corner: tuple[int, int], ink: Colour
) -> None:
    """Blend line and words into a picture."""
    (x, y), (tall, wide) = corner, drawn.ink.shape
    part = out[y : y + tall, x : x + wide]
    opposite = _choose_opposite(ink)
    solid = float(rng.uniform(0.8, 0.95)) if rng.random() < 0.05 else 1.0
    shades = np.array(ink) + drawn.tone[:, :, None] * np.subtract(opposite, ink)
    part += drawn.line[:, :, None] * solid * (shades - part)
    words = np.array(opposite if drawn.kind == "inlaid" else ink, np.float32)
    part += drawn.words * (words - part)
