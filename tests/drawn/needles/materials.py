"""Materials without needles, and what lies on top of a microstructure."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drawn.needles.canvas import NeedleCanvas, draw_soft_field


def draw_pearlite(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw colonies of parallel lamellae of one period each."""
    colony = rng.uniform(40, 260)
    home = draw_cells(rng, side, colony)
    count = int(home.max()) + 1
    angle = rng.uniform(0, np.pi, count)[home]
    period = rng.uniform(3, 18) * rng.lognormal(0, 0.25, count)[home]
    bend = draw_soft_field(side, rng, rng.uniform(30, 200)) * rng.uniform(0, 8)
    row, column = np.mgrid[0:side, 0:side]
    phase = (row * np.cos(angle) + column * np.sin(angle) + bend) / period
    wave = np.sin(2 * np.pi * phase)
    sharp = np.tanh(wave * rng.uniform(0.8, 5) + rng.uniform(-1.2, 1.2))
    tint = rng.normal(0, 18, count)[home]
    shade = rng.uniform(15, 60) * sharp + tint + rng.uniform(90, 160)
    broken = draw_soft_field(side, rng, rng.uniform(6, 30)) > rng.uniform(0.8, 2.5)
    return _to_grey(np.where(broken, shade.mean(), shade))


def draw_ferrite(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw polygonal grains with thin boundaries, some of them with inclusions."""
    home = draw_cells(rng, side, rng.uniform(15, 150))
    count = int(home.max()) + 1
    tone = rng.uniform(120, 220)
    grey = tone + rng.normal(0, rng.uniform(0, 15), count)[home]
    edge = np.zeros((side, side), np.uint8)
    edge[:-1] |= home[:-1] != home[1:]
    edge[:, :-1] |= home[:, :-1] != home[:, 1:]
    if rng.random() < 0.5:
        edge = np.asarray(cv2.dilate(edge, np.ones((2, 2), np.uint8)), np.uint8)
    grey = np.where(edge, tone + rng.choice([-1, 1]) * rng.uniform(20, 100), grey)
    return _add_spots(rng, _to_grey(grey), rng.uniform(0, 0.02))


def draw_spheroidite(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw round carbides in a matrix, evenly or along a network."""
    grey = _to_grey(rng.uniform(60, 190) + 6 * draw_soft_field(side, rng, 60))
    return _add_spots(rng, grey, rng.uniform(0.03, 0.3))


def draw_cast_iron(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw graphite flakes or nodules in ferrite or pearlite."""
    ground = (draw_ferrite if rng.random() < 0.6 else draw_pearlite)(rng, side)
    canvas = NeedleCanvas(ground, np.zeros_like(ground, np.int32))
    tone = int(rng.uniform(10, 60))
    for _ in range(int(rng.integers(5, 40))):
        start = rng.uniform(0, side, 2)
        if rng.random() < 0.3:
            turn = np.linspace(0, 2 * np.pi, 17)[:-1]
            radius = rng.uniform(5, 35) * rng.uniform(0.8, 1.2, 16)
            canvas.fill(start + np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None], tone)
            continue
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, 14))
        steps = np.stack([np.cos(heading), np.sin(heading)], 1) * rng.uniform(4, 16)
        canvas.line(start + np.cumsum(steps, axis=0), tone, int(rng.integers(2, 8)))
    return canvas.grey


def draw_scratches(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw a polished surface with scratches."""
    grey = _to_grey(rng.uniform(100, 220) + rng.uniform(0, 8) * draw_soft_field(side, rng, 80))
    canvas = NeedleCanvas(grey, np.zeros((side, side), np.int32))
    add_scratches(rng, canvas, int(rng.integers(3, 60)))
    return canvas.grey


def draw_texture(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw a random texture of some scales, possibly stretched."""
    grey = np.full((side, side), rng.uniform(80, 180), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        wave = float(np.exp(rng.uniform(np.log(3), np.log(120))))
        layer = draw_soft_field(side, rng, wave, rng.uniform(1, 2.5))
        if rng.random() < 0.4:
            layer = np.sign(layer - rng.uniform(-1, 1))
        grey += rng.uniform(5, 35) * layer
    return _to_grey(grey)


def draw_blank(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw a surface without structure; the optics add its noise."""
    return _to_grey(rng.uniform(60, 200) + rng.uniform(0, 4) * draw_soft_field(side, rng, 150))


def draw_network(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw carbides along the grain boundaries of a spheroidised matrix."""
    grey = draw_spheroidite(rng, side)
    home = draw_cells(rng, side, rng.uniform(60, 250))
    edge = np.zeros((side, side), np.uint8)
    edge[:-1] |= home[:-1] != home[1:]
    edge[:, :-1] |= home[:, :-1] != home[:, 1:]
    thick = int(rng.integers(3, 9))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick))
    edge = np.asarray(cv2.dilate(edge, disc), np.uint8)
    grey[(edge > 0) & (draw_soft_field(side, rng, 25) > -1)] = int(rng.uniform(180, 245))
    return grey


NEEDLE_FREE: tuple[Callable[[Generator, int], NDArray[np.uint8]], ...] = (
    draw_pearlite,
    draw_pearlite,
    draw_ferrite,
    draw_ferrite,
    draw_spheroidite,
    draw_cast_iron,
    draw_scratches,
    draw_texture,
    draw_texture,
    draw_network,
    draw_blank,
)


def add_scratches(rng: Generator, canvas: NeedleCanvas, count: int) -> None:
    """Draw long, thin, nearly straight lines over a canvas; owners stay."""
    heading = rng.uniform(0, np.pi)
    for _ in range(count):
        angle = heading + rng.normal(0, 0.15 if rng.random() < 0.7 else 1.0)
        middle = rng.uniform(0, canvas.side, 2)
        half = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(40, 2 * canvas.side)
        bow = np.array([-np.sin(angle), np.cos(angle)]) * rng.normal(0, 4)
        line = np.array([middle - half, middle + bow, middle + half])
        tone = int(rng.choice([rng.uniform(10, 70), rng.uniform(190, 250)]))
        canvas.line(line, tone, int(rng.integers(1, 3)))


def add_carbides(rng: Generator, canvas: NeedleCanvas, share: float, tone: int, rim: int) -> None:
    """Draw small round carbides with a rim over needles; they hide what is below."""
    count = int(share * canvas.side**2 / 14)
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    clustered = draw_soft_field(canvas.side, rng, rng.uniform(20, 150)) > 0.5
    for centre in rng.uniform(0, canvas.side, (count, 2)):
        column, row = centre.astype(int)
        if rng.random() < 0.6 and not clustered[row, column]:
            continue
        radius = rng.lognormal(np.log(2.0), 0.35) * rng.uniform(0.7, 1.3, 8)
        shape = centre + np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None]
        canvas.fill(shape, tone)
        canvas.line(shape, rim, closed=True)


def add_austenite(rng: Generator, canvas: NeedleCanvas, share: float, tone: int) -> None:
    """Draw bright, irregular islands over needles; they hide what is below."""
    radius = rng.uniform(4, 9)
    turn = np.linspace(0, 2 * np.pi, 9)[:-1]
    for centre in rng.uniform(0, canvas.side, (int(share * canvas.side**2 / (2 * radius**2)), 2)):
        reach = radius * rng.lognormal(0, 0.3) * rng.uniform(0.35, 1.25, 8)
        shape = centre + np.stack([np.cos(turn), np.sin(turn)], 1) * reach[:, None]
        canvas.fill(shape, int(np.clip(tone + rng.normal(0, 6), 3, 250)))


def draw_cells(rng: Generator, side: int, pitch: float) -> NDArray[np.intp]:
    """Draw grains of a diameter of about `pitch` px: (side, side) number of the grain."""
    count = int((1.3 * side / pitch) ** 2) + 3
    seeds = rng.uniform(-0.15 * side, 1.15 * side, (count, 2))
    wobble = [draw_soft_field(side, rng, pitch / 2) * rng.uniform(0, 0.06) * pitch for _ in "xy"]
    row, column = np.mgrid[0:side, 0:side]
    points = np.stack([row + wobble[0], column + wobble[1]], axis=-1).reshape(-1, 2)
    home: NDArray[np.intp] = cKDTree(seeds).query(points)[1].reshape(side, side)
    return home


def _add_spots(rng: Generator, grey: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    side = grey.shape[0]
    radius = float(np.exp(rng.uniform(np.log(1.5), np.log(12))))
    count = int(share * side**2 / (np.pi * radius**2))
    tone = int(rng.choice([rng.uniform(5, 60), rng.uniform(190, 250)]))
    rim = int(rng.uniform(20, 120)) if rng.random() < 0.6 else None
    for x, y in rng.uniform(0, side, (count, 2)).tolist():
        axes = radius * rng.lognormal(0, 0.35) * np.array([1.0, rng.uniform(0.6, 1.0)])
        centre, size = (round(x), round(y)), tuple(np.maximum(1, np.round(axes)).astype(int))
        turn = float(rng.uniform(0, 180))
        cv2.ellipse(grey, centre, size, turn, 0, 360, tone, -1, cv2.LINE_AA)
        if rim is not None:
            cv2.ellipse(grey, centre, size, turn, 0, 360, rim, 1, cv2.LINE_AA)
    return grey


def _to_grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(values, 3, 250), np.uint8)
