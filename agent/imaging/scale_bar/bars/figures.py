# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect the bar of a label by its figure: it stands alone in the ink of the label, mirrored.

A detector of lines has no name for the two-headed arrow of a slide, a row of short dashes or a
line that stands upright. A drawn figure is mirrored about its middle; texture is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap
from agent.imaging.scale_bar.bars.line import Line, compute_distance
from agent.imaging.scale_bar.labels.bar_label import BarLabel, LabelledLine

Plane = NDArray[Any]  # (h, w) grey, or a mask

_LEAST_CONTRAST = 40  # between ink and paper, in grey values
_INKED = 0.5  # share of the paper-to-ink distance from which a pixel is ink …
_FULLER = (0.7, 0.85)  # … and where texture that touches a figure has as much
_TIP = 0.25  # the same where an arrow ends in a point, which covers a part of its last pixel
_OTHER_COLOUR = 0.6  # of the paper-to-ink distance: a pixel farther from the way between them
_MOST_PARTS = 400  # of ink around a label; more are texture
_LEAST_PX, _OF_WORDS = 24, 0.25  # of a figure: pixels, share of its words
_SLENDER, _UPRIGHT = 2.5, 4.0  # length over height of a figure; height over width of an upright
_FILLED, _LEAST_FILLED_PX = 0.93, 3  # share of its box and height of a figure that is a rectangle
_POINTED_PX = 7  # height of any other, below which everything is alike within a pixel
_BLUNT, _SPUR = 0.5, 0.25  # shares of the height of a part: a blunt end has more, a spur less
_OF_HEAD, _MOST_LOST_PX = 6, 1.5  # columns of a head near its tip; most that a tip loses at its end
_OF_TICK, _OF_LINE = 0.7, 0.5  # shares of the height of a part that a tick and its line have
_WIDEST_TICK = 0.1  # of the length of a part
_FULL_ROW, _BEYOND_CORE_PX = 0.9, 2  # share of a full row; columns of a figure beyond such rows
_UNLIKE = 0.05  # share of a figure that its mirror image lacks
_UNLIKE_FILLED = 0.005  # the same of one that is a rectangle
_DASHES = 4  # fewer may be letters or grains
_GAP = (0.3, 2.5)  # between two dashes, in widths of a dash
_SAME = 0.02  # relative difference below which two lengths are one
_FARTHEST_UPRIGHT = 3.0  # heights of words between them and an upright


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A connected part of ink.

    Args:
        box: Its box, pixels of the region.
        mask: (h, w) bool, the part with its holes filled.
    """

    box: Box
    mask: Plane

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]

    @property
    def fill(self) -> float:
        return float(self.mask.mean())


def find_figure(pixels: NDArray[np.uint8], label: BarLabel) -> LabelledLine | None:
    """Return the figure in a label's ink that is its bar.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        label: The label.

    Returns:
        The figure at the usual place of a bar, sure if no other figure there has another length;
        None without one.
    """
    if np.abs(label.ink - label.paper).max() < _LEAST_CONTRAST:
        return None
    for inked in (_INKED, *_FULLER):
        level = [line for line in _iter_level(pixels, label, inked) if _is_at_place(line, label)]
        figures = level or list(_iter_upright(pixels, label, inked))
        if figures:
            break
    else:
        return None
    best = max(figures, key=lambda line: line.line_px)
    alone = all(abs(line.line_px / best.line_px - 1) < _SAME for line in figures)
    return LabelledLine(best, best.line_px, sure=alone and not _has_wide_ticks(best))


def _has_wide_ticks(line: Line) -> bool:
    """Return whether a figure is another length to the outer sides of its ticks: both are usual."""
    return line.kind == "figure" and line.width > (1 + _SAME) * line.line_px + 1


def _is_at_place(line: Line, label: BarLabel) -> bool:
    wide = label.box[2] - label.box[0]
    long = line.line_px >= max(_LEAST_PX, _OF_WORDS * wide)
    return long and compute_distance(line, label.box) is not None


def _iter_level(pixels: NDArray[np.uint8], label: BarLabel, inked: float) -> Iterator[Line]:
    """Yield the level figures around a label; `inked` is the share from which a pixel is ink."""
    x0, y0, x1, y1 = label.box
    aside, beyond = round(0.4 * pixels.shape[1]), round(3.5 * (y1 - y0)) + 40
    region = _clip((x0 - aside, y0 - beyond, x1 + aside, y1 + beyond), pixels.shape)
    share = _compute_share(pixels, region, label)
    parts = _find_parts(share, region, label, inked)
    for part in parts:
        box = _cut_to_full(part)
        slender = part.width >= _SLENDER * part.height
        if slender and _is_figure(part) and _has_whole_core(part, box):
            line = _build_line(share, box, region, "figure")
            tips = _measure_lost_tips(part) if inked > _INKED else 0.0
            long = max(line.line_px, part.width + tips) if tips else line.line_px
            yield replace(line, line_px=long - _measure_ticks(part))
    yield from (_build_line(share, row, region, "dashed") for row in _iter_dashes(share, parts))


def _iter_upright(pixels: NDArray[np.uint8], label: BarLabel, inked: float) -> Iterator[Line]:
    """Yield the upright lines left and right of a label, measured from top to foot."""
    x0, y0, x1, y1 = label.box
    high = y1 - y0
    aside, beyond = round((_FARTHEST_UPRIGHT + 1) * high), pixels.shape[0] // 2
    region = _clip((x0 - aside, y0 - beyond, x1 + aside, y1 + beyond), pixels.shape)
    share = _compute_share(pixels, region, label)
    middle = (y0 + y1) / 2 - region[1]
    for part in _find_parts(share, region, label, inked):
        left, top, right, foot = part.box
        upright = part.height >= max(_UPRIGHT * part.width, 1.5 * high, _LEAST_PX)
        upright = upright and part.width >= _LEAST_FILLED_PX  # a shadow is thinner
        apart = max(left + region[0] - x1, x0 - right - region[0])
        is_next = top < middle < foot and 0 <= apart <= _FARTHEST_UPRIGHT * high
        inner = share[top:foot, left + part.width // 3 : right - part.width // 3]
        outline = float(np.mean(inner >= _INKED)) < _OF_LINE  # of a bar of another ink
        if upright and is_next and not outline and part.fill >= _FILLED and _is_figure(part):
            turned = _build_line(share.T, (top, left, foot, right), (0, 0, 0, 0), "upright")
            box = (left + region[0], top + region[1], right + region[0], foot + region[1])
            yield replace(turned, box=box, core=box)


def _clip(box: Box, shape: tuple[int, ...]) -> Box:
    return (max(0, box[0]), max(0, box[1]), min(shape[1], box[2]), min(shape[0], box[3]))


def _compute_share(pixels: NDArray[np.uint8], region: Box, label: BarLabel) -> Plane:
    """Return how far every pixel of a region is on the way from paper to ink, (h, w) float32."""
    x0, y0, x1, y1 = region
    way = (label.ink - label.paper).astype(np.float32)
    off = pixels[y0:y1, x0:x1].astype(np.float32) - label.paper.astype(np.float32)
    share = off @ (way / float(way @ way))
    if np.ptp(way) > 30:  # a coloured ink: what is off the way has another colour
        aside = np.abs(off - share[:, :, None] * way).max(axis=2)
        share[aside > _OTHER_COLOUR * float(np.abs(way).max())] = 0
    return np.asarray(share)


def _find_parts(share: Plane, region: Box, label: BarLabel, inked: float) -> list[_Part]:
    """Return the parts of ink that neither touch the sides of a region nor belong to the words."""
    mask = (share >= inked).astype(np.uint8)
    count, marks, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    high, wide = mask.shape
    x0, y0, x1, y1 = label.box
    words = (x0 - region[0], y0 - region[1], x1 - region[0], y1 - region[1])
    parts = []
    for number in np.argsort(-stats[1:count, 4])[:_MOST_PARTS] + 1:
        x, y, w, h, area = (int(value) for value in stats[number])
        box = (x, y, x + w, y + h)
        inside = x > 0 and y > 0 and x + w < wide and y + h < high
        if not inside or area < 9 or w * h > 0.3 * mask.size or overlap(box, words) > 0.3:
            continue
        if overlap(words, box) > 0.5:
            continue  # the frame around the words
        parts.append(_Part(box, _fill_holes(marks[y : y + h, x : x + w] == number)))
    return parts


def _fill_holes(mask: Plane) -> Plane:
    """Return a mask with its holes filled; empty cells of a bar are such."""
    outer, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    return np.asarray(cv2.drawContours(filled, outer, -1, 1, cv2.FILLED)) > 0


def _is_figure(part: _Part) -> bool:
    """Return whether a part is alike on both ends, above and below; a grain at an end is not."""
    mask, filled = part.mask, part.fill >= _FILLED
    if part.height < (_LEAST_FILLED_PX if filled else _POINTED_PX):
        return False
    if not mask[:, [0, -1]].any(axis=0).all():
        return False
    most = (_UNLIKE_FILLED if filled else _UNLIKE) * float(mask.sum())
    return all(_count_lacking(mask, other) <= most for other in (mask[:, ::-1], mask[::-1]))


def _measure_ticks(part: _Part) -> float:
    """Return half the width of both ticks at the ends of a thin line, 0 without them.

    A length goes from the middle of one to the middle of the other, as that of any line with ticks.
    """
    share = part.mask.mean(axis=0)
    left, right = (_count_tick_columns(run) for run in (share, share[::-1]))
    thin = float(np.median(share)) <= _OF_LINE
    alike = min(left, right) > 0 and abs(left - right) <= 1
    return (left + right) / 2 if thin and alike and left <= _WIDEST_TICK * len(share) else 0.0


def _count_tick_columns(share: Plane) -> int:
    """Return the columns of a tick at the start of a part; the outermost one may be paled."""
    tall = np.append(share >= _OF_TICK, False)
    start = 0 if tall[0] else 1
    count = int(np.argmin(tall[start:]))
    return start + count if count else 0


def _measure_lost_tips(part: _Part) -> float:
    """Return by how much the heads of an arrow go on beyond the ink that is full, pixels.

    A head grows evenly from its tip, so that its height falls to nothing where the tip is.
    """
    lost = 0.0
    for heights in (
        part.mask[:, :_OF_HEAD].sum(axis=0),
        part.mask[:, ::-1][:, :_OF_HEAD].sum(axis=0),
    ):
        slope, at = np.polyfit(np.arange(len(heights)) + 0.5, heights, 1)
        pointed = slope > 0 and heights[0] < _BLUNT * part.height
        lost += float(np.clip(at / slope, 0.0, _MOST_LOST_PX)) if pointed else 0.0
    return lost


def _cut_to_full(part: _Part) -> Box:
    """Return the box of a part with one blunt end, without columns where texture touches the other.

    Both ends of an arrow are pointed.
    """
    x0, y0, _, y1 = part.box
    share = part.mask.mean(axis=0)
    if max(share[0], share[-1]) < _BLUNT:
        return part.box
    full = np.flatnonzero(share >= _SPUR)
    return (x0 + int(full[0]), y0, x0 + int(full[-1]) + 1, y1)


def _has_whole_core(part: _Part, box: Box) -> bool:
    """Return whether the rows that are full in the middle of a part reach both ends of its box.

    The shaft of an arrow, and a line between ticks, end where the figure does; a line that texture
    touches above or below its ends stops before them.
    """
    mask = part.mask[:, box[0] - part.box[0] : box[2] - part.box[0]]
    quarter = len(mask[0]) // 4
    if not quarter:
        return True
    rows = mask[:, quarter:-quarter].mean(axis=1) >= _FULL_ROW
    if not rows.any():
        return True
    columns = np.flatnonzero(mask[rows].any(axis=0))
    return bool(columns[0] + len(mask[0]) - 1 - columns[-1] <= _BEYOND_CORE_PX)


def _count_lacking(mask: Plane, mirrored: Plane) -> int:
    """Return how many pixels of a mask its mirror image lacks, farther than a pixel from it."""
    around = cv2.dilate(mirrored.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return int(np.count_nonzero(mask & ~around))


def _iter_dashes(share: Plane, parts: list[_Part]) -> Iterator[Box]:
    """Yield the boxes of rows of equal dashes, equally far apart."""
    dashes = [part for part in parts if part.fill >= 0.85 and part.height >= 3 and part.width >= 4]
    dashes.sort(key=lambda part: part.box[0])
    used: set[int] = set()
    for first in dashes:
        if id(first) in used:
            continue
        row = _collect_row(first, dashes)
        if len(row) < _DASHES:
            continue
        used |= {id(part) for part in row}
        start, end = row[0].box, row[-1].box
        step = (end[0] - start[0]) / (len(row) - 1)
        if not any(_is_hidden(share, box, by) for box, by in ((start, -step), (end, step))):
            yield (start[0], start[1], end[2], end[3])


def _collect_row(first: _Part, dashes: list[_Part]) -> list[_Part]:
    """Return the dashes from a first one on; they are sorted from left to right."""
    row: list[_Part] = [first]
    room, step = max(2.0, 0.15 * first.width), 0.0
    for part in dashes:
        apart = part.box[0] - row[-1].box[2]
        if not _GAP[0] * first.width <= apart <= _GAP[1] * first.width:
            continue
        alike = abs(part.width - first.width) <= room
        level = max(abs(part.box[side] - first.box[side]) for side in (1, 3)) <= 2
        by = part.box[0] - row[-1].box[0]
        if alike and level and (not step or abs(by - step) <= room):
            step = step or by
            row.append(part)
    return row


def _is_hidden(share: Plane, box: Box, by: float) -> bool:
    """Return whether ink lies where the next dash of a row would be: it may be one."""
    left, right = round(box[0] + by), round(box[2] + by)
    place = share[box[1] : box[3], max(0, left) : max(0, right)]
    return bool(place.size) and float(np.mean(place >= _INKED)) > 0.5


def _build_line(share: Plane, box: Box, region: Box, kind: str) -> Line:
    """Return a figure as a line, its ends measured to subpixels."""
    x0, y0, x1, y1 = box
    rows = share[y0:y1]
    inked = (rows >= _INKED).sum(axis=0)
    pointed = kind == "figure" and max(inked[x0], inked[x1 - 1]) <= 0.4 * (y1 - y0)
    profile = (
        rows.max(axis=0)
        if pointed
        else np.percentile(rows, 75 if kind == "upright" else 60, axis=0)
    )
    least = _TIP if pointed else _INKED
    left = x0 - _measure_end(profile[: x0 + 3][::-1], 3, least)
    right = x1 + _measure_end(profile[x1 - 3 :], 3, least)
    core = (x0 + region[0], y0 + region[1], x1 + region[0], y1 + region[1])
    length = float(right - left)
    return Line(core, length, exact=False, contrast=255.0, kind=kind, core=core)


def _measure_end(profile: Plane, inside: int, least: float) -> float:
    """Return by how much ink goes on beyond its last full pixel; `inside` pixels are before it."""
    below = np.flatnonzero(profile[: inside + 3] < least)
    if not below.size or below[0] == 0:
        return 0.0
    at = int(below[0])
    before, after = float(profile[at - 1]), float(profile[at])
    return at - inside - 0.5 + (before - least) / max(1e-3, before - after)
