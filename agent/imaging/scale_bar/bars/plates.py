# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect plates, an even colour that texture is not, with their words; extend boxes to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs, union
from agent.imaging.readers.channels import largest
from agent.imaging.scale_bar.bars.planes import COLOUR_PLANE, find_parts
from agent.imaging.scale_bar.labels.letters import detect_rows

Plane = NDArray[Any]  # (h, w) grey

_STEP, _LARGE_STEP, _LARGE_PX = 2, 3, 1400  # rows and columns searched; of pictures as wide
_EVEN = 10  # grey values that compression leaves of one colour
_LEAST_PX, _LARGEST = (36, 18), 0.25  # width and height of a plate; share of the picture
_MOST_EVEN = 0.4  # share of a picture; where more of it is even, so is the specimen
_FLAT, _PAPER, _RIM = 0.25, 0.5, 0.9  # shares: even of a plate; paper of it, and of its sides
_RUNS = ((1, 26), (14, 1))  # height and width of the shortest runs of paper, pixels
_OF_SIDE = 0.6  # of a row or column at the side of a plate
_CORNER = 0.2  # of a side, where it may be rounded
_TALL_PX = 200  # height of a plate
_OF_PLATE = 0.5  # of its width or height, more than a letter has
_LEAST_CONTRAST = 60  # grey values between paper and letters
_MOST_TRIED, _MOST_PLATES, _MOST_ROWS = 8, 3, 4  # parts, plates, rows of letters of a plate
_REACH_PX = 40  # reach of the plate around a bar, or twice the height of bar and words
_BLUR_PX = 3  # around letters, of JPEG
_LEFT_OUT_PX = 8  # of letters that a text box may miss
_OF_PAPER = 14  # grey values: spread of one colour after JPEG
_FULL = 0.85  # share of a row that must be plate
_PART = 0.5  # share of a row that is plate where letters and bar cross it
_INSIDE = 0.6  # share of a box that is plate where there is one; ink is the rest
_AROUND_WORDS = 0.4  # such a share where the box is that of a text detector, which adds a margin
_ACROSS_WORDS = 0.3  # share of a row or column of bold words that is plate
_ON_RIM = 0.3  # share of a rim that is plate where the box ends beyond it on two sides


def iter_plate_rows(planes: list[Plane]) -> Iterator[Box]:
    """Yield the boxes of rows of letters on plates, the largest plate first.

    Args:
        planes: (h, w) uint8 each, the light and the dark one first.
    """
    planes = planes[:2] if planes[COLOUR_PLANE:] else planes[:1]  # of grey both planes say the same
    for box in _find_plates(planes):
        x0, y0, _, _ = box
        off = _measure_off(planes, box)
        contrast = float(np.percentile(off, 99))
        if contrast >= _LEAST_CONTRAST:
            k = 1 + len(off) // _TALL_PX  # letters of a large plate are taller than usual ones
            ink = _drop_lines(off[::k, ::k] > 0.5 * contrast)
            for a0, b0, a1, b1 in detect_rows(ink)[:_MOST_ROWS]:
                yield (x0 + k * a0, y0 + k * b0, x0 + k * a1, y0 + k * b1)


