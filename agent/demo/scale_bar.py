"""Burn a micron bar into a picture, as microscope programs do, with exact ground truth.

The label is drawn from our own strokes, since OpenCV's fonts have no µ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

WHITE, BLACK, YELLOW, RED = (255, 255, 255), (0, 0, 0), (255, 235, 0), (255, 0, 0)
NICE_UM = (5, 10, 20, 25, 50, 100, 200)
STYLES = ("box", "plain", "ticks", "strip", "side")


@dataclass(frozen=True, slots=True)
class Bar:
    """A drawn micron bar.

    Args:
        box: Everything burned in, (x0, y0, x1, y1) in pixels, x1/y1 exclusive.
        line_px: Length in pixels: between tick centres, or the outer length of a bar without ticks.
        label: Its text.
        um: Its length in µm.
    """

    box: Box
    line_px: float
    label: str
    um: float


def _build_arc(
    centre: tuple[float, float], radii: tuple[float, float], start: float, stop: float
) -> list[tuple[float, float]]:
    turn = np.radians(np.linspace(start, stop, 17))
    return [
        (centre[0] + radii[0] * float(np.cos(t)), centre[1] + radii[1] * float(np.sin(t)))
        for t in turn
    ]


def _build_hump(left: float, right: float) -> list[tuple[float, float]]:
    middle, reach = (left + right) / 2, (right - left) / 2
    return [(left, 0.42), *_build_arc((middle, 0.42), (reach, 0.25), 180, 0), (right, 0.0)]


_U = [(0.06, 0.67), (0.06, 0.25), *_build_arc((0.27, 0.25), (0.21, 0.25), 180, 360), (0.48, 0.25)]
GLYPHS: dict[str, tuple[float, list[list[tuple[float, float]]]]] = {
    "0": (0.74, [_build_arc((0.32, 0.5), (0.27, 0.5), 0, 360)]),
    "1": (0.62, [[(0.1, 0.8), (0.34, 1.0), (0.34, 0.0)]]),
    "2": (0.74, [[*_build_arc((0.31, 0.72), (0.26, 0.28), 165, -32), (0.05, 0.0), (0.6, 0.0)]]),
    "3": (
        0.74,
        [
            _build_arc((0.29, 0.75), (0.24, 0.25), 150, -90),
            _build_arc((0.29, 0.25), (0.28, 0.25), 90, -150),
        ],
    ),
    "4": (0.74, [[(0.47, 0.0), (0.47, 1.0), (0.03, 0.27), (0.64, 0.27)]]),
    "5": (
        0.74,
        [
            [
                (0.56, 1.0),
                (0.13, 1.0),
                (0.09, 0.55),
                *_build_arc((0.3, 0.32), (0.29, 0.32), 125, -145),
            ]
        ],
    ),
    "6": (
        0.74,
        [
            _build_arc((0.32, 0.31), (0.27, 0.31), 0, 360),
            [*_build_arc((0.52, 0.34), (0.47, 0.66), 180, 92)],
        ],
    ),
    "7": (0.7, [[(0.03, 1.0), (0.61, 1.0), (0.22, 0.0)]]),
    "8": (
        0.74,
        [
            _build_arc((0.32, 0.76), (0.23, 0.24), 0, 360),
            _build_arc((0.32, 0.27), (0.28, 0.27), 0, 360),
        ],
    ),
    "9": (
        0.74,
        [
            _build_arc((0.32, 0.69), (0.27, 0.31), 0, 360),
            [*_build_arc((0.12, 0.66), (0.47, 0.66), 0, -88)],
        ],
    ),
    ".": (0.32, [[(0.12, 0.0), (0.14, 0.03)]]),
    ",": (0.32, [[(0.16, 0.05), (0.08, -0.16)]]),
    " ": (0.36, []),
    "u": (0.66, [_U, [(0.48, 0.67), (0.48, 0.0)]]),
    "µ": (0.68, [_U, [(0.48, 0.67), (0.48, 0.0)], [(0.06, 0.3), (0.06, -0.28)]]),
    "n": (0.66, [[(0.06, 0.67), (0.06, 0.0)], _build_hump(0.06, 0.48)]),
    "m": (1.02, [[(0.06, 0.67), (0.06, 0.0)], _build_hump(0.06, 0.44), _build_hump(0.44, 0.84)]),
}
"""Character → its advance and its strokes, in capital heights above the base line."""


def measure_text(text: str, height_px: float) -> float:
    """Return the width of a text drawn by `draw_text`, in pixels."""
    return height_px * sum(GLYPHS[character][0] for character in text)


def compute_stroke_px(height_px: float) -> int:
    """Return the stroke thickness of a label of this height, both in pixels."""
    return max(1, round(height_px * 0.11))


def draw_text(
    pixels: NDArray[np.uint8],
    text: str,
    at: tuple[float, float],
    height_px: float,
    colour: Colour,
    thickness: int,
) -> None:
    """Draw a label.

    Args:
        pixels: (h, w, 3) uint8 RGB, drawn on in place.
        text: Characters of `GLYPHS`.
        at: Left end of the base line, (x, y).
        height_px: Height of a capital.
        colour: RGB.
        thickness: Of a stroke in pixels.
    """
    x, y = at
    for character in text:
        advance, strokes = GLYPHS[character]
        for stroke in strokes:
            points = np.array([(x + height_px * u, y - height_px * v) for u, v in stroke])
            fixed = np.round(points * 16).astype(np.int32)
            cv2.polylines(pixels, [fixed], False, colour, thickness, cv2.LINE_AA, 4)
        x += height_px * advance


def burn_in(
    pixels: NDArray[np.uint8], um_per_px: float, rng: Generator, style: str, note: str
) -> tuple[NDArray[np.uint8], Bar]:
    """Burn a bar of a round length into a picture.

    Args:
        pixels: (h, w, 3) uint8 RGB, not modified.
        um_per_px: µm per pixel.
        rng: Source of randomness.
        style: One of `STYLES`.
        note: ASCII text for an information strip, such as a file number.
    """
    drawn = pixels.copy()
    um = _choose_length(pixels.shape[1] * um_per_px, rng)
    label = f"{um} {'um' if rng.random() < 0.2 else 'µm'}"
    line_px = round(um / um_per_px)
    layout = {"strip": _draw_strip, "side": _draw_side}.get(style, _draw_stacked)
    box = layout(drawn, line_px, label, rng, style, note)
    # The ends are at whole pixels, as in every program, so the label refers to the rounded length.
    return drawn, Bar(box=box, line_px=float(line_px), label=label, um=float(um))


def _choose_length(field_um: float, rng: Generator) -> int:
    fitting = [um for um in NICE_UM if 0.1 <= um / field_um <= 0.32]
    return int(rng.choice(fitting or [max(1, round(field_um / 5))]))


def _draw_stacked(
    drawn: NDArray[np.uint8],
    line_px: int,
    label: str,
    rng: Generator,
    style: str,
    note: str,
) -> Box:
    del note
    height, width = drawn.shape[:2]
    capital = rng.uniform(0.024, 0.034) * height
    thick = int(rng.integers(3, 7))
    wide = round(max(line_px, measure_text(label, capital))) + 24
    tall = round(capital * 1.5) + thick + 36
    right = rng.random() < 0.75
    x0 = width - wide - int(rng.integers(4, 22)) if right else int(rng.integers(4, 22))
    y0 = height - tall - int(rng.integers(4, 18))
    boxed = style == "box"
    paper: Colour = WHITE if rng.random() < 0.6 else BLACK
    if boxed:
        cv2.rectangle(drawn, (x0, y0), (x0 + wide - 1, y0 + tall - 1), paper, -1)
    ink = (BLACK if paper == WHITE else WHITE) if boxed else _choose_ink(drawn, rng)
    text_x = x0 + (wide - measure_text(label, capital)) / 2
    stroke = compute_stroke_px(capital)
    draw_text(drawn, label, (text_x, y0 + 8 + capital), capital, ink, stroke)
    line_x, line_y = x0 + (wide - line_px) // 2, y0 + tall - 12 - thick
    _draw_line(drawn, line_x, line_y, line_px, thick, ink, ticks=style == "ticks")
    return x0, y0, x0 + wide, y0 + tall


def _choose_ink(drawn: NDArray[np.uint8], rng: Generator) -> Colour:
    del drawn
    choices: Sequence[Colour] = (WHITE, BLACK, YELLOW, RED)
    return choices[int(rng.integers(len(choices)))]


def _draw_line(
    drawn: NDArray[np.uint8],
    x: int,
    y: int,
    line_px: int,
    thick: int,
    ink: Colour,
    *,
    ticks: bool,
) -> None:
    if not ticks:
        drawn[y : y + thick, x : x + line_px] = ink
        return
    thin = max(2, thick // 2)
    middle = y + thick // 2
    drawn[middle : middle + thin, x : x + line_px] = ink
    for end in (x, x + line_px):
        drawn[middle - 7 : middle + 7 + thin, end - 1 : end + 1] = ink


def _draw_strip(
    drawn: NDArray[np.uint8],
    line_px: int,
    label: str,
    rng: Generator,
    style: str,
    note: str,
) -> Box:
    del style
    height, width = drawn.shape[:2]
    tall = int(rng.integers(40, 56))
    dark = rng.random() < 0.5
    paper, ink = (BLACK, WHITE) if dark else (WHITE, BLACK)
    drawn[height - tall :] = paper
    capital = 0.38 * tall
    x = width - line_px - int(rng.integers(12, 40))
    _draw_line(drawn, x, height - 10, line_px, 4, ink, ticks=False)
    start = x + (line_px - measure_text(label, capital)) / 2
    draw_text(drawn, label, (start, height - 17), capital, ink, compute_stroke_px(capital))
    cv2.putText(
        drawn,
        note,
        (12, height - tall // 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.5,
        ink,
        1,
        cv2.LINE_AA,
    )
    return 0, height - tall, width, height


def _draw_side(
    drawn: NDArray[np.uint8],
    line_px: int,
    label: str,
    rng: Generator,
    style: str,
    note: str,
) -> Box:
    del style, note
    height, width = drawn.shape[:2]
    capital = rng.uniform(0.026, 0.034) * height
    wide = round(line_px + measure_text(label, capital)) + 44
    tall = round(capital * 1.9) + 8
    x0, y0 = width - wide - 6, height - tall - 6
    cv2.rectangle(drawn, (x0, y0), (x0 + wide - 1, y0 + tall - 1), WHITE, -1)
    middle = y0 + tall // 2
    _draw_line(drawn, x0 + 12, middle - 2, line_px, 4, BLACK, ticks=rng.random() < 0.5)
    at = (x0 + 26 + line_px, middle + capital / 2)
    draw_text(drawn, label, at, capital, BLACK, compute_stroke_px(capital))
    return x0, y0, x0 + wide, y0 + tall
