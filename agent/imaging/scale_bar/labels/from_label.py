# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect the bar that belongs to a label: near it, in the same ink.

Letters are detectable where a line is not (thin, pale or on texture), and they define its colour
and place. Two planes are computed per ink: pixels that have it, in which texture is dark, and
pixels between paper and ink, since JPEG pales thin strokes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap, within
from agent.imaging.scale_bar.bars.candidates import is_convincing
from agent.imaging.scale_bar.bars.even_ink import find_line_ends
from agent.imaging.scale_bar.bars.line import (
    Line,
    compute_distance,
    drop_duplicates,
    find_frame,
    join_broken,
    join_dashes,
    measure_colour,
    translate,
)
from agent.imaging.scale_bar.bars.line_length import (
    has_equal_ends,
    has_lost_ticks,
    has_one_uneven_end,
    measure_length,
)
from agent.imaging.scale_bar.bars.lines import compute_max_thickness, find_lines
from agent.imaging.scale_bar.bars.plates import iter_plate_rows
from agent.imaging.scale_bar.bars.tick_rulers import find_combs
from agent.imaging.scale_bar.labels.bar_label import (
    SHOWS,
    BarLabel,
    LabelledLine,
    build_label,
    compute_ink_plane,
    compute_paled_plane,
    cut_region,
    has_digit_before,
    is_aligned,
    trace_line,
)
from agent.imaging.scale_bar.labels.label_search import (
    TextRow,
    iter_letter_rows,
    lacks_digit,
    render_ink,
)
from agent.imaging.scale_bar.labels.lengths import Length, may_lack_digit
from agent.imaging.scale_bar.labels.letters import extend_to_lost_digits, find_plate_start
from agent.imaging.scale_bar.labels.ocr import confirms_length, contradicts_length, read_lengths
from agent.imaging.scale_bar.matching import is_rim, is_stroke

Plane = NDArray[Any]  # (h, w) grey

_LEAST_BELIEF = 0.5  # of 62 real textures without a bar, one in five has such a row …
_BELIEF_AT_LINE = 0.1  # … and none has one at the usual place next to a likely line
_LIKELY_RANK, _LIKELY_PX, _AT_LINE = 3.2, 40, 2.0  # of such a line; distance in heights
_MOST_READ = 6  # rows of letters, the most probable first
_CRISP = 0.9  # of a line that confirms another
_LEAST_CONTRAST = 40  # between ink and paper, in grey values
_LEAST_PX = 13  # of a line, or of a cell of a chequered one
_TICKS_PX = 4  # half the ticks at both ends; thicker lines JPEG does not pale
_LEAST_SURE_PX, _SHORTER = 20, 0.4  # of a bar that only its label shows; share of the words
_OF_ONE_LINE = 0.5  # share of a line that another measurement of it has in common
_RIVALS = 0.5  # costs closer than this are ambiguous
_KINDS = {"plain": 0.0, "comb": 0.3}  # bonus of a kind; others get 0.5


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


def find_labels(
    pixels: NDArray[np.uint8], planes: list[Plane], lines: list[Line]
) -> Iterator[BarLabel]:
    """Yield the lengths written in full ink near the top or the bottom.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        planes: Planes in which graphics are bright.
        lines: Lines that can be bars; next to one, letters need not be as clear.
    """
    likely = [line for line in lines if line.rank >= _LIKELY_RANK and line.width >= _LIKELY_PX]
    rows = sorted(iter_letter_rows(planes), key=lambda row: -row.belief)
    boxes: list[Box] = []
    for row in rows:
        if len(boxes) >= _MOST_READ or row.belief < _BELIEF_AT_LINE:
            return
        is_at_line = any(_is_at(row, line) for line in likely)
        if row.belief < _LEAST_BELIEF and not is_at_line:
            continue
        if any(overlap(row.box, other) > 0.6 for other in boxes):
            continue
        boxes.append(row.box)
        label = _read_label(pixels, row, may_render=is_at_line)
        if label is not None:
            yield label


def find_plate_labels(pixels: NDArray[np.uint8], planes: list[Plane]) -> Iterator[BarLabel]:
    """Yield the lengths written on plates, wherever they are."""
    for place in iter_plate_rows(planes):
        lengths = read_lengths([pixels], place)
        if len(lengths) == 1 and lengths[0].um is not None:
            wide = place[2] - place[0]
            left, right = (place[0] + round(at * wide) for at in (lengths[0].start, lengths[0].end))
            yield build_label(pixels, (left, place[1], right, place[3]), lengths[0])


def _read_label(pixels: NDArray[np.uint8], row: TextRow, *, may_render: bool) -> BarLabel | None:
    """Return a row of letters as a label; `may_render`: read it with its texture faded too."""
    place = extend_to_lost_digits(pixels, row.box)
    ink, paper = _measure_ink(pixels, row)
    lengths = read_lengths([pixels], place)
    if may_render and (len(lengths) != 1 or lengths[0].um is None):
        lengths = _read_rendered(pixels, place, ink)
    if len(lengths) != 1 or lengths[0].um is None:
        return None
    wide = place[2] - place[0]
    left, right = (place[0] + round(at * wide) for at in (lengths[0].start, lengths[0].end))
    return BarLabel((left, place[1], right, place[3]), lengths[0], ink, paper)


