"""Plates and laths that grow one generation after another inside warped grains.

A plate of a later generation ends, blunt, where it meets an earlier one or the border of its grain,
so the lengths of one field differ much more than those of `plates`. Ground and bodies may carry the
texture of real micrographs without needles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from drawn.needles import materials
from drawn.needles.canvas import NO_OWNER, PIXEL_UM, NeedleCanvas, draw_soft_field, to_fixed

Plane = NDArray[np.float32]

GRAIN_UM = (14.0, 130.0)
LEAST_PX = 6.0
FEWEST_PX, MOST_TRIES = 9, 2200
STATIONS = 17


@dataclass(frozen=True, slots=True)
class _Look:
    """What the plates of one field have in common.

    Args:
        tone: Mean grey of a body; `spread` between plates, `edge` of the flanks, `rib` of a midrib.
        aspect: Length over width.
        taper: Exponent of the width along the plate: 1 is a lens, 0.15 a lath.
        bow: Standard deviation of sagitta over length.
        crossing: Share of plates that grow through earlier ones, which stay on top.
        branching: Share that starts at the flank of an earlier plate.
        texture: Grey of a body's texture.
    """

    tone: float
    spread: float
    edge: float
    rib: float
    aspect: float
    taper: float
    bow: float
    crossing: float
    branching: float
    texture: Plane


def draw_generations(rng: Generator, side: int, textures: Sequence[Plane] = ()) -> NeedleCanvas:
    """Draw plates, laths in packets, or plates in retained austenite.

    Args:
        rng: Source of randomness.
        side: Side of the field, px.
        textures: Real pictures without needles, (h, w) float32; empty: drawn textures.
    """
    grain_px = float(np.exp(rng.uniform(*np.log(GRAIN_UM)))) / PIXEL_UM
    home = _warp_cells(rng, side, grain_px)
    is_lath = rng.random() < 0.4
    if is_lath:  # packets, and blocks within them
        home = _number(home, _warp_cells(rng, side, grain_px * rng.uniform(0.3, 0.9)))
    ground = float(rng.uniform(70, 225))
    canvas = NeedleCanvas.blank(side, 128)
    shade = ground + rng.uniform(0, 18) * cut_texture(rng, side, textures)
    shade += rng.normal(0, rng.uniform(0, 10), int(home.max()) + 1)[home].astype(np.float32)
    canvas.grey[:] = np.clip(shade, 3, 250).astype(np.uint8)
    look = _sample_look(rng, ground, side, textures, is_lath=is_lath)
    _grow_all(rng, canvas, home, grain_px, look, is_lath=is_lath)
    if rng.random() < 0.5:
        _etch_borders(rng, canvas, home)
    if rng.random() < 0.35:
        share = rng.uniform(0.002, 0.03)
        materials.add_carbides(rng, canvas, share, int(rng.uniform(150, 245)), 60)
    if rng.random() < 0.1:
        materials.add_scratches(rng, canvas, int(rng.integers(1, 5)))
    return canvas


def cut_texture(rng: Generator, side: int, textures: Sequence[Plane]) -> Plane:
    """Return a square of texture with mean 0 and deviation 1, at a random magnification."""
    if not textures:
        wave = float(np.exp(rng.uniform(np.log(2), np.log(60))))
        return draw_soft_field(side, rng, wave, rng.uniform(1, 2))
    picture = textures[int(rng.integers(len(textures)))]
    factor = float(np.exp(rng.uniform(np.log(0.6), np.log(1.8))))
    wanted = int(np.ceil(side / factor))
    size = min(wanted, *picture.shape)
    top, left = (int(rng.integers(0, length - size + 1)) for length in picture.shape)
    part = picture[top : top + size, left : left + size]
    part = np.rot90(part, int(rng.integers(4)))
    if size < wanted:
        rest = wanted - size
        part = np.pad(part, ((0, rest), (0, rest)), mode="reflect" if rest < size else "wrap")
    cut = np.asarray(cv2.resize(np.ascontiguousarray(part), (side, side)), np.float32)
    return np.asarray((cut - cut.mean()) / max(float(cut.std()), 1.0), np.float32)


def _sample_look(
    rng: Generator, ground: float, side: int, textures: Sequence[Plane], *, is_lath: bool
) -> _Look:
    contrast = rng.choice([-1, 1]) * rng.uniform(8 if is_lath else 20, 90)
    return _Look(
        tone=float(np.clip(ground + contrast, 30, 225)),
        spread=rng.uniform(6, 34) if is_lath else rng.uniform(3, 22),
        edge=rng.choice([-1, -1, -1, 1]) * rng.uniform(0, 70),
        rib=float(rng.random() < 0.3) * rng.choice([-1, 1]) * rng.uniform(15, 70),
        aspect=rng.uniform(5, 12) if is_lath else rng.uniform(5, 18),
        taper=rng.uniform(0.12, 0.5) if is_lath else rng.uniform(0.3, 1.1),
        bow=rng.uniform(0, 0.05) * (rng.random() < 0.6),
        crossing=rng.uniform(0, 0.25) * (rng.random() < 0.4),
        branching=rng.uniform(0, 0.5) * (rng.random() < 0.5),
        texture=rng.uniform(0, 14) * cut_texture(rng, side, textures),
    )


def _warp_cells(rng: Generator, side: int, pitch_px: float) -> NDArray[np.intp]:
    """Draw grains whose borders are curved."""
    home = materials.draw_cells(rng, side, pitch_px)
    row, column = np.mgrid[0:side, 0:side].astype(np.float32)
    reach = rng.uniform(0, 0.18) * pitch_px
    wave = max(pitch_px * rng.uniform(0.3, 1.0), 8.0)
    row += reach * draw_soft_field(side, rng, wave)
    column += reach * draw_soft_field(side, rng, wave)
    row = np.clip(np.rint(row), 0, side - 1).astype(int)
    column = np.clip(np.rint(column), 0, side - 1).astype(int)
    return np.asarray(home[row, column], np.intp)


def _number(first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.intp]:
    both = first * (int(second.max()) + 1) + second
    numbers = np.unique(both, return_inverse=True)[1]
    return np.asarray(numbers.reshape(both.shape), np.intp)


def _grow_all(
    rng: Generator,
    canvas: NeedleCanvas,
    home: NDArray[np.intp],
    grain_px: float,
    look: _Look,
    *,
    is_lath: bool,
) -> None:
    grains = int(home.max()) + 1
    variants = 1 if is_lath and rng.random() < 0.7 else int(rng.integers(2, 7))
    angles = rng.uniform(0, np.pi, (grains, variants))  # sections of variants are not regular
    jitter = rng.uniform(0.02, 0.12)
    first = grain_px * (rng.uniform(0.4, 1.4) if is_lath else rng.uniform(0.6, 1.6))
    shrink, generations = rng.uniform(0.45, 0.8), int(rng.integers(2, 6))
    goal = rng.uniform(0.75, 0.97) if is_lath else rng.uniform(0.3, 0.92)
    width_power = rng.uniform(0.4, 1.0)
    area_px, misses = float(home.size), 0
    taken = 0
    for generation in range(generations):
        length = max(first * shrink**generation, 4 * LEAST_PX)
        until = goal * (generation + 1) / generations
        for _ in range(MOST_TRIES // generations):
            if taken >= until * area_px or misses > MOST_TRIES // 4:
                break
            size = length * float(rng.lognormal(0, 0.35))
            width = first / look.aspect * (size / first) ** width_power
            grown = _grow(rng, canvas, home, (angles, jitter), size, width, look)
            taken += grown
            misses = 0 if grown else misses + 1
        misses = 0


def _grow(
    rng: Generator,
    canvas: NeedleCanvas,
    home: NDArray[np.intp],
    directions: tuple[NDArray[np.float64], float],
    size: float,
    width: float,
    look: _Look,
) -> int:
    """Grow one plate both ways from a nucleus; return how many pixels it covers."""
    side, (angles, jitter) = canvas.side, directions
    nucleus, is_branch = rng.uniform(0, side - 1, 2), False
    if canvas.axes and rng.random() < look.branching:
        parent = canvas.axes[int(rng.integers(len(canvas.axes)))]
        nucleus, is_branch = parent[int(rng.integers(1, len(parent) - 1))], True
    column, row = np.clip(np.rint(nucleus), 0, side - 1).astype(int)
    if not is_branch and canvas.owner[row, column] != NO_OWNER:
        return 0
    grain = home[row, column]
    angle = angles[grain, int(rng.integers(angles.shape[1]))] + rng.normal(0, jitter)
    along = np.array([np.cos(angle), np.sin(angle)]) * rng.choice([-1, 1])
    across = np.array([-along[1], along[0]])
    half = size * rng.uniform(0.3, 0.7)
    place = np.arange(0.0 if is_branch else -half, size - half, 1.0)
    if len(place) < LEAST_PX:
        return 0
    sag = look.bow * rng.normal() * place**2 / size
    points = nucleus + place[:, None] * along + sag[:, None] * across
    is_free = _is_free(points, canvas, home, int(grain), through=rng.random() < look.crossing)
    begin, end = _find_run(is_free, len(place) // 3 if is_branch else int(np.argmin(np.abs(place))))
    if end - begin < LEAST_PX:
        return 0
    kept = points[begin:end]
    # the profile of the whole plate: where it is stopped, its end is blunt
    whole = np.linspace(0, 1, len(place))[begin:end]
    mixed = np.maximum(4 * whole * (1 - whole), 0) ** look.taper
    wide = max(min(width * float(rng.lognormal(0, 0.2)), (end - begin) / 2.5), 1.8)
    return _paint(rng, canvas, home, kept, mixed * wide / 2, look)


def _is_free(
    points: NDArray[np.float64],
    canvas: NeedleCanvas,
    home: NDArray[np.intp],
    grain: int,
    *,
    through: bool,
) -> NDArray[np.bool_]:
    column, row = np.rint(points).astype(int).T
    side = canvas.side
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    free = np.ones(len(points), bool)  # beyond the border of the picture it goes on
    here = home[row[inside], column[inside]] == grain
    if not through:
        here &= canvas.owner[row[inside], column[inside]] == NO_OWNER
    free[inside] = here
    return free


def _find_run(is_free: NDArray[np.bool_], start: int) -> tuple[int, int]:
    """Return the free stretch around a place, or the longest one if the place is taken."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], is_free, [False]]).astype(np.int8)))
    runs = change.reshape(-1, 2)
    if not len(runs):
        return 0, 0
    around = runs[(runs[:, 0] <= start) & (runs[:, 1] > start)]
    chosen = around[0] if len(around) else runs[np.argmax(runs[:, 1] - runs[:, 0])]
    return int(chosen[0]), int(chosen[1])