def _drop_lines(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask of a plate's ink without what is too long for a letter, such as the bar."""
    high, wide = ink.shape
    _, marks, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    w, h = stats[:, 2], stats[:, 3]
    line = (
        (h > _OF_PLATE * high) | (w > _OF_PLATE * wide) | (np.maximum(w, h) > 5 * np.minimum(w, h))
    )
    line[0] = False
    return np.asarray(ink & ~line[marks])


def _measure_off(planes: list[Plane], box: Box) -> Plane:
    """Return by how many grey values every pixel of a box differs from its most usual colour."""
    x0, y0, x1, y1 = box
    parts = [plane[y0:y1, x0:x1].astype(np.int16) for plane in planes]
    offs = [np.abs(part - np.median(part[::_STEP, ::_STEP])) for part in parts]
    return np.asarray(np.maximum(offs[0], offs[-1]))


def _find_plates(planes: list[Plane]) -> list[Box]:
    """Return the boxes of plates, the largest first."""
    k = _LARGE_STEP if max(planes[0].shape) >= _LARGE_PX else _STEP
    small = [np.ascontiguousarray(plane[::k, ::k]) for plane in planes]
    square = np.ones((3, 3), np.uint8)
    steps = [cv2.morphologyEx(plane, cv2.MORPH_GRADIENT, square) for plane in small]
    flat = cv2.inRange(cv2.max(steps[0], steps[-1]), 0, _EVEN)
    if cv2.countNonZero(flat) > _MOST_EVEN * flat.size:
        return []
    # Paper runs on above and below letters, and left and right of them; specks of texture do not.
    runs = [np.ones((max(1, high // k), max(1, wide // k)), np.uint8) for high, wide in _RUNS]
    across, down = (cv2.morphologyEx(flat, cv2.MORPH_OPEN, run) for run in runs)
    parts = find_parts(cv2.bitwise_or(across, down))
    w, h, area = parts[:, 2], parts[:, 3], parts[:, 4]
    large = (w * k >= _LEAST_PX[0]) & (h * k >= _LEAST_PX[1])
    likely = large & (w * h <= _LARGEST * flat.size) & (area >= _FLAT * w * h)
    largest = parts[likely][np.argsort(-area[likely])]
    boxes = [
        (int(a * k), int(b * k), int((a + c) * k), int((b + d) * k)) for a, b, c, d, _ in largest
    ]
    plates = (_trim_to_plate(planes, box) for box in boxes[:_MOST_TRIED])
    return [plate for plate in plates if plate is not None][:_MOST_PLATES]


def _trim_to_plate(planes: list[Plane], box: Box) -> Box | None:
    """Return the box of a plate in a box with even parts, or None without one.

    Bright grains next to a white plate have its colour in a part of a row or column only.
    """
    x0, y0, _, _ = box
    paper = _measure_off(planes, box) <= _EVEN
    columns = np.flatnonzero(paper.mean(axis=0) >= _OF_SIDE)
    rows = np.flatnonzero(paper.mean(axis=1) >= _OF_SIDE)
    if len(columns) < _LEAST_PX[0] or len(rows) < _LEAST_PX[1]:
        return None
    left, right, top, foot = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    paper = paper[top:foot, left:right]
    across, down = (slice(int(_CORNER * n), n - int(_CORNER * n)) for n in paper.shape[::-1])
    sides = (paper[1:3, across], paper[-3:-1, across], paper[down, 1:3], paper[down, -3:-1])
    if min(float(side.mean()) for side in (paper, *sides)) < _PAPER:
        return None
    if any(float(side.mean()) < _RIM for side in sides):
        return None
    return (x0 + int(left), y0 + int(top), x0 + int(right), y0 + int(foot))


def extend_to_plate(pixels: NDArray[np.uint8], box: Box) -> Box:
    """Return the box widened to its plate: one colour around it that ends on every side.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Bar and label, pixels.

    Returns:
        The wider box; the same box without a plate, or where the specimen itself is that even.
    """
    rim = get_rim(pixels, box, _BLUR_PX)
    paper = np.median(rim, axis=0)
    if _is_like(rim, paper).mean() >= _FULL:
        return _extend(pixels, box, paper)
    # A text box that is read too large ends beyond the plate: its rim is half steel.
    plate = _find_plate_inside(pixels, box, _INSIDE, _PART)
    if plate is None or _is_like(rim, plate[1]).mean() < _ON_RIM:
        return _extend(pixels, box, paper)
    inner, paper = plate
    return union(box, _extend(pixels, inner, paper))


def _find_plate_inside(
    pixels: NDArray[np.uint8], box: Box, least: float, part: float
) -> tuple[Box, NDArray[np.float64]] | None:
    """Return the part of a box that is plate, and the plate's colour; None without a plate."""
    x0, y0, x1, y1 = box
    colours = pixels[y0:y1, x0:x1]
    grey = largest(colours.astype(np.float32))
    level = int(np.bincount(grey.astype(np.uint8).ravel(), minlength=256).argmax())
    paper = np.median(colours[np.abs(grey - level) <= _OF_PAPER], axis=0)
    like = _is_like(colours, paper)
    if like.mean() < least:
        return None
    rows, columns = (np.flatnonzero(like.mean(axis=axis) > part) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    inner = (
        x0 + int(columns[0]),
        y0 + int(rows[0]),
        x0 + int(columns[-1]) + 1,
        y0 + int(rows[-1]) + 1,
    )
    return inner, paper


def find_plate_inside(pixels: NDArray[np.uint8], box: Box) -> Box | None:
    """Return the part of a box of words that is their plate, or None without a plate.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels; it may reach beyond the plate.
    """
    plate = _find_plate_inside(pixels, box, _AROUND_WORDS, _ACROSS_WORDS)
    if plate is None:
        return None
    x0, y0, x1, y1 = plate[0]
    whole = x1 - x0 > 0.5 * (box[2] - box[0]) and y1 - y0 > 0.5 * (box[3] - box[1])
    return plate[0] if whole else None


def _extend(pixels: NDArray[np.uint8], box: Box, paper: NDArray[np.float64]) -> Box:
    """Return a box widened to the rows and columns of one colour around it."""
    x0, y0, x1, y1 = box
    reach = max(_REACH_PX, 2 * (y1 - y0))
    left, top = max(0, x0 - reach), max(0, y0 - reach)
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    like = _is_like(pixels[top : y1 + reach, left : x1 + reach], paper)
    rows, columns = like[:, inside[1]].mean(axis=1) > _FULL, like[inside[0]].mean(axis=0) > _FULL
    sides = [rows[: inside[0].start][::-1], columns[: inside[1].start][::-1]]
    sides += [rows[inside[0].stop :], columns[inside[1].stop :]]
    if any(len(side) == reach and side[_LEFT_OUT_PX:].all() for side in sides):
        return box  # it has no end
    up, before, down, after = (_count_plate_rows(side) for side in sides)
    return (x0 - before, y0 - up, x1 + after, y1 + down)


def _is_like(colours: NDArray[Any], paper: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where colours, (…, 3), are the paper's."""
    off = np.abs(colours.astype(np.float32) - paper.astype(np.float32))
    like: NDArray[np.bool_] = (largest(off) if off.ndim > 2 else off.max(axis=1)) <= _OF_PAPER
    return like


def _count_plate_rows(side: NDArray[np.bool_]) -> int:
    """Return how many rows the plate continues outwards, skipping blurred or clipped letters."""
    ends = [
        skipped + int(np.argmin([*side[skipped:], False]))
        for skipped in (_BLUR_PX, _LEFT_OUT_PX)
        if len(side) > skipped and side[skipped]
    ]
    return max(ends, default=0)


def get_rim(pixels: NDArray[np.uint8], box: Box, by: int) -> NDArray[np.int16]:
    """Return the colours along the rim of a box.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box, pixels.
        by: Offset of the rim, pixels; positive is outwards.

    Returns:
        (n, 3) int16.
    """
    x0, y0, x1, y1 = box
    left, top = max(0, x0 - by), max(0, y0 - by)
    right, foot = min(pixels.shape[1], x1 + by) - 1, min(len(pixels), y1 + by) - 1
    rows, columns = pixels[[top, foot], left : right + 1], pixels[top : foot + 1, [left, right]]
    return np.concatenate([rows.reshape(-1, 3), columns.reshape(-1, 3)]).astype(np.int16)


# --- detect the info band that a program laid across a micrograph


def find_band(pixels: NDArray[np.uint8]) -> Box | None:
    """Return the info band: full-width rows of one exact colour with words on it.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        The band, or None. It need not reach the image's edge.
    """
    height, width = pixels.shape[:2]
    levels = _find_flat_levels(pixels)
    if not levels:
        return None
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    best: Box | None = None
    # Where the field is as pale as the band, only the exact grey value separates them.
    for level, room in product(levels, (12, 3)):
        low, high = max(0, level - room), min(255, level + room)
        paper = cv2.inRange(grey, low, high).mean(axis=1) / 255.0
        for top, bottom in find_runs(paper > 0.35):
            if not 0.02 * height <= bottom - top <= 0.4 * height:
                continue
            inner = paper[top:bottom]
            if np.mean(inner > 0.95) < 0.08 or np.median(inner) < 0.6:
                continue
            if _is_drawn(grey[top:bottom], level) and (
                best is None or bottom - top > best[3] - best[1]
            ):
                best = (0, top, width, bottom)
    return best


def _is_drawn(band: Plane, level: int) -> bool:
    """Return whether a band is flat to the grey value and its contents contrast strongly."""
    off = cv2.absdiff(band, np.full_like(band, level))
    words = float(np.mean(off > 60))
    between = float(np.mean((off > 12) & (off <= 60)))
    flat = float(np.mean(off[off <= 8] <= 2)) if (off <= 8).any() else 0.0
    return words > 0.002 and between < max(0.02, 1.2 * words) and flat > 0.7


def _find_flat_levels(pixels: NDArray[np.uint8]) -> list[int]:
    """Return the grey values that fill whole rows near the top or the bottom."""
    height = len(pixels)
    near = [pixels[: height // 4 : 4, ::4], pixels[3 * height // 4 :: 4, ::4]]
    # int16: `np.partition` takes six times as long on 8 bits.
    rows = cv2.cvtColor(np.concatenate(near), cv2.COLOR_RGB2GRAY).astype(np.int16)
    middle = np.partition(rows, rows.shape[1] // 2, axis=1)[:, rows.shape[1] // 2]
    off = np.abs(rows - middle[:, None])
    # Pale steel fills rows with one tone too, but not to the grey value.
    flat = ((off <= 12).mean(axis=1) > 0.85) & ((off <= 2).mean(axis=1) > 0.6)
    return [level for level, _ in Counter(middle[flat].tolist()).most_common(3)]
