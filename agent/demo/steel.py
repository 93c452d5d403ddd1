"""Draw hardened steel as a grey relief with the features that distinguish the structure codes.

Subtype G is homogeneous: retained austenite (bright, irregular) between coarse needles, carbides
among fine ones. B is banded: two populations of needles and clustered carbides. M is one phase in
uniform packets. The size number sets only the mean needle length.

Source: the project's own recipe; the lengths are an assumption, not a chart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

NEEDLE_UM = {"5": 44.0, "6": 32.0, "7": 23.0, "8": 14.0, "9-10": 7.5}
"""Size number → mean needle length in µm, our assumption."""
ASPECT = {"G": 9.0, "B": 8.0, "M": 5.5}
COARSE = {"5", "6", "7"}
SHIFT = 4
"""Binary digits of sub-pixel precision given to OpenCV's drawing functions."""

ALONG = np.array([0.0, 0.12, 0.35, 0.65, 0.88, 1.0, 0.88, 0.65, 0.35, 0.12])
SIDE = np.array([0, 1, 1, 1, 1, 0, -1, -1, -1, -1])
ACROSS = SIDE * (1 - (2 * ALONG - 1) ** 2) / 2
ROUND = np.linspace(0, 2 * np.pi, 9)[:-1]


@dataclass(frozen=True, slots=True)
class Canvas:
    """The relief being drawn.

    Args:
        grey: (h, w) uint8, drawn in place.
        um_per_px: µm per pixel.
    """

    grey: NDArray[np.uint8]
    um_per_px: float

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height in µm."""
        height, width = self.grey.shape
        return width * self.um_per_px, height * self.um_per_px

    @property
    def area_um2(self) -> float:
        """Area in µm²."""
        width, height = self.size_um
        return width * height


@dataclass(frozen=True, slots=True)
class Needles:
    """One population of needles (plates seen edge-on).

    Args:
        length_um: Mean length, µm.
        spread: Log-normal sigma of the length.
        aspect: Length over width.
        coverage: Summed area over the field's area.
        tone: Mean grey, 0 to 1.
        tone_spread: Standard deviation of the grey.
        edge: Darkening of the outline, 0 to 1.
        packets: Share along a grain's first direction.
    """

    length_um: float
    spread: float
    aspect: float
    coverage: float
    tone: float
    tone_spread: float
    edge: float
    packets: float


def draw_steel(subtype: str, size: str, rng: Generator, canvas: Canvas) -> None:
    """Draw hardened steel of one structure code over the whole canvas.

    Args:
        subtype: "G", "B" or "M".
        size: One of `NEEDLE_UM`.
        rng: Source of randomness; the same stream draws the same picture.
        canvas: Drawn in place.
    """
    length_um = NEEDLE_UM[size] * rng.lognormal(0, 0.07)
    if subtype == "G":
        _draw_martensite(length_um, rng, canvas, coarse=size in COARSE)
    else:
        {"B": _draw_bainite, "M": _draw_packets}[subtype](length_um, rng, canvas)


def _draw_martensite(length_um: float, rng: Generator, canvas: Canvas, *, coarse: bool) -> None:
    canvas.grey[:] = 225 if coarse else 118
    needles = Needles(
        length_um=length_um,
        spread=0.34,
        aspect=ASPECT["G"],
        coverage=rng.uniform(1.4, 1.8) if coarse else 2.3,
        tone=0.42 if coarse else 0.45,
        tone_spread=0.085,
        edge=0.15,
        packets=0.15,
    )
    _scatter(needles, rng, canvas, grain_um=max(1.6 * length_um, 6))
    if coarse:
        _draw_austenite(rng.uniform(0.03, 0.06), rng, canvas)
    else:
        _draw_carbides(rng.uniform(0.012, 0.03), rng, canvas, field=None)


def _draw_bainite(length_um: float, rng: Generator, canvas: Canvas) -> None:
    canvas.grey[:] = 135
    bands = draw_soft_field(rng, canvas, wave_um=max(30, 1.6 * length_um), stretch=3.0)
    fine = Needles(0.5 * length_um, 0.35, ASPECT["B"] - 1, 1.9, 0.52, 0.08, 0.10, 0.1)
    _scatter(fine, rng, canvas, grain_um=max(1.2 * length_um, 6))
    dark = bands > np.quantile(bands, rng.uniform(0.45, 0.7))
    coarse = Needles(1.2 * length_um, 0.3, ASPECT["B"] + 2, 1.5, 0.30, 0.06, 0.10, 0.1)
    _scatter(coarse, rng, canvas, grain_um=max(1.6 * length_um, 6), where=dark)
    _draw_carbides(rng.uniform(0.035, 0.06), rng, canvas, field=-bands)


def _draw_packets(length_um: float, rng: Generator, canvas: Canvas) -> None:
    canvas.grey[:] = 165
    laths = Needles(length_um, 0.32, ASPECT["M"], 2.4, 0.64, 0.055, 0.13, 0.72)
    _scatter(laths, rng, canvas, grain_um=max(1.5 * length_um, 6))


def draw_soft_field(
    rng: Generator, canvas: Canvas, *, wave_um: float, stretch: float
) -> NDArray[np.float32]:
    """Draw a random field that varies slowly, stretched in a random direction.

    Args:
        rng: Source of randomness.
        canvas: Defines size and scale.
        wave_um: Typical width of a band in µm.
        stretch: Length of a band over its width.

    Returns:
        (h, w) float32, mean about 0, standard deviation about 1.
    """
    height, width = canvas.grey.shape
    cell = wave_um / 2 / canvas.um_per_px
    coarse = rng.standard_normal((96, 96)).astype(np.float32)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scale = np.diag([1 / (cell * stretch), 1 / cell]) @ turn
    offset = np.array([[48.0], [48.0]]) - scale @ np.array([[width / 2], [height / 2]])
    drawn = cv2.warpAffine(
        coarse,
        np.hstack([scale, offset]),
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return drawn.astype(np.float32)


def _scatter(
    needles: Needles,
    rng: Generator,
    canvas: Canvas,
    *,
    grain_um: float,
    where: NDArray[np.bool_] | None = None,
) -> None:
    share = 1.0 if where is None else float(where.mean())
    mean_area_um2 = 0.66 * needles.length_um**2 / needles.aspect
    count = int(needles.coverage * canvas.area_um2 / mean_area_um2) + 1
    width, height = canvas.size_um
    centres = rng.uniform(-0.03, 1.03, (count, 2)) * (width, height)
    if where is not None:
        centres = centres[_is_inside(centres, where, canvas)]
        if share == 0 or not len(centres):
            return
    count = len(centres)
    grains = _Grains.scatter(rng, canvas, grain_um)
    home = grains.of(centres)
    angles = grains.directions(rng, home, needles.packets)
    lengths = np.minimum(
        needles.length_um * rng.lognormal(-(needles.spread**2) / 2, needles.spread, count),
        2.2 * needles.length_um,
    )
    lengths = _clip_to_grain(centres, angles, lengths, home, grains)
    widths = lengths / (needles.aspect * rng.lognormal(0, 0.25, count))
    tones = needles.tone + grains.tint[home] + rng.normal(0, needles.tone_spread, count)
    order = np.argsort(-lengths * rng.lognormal(0, 0.5, count))
    shapes = _build_lenses(centres[order], angles[order], lengths[order], widths[order], canvas)
    _paint(shapes, tones[order], needles.edge, canvas)


def _is_inside(
    centres: NDArray[np.float64], where: NDArray[np.bool_], canvas: Canvas
) -> NDArray[np.bool_]:
    column, row = np.floor(centres / canvas.um_per_px).astype(int).T
    height, width = where.shape
    inside: NDArray[np.bool_] = where[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return inside


@dataclass(frozen=True, slots=True)
class _Grains:
    """Prior austenite grains: each with six directions and a slight tint."""

    seeds: NDArray[np.float64]
    first: NDArray[np.float64]
    tint: NDArray[np.float64]

    @classmethod
    def scatter(cls, rng: Generator, canvas: Canvas, grain_um: float) -> _Grains:
        count = int(canvas.area_um2 / grain_um**2) + 4
        seeds = rng.uniform(-0.05, 1.05, (count, 2)) * canvas.size_um
        return cls(seeds, rng.uniform(0, np.pi, count), rng.normal(0, 0.02, count))

    def of(self, points: NDArray[np.float64]) -> NDArray[np.intp]:
        nearest: NDArray[np.intp] = cKDTree(self.seeds).query(points)[1]
        return nearest

    def directions(
        self, rng: Generator, home: NDArray[np.intp], packets: float
    ) -> NDArray[np.float64]:
        count = len(home)
        variant = np.where(rng.random(count) < packets, 0, rng.integers(0, 6, count))
        return self.first[home] + variant * np.pi / 6 + rng.normal(0, 0.07, count)


def _clip_to_grain(
    centres: NDArray[np.float64],
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
    home: NDArray[np.intp],
    grains: _Grains,
) -> NDArray[np.float64]:
    half = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None] / 2
    leaves = (grains.of(centres + half) != home) | (grains.of(centres - half) != home)
    return np.where(leaves, 0.72 * lengths, lengths)


def _build_lenses(
    centres: NDArray[np.float64],
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
    widths: NDArray[np.float64],
    canvas: Canvas,
) -> NDArray[np.int32]:
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1)[:, None]
    corners_um = (
        centres[:, None]
        + along * (ALONG - 0.5)[None, :, None] * lengths[:, None, None]
        + across * ACROSS[None, :, None] * widths[:, None, None]
    )
    return to_pixels(corners_um, canvas)


def to_pixels(points_um: NDArray[np.float64], canvas: Canvas) -> NDArray[np.int32]:
    """Convert points in µm to OpenCV's fixed-point pixels."""
    return np.round((points_um / canvas.um_per_px - 0.5) * (1 << SHIFT)).astype(np.int32)


