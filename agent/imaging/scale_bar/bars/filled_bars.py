# ruff: noqa: PLR2004 - shares of a block, measured on drawn ones
"""Detect bars that are a filled block with the label written inside.

A plate behind a label is not a bar: it ends about where the words end. A block counts only with a
single row of words in its middle and room on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box
from agent.imaging.scale_bar.bars.planes import find_parts
from agent.imaging.scale_bar.labels.lengths import Length
from agent.imaging.scale_bar.labels.ocr import read_lengths

_STEP = 2  # search in every second row and column
_STRAIGHT = 37  # columns: shortest straight top of a block
_FULL = 215  # grey value of a drawn block in the plane where it is bright
_LEAST = (128, 205)  # grey values at its ends: half of it on dark steel, and on light steel
_WRITTEN, _LETTER, _SIDE = 0.3, 0.15, 0.9  # full share of rows and columns with words, of a side
_BESIDE_PX, _BEYOND_PX = 3, 8  # columns at a side and rows beyond a block
_MOST = 8  # blocks that are read


def find_blocks(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]]
) -> Iterator[tuple[Box, Box, Length]]:
    """Yield blocks that carry their length.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        planes: (h, w) uint8 each, graphics bright.

    Yields:
        Block, box of its words, and the length they state.
    """
    for block in _iter_filled(planes):
        words = _find_words(pixels, block)
        if words is None:
            continue
        lengths = read_lengths([pixels], words)
        if len(lengths) == 1 and (lengths[0].start, lengths[0].end) == (0.0, 1.0):
            yield block, words, lengths[0]


def _iter_filled(planes: list[NDArray[np.uint8]]) -> Iterator[Box]:
    """Yield boxes with an unbroken rim that are as wide and low as a bar."""
    height, width = planes[0].shape
    count = 0
    for plane in planes[:2]:
        for x, y, w, h, area in _iter_straight_tops(plane, round(0.12 * height)):
            low = 12 <= h <= 0.12 * height and max(40, 2.2 * h) <= w <= 0.6 * width
            full = area >= 0.5 * w * h
            inside = x > 0 and y > 0 and x + w < width - 1 and y + h < height - 1
            if not (low and full and inside):
                continue
            box = _refine(plane, (x, y, x + w, y + h))
            if box is not None and not _goes_on(plane, box) and count < _MOST:
                count += 1
                yield box


def _iter_straight_tops(plane: NDArray[np.uint8], tallest: int) -> Iterator[tuple[int, ...]]:
    """Yield full parts with a straight top: x, y, width, height in pixels, area in pixels."""
    full = cv2.inRange(plane[::_STEP], _FULL, 255)
    begins = cv2.subtract(full[1:], full[:-1])
    rows = cv2.reduce(begins, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] >= 255 * _STRAIGHT
    if not rows.any():
        return
    straight, along = np.zeros_like(begins), np.ones((1, _STRAIGHT), np.uint8)
    straight[rows] = cv2.morphologyEx(begins[rows], cv2.MORPH_OPEN, along)
    for x, y, wide, _, _ in find_parts(straight).tolist():
        left, top = max(0, x - 2 * _STEP) // _STEP * _STEP, y + 1
        below = full[top : top + tallest // _STEP + 2, left : x + wide + 2 * _STEP : _STEP]
        _, marks, stats, _ = cv2.connectedComponentsWithStats(below, connectivity=4)
        mark = marks[0, marks.shape[1] // 2]
        if mark:
            x0, y0, w, h, area = _trim_texture(marks == mark, stats[mark].tolist())
            yield left + _STEP * x0, _STEP * (top + y0), _STEP * w, _STEP * h, _STEP**2 * area


def _trim_texture(part: NDArray[np.bool_], whole: list[int]) -> list[int]:
    """Return x, y, width, height and area of the block in a part, without grains at its sides.

    Args:
        part: (h, w) bool, from the top of the block on.
        whole: x, y, width, height and area of all of the part.
    """
    middle = part.shape[1] // 2
    written = part[:, middle - middle // 2 : middle + middle // 2].mean(axis=1) > _WRITTEN
    tenth = max(1, part.shape[1] // 10)  # bold words may leave less of the middle than of the sides
    sides = (part[:, tenth : 2 * tenth], part[:, -2 * tenth : -tenth])
    foot = _count_run(written | np.all([side.mean(axis=1) > _SIDE for side in sides], axis=0))
    share = part[:foot].mean(axis=0) if foot else np.zeros(part.shape[1])
    left = middle - _count_run(share[:middle][::-1] > _LETTER)
    right = middle + _count_run(share[middle:] > _LETTER)
    full = left + np.flatnonzero(share[left:right] > _SIDE)
    if not full.size:
        return whole
    x0, x1 = int(full[0]), int(full[-1]) + 1
    return [x0, 0, x1 - x0, foot, int(part[:foot, x0:x1].sum())]


def _count_run(flags: NDArray[np.bool_]) -> int:
    """Return how many flags are set before the first that is not."""
    return int(np.argmin(np.append(flags, False)))


def _refine(plane: NDArray[np.uint8], box: Box) -> Box | None:
    """Return the box refined to the pixel, or None if its rim has holes."""
    ends = (_refine_to(plane, box, least) for least in _LEAST)
    return next((block for block in ends if block is not None), None)


def _refine_to(plane: NDArray[np.uint8], box: Box, least: int) -> Box | None:
    """Return the box refined to where most pixels fall below a grey value; see `_refine`."""
    x0, y0, x1, y1 = box
    x0, x1 = (
        _find_last(plane[y0 + 3 : y1 - 3], x, by, least) for x, by in ((x0 + 2, -1), (x1 - 3, 1))
    )
    y0, y1 = (
        _find_last(plane[:, x0 + 3 : x1 - 3].T, y, by, least)
        for y, by in ((y0 + 2, -1), (y1 - 3, 1))
    )
    block = plane[y0 + 3 : y1 - 2, x0 + 3 : x1 - 2] >= _FULL  # JPEG blurs the outer pixels
    rim = (block[0], block[-1], block[:, 0], block[:, -1])
    if min(block.shape) < 10 or min(float(side.mean()) for side in rim) < 0.9:
        return None
    return (x0, y0, x1 + 1, y1 + 1)


def _goes_on(plane: NDArray[np.uint8], box: Box) -> bool:
    """Return whether both sides of a block go on above or below: it is the part of a plate."""
    x0, y0, x1, y1 = box
    columns = (slice(x0 + 2, x0 + 2 + _BESIDE_PX), slice(x1 - 2 - _BESIDE_PX, x1 - 2))
    for rows in (slice(max(0, y0 - _BEYOND_PX), max(0, y0 - 2)), slice(y1 + 2, y1 + _BEYOND_PX)):
        sides = [plane[rows, side] >= _FULL for side in columns]
        if all(side.size and float(side.mean()) > _SIDE for side in sides):
            return True
    return False


def _find_last(columns: NDArray[np.uint8], start: int, by: int, least: int) -> int:
    """Return the last mostly full column from a start in one direction."""
    at = start
    while 0 <= at + by < columns.shape[1] and float(np.mean(columns[:, at + by] >= least)) > 0.9:
        at += by
    return at


def _find_words(pixels: NDArray[np.uint8], block: Box) -> Box | None:
    """Return the box of a single row of words in the middle of a block, or None."""
    x0, y0, x1, y1 = block
    inner = pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].astype(np.int16)
    paper = np.median(inner.reshape(-1, 3), axis=0)
    ink = np.abs(inner - paper).max(axis=2) > 100
    columns, rows = np.flatnonzero(ink.any(axis=0)), np.flatnonzero(ink.any(axis=1))
    if not columns.size or not 0.02 < float(ink.mean()) < 0.5:
        return None
    left, right, top, foot = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    wide, high = right - left, foot - top
    room = min(left, ink.shape[1] - right)
    centred = abs(left + right - ink.shape[1]) < 0.12 * ink.shape[1] + 4
    alone = float(ink.mean(axis=1).max()) < 0.5 and wide >= 1.1 * high
    if not centred or not alone or room < 0.6 * high or high < 0.3 * ink.shape[0]:
        return None
    return (int(x0 + 2 + left), int(y0 + 2 + top), int(x0 + 2 + right), int(y0 + 2 + foot))
