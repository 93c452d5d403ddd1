# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on drawn bars and said where they stand
"""Find the bar that a label belongs to: near it, in its own ink.

In:  the pixels, and labels. Out: `Labelled` lines. Next: `micron_bar`.
Letters stand out where a line does not, be it thin, pale or on texture; and they say which colour
it has and where it must lie. Two planes are made of an ink: one of what has it, in which texture
is dark, and one of what is on the way to it from the paper, since JPEG pales what is thin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging import label as labels
from agent.imaging.boxes import overlap, within
from agent.imaging.channels import largest
from agent.imaging.combs import find_combs
from agent.imaging.letters import rows_of_letters
from agent.imaging.lines import (
    Line,
    colour_of,
    distance,
    distinct,
    find_lines,
    moved,
    thickest,
    true_length,
    with_broken,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.imaging.boxes import Box
    from agent.imaging.letters import Row

    Plane = NDArray[Any]  # (h, w) grey

_LEAST_BELIEF = 0.5  # with 0.15 eight times as many are read on steel, for 2 more bars of 348
_MOST_READ = 6  # rows of letters, the most believed first
_LEAST_CONTRAST = 40  # between ink and paper, in grey values
_LEAST_PX = 13  # of a line, or of a cell of a chequered one
_SHOWS = 90  # of 255: how far a line stands out in the plane of its ink
_FAINT = 0.13  # share of the way from paper to ink that the palest line still has
_TRACED = 12.0  # such shares, added up along a line
_LONG_PX = 125  # of which two per cent are more than blur and unseen ticks add to a traced line
_TICKS_PX = 4  # half the ticks at both ends; thicker lines JPEG does not pale
_RIVALS = 0.5  # costs that are nearer than this leave two lines to choose from
_KINDS = {"plain": 0.0, "comb": 0.3}  # what a kind is worth; the others have more to be known by


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A length that stands in the image, and its ink (3,) and paper (3,)."""

    box: Box
    length: labels.Length
    ink: NDArray[Any]
    paper: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A line with a label, how long it is, whether no other can be meant, and whether traced."""

    line: Line
    length_px: float
    sure: bool
    traced: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A line near a label, and in which plane of its ink it was seen."""

    line: Line
    just_ink: bool
    cost: float


def find_labels(pixels: NDArray[np.uint8], planes: list[Plane]) -> Iterator[Label]:
    """Yield the lengths that stand near the top or the bottom in full ink."""
    rows = sorted(rows_of_letters(planes), key=lambda row: -row.belief)
    seen: list[Box] = []
    for row in rows:
        if len(seen) >= _MOST_READ or row.belief < _LEAST_BELIEF:
            return
        if any(overlap(row.box, other) > 0.6 for other in seen):
            continue
        seen.append(row.box)
        label = _label(pixels, row)
        if label is not None:
            yield label


def _label(pixels: NDArray[np.uint8], row: Row) -> Label | None:
    x0, y0, x1, y1 = row.box
    place = labels.with_lost_digits(pixels, row.box)
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
    return Label((left, place[1], right, place[3]), lengths[0], ink, paper)


def label_at(
    pixels: NDArray[np.uint8],
    box: Box,
    length: labels.Length,
    ink: NDArray[Any] | None = None,
) -> Label:
    """Say the ink and the paper of words whose place is known.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        box: Where the words are.
        length: What they state.
        ink: About the ink, where it is known, (3,). Else it is what stands out most.

    Returns:
        The label. Its paper is what most of its box has, or most of the box's rim: bold words
        cover half of their box, and a rim may lie on the line.
    """
    x0, y0, x1, y1 = box
    words = pixels[y0:y1, x0:x1].astype(np.int16)
    inside = words.reshape(-1, 3)
    rim = np.concatenate([*words[[0, -1]], *words[:, [0, -1]]])
    papers = [np.median(rim, axis=0), np.median(inside, axis=0)]
    paper = papers[0] if ink is None else max(papers, key=lambda one: np.abs(one - ink).max())
    off = np.abs(inside - paper).max(axis=1)
    bins = inside // 24
    code = (bins[:, 0] * 11 + bins[:, 1]) * 11 + bins[:, 2]
    most = np.bincount(code, weights=off.astype(float) ** 2).argmax()
    return Label(box, length, np.median(inside[code == most], axis=0), paper)