def _is_at(row: TextRow, line: Line) -> bool:
    """Return whether a row of letters is where a line's label would be."""
    distance = compute_distance(line, row.box)
    return distance is not None and distance < _AT_LINE and not is_stroke(line, row.box)


def _measure_ink(pixels: NDArray[np.uint8], row: TextRow) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ink and paper of a row of letters, (3,) each."""
    x0, y0, x1, y1 = row.box
    inside = pixels[y0:y1, x0:x1]
    bare = cv2.dilate(row.mask, np.ones((3, 3), np.uint8)) == 0
    paper = np.median(inside[bare] if bare.any() else inside.reshape(-1, 3), axis=0)
    drawn = inside[row.mask > 0]
    off = np.abs(drawn - paper).max(axis=1)
    return np.median(drawn[off >= np.percentile(off, 60)], axis=0), paper


def _read_rendered(pixels: NDArray[np.uint8], place: Box, ink: NDArray[Any]) -> list[Length]:
    """Read words with the texture around them faded."""
    x0, y0, x1, y1 = place
    room = y1 - y0
    left, top = max(0, x0 - room), max(0, y0 - room)
    picture = render_ink(pixels[top : y1 + room, left : x1 + room], ink)
    return read_lengths([picture], (x0 - left, y0 - top, x1 - left, y1 - top))


def find_bar(
    pixels: NDArray[np.uint8], label: BarLabel, lines: Sequence[Line] = ()
) -> LabelledLine | None:
    """Return the line in a label's ink that is its bar.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        label: The label.
        lines: Lines found without a label; one with the same ends makes the bar more certain.

    Returns:
        The line, or None.
    """
    if np.abs(label.ink - label.paper).max() < _LEAST_CONTRAST:
        return None
    in_ink = list(_iter_lines_in_ink(pixels, label))
    frame = find_frame([line for line, _ in in_ink], label.box)
    in_ink = [
        (line, just_ink)
        for line, just_ink in in_ink
        if not any(line is side for side in frame)
        and not is_rim(pixels, line, label.box, label.paper)
    ]
    near = [
        candidate for candidate in _iter_candidates(in_ink, label) if candidate.line.crisp >= 0.55
    ]
    near = [
        candidate
        for candidate in near
        if not any(_belongs_to(candidate.line, other.line) for other in near)
    ]
    traced = trace_line(pixels, label)
    if traced is not None and any(overlap(traced.line.box, side.box) > 0 for side in frame):
        traced = None
    if traced is not None and traced.sure and _is_cut(pixels, label, traced.line):
        traced = replace(traced, sure=False)
    if not near:
        return traced
    near.sort(key=lambda candidate: candidate.cost)
    line = near[0].line
    same = traced is not None and overlap(traced.line.box, line.box) > 0
    if traced is not None and traced.sure and same and line.kind == "plain":
        goes_on = near[0].just_ink and traced.length_px > 1.02 * line.line_px + 1
        falls_short = line.line_px > 1.02 * traced.length_px + 1
        return replace(traced, sure=not (goes_on or falls_short))  # another ink, such as a needle's
    even = find_line_ends(pixels, line)
    sure = (
        (even or _is_seen_well(pixels, near[0], near, label) or _is_confirmed(line, lines))
        and not _has_rivals(near, is_settled=even is not None)
        and not _runs_into(line, label.box)
        and not has_lost_ticks(line, label.ink, label.paper)
        and has_equal_ends(line)
        and not (line.kind == "plain" and not even and has_one_uneven_end(pixels, line))
        and not (line.kind == "plain" and _is_far_shorter(line, label.box))
        and not _is_cut(pixels, label, line)
    )
    length_px = _measure_length(pixels, line) if even is None else even[1] - even[0]
    return LabelledLine(line, length_px, bool(sure))


def _iter_candidates(in_ink: list[tuple[Line, bool]], label: BarLabel) -> Iterator[_Candidate]:
    """Yield lines where a label's bar would lie, with their costs.

    Args:
        in_ink: Lines in the label's ink, and whether each one is in the ink itself.
        label: The label.
    """
    wide = label.box[2] - label.box[0]
    for line, just_ink in in_ink:
        away = compute_distance(line, _clip_to_gap(label.box, line))
        centred = abs(line.box[0] + line.box[2] - label.box[0] - label.box[2]) < 0.2 * wide
        long = line.width >= (0.15 if centred else 0.32) * wide
        stroke = line.gap is None and overlap(line.box, label.box) > 0.5
        stroke = stroke or (line.kind == "comb" and overlap(label.box, line.box) > 0.1)
        if away is not None and long and not stroke and not line.framed and line.contrast >= SHOWS:
            cost = away - 0.5 * line.contrast / 255 - _KINDS.get(line.kind, 0.5)
            yield _Candidate(line, just_ink, float(cost) + 0.15 * (not just_ink))


def _iter_lines_in_ink(pixels: NDArray[np.uint8], label: BarLabel) -> Iterator[tuple[Line, bool]]:
    """Yield lines and rulers around a label in its ink, and whether in the ink itself."""
    x0, y0, x1, y1 = label.box
    picture, left, top = cut_region(pixels, label.box)
    for just_ink in (True, False):
        plane = (
            compute_ink_plane(picture, label) if just_ink else compute_paled_plane(picture, label)
        )
        combs = drop_duplicates([*find_combs(plane, near=1.0)])
        _blank_letters(plane[y0 - top : y1 - top, x0 - left : x1 - left])
        lines = find_lines(
            [plane], 0, thick_px=compute_max_thickness(len(pixels)), least_px=_LEAST_PX
        )
        joined = join_broken(join_dashes(drop_duplicates([*lines]), picture), picture)
        for line in [*combs, *joined]:
            yield translate(line, left, top), just_ink


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


def _is_seen_well(
    pixels: NDArray[np.uint8], candidate: _Candidate, near: list[_Candidate], label: BarLabel
) -> bool:
    """Return whether a line found only as paled ink has other marks of a drawn line."""
    if candidate.line.kind == "comb":
        return any(other.just_ink and _have_same_ends(other.line, candidate.line) for other in near)
    line = candidate.line
    wide_ticks = line.ticks != (None, None) and line.line_px < line.width - _TICKS_PX
    if wide_ticks and not candidate.just_ink:
        return False
    if line.kind == "plain" and not (
        _is_beside(line, label.box) or is_aligned(line.box, label.box)
    ):
        return False
    has_marks = candidate.just_ink or line.kind in ("caps", "ruler", "broken")
    return has_marks or (line.height >= _TICKS_PX and _is_paled(pixels, line, label))


def _is_confirmed(line: Line, lines: Sequence[Line]) -> bool:
    """Return whether a convincing line that was found without the label is this one."""
    return any(
        other.kind == line.kind
        and is_convincing(other)
        and other.crisp >= _CRISP
        and _have_same_ends(line, other)
        and abs(line.line_px - other.line_px) <= max(1.0, 0.01 * line.line_px)
        and overlap(line.core, other.core) > 0
        for other in lines
    )


def _is_cut(pixels: NDArray[np.uint8], label: BarLabel, line: Line) -> bool:
    """Return whether a digit precedes a label."""
    if not has_digit_before(pixels, label, line):
        return False
    left = line.box[2] + 2 if _is_beside(line, label.box) and line.box[0] < label.box[0] else 0
    left = max(left, find_plate_start(pixels, label.box, label.ink))
    um, number = label.length.um, label.length.number
    if um is None:
        return True
    if may_lack_digit(number):
        differs = not confirms_length(pixels, label.box, um, left=left)
    else:
        differs = contradicts_length(pixels, label.box, um, number=number, left=left)
    return differs and lacks_digit(pixels, label.box, um, number=number, ink=label.ink, left=left)


def _has_rivals(near: list[_Candidate], *, is_settled: bool) -> bool:
    """Return whether a separate line of another length costs nearly as little as the best one.

    Each row of cells of a chequered bar may be found alone, whatever it costs. Another measurement
    of the best line is no rival where its ends are settled.
    """
    best = near[0]
    room = max(1.5, 0.02 * best.line.line_px)
    return any(
        (candidate.cost < best.cost + _RIVALS or candidate.line.kind == best.line.kind == "checker")
        and abs(candidate.line.line_px - best.line.line_px) > room
        and not (is_settled and overlap(candidate.line.core, best.line.core) > _OF_ONE_LINE)
        and not (best.line.kind == "comb" and within(candidate.line.box, best.line.box))
        and (
            candidate.line.kind == best.line.kind or overlap(candidate.line.box, best.line.box) == 0
        )
        for candidate in near[1:]
    )


def _is_far_shorter(line: Line, words: Box) -> bool:
    """Return whether a line is so short that it is more likely texture than the bar of words."""
    return line.width < max(_LEAST_SURE_PX, _SHORTER * (words[2] - words[0]))


def _is_beside(line: Line, words: Box) -> bool:
    """Return whether a line and words share rows: the line is left or right of the words."""
    return line.box[1] < words[3] and words[1] < line.box[3]


def _runs_into(line: Line, words: Box) -> bool:
    """Return whether a line ends at a side of its label's box, which may hide the rest of it."""
    x0, _, x1, _ = line.box
    at_a_side = x0 < words[0] - 1 <= x1 <= words[2] or words[0] <= x0 <= words[2] + 1 < x1
    return line.kind in ("plain", "caps", "checker") and _is_beside(line, words) and at_a_side


def _belongs_to(line: Line, other: Line) -> bool:
    """Return whether a line is only the frame around another, or the shaft of an arrow."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, other.core
    beside = y1 <= b0 or y0 >= b1
    if line.kind in ("caps", "ruler") and beside:
        return within((a0 - 3, b0 - 1, a1 + 3, b1 + 1), line.box)
    tips = 3 <= x0 - a0 <= 12 and 3 <= a1 - x1 <= 12
    return line.kind == "caps" and other.kind == "plain" and tips and not beside


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
