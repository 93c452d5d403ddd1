"""A second drawing program for needles, used by no training and not looked at while developing.

Plates grow one after another from a nucleus in both directions until they meet an earlier plate, a
grain boundary or their own length, as martensite does. So plates never overlap and the truth is the
grown length itself. Everything is computed from distances on the pixel grid; nothing is shared with
`drawn.needles`.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

FINE_UM = 0.1
"""Scale at which fields are drawn."""
MEAN_UM = {"5": 44.0, "6": 32.0, "7": 23.0, "8": 14.0, "9-10": 7.5}


@dataclass
class Grown:
    """A drawn field, its needles' lengths (µm), tips (n, 2, 2) in µm and visible areas in µm²."""

    grey: np.ndarray
    pixel_um: float
    length_um: np.ndarray
    ends_um: np.ndarray
    area_um2: np.ndarray


def grow(rng, subtype: str, size: str, width_um: float = 150.0, height_um: float = 112.0) -> Grown:
    """Draw a field of one structure code at 0.1 µm per px, before the optics."""
    shape = (round(height_um / FINE_UM), round(width_um / FINE_UM))
    mean = MEAN_UM[size] * rng.lognormal(0, 0.08)
    field = _Field(rng, shape, subtype, size, mean)
    bands = _soft(rng, shape, 35 / FINE_UM)
    everywhere = np.ones(shape, bool)
    if subtype == "B":
        waves = [
            _Wave(1.3 * mean, 9.0, 88, bands > 0.2),
            _Wave(0.5 * mean, 7.0, 130, everywhere),
        ]
    elif subtype == "M":
        waves = [_Wave(mean, 6.0, 165, everywhere)]
    else:
        waves = [_Wave(mean, 10.0, 105, everywhere), _Wave(0.6 * mean, 9.0, 118, everywhere)]
    for wave in waves:
        covered = (field.owner > 0).mean()
        share = 0.7 if subtype == "M" else rng.uniform(0.25, 0.5)
        goal = covered + share * (1 - covered) * wave.where.mean()
        misses = 0
        while misses < 400 and (field.owner > 0).mean() < goal:
            misses += sum(not field.add_plate(wave) for _ in range(20))
    if subtype != "M":
        _islands(rng, field.owner, field.tone, subtype, size)
    return field.finish()


@dataclass
class _Wave:
    """Plates of one generation: length µm, aspect, tone, allowed nuclei."""

    length: float
    aspect: float
    shade: float
    where: np.ndarray