def bar_of(pixels: NDArray[np.uint8], label: Label) -> Labelled | None:
    """Say which line in a label's ink is its bar.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        label: What it states is not looked at.

    Returns:
        The line, or None where none is there.
    """
    if np.abs(label.ink - label.paper).max() < _LEAST_CONTRAST:
        return None
    near = [one for one in _candidates(pixels, label) if one.line.crisp >= 0.55]
    near = [one for one in near if not any(_belongs_to(one.line, o.line) for o in near)]
    traced = _traced(pixels, label)
    if not near:
        return traced
    near.sort(key=lambda one: one.cost)
    line = near[0].line
    same = traced is not None and overlap(traced.line.box, line.box) > 0
    if traced is not None and traced.sure and same and line.kind == "plain":
        goes_on = near[0].just_ink and traced.length_px > 1.02 * line.line_px + 1
        return replace(traced, sure=not goes_on)  # in another ink, such as a needle's
    sure = (
        _is_seen_well(pixels, near[0], near, label)
        and not _has_rivals(near)
        and not _runs_into(line, label.box)
        and not _goes_on_before(pixels, label, line)
    )
    return Labelled(line, _length(pixels, line), sure)


def _traced(pixels: NDArray[np.uint8], label: Label) -> Labelled | None:
    """Trace a thin line row by row: the run of columns that adds up to most ink above paper.

    Ink is what is nearer to the label's than three rows above and below; so a grain that lies
    across it, or noise, costs a column and ends nothing.
    """
    x0, y0, x1, y1 = label.box
    picture, left, top = _around(pixels, label.box)
    way = (label.ink - label.paper).astype(np.float32)
    gone = (picture.astype(np.float32) - label.paper.astype(np.float32)) @ (way / float(way @ way))
    ink = np.clip(gone[3:-3] - np.maximum(gone[:-6], gone[6:]), -0.4, 0.5)
    top += 3
    rim = round(0.15 * (y1 - y0))  # a line may touch the box of its words
    ink[max(0, y0 + rim - top) : max(0, y1 - rim - top), x0 - left : x1 - left] = -0.4
    sums, starts, ends = _best_runs(ink - _FAINT)
    row = int(np.argmax(sums))
    elsewhere = np.delete(sums, slice(max(0, row - 3), row + 4))
    start, end = int(starts[row]), int(ends[row])
    clear = sums[row] >= _TRACED and sums[row] > 3 * elsewhere.max(initial=0.0)
    if not clear or float(np.mean(ink[row, start:end] > _FAINT)) < 0.85:
        return None
    first, last = _half_inked(gone[row + 3], start, end)
    box = (left + round(first), top + row, left + round(last), top + row + 1)
    line = Line(box, float(last - first), exact=False, contrast=float(_SHOWS), core=box)
    if distance(line, label.box) is None or last - first < 0.5 * (x1 - x0):
        return None
    long = last - first >= _LONG_PX
    sure = long and _is_centred(box, label.box) and not _goes_on_before(pixels, label, line)
    return Labelled(line, float(last - first), sure, traced=True)


def _is_centred(line: Box, words: Box) -> bool:
    """Say whether words stand above or below the middle of a line, as most programs put them."""
    off = abs(line[0] + line[2] - words[0] - words[2]) / 2
    return off <= max(3.0, 0.02 * (line[2] - line[0]))


def _half_inked(ink: NDArray[Any], start: int, end: int) -> tuple[float, float]:
    """Say to a part of a pixel between where a run of columns has half of its usual ink."""
    half = 0.5 * float(np.median(ink[start:end]))
    full = start + np.flatnonzero(ink[start:end] >= half)
    if not full.size:
        return float(start), float(end)
    first, last = int(full[0]), int(full[-1])
    before, after = ink[max(0, first - 1)], ink[min(len(ink) - 1, last + 1)]
    ahead = (ink[first] - half) / max(1e-3, float(ink[first] - before))
    behind = (ink[last] - half) / max(1e-3, float(ink[last] - after))
    return first + 0.5 - min(ahead, 1.0), last + 0.5 + min(behind, 1.0)