def _paint(
    shapes: NDArray[np.int32], tones: NDArray[np.float64], edge: float, canvas: Canvas
) -> None:
    fills = np.clip(tones * 255, 6, 249).astype(int)
    edges = np.clip((tones - edge) * 255, 3, 240).astype(int)
    grey = canvas.grey
    for shape, fill, outline in zip(shapes, fills.tolist(), edges.tolist(), strict=True):
        cv2.fillConvexPoly(grey, shape, fill, cv2.LINE_AA, SHIFT)
        # Only one flank is dark: etching leaves a step, and light comes from one side.
        cv2.polylines(grey, [shape[:6]], False, outline, 1, cv2.LINE_AA, SHIFT)


def _draw_austenite(share: float, rng: Generator, canvas: Canvas) -> None:
    radius_um = 1.3
    count = int(share * canvas.area_um2 / (2.0 * radius_um**2))
    radii = radius_um * rng.lognormal(0, 0.3, (count, 1)) * rng.uniform(0.35, 1.25, (count, 8))
    turn = rng.uniform(0, 2 * np.pi, (count, 1)) + ROUND
    centres = rng.uniform(0, 1, (count, 1, 2)) * canvas.size_um
    shapes = centres + radii[..., None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    for shape, tone in zip(
        to_pixels(shapes, canvas), rng.integers(214, 244, count).tolist(), strict=True
    ):
        cv2.fillPoly(canvas.grey, [shape], tone, cv2.LINE_AA, SHIFT)


def _draw_carbides(
    share: float, rng: Generator, canvas: Canvas, *, field: NDArray[np.float32] | None
) -> None:
    radius_um = 0.42
    count = int(share * canvas.area_um2 / (3.2 * radius_um**2))
    centres = rng.uniform(0, 1, (count if field is None else 4 * count, 2)) * canvas.size_um
    if field is not None:
        height, width = field.shape
        column, row = (centres / canvas.um_per_px).astype(int).T
        local = field[np.minimum(row, height - 1), np.minimum(column, width - 1)]
        clusters = draw_soft_field(rng, canvas, wave_um=9, stretch=1.5)
        local = local + clusters[np.minimum(row, height - 1), np.minimum(column, width - 1)]
        centres = centres[local > np.quantile(local, 0.75)]
        count = len(centres)
    radii = radius_um * rng.lognormal(0, 0.3, count)[:, None]
    turn = rng.uniform(0, np.pi, count)[:, None]
    stretch = rng.uniform(1.0, 1.5, count)[:, None]
    x, y = radii * stretch * np.cos(ROUND), radii * np.sin(ROUND)
    shapes = centres[:, None] + np.stack(
        [x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=-1
    )
    for shape, tone in zip(
        to_pixels(shapes, canvas), rng.integers(215, 246, count).tolist(), strict=True
    ):
        cv2.fillConvexPoly(canvas.grey, shape, tone, cv2.LINE_AA, SHIFT)
        cv2.polylines(canvas.grey, [shape], True, 62, 1, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(canvas.grey, shape, tone, cv2.LINE_AA, SHIFT)
