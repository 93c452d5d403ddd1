# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn bars, explained in place
"""Detect the bar that belongs to a label: near it, in the same ink.

Letters are detectable where a line is not (thin, pale or on texture), and they define its colour
and place. Two planes are computed per ink: pixels that have it, in which texture is dark, and
pixels between paper and ink, since JPEG pales thin strokes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.boxes import overlap, within
from agent.imaging.readers.channels import largest
from agent.imaging.scale_bar import ocr as labels
from agent.imaging.scale_bar.lines import (
    Line,
    compute_distance,
    compute_max_thickness,
    drop_duplicates,
    find_lines,
    join_broken,
    measure_colour,
    measure_length,
    translate,
)
from agent.imaging.scale_bar.text_rows import iter_letter_rows
from agent.imaging.scale_bar.tick_rulers import find_combs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.boxes import Box
    from agent.imaging.scale_bar.text_rows import TextRow

    Plane = NDArray[Any]  # (h, w) grey

_LEAST_BELIEF = 0.5  # at 0.15, 8 times as many are read on steel for 2 more bars of 348
_MOST_READ = 6  # rows of letters, the most probable first
_LEAST_CONTRAST = 40  # between ink and paper, in grey values
_LEAST_PX = 13  # of a line, or of a cell of a chequered one
_SHOWS = 90  # of 255: contrast of a line in the plane of its ink
_FAINT = 0.13  # share of the paper-to-ink distance of the palest line
_TRACED = 12.0  # sum of such shares along a line
_LONG_PX = 125  # 2 per cent of it exceed what blur and missed ticks add
_TICKS_PX = 4  # half the ticks at both ends; thicker lines JPEG does not pale
_RIVALS = 0.5  # costs closer than this are ambiguous
_KINDS = {"plain": 0.0, "comb": 0.3}  # bonus of a kind; others get 0.5


@dataclass(frozen=True, slots=True, eq=False)
class BarLabel:
    """A length written in the image, with its ink (3,) and paper (3,)."""

    box: Box
    length: labels.Length
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


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A line near a label.

    Args:
        line: The line.
        just_ink: Found in the plane of the ink itself, not of paled ink.
        cost: Distance and penalties; smaller is better.
    """

    line: Line
    just_ink: bool
    cost: float


def find_labels(pixels: NDArray[np.uint8], planes: list[Plane]) -> Iterator[BarLabel]:
    """Yield the lengths written in full ink near the top or the bottom."""
    rows = sorted(iter_letter_rows(planes), key=lambda row: -row.belief)
    boxes: list[Box] = []
    for row in rows:
        if len(boxes) >= _MOST_READ or row.belief < _LEAST_BELIEF:
            return
        if any(overlap(row.box, other) > 0.6 for other in boxes):
            continue
        boxes.append(row.box)
        label = _read_label(pixels, row)
        if label is not None:
            yield label


def _read_label(pixels: NDArray[np.uint8], row: TextRow) -> BarLabel | None:
    x0, y0, x1, y1 = row.box
    place = labels.extend_to_lost_digits(pixels, row.box)
    lengths = labels.read_lengths([pixels], place)
    if len(lengths) != 1 or lengths[0].um is None:
        return None
    wide = place[2] - place[0]
    left, right = (place[0] + round(at * wide) for at in (lengths[0].start, lengths[0].end))
    inside = pixels[y0:y1, x0:x1]
    bare = cv2.dilate(row.mask, np.ones((3, 3), np.uint8)) == 0
    paper = np.median(inside[bare], axis=0)
    drawn = inside[row.mask > 0]
    off = np.abs(drawn - paper).max(axis=1)
    ink = np.median(drawn[off >= np.percentile(off, 60)], axis=0)
    return BarLabel((left, place[1], right, place[3]), lengths[0], ink, paper)