def _best_runs(gains: Plane) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Say for every row which run of columns adds up to most: the sum, its first column, its end.

    Source:
        Kadane's algorithm (Bentley, Programming Pearls, CACM 27, 1984), for all rows at once.
    """
    sums, here = np.zeros((2, len(gains)), np.float32)
    starts, ends, begun = np.zeros((3, len(gains)), int)
    for x, column in enumerate(gains.T):
        begun = np.where(here <= 0, x, begun)
        here = np.maximum(here, 0) + column
        better = here > sums
        sums = np.where(better, here, sums)
        starts, ends = np.where(better, begun, starts), np.where(better, x + 1, ends)
    return sums, starts, ends


def _candidates(pixels: NDArray[np.uint8], label: Label) -> Iterator[_Candidate]:
    """Yield lines that lie where a label's bar would, and what speaks against each."""
    wide = label.box[2] - label.box[0]
    for line, just_ink in _lines_in_ink(pixels, label):
        away = distance(line, _in_gap(label.box, line))
        centred = abs(line.box[0] + line.box[2] - label.box[0] - label.box[2]) < 0.2 * wide
        long = line.width >= (0.15 if centred else 0.32) * wide
        stroke = line.gap is None and overlap(line.box, label.box) > 0.5
        stroke = stroke or (line.kind == "comb" and overlap(label.box, line.box) > 0.1)
        if away is not None and long and not stroke and not line.framed and line.contrast >= _SHOWS:
            cost = away - 0.5 * line.contrast / 255 - _KINDS.get(line.kind, 0.5)
            yield _Candidate(line, just_ink, float(cost) + 0.15 * (not just_ink))


def _lines_in_ink(pixels: NDArray[np.uint8], label: Label) -> Iterator[tuple[Line, bool]]:
    """Yield lines and rulers around a label in its ink; with each whether it is just that."""
    x0, y0, x1, y1 = label.box
    picture, left, top = _around(pixels, label.box)
    for just_ink in (True, False):
        plane = _close_to(picture, label) if just_ink else _on_the_way_to(picture, label)
        combs = distinct([*find_combs(plane, near=1.0)])
        _blot_out_letters(plane[y0 - top : y1 - top, x0 - left : x1 - left])
        lines = find_lines([plane], 0, thick_px=thickest(len(pixels)), least_px=_LEAST_PX)
        for line in [*combs, *with_broken(distinct([*lines]), picture)]:
            yield moved(line, left, top), just_ink


def _around(pixels: NDArray[np.uint8], words: Box) -> tuple[NDArray[np.uint8], int, int]:
    """Cut out where the bar of a label lies, and say from which column and row."""
    x0, y0, x1, y1 = words
    aside, beyond = round(0.4 * pixels.shape[1]), round(2.6 * (y1 - y0)) + 40
    left, top = max(0, x0 - aside), max(0, y0 - beyond)
    return pixels[top : y1 + beyond, left : x1 + aside], left, top


def _in_gap(words: Box, line: Line) -> Box:
    """Say where in a line's gap words stand; a box of words may reach into what they break."""
    if line.gap is None:
        return words
    left, right = max(words[0], line.gap[0]), min(words[2], line.gap[2])
    inside = right - left > 0.6 * (words[2] - words[0])
    return (left, words[1], right, words[3]) if inside else words


def _blot_out_letters(words: Plane) -> None:
    """Blot out from the first to the last letter that stands free of the sides of a box of words.

    What reaches in from a side may be a half of the line that the words break.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.inRange(words, 190, 255))
    x, w, h = stats[1:, 0], stats[1:, 2], stats[1:, 3]
    free = (x > 0) & (x + w < words.shape[1]) & (h > 0.2 * len(words))
    if free.any():
        words[:, max(0, x[free].min() - 1) : (x + w)[free].max() + 1] = 0


def _close_to(picture: NDArray[np.uint8], label: Label) -> Plane:
    """Give the plane in which a label's ink is bright, and what is a little off it already dark."""
    widest = float(np.abs(label.ink - label.paper).max())
    off = largest(cv2.absdiff(picture, np.full_like(picture, np.rint(label.ink))))
    return np.asarray(np.clip(255 * (1 - off / (0.6 * widest)), 0, 255).astype(np.uint8))


