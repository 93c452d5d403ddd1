"""Extend boxes to the plain plate that a micron bar and its label are printed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.imaging.boxes import union
from agent.imaging.readers.channels import largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.boxes import Box

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
    like: NDArray[np.bool_] = (largest(off) if off.ndim > 2 else off.max(axis=1)) <= _OF_PAPER  # noqa: PLR2004 - rows, columns, channels
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
