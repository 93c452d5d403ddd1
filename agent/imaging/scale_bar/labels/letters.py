# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect rows of letters in a mask of ink, and the digits that a box of words lost."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.readers.channels import largest

_UNEVEN_PAPER = 0.2  # of the contrast: paper that differs more is the specimen itself
_PALE = 0.35  # share of the paper-to-ink distance of a thin stroke after JPEG
_PLATED, _OF_PLATE = 0.8, 0.6  # shares of a plate's rim and of its columns: paper, or paper and ink
_SPECKS, _IN_FRONT = 0.05, 0.6  # shares of rims that are no paper: on a plate, in front of it
FAR_BEFORE = 1.4
"""Heights of words before them in which a digit with a decimal point stands."""
_EVEN_PAPER = 12.0  # grey values that JPEG spreads around one colour


def detect_rows(ink: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Detect rows of letters in a mask; faster than `detect_texts` on a clean mask.

    Args:
        ink: (h, w) bool, True where there is ink.

    Returns:
        Boxes (x0, y0, x1, y1); empty where the mask holds too much to be text.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
    x, y, w, h, area = (stats[1:, i] for i in range(5))
    letters = (h <= 80) & (w <= 3 * h + 8) & (w <= 110) & (area >= 2)
    if letters.sum() > 150:
        letters &= area >= 6  # noise is smaller than any point
    if letters.sum() > 150:
        return []
    boxes = np.stack([x, y, x + w, y + h], axis=1)[letters]
    boxes = boxes[~_frames(boxes)]
    boxes = boxes[np.argsort(boxes[:, 0])]
    rows: list[list[int]] = []
    for box in boxes.tolist():
        row = next((row for row in rows if _continues(row, box)), None)
        if row is None:
            rows.append([*box, 1])
        else:
            row[:4] = (
                min(row[0], box[0]),
                min(row[1], box[1]),
                max(row[2], box[2]),
                max(row[3], box[3]),
            )
            row[4] += 1
    return [
        (x0, y0, x1, y1)
        for x0, y0, x1, y1, letters_in in rows
        if 7 <= y1 - y0 <= 90
        and x1 - x0 >= 1.1 * (y1 - y0)
        and 2 <= letters_in <= 40
        and not _cut_off(ink, (x0, y0, x1, y1))
    ]


def _frames(boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which boxes contain two others or more: frames around words, not letters."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    contains = (low < boxes[None, :, :2]).all(axis=2) & (high > boxes[None, :, 2:]).all(axis=2)
    return np.asarray(contains.sum(axis=1) >= 2)


def extend_to_lost_digits(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """Return the box widened to the left while ink continues there: "150" is not "50".

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.

    Returns:
        The box including what precedes it at letter distance.
    """
    x0, y0, x1, y1 = box
    high = y1 - y0
    start = max(0, x0 - 3 * high)
    if start == x0:
        return box
    before, known = (picture[y0:y1, a:b].astype(np.int16) for a, b in ((start, x0), (x0, x1)))
    paper = np.median(known.reshape(-1, 3), axis=0)
    off = largest(np.abs(known - paper))
    ink = np.median(known[off >= np.percentile(off, 92)], axis=0)
    contrast = float(np.abs(ink - paper).max())
    room = _paper_room(off, contrast)
    if room > _UNEVEN_PAPER * contrast:
        way = ink - paper
        inked = (before - paper) @ way / max(1.0, float(way @ way)) > _PALE
        return (start + _extend_by_digits(inked), y0, x1, y1)
    like_ink = (largest(np.abs(before - ink)) < 0.5 * contrast).mean(axis=0)
    like_paper = (largest(np.abs(before - paper)) < room).mean(axis=0)
    left = sure = x0
    bare = 0  # columns without paper: more of them than a letter's stem has are its end
    for x in range(x0 - 1, start - 1, -1):
        bare = bare + 1 if like_paper[x - start] < 0.2 else 0
        if bare > 0.3 * high:
            return (sure, y0, x1, y1)
        if not bare:
            sure = left
        if like_ink[x - start] > 0.08:
            left = x
        elif left - x > 0.45 * high:
            break
    return (left, y0, x1, y1)


def _extend_by_digits(ink: NDArray[np.bool_]) -> int:
    """Return the first column of the digits that end at the right of a mask of ink.

    Without paper, what lies before words may have their colour; only what is as tall as a digit
    and no wider counts.
    """
    high, left = ink.shape
    whole = _close_strokes(ink, high)
    _, _, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    x, _, w, h, _ = stats[1:].T
    digits = (h >= 0.6 * high) & (w <= 0.9 * high)
    for first, wide in sorted(zip(x[digits].tolist(), w[digits].tolist(), strict=True))[::-1]:
        if left - first - wide > 0.45 * high:
            break
        left = first
    return int(left)


def _close_strokes(ink: NDArray[np.bool_], high: int) -> NDArray[np.uint8]:
    """Return a mask with thin strokes whole, which JPEG breaks; `high` is that of the letters."""
    by = max(2, high // 4)
    # OpenCV closes what is near the border to the border.
    padded = cv2.copyMakeBorder(ink.astype(np.uint8), by, by, 2, 2, cv2.BORDER_CONSTANT)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((by, 2), np.uint8))
    return np.asarray(closed[by:-by, 2:-2], np.uint8)


def find_plate_start(
    pixels: NDArray[np.uint8], box: tuple[int, int, int, int], ink: NDArray[Any]
) -> int:
    """Return the first column of the plate of words; 0 where they are not on a plate.

    A plate holds paper and ink only, so that no digit can stand beyond its end.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels.
        ink: (3,) their colour.
    """
    x0, y0, x1, y1 = box
    paper = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    rims = [
        pixels[[max(0, y0 - by), min(len(pixels), y1 + by) - 1], x0:x1].astype(np.int16)
        for by in (1, 3)  # a letter may touch the box of its words
    ]
    if max(np.mean(largest(np.abs(rim - paper)) <= _EVEN_PAPER) for rim in rims) < _PLATED:
        return 0
    start = max(0, x0 - 2 * (y1 - y0))
    before = pixels[y0:y1, start:x0].astype(np.int16)
    on_plate = largest(np.abs(before - paper)) <= _EVEN_PAPER
    drawn = largest(np.abs(before - ink)) <= 0.5 * float(np.abs(ink - paper).max())
    # Saturated texture may have only the colours of paper and ink, but not above and below letters.
    beside = pixels[[max(0, y0 - 2), min(len(pixels), y1 + 2) - 1], start:x0].astype(np.int16)
    off = np.asarray((largest(np.abs(beside - paper)) > _EVEN_PAPER).any(axis=0))
    off[1:-1] &= off[:-2] & off[2:]
    beyond = np.flatnonzero(((on_plate | drawn).mean(axis=0) < _OF_PLATE) | off)
    return start + int(beyond[-1]) + 1 if beyond.size else 0


def find_words_on_plate(
    pixels: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> tuple[int, int, int, int] | None:
    """Return the part of a box of words that is on their plate; None where none or all of it is.

    A grain in front of a plate has been read as a digit: `50` as `250`.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels. What is in front is no wider than they are high: a digit.
    """
    x0, y0, x1, y1 = box
    high = y1 - y0
    paper = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    rims = pixels[[max(0, y0 - 2), min(len(pixels), y1 + 2) - 1], x0:x1].astype(np.int16)
    off = np.asarray((largest(np.abs(rims - paper)) > 2 * _EVEN_PAPER).mean(axis=0))
    front = int(np.flatnonzero(np.append(True, off[:high] >= 0.5))[-1])
    if front < high // 4 or x1 - x0 < high + front or off[:front].mean() < _IN_FRONT:
        return None
    return (x0 + front, y0, x1, y1) if off[front:].mean() <= _SPECKS else None


def has_ink_before(
    pixels: NDArray[np.uint8], box: tuple[int, int, int, int], ink: NDArray[Any], left: int
) -> bool:
    """Return whether anything in the ink of words stands before them, so that it must be read.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels.
        ink: (3,) their colour.
        left: First column that can hold a digit.
    """
    x0, y0, x1, y1 = box
    start = max(left, x0 - round(FAR_BEFORE * (y1 - y0)))
    paper = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    way = ink - paper
    before = pixels[y0:y1, start:x0].astype(np.float32)
    return bool(np.any((before - paper) @ way / max(1.0, float(way @ way)) > _PALE))


def has_digit_before(
    pixels: NDArray[np.uint8], box: tuple[int, int, int, int], ink: NDArray[Any], left: int
) -> bool:
    """Return whether a digit stands before a number in its ink: "25" is not "5".

    A digit is as tall as the number and ends above and below with it, which texture seldom does.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels.
        ink: (3,) their colour.
        left: First column that can hold a digit, such as the end of a line before the words.
    """
    x0, y0, x1, y1 = box
    high = y1 - y0
    start, room = max(left, x0 - high), round(0.35 * high)
    if x0 - start < 3:
        return False
    top = max(0, y0 - room)
    paper = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    way = ink - paper
    part = pixels[top : y1 + room, start:x0].astype(np.float32)
    inked = (part - paper) @ way / max(1.0, float(way @ way)) > _PALE
    whole = _close_strokes(inked, high)
    _, _, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    x, y, w, h, _ = stats[1:].T
    tall = (h >= 0.55 * high) & (h <= 1.2 * high) & (w <= 0.9 * high) & (w >= max(2, 0.1 * high))
    apart = (y > 0) & (y + h < len(whole)) & (x > 0)
    near = x + w >= x0 - start - 0.5 * high
    return bool((tall & apart & near).any())


def tighten_to_ink(
    picture: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """Return the box without the empty rows above and below its words.

    The reader scales a box to one height, so that letters in a box that is too tall are small.

    Args:
        picture: (h, w, 3) uint8, RGB.
        box: Box of the words, pixels of the picture.

    Returns:
        The rows that hold something as tall as a letter; the same box where nothing is.
    """
    x0, y0, x1, y1 = box
    inside = picture[y0:y1, x0:x1].astype(np.int16)
    paper = np.median(inside.reshape(-1, 3), axis=0)
    off = largest(np.abs(inside - paper))
    drawn = off > 0.5 * float(np.percentile(off, 97))
    _, _, stats, _ = cv2.connectedComponentsWithStats(drawn.astype(np.uint8), connectivity=8)
    _, y, w, h, _ = stats[1:].T
    letters = (h >= 0.25 * (y1 - y0)) & (w <= 3 * h)
    if letters.sum() < 2:
        return box
    top, foot = int(y[letters].min()), int((y + h)[letters].max())
    return (x0, y0 + top, x1, y0 + foot) if foot - top >= 0.35 * (y1 - y0) else box


def _paper_room(off: NDArray[Any], contrast: float) -> float:
    """Return by how much a colour may differ from the paper of words and still be of it.

    A plate is even, so texture beyond its end is not it, however dark; what the words are written
    on without a plate is as uneven as the specimen.

    Args:
        off: (h, w), difference from the paper inside the box of the words, grey values.
        contrast: Of the ink to the paper, grey values.
    """
    widest = 0.3 * contrast
    spread = float(np.percentile(off[off < widest], 75)) if (off < widest).any() else widest
    return min(widest, max(_EVEN_PAPER, 3 * spread))


def _cut_off(ink: NDArray[np.bool_], box: tuple[int, int, int, int]) -> bool:
    """Return whether ink that was not detected as a letter precedes a row: "150" is not "50"."""
    x0, y0, _, y1 = box
    before = ink[y0:y1, max(0, x0 - round(0.9 * (y1 - y0))) : x0]
    return bool(before.size) and float(before.any(axis=1).mean()) > 0.5


def _continues(row: list[int], box: list[int]) -> bool:
    """Return whether a letter, or a comma below the line, continues a row of letters."""
    tall, high = row[3] - row[1], box[3] - box[1]
    if box[0] - row[2] > 1.3 * max(tall, high):
        return False
    if high < 0.45 * tall:
        return row[1] <= (box[1] + box[3]) / 2 <= row[3] + 0.3 * tall
    shared = min(row[3], box[3]) - max(row[1], box[1])
    return shared >= 0.5 * min(tall, high)
