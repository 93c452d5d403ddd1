# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""The label of a bar: its words, ink and paper, and what several readings of it say together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap
from agent.imaging.readers.channels import largest
from agent.imaging.scale_bar.bars.line import Line, compute_distance, is_pale
from agent.imaging.scale_bar.bars.line_length import SAME
from agent.imaging.scale_bar.labels.lengths import Length

Plane = NDArray[Any]  # (h, w) grey

_ONE_PLACE = 0.3  # share of words that two readings of them have in common


@dataclass(frozen=True, slots=True, eq=False)
class BarLabel:
    """A length written in the image, with its ink (3,) and paper (3,)."""

    box: Box
    length: Length
    ink: NDArray[Any]
    paper: NDArray[Any]


@dataclass(frozen=True, slots=True)
class LabelledLine:
    """A line with a label.

    Args:
        line: The line.
        length_px: Length, pixels.
        sure: No other line can be meant.
        traced: Found by tracing.
    """

    line: Line
    length_px: float
    sure: bool
    traced: bool = False


def build_label(
    pixels: NDArray[np.uint8],
    box: Box,
    length: Length,
    ink: NDArray[Any] | None = None,
) -> BarLabel:
    """Return ink and paper of words at a known place.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Box of the words.
        length: The length they state.
        ink: (3,), approximate ink; None: the colour of highest contrast.

    Returns:
        The label. Its paper is the most frequent colour of the box or of its rim: bold words cover
        half of the box, and the rim may lie on the line.
    """
    x0, y0, x1, y1 = box
    words = pixels[y0:y1, x0:x1].astype(np.int16)
    inside = words.reshape(-1, 3)
    rim = np.concatenate([*words[[0, -1]], *words[:, [0, -1]]])
    papers = [np.median(rim, axis=0), np.median(inside, axis=0)]
    paper = papers[0] if ink is None else max(papers, key=lambda colour: np.abs(colour - ink).max())
    off = np.abs(inside - paper).max(axis=1)
    bins = inside // 24
    code = (bins[:, 0] * 11 + bins[:, 1]) * 11 + bins[:, 2]
    most = np.bincount(code, weights=off.astype(float) ** 2).argmax()
    return BarLabel(box, length, np.median(inside[code == most], axis=0), paper)


def cut_region(pixels: NDArray[np.uint8], words: Box) -> tuple[NDArray[np.uint8], int, int]:
    """Return the region in which a label's bar can lie, with its left column and top row."""
    x0, y0, x1, y1 = words
    aside, beyond = round(0.4 * pixels.shape[1]), round(2.6 * (y1 - y0)) + 40
    left, top = max(0, x0 - aside), max(0, y0 - beyond)
    return pixels[top : y1 + beyond, left : x1 + aside], left, top


def compute_ink_plane(picture: NDArray[np.uint8], label: BarLabel) -> Plane:
    """Return the plane in which a label's ink is bright and colours near it are already dark."""
    widest = float(np.abs(label.ink - label.paper).max())
    off = largest(cv2.absdiff(picture, np.full_like(picture, np.rint(label.ink))))
    return np.asarray(np.clip(255 * (1 - off / (0.6 * widest)), 0, 255).astype(np.uint8))


def compute_paled_plane(picture: NDArray[np.uint8], label: BarLabel) -> Plane:
    """Return the plane in which colours between paper and ink are bright, the nearer to the ink."""
    way = (label.ink - label.paper).astype(np.float32)
    off = picture.astype(np.float32) - label.paper.astype(np.float32)
    gone = off @ way / float(way @ way)
    aside = largest(np.abs(off - gone[:, :, None] * way)) / float(np.abs(way).max())
    near = np.minimum(gone, 2 - gone) - 0.7 * aside
    return np.asarray(np.clip(255 * 1.5 * near, 0, 255).astype(np.uint8))


def has_digit_before(pixels: NDArray[np.uint8], label: BarLabel, line: Line) -> bool:
    """Return whether ink as tall as a digit precedes a label: "25" is not "5"."""
    x0, y0, _, y1 = label.box
    high = y1 - y0
    left = max(0, x0 - round(0.7 * high))
    if left <= line.box[2] and line.box[0] < x0 and line.box[1] < y1 and y0 < line.box[3]:
        left = line.box[2] + 2
    if x0 - left < 3:
        return False
    before = compute_ink_plane(pixels[y0:y1, left:x0], label) > 100
    return bool(before.any(axis=1).mean() > 0.5)


def is_aligned(line: Box, words: Box) -> bool:
    """Return whether words are centred above or below a line, or end with it on one side."""
    room = max(3.0, 0.02 * (line[2] - line[0]))
    starts, ends = words[0] - line[0], words[2] - line[2]
    return min(abs(starts), abs(ends), abs(starts + ends) / 2) <= room


def is_new(label: BarLabel, read: list[BarLabel]) -> bool:
    """Return whether no label with the same length was read where a label is."""
    return not any(
        other.length.um == label.length.um and overlap(label.box, other.box) > _ONE_PLACE
        for other in read
    )