def _on_the_way_to(picture: NDArray[np.uint8], label: Label) -> Plane:
    """Give the plane in which what is between paper and ink is bright, by how near the ink."""
    way = (label.ink - label.paper).astype(np.float32)
    off = picture.astype(np.float32) - label.paper.astype(np.float32)
    gone = off @ way / float(way @ way)
    aside = largest(np.abs(off - gone[:, :, None] * way)) / float(np.abs(way).max())
    near = np.minimum(gone, 2 - gone) - 0.7 * aside
    return np.asarray(np.clip(255 * 1.5 * near, 0, 255).astype(np.uint8))


def _is_seen_well(
    pixels: NDArray[np.uint8], one: _Candidate, near: list[_Candidate], label: Label
) -> bool:
    """Say whether a line that was only seen paled has other marks of what was drawn."""
    if one.line.kind == "comb":
        return any(o.just_ink and _end_alike(o.line, one.line) for o in near)
    line = one.line
    if line.ticks != (None, None) and line.line_px < line.width - _TICKS_PX:
        return False
    if line.kind == "plain" and not (
        _is_beside(line, label.box) or _is_centred(line.box, label.box)
    ):
        return False
    known = one.just_ink or line.kind in ("caps", "ruler", "broken")
    return known or (line.height >= _TICKS_PX and _is_paled(pixels, line, label))


def _has_rivals(near: list[_Candidate]) -> bool:
    """Say whether a line of another length is nearly as good as the best, and no part of it."""
    best = near[0]
    room = max(1.5, 0.02 * best.line.line_px)
    return any(
        one.cost < best.cost + _RIVALS
        and abs(one.line.line_px - best.line.line_px) > room
        and not (best.line.kind == "comb" and within(one.line.box, best.line.box))
        and (one.line.kind == best.line.kind or overlap(one.line.box, best.line.box) == 0)
        for one in near[1:]
    )


def _is_beside(line: Line, words: Box) -> bool:
    """Say whether a line and words share rows: then it is to the left or the right of them."""
    return line.box[1] < words[3] and words[1] < line.box[3]


def _runs_into(line: Line, words: Box) -> bool:
    """Say whether a line ends at a side of the box of its label, which may hide the rest of it."""
    x0, _, x1, _ = line.box
    at_a_side = x0 < words[0] - 1 <= x1 <= words[2] or words[0] <= x0 <= words[2] + 1 < x1
    return line.kind in ("plain", "caps") and _is_beside(line, words) and at_a_side


def _belongs_to(line: Line, other: Line) -> bool:
    """Say whether a line is but the frame around another, or the shaft of an arrow."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, other.core
    beside = y1 <= b0 or y0 >= b1
    if line.kind in ("caps", "ruler") and beside:
        return within((a0 - 3, b0 - 1, a1 + 3, b1 + 1), line.box)
    tips = 3 <= x0 - a0 <= 12 and 3 <= a1 - x1 <= 12
    return line.kind == "caps" and other.kind == "plain" and tips and not beside


def _goes_on_before(pixels: NDArray[np.uint8], label: Label, line: Line) -> bool:
    """Say whether something as tall as a digit stands before a label in its ink: "25" is no "5"."""
    x0, y0, _, y1 = label.box
    high = y1 - y0
    left = max(0, x0 - round(0.7 * high))
    if left <= line.box[2] and line.box[0] < x0 and line.box[1] < y1 and y0 < line.box[3]:
        left = line.box[2] + 2
    if x0 - left < 3:
        return False
    before = _close_to(pixels[y0:y1, left:x0], label) > 100
    return bool(before.any(axis=1).mean() > 0.5)


def _is_paled(pixels: NDArray[np.uint8], line: Line, label: Label) -> bool:
    """Say whether a line that JPEG paled has a colour between the paper's and the ink's."""
    way, gone = label.ink - label.paper, colour_of(pixels, line) - label.paper
    return float(way @ gone) > 0.96 * float(np.linalg.norm(way) * np.linalg.norm(gone))


def _end_alike(one: Line, other: Line) -> bool:
    return max(abs(one.box[0] - other.box[0]), abs(one.box[2] - other.box[2])) <= 3


def _length(pixels: NDArray[np.uint8], line: Line) -> float:
    """Measure a line; what the image says of its ends is heard if it is near what its ink says."""
    length = true_length(pixels, line)
    return length if abs(length - line.line_px) <= 1.2 else line.line_px
