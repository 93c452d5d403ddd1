"""Draw info strips of electron microscopes: the bar among voltage, distance, magnification, date.

Values agree with the scale: the magnification is that of a print 127 mm wide, the field of view is
that of the picture. A strip covers the lowest rows or is added below them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fresh_lines import Drawn, Type, draw_bar, load_font, spell_micro
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
PRINT_UM = 127_000  # width of the print to which a magnification belongs
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Strip:
    """Layout of the strip of a program.

    Args:
        line: Kind of line.
        place: Of its words.
        columns: Texts, one tuple a column, from top to foot.
        side: Where the bar stands: 0 left, 1 right, 0.5 between the columns.
        papers: Colours of the strip.
        has_cells: Whether lines part the columns.
        is_film: Whether the texture is seen through it.
    """

    line: str
    place: str
    columns: tuple[tuple[str, ...], ...]
    side: float
    papers: tuple[Colour, ...] = (BLACK,)
    has_cells: bool = False
    is_film: bool = False


STRIPS = {
    "smartsem": Strip(
        "ticked",
        "above",
        (
            ("EHT = {kv:.2f} kV", "WD = {wd:.1f} mm"),
            ("Signal A = {det}", "Mag = {mag}"),
            ("Date :{day} {month} {year}", "Time :{time}"),
        ),
        0,
        (BLACK, WHITE),
        has_cells=True,
    ),
    "fei": Strip(
        "gap",
        "above",
        (
            ("HV", "{kv:.2f} kV"),
            ("mag", "{times} x"),
            ("WD", "{wd:.1f} mm"),
            ("det", "{det}"),
            ("HFW", "{hfw}"),
            ("spot", "{spot:.1f}"),
        ),
        1,
        (BLACK, (40, 40, 60)),
        has_cells=True,
    ),
    "jeol": Strip(
        "ticked",
        "right",
        (("{det}",), ("{kv:.1f}kV",), ("X{times}",), ("WD {wd:.1f}mm",)),
        1,
    ),
    "jsm": Strip(
        "solid",
        "above",
        (("JSM-IT{spot:.0f}00", "{det}"), ("{kv:.0f}kV", "X{times}"), ("{date}", "{serial}")),
        0.5,
    ),
    "hitachi": Strip(
        "comb",
        "below_right",
        (("SU{spot:.0f}000 {kv:.1f}kV {wd:.1f}mm x{short} {det}",), ("{date}",)),
        1,
    ),
    "tescan": Strip(
        "ticked",
        "below",
        (
            ("SEM HV: {kv:.1f} kV", "View field: {hfw}", "SEM MAG: {short}x"),
            ("WD: {wd:.2f} mm", "Det: {det}", "Date: {date}"),
        ),
        0.5,
        has_cells=True,
    ),
    "aztec": Strip("hollow", "above_left", (("Electron Image {spot:.0f}",),), 0, (WHITE,)),
    "esprit": Strip(
        "solid",
        "above",
        (("MAG: {times} x", "HV: {kv:.1f} kV", "WD: {wd:.1f} mm"), ("{date}", "Px: {nm:.0f} nm")),
        1,
        (BLACK, (225, 225, 225)),
    ),
    "keyence": Strip(
        "ticked",
        "above_right",
        (("Z{spot:.0f}00:X{round}", "{date}"),),
        1,
        is_film=True,
    ),
}


def add_strip(
    rng: Generator,
    pixels: NDArray[np.uint8],
    name: str,
    *,
    label: str,
    long: float,
    letters: Type,
    um_per_px: float,
) -> tuple[NDArray[np.uint8], Drawn]:
    """Add a strip with a bar to a picture.

    Args:
        rng: Source of values and sizes.
        pixels: (h, w, 3) uint8.
        name: Of the strip.
        label: Words of the bar.
        long: Length of the line, pixels.
        letters: Of all words.
        um_per_px: Scale that the other values are computed from.

    Returns:
        Pixels, (h or more, w, 3) uint8, and the bar as drawn.
    """
    strip = STRIPS[name]
    letters = Type(letters.path, min(letters.size, max(13, pixels.shape[1] // 45)), letters.edges)
    drawn = draw_bar(rng, strip.line, strip.place, label=label, long=long, letters=letters)
    width, step = pixels.shape[1], round(letters.size * 1.35)
    pad = max(3, letters.size // 4)
    rows = max(len(column) for column in strip.columns)
    tall = max(drawn.ink.shape[0], rows * step) + 2 * pad
    paper = strip.papers[int(rng.integers(len(strip.papers)))]
    ink = BLACK if sum(paper) > 380 else WHITE
    values = _choose_values(rng, um_per_px, width)
    texts = [
        tuple(spell_micro(text.format(**values), letters) for text in column)
        for column in strip.columns
    ]
    picture = Image.new("RGB", (width, tall), paper)
    at_x = _write_columns(
        picture, texts, strip, drawn.ink.shape[1], letters=letters, ink=ink, pad=pad
    )
    band = np.asarray(picture).astype(np.float32)
    if strip.is_film:
        under = pixels[-tall:].astype(np.float32)
        is_ink = np.abs(band - paper).max(axis=2, keepdims=True) / 255
        band = is_ink * band + (1 - is_ink) * (0.3 * under + 0.7 * np.array(paper))
    y = (tall - drawn.ink.shape[0]) // 2
    part = band[y : y + drawn.ink.shape[0], at_x : at_x + drawn.ink.shape[1]]
    for mask in (drawn.line[:, :, None], drawn.words):
        part += mask * (np.array(ink, np.float32) - part)
    lowest = np.clip(np.rint(band), 0, 255).astype(np.uint8)
    is_added = not strip.is_film and rng.random() < 0.4
    kept = pixels if is_added else pixels[:-tall]
    return np.concatenate([kept, lowest]), drawn


def _choose_values(rng: Generator, um_per_px: float, width: int) -> dict[str, object]:
    """Return what a strip states of the picture."""
    hfw = um_per_px * width
    times = float(f"{PRINT_UM / hfw:.2g}")
    day, month, year = (int(rng.integers(*span)) for span in ((1, 29), (1, 13), (2009, 2026)))
    usual = [n * 10**p for p in range(1, 6) for n in (1, 2, 5)]
    return {
        "kv": float(rng.choice([5, 10, 15, 20, 25])),
        "wd": float(rng.uniform(4, 18)),
        "det": str(rng.choice(["SE2", "SEI", "BSE", "ETD", "LEI", "InLens", "BEC"])),
        "mag": f"{times / 1000:.2f} K X" if times >= 1000 else f"{times:.0f} X",
        "times": f"{times:,.0f}",
        "short": f"{times / 1000:.2f}k" if times >= 1000 else f"{times:.0f}",
        "round": min(usual, key=lambda n: abs(np.log(n / times))),
        "hfw": f"{hfw / 1000:.2f} mm" if hfw >= 1000 else f"{hfw:.3g} \u00b5m",
        "spot": float(rng.integers(2, 9)),
        "nm": 1000 * um_per_px,
        "day": day,
        "month": MONTHS[month - 1],
        "year": year,
        "date": f"{month}/{day}/{year}" if rng.random() < 0.5 else f"{year}-{month:02d}-{day:02d}",
        "time": f"{rng.integers(8, 19)}:{rng.integers(60):02d}:{rng.integers(60):02d}",
        "serial": f"{rng.integers(10000):04d}",
    }


def _write_columns(
    picture: Image.Image,
    texts: list[tuple[str, ...]],
    strip: Strip,
    bar_w: int,
    *,
    letters: Type,
    ink: Colour,
    pad: int,
) -> int:
    """Write as many columns as there is room for; return the bar's first column."""
    draw = ImageDraw.Draw(picture)
    draw.fontmode = "1" if letters.edges == "crisp" else "L"
    pen, _ = load_font(letters)
    gap = letters.size if strip.has_cells else round(1.5 * letters.size)
    widths = [max(int(pen.getlength(text)) for text in column) + gap for column in texts]
    free = picture.width - bar_w - 2 * pad - gap
    while widths and sum(widths) > free:
        widths.pop()
    before = {0: 0, 1: len(widths)}.get(strip.side, (len(widths) + 1) // 2)
    spare = max(0, free - sum(widths)) // (len(widths) + 1) if strip.side == 0.5 else 0
    x, at_x = pad, pad
    for number in range(len(widths) + 1):
        if number == before:
            at_x = x if strip.side != 1 else picture.width - pad - bar_w
            x += bar_w + gap + spare
            if strip.has_cells and strip.side != 1:
                draw.line((x - gap // 2, 0, x - gap // 2, picture.height), fill=ink)
        if number == len(widths):
            break
        rows = len(texts[number])
        for row, text in enumerate(texts[number]):
            y = (2 * row + 1) * picture.height // (2 * rows)
            draw.text((x, y), text, font=pen, fill=ink, anchor="lm")
        x += widths[number] + spare
        if strip.has_cells:
            draw.line((x - gap // 2, 0, x - gap // 2, picture.height), fill=ink)
    return int(at_x)