class _Field:
    """Owner, tone and grains of the field while plates grow."""

    def __init__(self, rng, shape, subtype: str, size: str, mean: float) -> None:
        matrix = {"G": 205 if size in "567" else 150, "B": 150, "M": 175}[subtype]
        self.rng, self.packets = rng, subtype == "M"
        self.grain = _grains(rng, shape, max(2.2 * mean, 25) / FINE_UM)
        self.owner = np.zeros(shape, np.int32)
        self.tone = np.full(shape, matrix, np.float32) + 4 * _soft(rng, shape, 200)
        self.first = rng.uniform(0, np.pi, int(self.grain.max()) + 1)
        self.needles: list[tuple[float, np.ndarray]] = []

    def finish(self) -> Grown:
        """Return the field with the needles that are long enough to be seen."""
        counts = np.bincount(self.owner.ravel(), minlength=len(self.needles) + 1)[1:]
        area = counts * FINE_UM**2
        lengths = np.array([each[0] for each in self.needles])
        ends = np.array([each[1] for each in self.needles]).reshape(-1, 2, 2)
        keep = (lengths >= 2.0) & (area > 0.3)
        grey = np.clip(self.tone, 5, 250)
        return Grown(grey, FINE_UM, lengths[keep], ends[keep], area[keep])

    def add_plate(self, wave: _Wave) -> bool:
        """Grow one plate from a random nucleus; return whether there was room for it."""
        rng, (height, width) = self.rng, self.owner.shape
        nucleus = np.array([rng.uniform(0, width - 1), rng.uniform(0, height - 1)])
        column, row = nucleus.astype(int)
        if self.owner[row, column] or not wave.where[row, column]:
            return False
        home = self.grain[row, column]
        turned = not self.packets or rng.random() < 0.2
        variant = rng.integers(0, 4) * np.pi / 4 if turned else 0.0
        angle = self.first[home] + variant + rng.normal(0, 0.08)
        full = min(wave.length * rng.lognormal(-0.06, 0.35), 100.0) / FINE_UM
        bow = rng.normal(0, 0.05) if rng.random() < 0.5 else 0.0
        path = _Path(nucleus, np.array([np.cos(angle), np.sin(angle)]), full, bow)
        reach = [self._reach(path, sign, full * rng.uniform(0.35, 0.65), home) for sign in (-1, 1)]
        if sum(reach) < 1.6 / FINE_UM:
            return False
        half = max(full / wave.aspect * rng.lognormal(0, 0.2), 0.55 / FINE_UM) / 2
        half = min(half, sum(reach) / 5)
        return self._fill(path, reach, half, home, wave.shade) and self._measure(path, reach)

    def _reach(self, path, sign: int, length: float, home: int) -> float:
        s = np.arange(0, length, 1.0)
        row, column, inside = self._pixels(path.at(sign * s))
        free = inside.copy()
        free[inside] = (self.owner[row[inside], column[inside]] == 0) & (
            self.grain[row[inside], column[inside]] == home
        )
        stop = int(np.argmin(free)) if not free.all() else len(free)
        return float(s[stop - 1]) if stop > 1 else 0.0

    def _pixels(self, points):
        height, width = self.owner.shape
        column, row = np.rint(points).astype(int).T
        return row, column, (column >= 0) & (row >= 0) & (column < width) & (row < height)

    def _fill(self, path, reach, half: float, home: int, shade: float) -> bool:
        rng, (height, width) = self.rng, self.owner.shape
        r = int(max(reach) + half + 3)
        column, row = path.nucleus.astype(int)
        rows = slice(max(row - r, 0), min(row + r, height))
        columns = slice(max(column - r, 0), min(column + r, width))
        s, n = path.coordinates(np.mgrid[rows, columns])
        u = (s + reach[0]) / sum(reach)
        profile = half * np.clip(4 * u * (1 - u), 0, 1) ** (0.4 if self.packets else 0.7)
        body = (u > 0) & (u < 1) & (np.abs(n) <= profile)
        body &= (self.owner[rows, columns] == 0) & (self.grain[rows, columns] == home)
        if body.sum() < 12:
            return False
        self.needles.append((0.0, np.zeros((2, 2))))
        self.owner[rows, columns][body] = len(self.needles)
        level = shade + rng.normal(0, 14)
        area = self.tone[rows, columns]
        depth = np.where(body, 1 - np.abs(n) / np.maximum(profile, 1e-3), 0)
        area[body] = level + rng.uniform(-12, 12) * depth[body]
        area[body & (np.abs(n) > profile - 1.6)] = level - rng.uniform(10, 45)
        return True

    def _measure(self, path, reach) -> bool:
        points = path.at(np.arange(-reach[0], reach[1], 1.0))
        row, column, inside = self._pixels(points)
        visible = self.owner[row[inside], column[inside]] == len(self.needles)
        mine = np.flatnonzero(inside)[visible]
        if len(mine) < 2:
            return False
        line = points[mine[0] : mine[-1] + 1]
        length = np.linalg.norm(np.diff(line, axis=0), axis=1).sum() * FINE_UM
        self.needles[-1] = (float(length), line[[0, -1]] * FINE_UM)
        return True


@dataclass
class _Path:
    """A slightly bowed line through a nucleus, px."""

    nucleus: np.ndarray
    direction: np.ndarray
    full: float
    bow: float

    @property
    def normal(self) -> np.ndarray:
        """The direction across."""
        return np.array([-self.direction[1], self.direction[0]])

    def at(self, s):
        """Return points at signed distances from the nucleus, (n, 2)."""
        across = self.bow * s**2 / self.full
        return self.nucleus + s[:, None] * self.direction + across[:, None] * self.normal

    def coordinates(self, grid):
        """Return distance along and across the line of every (row, column) of a grid."""
        x, y = grid[1] - self.nucleus[0], grid[0] - self.nucleus[1]
        s = x * self.direction[0] + y * self.direction[1]
        return s, x * self.normal[0] + y * self.normal[1] - self.bow * s**2 / self.full


def _islands(rng, owner, tone, subtype, size):
    """Carbides and retained austenite, small enough to leave needles connected."""
    height, width = owner.shape
    small = subtype == "B" or size not in "567"
    count = int((0.02 if small else 0.01) * height * width / (30 if small else 120))
    for _ in range(count):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        r = rng.lognormal(np.log(3.0 if small else 6.0), 0.3)
        y0, y1 = int(max(cy - 2 * r, 0)), int(min(cy + 2 * r + 1, height))
        x0, x1 = int(max(cx - 2 * r, 0)), int(min(cx + 2 * r + 1, width))
        gy, gx = np.mgrid[y0:y1, x0:x1]
        d = np.hypot(gy - cy, (gx - cx) * rng.uniform(0.7, 1.3))
        tone[y0:y1, x0:x1][(d > r - 1) & (d < r + 1)] = 70
        tone[y0:y1, x0:x1][d <= r] = rng.uniform(215, 240)


