"""Draw anomalies: other steels, damage, and pictures without steel.

They are planted in the demo and never trained on.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agent.demo.steel import SHIFT, Canvas, draw_soft_field, to_pixels

Box = tuple[int, int, int, int]

LOCAL = ("inclusion", "pearlite_patch", "ferrite", "crack", "stain")
"""Local anomalies in an otherwise ordinary field."""
WHOLE = ("cast_iron", "pearlite", "photograph", "empty", "defocus", "over_etched")
"""Anomalies of the whole field."""
KINDS = (*LOCAL, *WHOLE)


def draw_anomaly(kind: str, rng: Generator, canvas: Canvas) -> Box | None:
    """Draw an anomaly over the canvas.

    Args:
        kind: One of `KINDS`; `drawing` and `optics` make "photograph", "defocus" and "over_etched".
        rng: Source of randomness.
        canvas: Drawn in place.

    Returns:
        The box (x0, y0, x1, y1) of a local kind in pixels, x1/y1 exclusive, else None.
    """
    painters: dict[str, Callable[[Generator, Canvas], NDArray[np.bool_] | None]] = {
        "inclusion": _draw_inclusion,
        "pearlite_patch": _draw_pearlite_patch,
        "ferrite": _draw_ferrite,
        "crack": _draw_crack,
        "cast_iron": _draw_cast_iron,
        "pearlite": _draw_pearlite,
        "empty": _draw_empty,
    }
    touched = painters[kind](rng, canvas) if kind in painters else None
    return None if touched is None else find_box(touched)


def find_box(touched: NDArray[np.bool_]) -> Box:
    """Return the smallest box around True, x1/y1 exclusive."""
    rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _draw_blob(
    rng: Generator, canvas: Canvas, centre_um: NDArray[np.float64], radius_um: float, rough: float
) -> NDArray[np.bool_]:
    turn = np.linspace(0, 2 * np.pi, 49)[:-1]
    radii = np.full(len(turn), radius_um)
    for k in (2, 3, 5):
        radii += radius_um * rng.normal(0, rough / k) * np.cos(k * turn + rng.uniform(0, 6))
    shape = centre_um + radii[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    mask = np.zeros(canvas.grey.shape, np.uint8)
    cv2.fillPoly(mask, [to_pixels(shape, canvas)], 1, cv2.LINE_8, SHIFT)
    return mask.astype(bool)


def _choose_place(rng: Generator, canvas: Canvas, margin: float = 0.25) -> NDArray[np.float64]:
    width, height = canvas.size_um
    place: NDArray[np.float64] = rng.uniform(margin, 1 - margin, 2) * np.array([width, height])
    return place


def _draw_inclusion(rng: Generator, canvas: Canvas) -> NDArray[np.bool_]:
    touched = np.zeros(canvas.grey.shape, bool)
    centre = _choose_place(rng, canvas)
    if rng.random() < 0.5:  # a globular oxide
        touched = _draw_blob(rng, canvas, centre, rng.uniform(5, 9), 0.08)
    else:  # a stringer
        angle = rng.uniform(-0.3, 0.3)
        step = np.array([np.cos(angle), np.sin(angle)])
        for along in np.arange(-2, 3):
            place = centre + step * along * rng.uniform(6, 9) + rng.normal(0, 0.8, 2)
            touched |= _draw_blob(rng, canvas, place, rng.uniform(2.5, 4.5), 0.2)
    inner = cv2.GaussianBlur(touched.astype(np.float32), (0, 0), 1.2)
    dark = rng.uniform(22, 60) + 10 * rng.standard_normal(canvas.grey.shape)
    canvas.grey[:] = np.clip(canvas.grey * (1 - inner) + dark * inner, 0, 255).astype(np.uint8)
    return touched


_COLONY_UM = 14  # of one colony of pearlite


def _draw_lamellae(rng: Generator, canvas: Canvas) -> NDArray[np.uint8]:
    height, width = canvas.grey.shape
    count = int(canvas.area_um2 / _COLONY_UM**2) + 2
    seeds = (rng.uniform(0, 1, (count, 2)) * (width - 1, height - 1)).astype(int)
    distance = np.full((height, width), 255, np.uint8)
    distance[seeds[:, 1], seeds[:, 0]] = 0
    _, colony = cv2.distanceTransformWithLabels(
        distance, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colony = colony % (count + 1)
    angle = rng.uniform(0, np.pi, count + 1)[colony].astype(np.float32)
    wave_px = (rng.uniform(0.7, 1.4, count + 1) / canvas.um_per_px)[colony].astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wobble = 1.2 * draw_soft_field(rng, canvas, wave_um=12, stretch=1)
    phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / np.maximum(wave_px, 3.2) + wobble
    drawn = np.where(np.sin(phase) > 0.25, 78, 188)
    return drawn.astype(np.uint8)


def _draw_pearlite_patch(rng: Generator, canvas: Canvas) -> NDArray[np.bool_]:
    touched = _draw_blob(rng, canvas, _choose_place(rng, canvas), rng.uniform(13, 20), 0.12)
    canvas.grey[touched] = _draw_lamellae(rng, canvas)[touched]
    return touched


def _draw_pearlite(rng: Generator, canvas: Canvas) -> None:
    canvas.grey[:] = _draw_lamellae(rng, canvas)
    ferrite = draw_soft_field(rng, canvas, wave_um=26, stretch=1) > rng.uniform(0.5, 1.3)
    canvas.grey[ferrite] = 222


def _draw_polygons(rng: Generator, canvas: Canvas, grain_um: float) -> NDArray[np.uint8]:
    height, width = canvas.grey.shape
    count = int(canvas.area_um2 / grain_um**2) + 3
    seeds = (rng.uniform(0, 1, (count, 2)) * (width - 1, height - 1)).astype(int)
    distance = np.full((height, width), 255, np.uint8)
    distance[seeds[:, 1], seeds[:, 0]] = 0
    _, label = cv2.distanceTransformWithLabels(
        distance, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    tone = rng.uniform(205, 236, int(label.max()) + 1)[label]
    edges = cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0
    tone[edges] = 95
    drawn: NDArray[np.uint8] = tone.astype(np.uint8)
    return drawn


def _draw_ferrite(rng: Generator, canvas: Canvas) -> NDArray[np.bool_]:
    touched = _draw_blob(rng, canvas, _choose_place(rng, canvas), rng.uniform(14, 22), 0.2)
    canvas.grey[touched] = _draw_polygons(rng, canvas, 9)[touched]
    return touched


def _draw_crack(rng: Generator, canvas: Canvas) -> NDArray[np.bool_]:
    mask = np.zeros(canvas.grey.shape, np.uint8)
    place = _choose_place(rng, canvas, 0.3)
    heading = rng.uniform(0, 2 * np.pi)
    steps = 26
    width_um = rng.uniform(1.2, 2.2)
    for step in range(steps):
        heading += rng.normal(0, 0.35)
        following = place + rng.uniform(2.0, 4.0) * np.array([np.cos(heading), np.sin(heading)])
        thick = max(1, round(width_um * (1 - 0.7 * step / steps) / canvas.um_per_px))
        line = to_pixels(np.stack([place, following]), canvas)
        cv2.line(mask, line[0].tolist(), line[1].tolist(), 255, thick, cv2.LINE_AA, SHIFT)
        place = following
    cover = mask.astype(np.float32) / 255
    canvas.grey[:] = (canvas.grey * (1 - cover) + 14 * cover).astype(np.uint8)
    return mask > 0


def _draw_cast_iron(rng: Generator, canvas: Canvas) -> None:
    matrix = _draw_polygons(rng, canvas, 30)
    pearlitic = draw_soft_field(rng, canvas, wave_um=40, stretch=1) > rng.uniform(-0.5, 0.8)
    matrix[pearlitic] = _draw_lamellae(rng, canvas)[pearlitic]
    canvas.grey[:] = matrix
    nodular = rng.random() < 0.5
    for _ in range(int(canvas.area_um2 / (700 if nodular else 420)) + 3):
        centre = _choose_place(rng, canvas, -0.05)
        if nodular:
            cover = _draw_blob(rng, canvas, centre, rng.uniform(5, 11), 0.06)
            canvas.grey[cover] = 58
        else:
            _draw_flake(rng, canvas, centre)


def _draw_flake(rng: Generator, canvas: Canvas, centre_um: NDArray[np.float64]) -> None:
    count = 9
    bend = np.cumsum(rng.normal(0, 0.25, count)) + rng.uniform(0, 2 * np.pi)
    steps = rng.uniform(2, 5) * np.stack([np.cos(bend), np.sin(bend)], axis=1)
    spine = centre_um + np.cumsum(steps, axis=0)
    normal = np.stack([-np.sin(bend), np.cos(bend)], axis=1)
    half = 1.1 * np.sin(np.linspace(0.1, np.pi - 0.1, count))[:, None] * rng.uniform(0.6, 1.4)
    outline = np.concatenate([spine + half * normal, (spine - half * normal)[::-1]])
    cv2.fillPoly(canvas.grey, [to_pixels(outline, canvas)], 52, cv2.LINE_AA, SHIFT)


def _draw_empty(rng: Generator, canvas: Canvas) -> None:
    canvas.grey[:] = rng.integers(150, 215)
    for _ in range(rng.integers(3, 9)):
        dust = _draw_blob(rng, canvas, _choose_place(rng, canvas, 0), rng.uniform(0.5, 2), 0.2)
        canvas.grey[dust] = 90
    canvas.grey[:] = cv2.GaussianBlur(canvas.grey, (0, 0), 4)


def draw_photograph(rng: Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Draw a picture without steel: a table top with objects, in colour.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    y = np.linspace(0, 1, height)[:, None, None]
    x = np.linspace(0, 1, width)[None, :, None]
    sky, floor = rng.uniform(90, 230, 3), rng.uniform(40, 160, 3)
    scene = np.where(y < rng.uniform(0.35, 0.6), sky * (1 - 0.3 * x), floor * (0.6 + 0.6 * y))
    drawn = np.ascontiguousarray(np.clip(scene, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(6, 14)):
        colour = rng.integers(0, 256, 3).tolist()
        corner = rng.uniform(0, 1, 2) * (width, height)
        reach = rng.uniform(0.05, 0.25) * width
        if rng.random() < 0.5:
            cv2.circle(drawn, corner.astype(int).tolist(), int(reach / 2), colour, -1, cv2.LINE_AA)
        else:
            far = (corner + reach * rng.uniform(0.3, 1.5, 2)).astype(int).tolist()
            cv2.rectangle(drawn, corner.astype(int).tolist(), far, colour, -1)
    return cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.8, 2.5)).astype(np.uint8)