def _paint(
    rng: Generator,
    canvas: NeedleCanvas,
    home: NDArray[np.intp],
    axis: NDArray[np.float64],
    half: NDArray[np.float64],
    look: _Look,
) -> int:
    tangent = np.gradient(axis, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * half[:, None]
    outline = np.vstack([axis + normal, (axis - normal)[::-1]])
    side = canvas.side
    low = np.clip(np.floor(outline.min(axis=0)).astype(int) - 2, 0, side)
    high = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 3, 0, side)
    if (high - low < 2).any():
        return 0
    box = np.s_[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillPoly(mask, [to_fixed(outline - low)], 1, cv2.LINE_8, 4)
    middle = np.clip(np.rint(axis[len(axis) // 2]), 0, side - 1).astype(int)
    allowed = (canvas.owner[box] == NO_OWNER) & (home[box] == home[middle[1], middle[0]])
    body = (mask > 0) & allowed
    covered = int(body.sum())
    if covered < FEWEST_PX:
        return 0
    at = np.linspace(0, len(axis) - 1, STATIONS)
    steps = np.arange(len(axis))
    canvas.axes.append(np.stack([np.interp(at, steps, axis[:, k]) for k in (0, 1)], axis=1))
    canvas.owner[box][body] = len(canvas.axes)
    tone = look.tone + rng.normal(0, look.spread)
    part = tone + look.texture[box]
    inner = cv2.erode(body.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    part = np.where(inner, part, part + look.edge * rng.uniform(0.4, 1.0))
    if look.rib:
        line = np.zeros_like(mask)
        cv2.polylines(line, [to_fixed(axis[2:-2] - low)], False, 1, 1, cv2.LINE_8, 4)
        part = np.where((line > 0) & inner, part + look.rib, part)
    canvas.grey[box][body] = np.clip(part, 3, 250).astype(np.uint8)[body]
    return covered


def _etch_borders(rng: Generator, canvas: NeedleCanvas, home: NDArray[np.intp]) -> None:
    border = np.zeros(home.shape, bool)
    border[:-1] |= home[:-1] != home[1:]
    border[:, :-1] |= home[:, :-1] != home[:, 1:]
    border &= (canvas.owner == NO_OWNER) | (rng.random() < 0.5)
    canvas.grey[border] = int(rng.uniform(20, 110))