def build_label(
    pixels: NDArray[np.uint8],
    box: Box,
    length: labels.Length,
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


def find_bar(pixels: NDArray[np.uint8], label: BarLabel) -> LabelledLine | None:
    """Return the line in a label's ink that is its bar.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        label: The label; its length is not used.

    Returns:
        The line, or None.
    """
    if np.abs(label.ink - label.paper).max() < _LEAST_CONTRAST:
        return None
    near = [
        candidate for candidate in _iter_candidates(pixels, label) if candidate.line.crisp >= 0.55
    ]
    near = [
        candidate
        for candidate in near
        if not any(_belongs_to(candidate.line, other.line) for other in near)
    ]
    traced = _trace_line(pixels, label)
    if not near:
        return traced
    near.sort(key=lambda candidate: candidate.cost)
    line = near[0].line
    same = traced is not None and overlap(traced.line.box, line.box) > 0
    if traced is not None and traced.sure and same and line.kind == "plain":
        goes_on = near[0].just_ink and traced.length_px > 1.02 * line.line_px + 1
        return replace(traced, sure=not goes_on)  # in another ink, such as a needle's
    sure = (
        _is_seen_well(pixels, near[0], near, label)
        and not _has_rivals(near)
        and not _runs_into(line, label.box)
        and not _has_digit_before(pixels, label, line)
    )
    return LabelledLine(line, _measure_length(pixels, line), sure)


def _trace_line(pixels: NDArray[np.uint8], label: BarLabel) -> LabelledLine | None:
    """Trace a thin line row by row: the run of columns with the largest sum of ink.

    Ink counts where a pixel is nearer to the label's ink than three rows above and below; a grain
    across the line, or noise, costs a column but does not end the run.
    """
    x0, y0, x1, y1 = label.box
    picture, left, top = _cut_region(pixels, label.box)
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
    line = Line(box, float(last - first), exact=False, contrast=float(_SHOWS), core=box)
    if compute_distance(line, label.box) is None or last - first < 0.5 * (x1 - x0):
        return None
    long = last - first >= _LONG_PX
    sure = long and _is_centred(box, label.box) and not _has_digit_before(pixels, label, line)
    return LabelledLine(line, float(last - first), sure, traced=True)


def _is_centred(line: Box, words: Box) -> bool:
    """Return whether words are centred above or below a line, as most programs write them."""
    off = abs(line[0] + line[2] - words[0] - words[2]) / 2
    return off <= max(3.0, 0.02 * (line[2] - line[0]))


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


def _iter_candidates(pixels: NDArray[np.uint8], label: BarLabel) -> Iterator[_Candidate]:
    """Yield lines where a label's bar would lie, with their costs."""
    wide = label.box[2] - label.box[0]
    for line, just_ink in _iter_lines_in_ink(pixels, label):
        away = compute_distance(line, _clip_to_gap(label.box, line))
        centred = abs(line.box[0] + line.box[2] - label.box[0] - label.box[2]) < 0.2 * wide
        long = line.width >= (0.15 if centred else 0.32) * wide
        stroke = line.gap is None and overlap(line.box, label.box) > 0.5
        stroke = stroke or (line.kind == "comb" and overlap(label.box, line.box) > 0.1)
        if away is not None and long and not stroke and not line.framed and line.contrast >= _SHOWS:
            cost = away - 0.5 * line.contrast / 255 - _KINDS.get(line.kind, 0.5)
            yield _Candidate(line, just_ink, float(cost) + 0.15 * (not just_ink))


def _iter_lines_in_ink(pixels: NDArray[np.uint8], label: BarLabel) -> Iterator[tuple[Line, bool]]:
    """Yield lines and rulers around a label in its ink, and whether in the ink itself."""
    x0, y0, x1, y1 = label.box
    picture, left, top = _cut_region(pixels, label.box)
    for just_ink in (True, False):
        plane = (
            _compute_ink_plane(picture, label) if just_ink else _compute_paled_plane(picture, label)
        )
        combs = drop_duplicates([*find_combs(plane, near=1.0)])
        _blank_letters(plane[y0 - top : y1 - top, x0 - left : x1 - left])
        lines = find_lines(
            [plane], 0, thick_px=compute_max_thickness(len(pixels)), least_px=_LEAST_PX
        )
        for line in [*combs, *join_broken(drop_duplicates([*lines]), picture)]:
            yield translate(line, left, top), just_ink


def _cut_region(pixels: NDArray[np.uint8], words: Box) -> tuple[NDArray[np.uint8], int, int]:
    """Return the region in which a label's bar can lie, with its left column and top row."""
    x0, y0, x1, y1 = words
    aside, beyond = round(0.4 * pixels.shape[1]), round(2.6 * (y1 - y0)) + 40
    left, top = max(0, x0 - aside), max(0, y0 - beyond)
    return pixels[top : y1 + beyond, left : x1 + aside], left, top


def _clip_to_gap(words: Box, line: Line) -> Box:
    """Return the box of words cut to a line's gap; a text box may overlap the line it breaks."""
    if line.gap is None:
        return words
    left, right = max(words[0], line.gap[0]), min(words[2], line.gap[2])
    inside = right - left > 0.6 * (words[2] - words[0])
    return (left, words[1], right, words[3]) if inside else words


def _blank_letters(words: Plane) -> None:
    """Blank the plane from the first to the last letter that is free of the sides of the box.

    What reaches in from a side may be half of the line that the words break.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.inRange(words, 190, 255))
    x, w, h = stats[1:, 0], stats[1:, 2], stats[1:, 3]
    free = (x > 0) & (x + w < words.shape[1]) & (h > 0.2 * len(words))
    if free.any():
        words[:, max(0, x[free].min() - 1) : (x + w)[free].max() + 1] = 0


def _compute_ink_plane(picture: NDArray[np.uint8], label: BarLabel) -> Plane:
    """Return the plane in which a label's ink is bright and colours near it are already dark."""
    widest = float(np.abs(label.ink - label.paper).max())
    off = largest(cv2.absdiff(picture, np.full_like(picture, np.rint(label.ink))))
    return np.asarray(np.clip(255 * (1 - off / (0.6 * widest)), 0, 255).astype(np.uint8))


def _compute_paled_plane(picture: NDArray[np.uint8], label: BarLabel) -> Plane:
    """Return the plane in which colours between paper and ink are bright, the nearer to the ink."""
    way = (label.ink - label.paper).astype(np.float32)
    off = picture.astype(np.float32) - label.paper.astype(np.float32)
    gone = off @ way / float(way @ way)
    aside = largest(np.abs(off - gone[:, :, None] * way)) / float(np.abs(way).max())
    near = np.minimum(gone, 2 - gone) - 0.7 * aside
    return np.asarray(np.clip(255 * 1.5 * near, 0, 255).astype(np.uint8))


def _is_seen_well(
    pixels: NDArray[np.uint8], candidate: _Candidate, near: list[_Candidate], label: BarLabel
) -> bool:
    """Return whether a line found only as paled ink has other marks of a drawn line."""
    if candidate.line.kind == "comb":
        return any(other.just_ink and _have_same_ends(other.line, candidate.line) for other in near)
    line = candidate.line
    if line.ticks != (None, None) and line.line_px < line.width - _TICKS_PX:
        return False
    if line.kind == "plain" and not (
        _is_beside(line, label.box) or _is_centred(line.box, label.box)
    ):
        return False
    has_marks = candidate.just_ink or line.kind in ("caps", "ruler", "broken")
    return has_marks or (line.height >= _TICKS_PX and _is_paled(pixels, line, label))


def _has_rivals(near: list[_Candidate]) -> bool:
    """Return whether a separate line of another length costs nearly as little as the best one."""
    best = near[0]
    room = max(1.5, 0.02 * best.line.line_px)
    return any(
        candidate.cost < best.cost + _RIVALS
        and abs(candidate.line.line_px - best.line.line_px) > room
        and not (best.line.kind == "comb" and within(candidate.line.box, best.line.box))
        and (
            candidate.line.kind == best.line.kind or overlap(candidate.line.box, best.line.box) == 0
        )
        for candidate in near[1:]
    )


def _is_beside(line: Line, words: Box) -> bool:
    """Return whether a line and words share rows: the line is left or right of the words."""
    return line.box[1] < words[3] and words[1] < line.box[3]


def _runs_into(line: Line, words: Box) -> bool:
    """Return whether a line ends at a side of its label's box, which may hide the rest of it."""
    x0, _, x1, _ = line.box
    at_a_side = x0 < words[0] - 1 <= x1 <= words[2] or words[0] <= x0 <= words[2] + 1 < x1
    return line.kind in ("plain", "caps") and _is_beside(line, words) and at_a_side


def _belongs_to(line: Line, other: Line) -> bool:
    """Return whether a line is only the frame around another, or the shaft of an arrow."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, other.core
    beside = y1 <= b0 or y0 >= b1
    if line.kind in ("caps", "ruler") and beside:
        return within((a0 - 3, b0 - 1, a1 + 3, b1 + 1), line.box)
    tips = 3 <= x0 - a0 <= 12 and 3 <= a1 - x1 <= 12
    return line.kind == "caps" and other.kind == "plain" and tips and not beside


def _has_digit_before(pixels: NDArray[np.uint8], label: BarLabel, line: Line) -> bool:
    """Return whether ink as tall as a digit precedes a label: "25" is not "5"."""
    x0, y0, _, y1 = label.box
    high = y1 - y0
    left = max(0, x0 - round(0.7 * high))
    if left <= line.box[2] and line.box[0] < x0 and line.box[1] < y1 and y0 < line.box[3]:
        left = line.box[2] + 2
    if x0 - left < 3:
        return False
    before = _compute_ink_plane(pixels[y0:y1, left:x0], label) > 100
    return bool(before.any(axis=1).mean() > 0.5)


def _is_paled(pixels: NDArray[np.uint8], line: Line, label: BarLabel) -> bool:
    """Return whether a line's colour lies between paper and ink, as JPEG leaves it."""
    way, offset = label.ink - label.paper, measure_colour(pixels, line) - label.paper
    return float(way @ offset) > 0.96 * float(np.linalg.norm(way) * np.linalg.norm(offset))


def _have_same_ends(line: Line, other: Line) -> bool:
    """Return whether two lines end within 3 pixels of each other."""
    return max(abs(line.box[0] - other.box[0]), abs(line.box[2] - other.box[2])) <= 3


def _measure_length(pixels: NDArray[np.uint8], line: Line) -> float:
    """Return the length of a line; the refined one only if it is near that of its ink."""
    length = measure_length(pixels, line)
    return length if abs(length - line.line_px) <= 1.2 else line.line_px