def select_agreeing(read: list[BarLabel]) -> list[BarLabel]:
    """Return one label per place, if all readings there agree."""
    kept: list[BarLabel] = []
    for label in read:
        there = [reading for reading in read if overlap(label.box, reading.box) > _ONE_PLACE]
        surely = all(_supports(reading.length, label.length) for reading in there)
        known = label.length.um is not None
        if known and surely and not any(reading in kept for reading in there):
            kept.append(label)
    return kept


def _supports(length: Length, stated: Length) -> bool:
    """Return whether a reading states the same length, or the same number and no unit."""
    return length.um == stated.um or (length.um is None and length.number == stated.number)


def is_one_label(reading: BarLabel, label: BarLabel) -> bool:
    """Return whether two readings of one place state the same length; their boxes may differ."""
    return reading.length.um == label.length.um and overlap(label.box, reading.box) > _ONE_PLACE


def choose_labelled(found: list[LabelledLine | None]) -> LabelledLine | None:
    """Return the line of a label that was read several times, sure if one reading makes it so.

    A grain lengthens a line, so that a sure one is not longer than another measurement of it.
    """
    lines = [labelled for labelled in found if labelled is not None]
    sure = [labelled for labelled in lines if labelled.sure]
    if not sure:
        return next(iter(lines), None)
    best = sure[0]
    rivals = [other for other in lines if overlap(other.line.box, best.line.box) > 0]
    shortest = min(labelled.length_px for labelled in rivals)
    alike = all(abs(labelled.length_px / best.length_px - 1) < SAME for labelled in sure)
    longest = (1 + SAME) * shortest
    return best if alike and best.length_px < longest else replace(best, sure=False)


# --- trace a thin line near a label row by row

SHOWS = 90  # of 255: contrast of a line in the plane of its ink
_FAINT = 0.13  # share of the paper-to-ink distance of the palest line
_TRACED = 12.0  # sum of such shares along a line
_LONG_PX = 125  # 2 per cent of it exceed what blur and missed ticks add
_LONG_PALE_PX = 190  # the same where only colour shows the line, which JPEG blurs more


def trace_line(pixels: NDArray[np.uint8], label: BarLabel) -> LabelledLine | None:
    """Trace a thin line row by row: the run of columns with the largest sum of ink.

    Ink counts where a pixel is nearer to the label's ink than three rows above and below; a grain
    across the line, or noise, costs a column but does not end the run.
    """
    x0, y0, x1, y1 = label.box
    picture, left, top = cut_region(pixels, label.box)
    way = (label.ink - label.paper).astype(np.float32)
    progress = (picture.astype(np.float32) - label.paper.astype(np.float32)) @ (
        way / float(way @ way)
    )
    ink = np.clip(progress[3:-3] - np.maximum(progress[:-6], progress[6:]), -0.4, 0.5)
    top += 3
    rim = round(0.15 * (y1 - y0))  # a line may touch the box of its words
    ink[max(0, y0 + rim - top) : max(0, y1 - rim - top), x0 - left : x1 - left] = -0.4
    sums, starts, ends = _find_best_runs(ink - _FAINT)
    row = int(np.argmax(sums))
    elsewhere = np.delete(sums, slice(max(0, row - 3), row + 4))
    start, end = int(starts[row]), int(ends[row])
    clear = sums[row] >= _TRACED and sums[row] > 3 * elsewhere.max(initial=0.0)
    if not clear or float(np.mean(ink[row, start:end] > _FAINT)) < 0.85:
        return None
    first, last = _find_half_ink(progress[row + 3], start, end)
    box = (left + round(first), top + row, left + round(last), top + row + 1)
    line = Line(box, float(last - first), exact=False, contrast=float(SHOWS), core=box)
    if compute_distance(line, label.box) is None or last - first < 0.5 * (x1 - x0):
        return None
    pale = is_pale(label.ink, label.paper)
    long = last - first >= (_LONG_PALE_PX if pale else _LONG_PX)
    sure = long and is_aligned(box, label.box)
    return LabelledLine(line, float(last - first), sure, traced=True)


def _find_half_ink(ink: NDArray[Any], start: int, end: int) -> tuple[float, float]:
    """Return to subpixels where a run of columns falls to half of its median ink."""
    half = 0.5 * float(np.median(ink[start:end]))
    full = start + np.flatnonzero(ink[start:end] >= half)
    if not full.size:
        return float(start), float(end)
    first, last = int(full[0]), int(full[-1])
    before, after = ink[max(0, first - 1)], ink[min(len(ink) - 1, last + 1)]
    ahead = (ink[first] - half) / max(1e-3, float(ink[first] - before))
    behind = (ink[last] - half) / max(1e-3, float(ink[last] - after))
    return first + 0.5 - min(ahead, 1.0), last + 0.5 + min(behind, 1.0)


def _find_best_runs(gains: Plane) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return sum, first column and end of the best run of columns in every row.

    Source:
        Kadane's algorithm (Bentley, Programming Pearls, CACM 27, 1984), for all rows at once.
    """
    sums, running = np.zeros((2, len(gains)), np.float32)
    starts, ends, begun = np.zeros((3, len(gains)), int)
    for x, column in enumerate(gains.T):
        begun = np.where(running <= 0, x, begun)
        running = np.maximum(running, 0) + column
        better = running > sums
        sums = np.where(better, running, sums)
        starts, ends = np.where(better, begun, starts), np.where(better, x + 1, ends)
    return sums, starts, ends
