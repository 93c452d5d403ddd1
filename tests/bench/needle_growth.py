"""A second drawing program for needles, used by no training and not looked at while developing.

Plates grow one after another from a nucleus in both directions until they meet an earlier plate, a
grain boundary or their own length, as martensite does. So plates never overlap and the truth is the
grown length itself. Everything is computed from distances on the pixel grid; nothing is shared with
`model.needles.drawing`.
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
    grain = _grains(rng, shape, max(2.2 * mean, 25) / FINE_UM)
    owner = np.zeros(shape, np.int32)
    matrix = {"G": 205 if size in "567" else 150, "B": 150, "M": 175}[subtype]
    tone = np.full(shape, matrix, np.float32) + 4 * _soft(rng, shape, 200)
    needles: list[tuple[float, np.ndarray]] = []
    bands = _soft(rng, shape, 35 / FINE_UM)
    if subtype == "B":
        waves = [(1.3 * mean, 9.0, 88, bands > 0.2), (0.5 * mean, 7.0, 130, np.ones(shape, bool))]
    elif subtype == "M":
        waves = [(mean, 6.0, 165, np.ones(shape, bool))]
    else:
        waves = [(mean, 10.0, 105, np.ones(shape, bool)), (0.6 * mean, 9.0, 118, np.ones(shape, bool))]
    per_grain = rng.uniform(0, np.pi, int(grain.max()) + 1)
    for length, aspect, shade, where in waves:
        misses = 0
        fill = rng.uniform(0.25, 0.5) if subtype != "M" else 0.7
        goal = (owner > 0).mean() + fill * (1 - (owner > 0).mean()) * where.mean()
        while misses < 400 and (owner > 0).mean() < goal:
            for _ in range(20):
                if not _plate(rng, owner, tone, grain, per_grain, needles, length, aspect, shade,
                              where, packets=subtype == "M"):
                    misses += 1
    if subtype != "M":
        _islands(rng, owner, tone, subtype, size)
    area = np.bincount(owner.ravel(), minlength=len(needles) + 1)[1:] * FINE_UM**2
    lengths = np.array([each[0] for each in needles])
    ends = np.array([each[1] for each in needles]).reshape(-1, 2, 2)
    keep = (lengths >= 2.0) & (area > 0.3)
    return Grown(np.clip(tone, 5, 250), FINE_UM, lengths[keep], ends[keep], area[keep])


def _plate(rng, owner, tone, grain, per_grain, needles, length, aspect, shade, where, *, packets):
    height, width = owner.shape
    y, x = rng.uniform(0, height - 1), rng.uniform(0, width - 1)
    iy, ix = int(y), int(x)
    if owner[iy, ix] or not where[iy, ix]:
        return False
    home = grain[iy, ix]
    spread = rng.integers(0, 4) * np.pi / 4 if not packets or rng.random() < 0.2 else 0.0
    angle = per_grain[home] + spread + rng.normal(0, 0.08)
    full = min(length * rng.lognormal(-0.06, 0.35), 100.0) / FINE_UM
    bow = rng.normal(0, 0.05) if rng.random() < 0.5 else 0.0
    direction = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-direction[1], direction[0]])
    reach = []
    for sign in (-1, 1):
        s = np.arange(0, full * rng.uniform(0.35, 0.65), 1.0)
        px = x + sign * s * direction[0] + bow * (s / full) ** 2 * full * normal[0]
        py = y + sign * s * direction[1] + bow * (s / full) ** 2 * full * normal[1]
        jx, jy = np.rint(px).astype(int), np.rint(py).astype(int)
        inside = (jx >= 0) & (jy >= 0) & (jx < width) & (jy < height)
        ok = inside.copy()
        ok[inside] = (owner[jy[inside], jx[inside]] == 0) & (grain[jy[inside], jx[inside]] == home)
        stop = int(np.argmin(ok)) if not ok.all() else len(ok)
        reach.append(float(s[stop - 1]) if stop > 1 else 0.0)
    total = sum(reach)
    if total < 1.6 / FINE_UM:
        return False
    half = max(full / aspect * rng.lognormal(0, 0.2), 0.55 / FINE_UM) / 2
    half = min(half, total / 5)
    r = int(max(reach) + half + 3)
    y0, y1, x0, x1 = max(iy - r, 0), min(iy + r, height), max(ix - r, 0), min(ix + r, width)
    gy, gx = np.mgrid[y0:y1, x0:x1]
    s = (gx - x) * direction[0] + (gy - y) * direction[1]
    n = (gx - x) * normal[0] + (gy - y) * normal[1] - bow * s**2 / full
    u = (s + reach[0]) / total
    profile = half * np.clip(4 * u * (1 - u), 0, 1) ** (0.4 if packets else 0.7)
    body = (u > 0) & (u < 1) & (np.abs(n) <= profile)
    block = owner[y0:y1, x0:x1]
    body &= (block == 0) & (grain[y0:y1, x0:x1] == home)
    if body.sum() < 12:
        return False
    needles.append((0.0, np.zeros((2, 2))))
    number = len(needles)
    block[body] = number
    level = shade + rng.normal(0, 14)
    area = tone[y0:y1, x0:x1]
    depth = np.where(body, 1 - np.abs(n) / np.maximum(profile, 1e-3), 0)
    area[body] = level + rng.uniform(-12, 12) * depth[body]
    rim = body & (np.abs(n) > profile - 1.6)
    area[rim] = level - rng.uniform(10, 45)
    s_axis = np.arange(-reach[0], reach[1], 1.0)
    ax = x + s_axis * direction[0] + bow * s_axis**2 / full * normal[0]
    ay = y + s_axis * direction[1] + bow * s_axis**2 / full * normal[1]
    jx, jy = np.rint(ax).astype(int), np.rint(ay).astype(int)
    keep = (jx >= 0) & (jy >= 0) & (jx < width) & (jy < height)
    mine = np.flatnonzero(keep)[owner[jy[keep], jx[keep]] == number]
    if len(mine) < 2:
        return False
    first, last = mine[0], mine[-1]
    steps = np.hypot(np.diff(ax[first : last + 1]), np.diff(ay[first : last + 1]))
    ends = np.array([[ax[first], ay[first]], [ax[last], ay[last]]]) * FINE_UM
    needles[-1] = (float(steps.sum()) * FINE_UM, ends)
    return True


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
    rng, field: np.ndarray, *, every: int = 2, blur_px: float = 0.5, contrast: float = 1.0,
    noise: float = 3.0, jpeg: int | None = None,
) -> np.ndarray:
    """Image a drawn field: average `every` × `every` px, blur in the new px, noise, JPEG."""
    height, width = (side // every * every for side in field.shape)
    grey = field[:height, :width].reshape(height // every, every, width // every, every).mean((1, 3))
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
            wobble = r * (1 + 0.15 * np.sin(2 * angle + phase[0]) + 0.1 * np.sin(3 * angle + phase[1]))
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