def _grains(rng, shape, pitch):
    count = int(np.prod(shape) / pitch**2) + 3
    seeds = rng.uniform(0, 1, (count, 2)) * shape
    step = 8
    gy, gx = np.mgrid[0 : shape[0] : step, 0 : shape[1] : step]
    distance = (gy[..., None] - seeds[:, 0]) ** 2 + (gx[..., None] - seeds[:, 1]) ** 2
    coarse = distance.argmin(axis=-1)
    return np.kron(coarse, np.ones((step, step), int))[: shape[0], : shape[1]]


def _soft(rng, shape, wave):
    step = max(int(wave / 8), 1)
    small = [side // step + 2 for side in shape]
    field = ndimage.gaussian_filter(rng.standard_normal(small), wave / 3 / step, mode="wrap")
    field = ndimage.zoom(field, step, order=1)[: shape[0], : shape[1]]
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def photograph(
    rng,
    field: np.ndarray,
    *,
    every: int = 2,
    blur_px: float = 0.5,
    contrast: float = 1.0,
    noise: float = 3.0,
    jpeg: int | None = None,
) -> np.ndarray:
    """Image a drawn field: average `every` × `every` px, blur in the new px, noise, JPEG."""
    height, width = (side // every * every for side in field.shape)
    grey = (
        field[:height, :width].reshape(height // every, every, width // every, every).mean((1, 3))
    )
    grey = ndimage.gaussian_filter(grey, blur_px)
    grey = 128 + (grey - 128) * contrast + rng.normal(0, noise, grey.shape)
    pixels = np.clip(grey, 0, 255).astype(np.uint8)
    if jpeg:
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=jpeg)
        pixels = np.asarray(Image.open(buffer))
    return pixels


def other_material(rng, kind: str, shape: tuple[int, int] = (560, 750)) -> np.ndarray:
    """Draw a material without needles at 0.2 µm per px: (h, w) uint8."""
    height, width = shape
    gy, gx = np.mgrid[0:height, 0:width].astype(np.float32)
    if kind == "pearlite":
        grain = _grains(rng, shape, rng.uniform(60, 220))
        turn = rng.uniform(0, np.pi, int(grain.max()) + 1)[grain]
        period = rng.uniform(3.5, 14)
        bend = 4 * _soft(rng, shape, 60)
        wave = np.cos(2 * np.pi * (gx * np.cos(turn) + gy * np.sin(turn) + bend) / period)
        grey = 130 + rng.uniform(25, 60) * np.sign(wave + rng.uniform(-0.5, 0.5))
    elif kind == "ferrite":
        grain = _grains(rng, shape, rng.uniform(30, 110))
        smooth = ndimage.gaussian_filter(grain.astype(float), 0.5)
        edge = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)) > 1e-3
        grey = np.where(edge, 70, 200.0) + rng.normal(0, 5, int(grain.max()) + 1)[grain]
    elif kind == "cast iron":
        grey = np.full(shape, 190.0) + 8 * _soft(rng, shape, 80)
        for _ in range(int(rng.integers(15, 45))):
            cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(8, 30)
            phase = rng.uniform(0, 6, 3)
            angle = np.arctan2(gy - cy, gx - cx)
            wobble = r * (
                1 + 0.15 * np.sin(2 * angle + phase[0]) + 0.1 * np.sin(3 * angle + phase[1])
            )
            grey[np.hypot(gy - cy, gx - cx) < wobble] = 40
    elif kind == "scratches":
        grey = np.full(shape, 180.0) + 6 * _soft(rng, shape, 120)
        angle = rng.uniform(0, np.pi)
        for _ in range(int(rng.integers(10, 60))):
            turn = angle + rng.normal(0, 0.2)
            offset = rng.uniform(-1, 1) * 500
            d = (gx - width / 2) * np.sin(turn) - (gy - height / 2) * np.cos(turn) - offset
            grey[np.abs(d) < rng.uniform(0.4, 1.2)] = rng.uniform(40, 110)
    else:
        grey = 130 + 30 * _soft(rng, shape, rng.uniform(8, 80)) + 15 * _soft(rng, shape, 10)
    grey = ndimage.gaussian_filter(grey, 0.6) + rng.normal(0, 3, shape)
    return np.clip(grey, 0, 255).astype(np.uint8)
