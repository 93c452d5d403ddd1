# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Pair a length with the line it labels.

A label belongs to the line that is near, has its ink, and is neither a stroke of it, nor a strip
or an edge of its plate, nor half of a line that it breaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs, overlap
from agent.imaging.scale_bar.bars.candidates import is_worth_reading
from agent.imaging.scale_bar.bars.even_ink import find_line_ends
from agent.imaging.scale_bar.bars.line import (
    EVEN,
    FoundBar,
    Line,
    are_alike,
    compute_distance,
    find_frame,
    is_in_room,
    measure_colour,
)
from agent.imaging.scale_bar.bars.line_length import has_sure_ends, measure_length
from agent.imaging.scale_bar.bars.plates import get_rim
from agent.imaging.scale_bar.labels.lengths import Length

TICKED = frozenset({"caps", "ruler", "comb", "figure"})
"""Kinds of bars that may have ticks."""
_UM_PER_PX = (1e-5, 50.0)  # µm per pixel: from an atom to a pixel that shows no structure
_EXACT_SHARE, _EXACT_ROOM = 0.9, 30  # of a line's pixels; grey values from its exact ink
_END_PX = 3  # columns of an end
_SHORTER = 0.5  # of the words: a line shorter than that is seldom their bar
_OFF_MIDDLE = 0.15  # of the words' height: farther from the middle of a gap, a digit is missing
_THIN_PX = 4  # height of the shaft of an arrow; texture next to a thicker line resembles a head
_OF_LETTERS = 0.2  # share of a row of cells in the words: they are letters on a plate
_UNREAD = 2.0  # cost of words without a reliable length
_SETTLED_PX = 0.5  # by which a length measured otherwise differs from that of even ink
_BLURRED = 60  # grey values between ink and paper of words that compression spreads
_PLATE_PX, _OF_PLATE = 6, 0.85  # around a line with ticks; share of its sides that is plate
_SHARP = 0.95  # crispness and evenness that no line of texture has
_BETWEEN_PX = 4  # rows between a line and words that are not near its edge
_LEADS = 1.0  # bonus of the line around which words were searched


def pair_lengths(
    pixels: NDArray[np.uint8], lines: list[Line], lengths: list[tuple[Length, Box]]
) -> FoundBar | None:
    """Pair a length with the line it labels: near it, in its colour, not in its plate's.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        lines: Lines near the words; the first is the one around which words were searched.
        lengths: Lengths with the boxes of their words.

    Returns:
        The likeliest bar, or None. It states a length only where its ends are reliable and its
        scale is plausible.
    """
    best: tuple[float, FoundBar] | None = None
    lead: tuple[float, FoundBar] | None = None  # the first line, whether it states or not
    for length, place in lengths:
        x0, y0, x1, y1 = place
        if (
            lines
            and _is_too_short(lines[0], place)
            and compute_distance(lines[0], place) is not None
        ):
            continue  # texture is in the box of the words: which line is theirs is unknown
        # Bold words cover more than half of their box; a box may reach beyond their paper.
        samples = (get_rim(pixels, place, 0), pixels[y0:y1, x0:x1].reshape(-1, 3))
        papers = [np.median(colours, axis=0) for colours in samples]
        frame = find_frame(lines, place)
        for line in lines:
            if any(line is side for side in frame):
                continue
            for colour in _list_inks(pixels, line):
                cost = _compute_least_cost(pixels, line, colour, place, papers)
                if cost is None:
                    continue
                cost -= _LEADS if line is lines[0] else 0.0
                # What the line's ink runs on into hides where the line ends.
                states = is_believable(length, line) and (
                    not _runs_on(pixels, line, colour) or find_line_ends(pixels, line) is not None
                )
                states = states and (line is lines[0] or is_worth_reading(line))
                cost += 0.0 if states else _UNREAD
                is_lead = line is lines[0] and (lead is None or cost < lead[0])
                if best is None or cost < best[0] or is_lead:
                    bar = build_bar(pixels, line, colour, place, length if states else None)
                    lead = (cost, bar) if is_lead else lead
                    best = (cost, bar) if best is None or cost < best[0] else best
    if best is not None and lead is not None and _belongs_to_lead(best, lead):
        return lead[1]
    return None if best is None else best[1]


def _compute_least_cost(
    pixels: NDArray[np.uint8],
    line: Line,
    colour: NDArray[Any],
    place: Box,
    papers: list[NDArray[Any]],
) -> float | None:
    """Return the cost of a line and words by the likeliest of their papers; see `_compute_cost`."""
    if all(are_alike(colour, paper, _BLURRED) for paper in papers):
        # Compression spreads the ink of small words over all of their box.
        papers = [*papers, np.median(get_rim(pixels, place, 4), axis=0)]
    costs = [_compute_cost(pixels, line, colour, place, paper) for paper in papers]
    return min((cost for cost in costs if cost is not None), default=None)


def build_bar(
    pixels: NDArray[np.uint8], line: Line, colour: NDArray[Any], place: Box, length: Length | None
) -> FoundBar:
    """Build a bar, which states a length only where its ends are reliable.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        line: Its line.
        colour: (3,) its ink.
        place: Box of its words.
        length: What they state; None where it is not reliable.
    """
    line_px, box = measure_length(pixels, line), line.box
    even = find_line_ends(pixels, line)
    if even is not None and abs(even[1] - even[0] - line_px) > _SETTLED_PX:
        line_px, box = even[1] - even[0], (round(even[0]), box[1], round(even[1]), box[3])
    states = (
        length is not None
        and is_believable(length, line)
        and not _is_next_to_longer_words(line, place)
        and _is_in_middle(place, line)
        and has_sure_ends(pixels, line, line_px, is_even=even is not None)
    )
    return FoundBar(
        line=box,
        label_box=place,
        line_px=line_px,
        label=length.words if length and states else "",
        um=length.um if length and states else None,
        contrast=line.contrast,
        ink=tuple(colour),
        kind=line.kind,
    )


def _belongs_to_lead(best: tuple[float, FoundBar], lead: tuple[float, FoundBar]) -> bool:
    """Return whether words belong to the first line, which states nothing, not to the best one."""
    (cost, bar), (of_lead, first) = best, lead
    apart = max(overlap(bar.line, first.line), overlap(first.line, bar.line)) == 0
    shorter = bar.line[2] - bar.line[0] < _SHORTER * (first.line[2] - first.line[0])
    return apart and shorter and first.um is None and of_lead - _UNREAD < cost


def _is_in_middle(place: Box, line: Line) -> bool:
    """Return whether words are in the middle of the line that they break; elsewhere one is lost."""
    if line.gap is None:
        return True
    off = abs(place[0] + place[2] - line.gap[0] - line.gap[2]) / 2
    return off <= max(4.0, _OFF_MIDDLE * (place[3] - place[1]))


def _is_next_to_longer_words(line: Line, place: Box) -> bool:
    """Return whether a line left or right of words is so short that it is seldom their bar."""
    is_next_to = place[0] >= line.box[2] - 3 or place[2] <= line.box[0] + 3
    return is_next_to and line.width < _SHORTER * (place[2] - place[0])


def is_believable(length: Length, line: Line) -> bool:
    """Return whether a length gives a plausible scale: a pixel of 50 µm shows no structure."""
    low, high = _UM_PER_PX
    return length.um is not None and low <= length.um / max(1.0, line.line_px) <= high


def _is_too_short(line: Line, place: Box) -> bool:
    return line.width < 0.32 * (place[2] - place[0])


def _compute_cost(
    pixels: NDArray[np.uint8], line: Line, colour: NDArray[Any], place: Box, paper: NDArray[Any]
) -> float | None:
    """Return the cost of pairing a line with a label, smaller is better; None: impossible."""
    cost = compute_distance(line, place)
    if cost is None or _is_too_short(line, place):
        return None
    if line.framed or are_alike(colour, paper, 40):
        return None
    if (
        is_rim(pixels, line, place, paper)
        or _is_half(pixels, line, colour, place)
        or _is_strip(line, place)
        or (line.kind == "checker" and overlap(line.box, place) > _OF_LETTERS)
    ):
        return None
    written = _is_written_in(pixels, _cut_off_line(line, place), colour, paper)
    if not written and not _is_surely_drawn(line) and not _share_plate(pixels, line, place):
        return None
    return cost + (0.0 if written else 0.4) - 0.15 * line.rank


def _cut_off_line(line: Line, place: Box) -> Box:
    """Return the box of words without the rows that a line above or below them touches."""
    (x0, y0, x1, y1), (_, top, _, foot) = place, line.core
    if line.gap is not None or y1 - y0 < 4 * _BETWEEN_PX:
        return place
    if top < y0 <= foot + _BETWEEN_PX < y1 - _BETWEEN_PX:
        return (x0, min(foot + _BETWEEN_PX, (y0 + y1) // 2), x1, y1)
    if y0 + _BETWEEN_PX < top - _BETWEEN_PX <= y1 < foot:
        return (x0, y0, x1, max(top - _BETWEEN_PX, (y0 + y1) // 2))
    return place


def _is_surely_drawn(line: Line) -> bool:
    """Return whether a line is drawn whatever the colour of the words near it."""
    if line.kind in ("caps", "ruler") and min(line.crisp, line.even) > _SHARP:
        return True
    return line.exact and (line.kind in ("comb", "checker") or line.even > EVEN)


def _share_plate(pixels: NDArray[np.uint8], line: Line, place: Box) -> bool:
    """Return whether a line with ticks and the words above or below it are on one even plate.

    On such a plate they may have two inks: ZEISS draws a green line under red words, which may be
    larger than the plate, so that only their row next to the line is on it.
    """
    paper = find_plate_colour(pixels, line)
    (_, y0, _, y1), (_, b0, _, b1) = line.core, place
    if paper is None or not (b1 <= y0 or b0 >= y1):
        return False
    words = pixels[max(0, b1 - 2) if b1 <= y0 else b0 + 1, place[0] : place[2]].astype(np.int16)
    return float(np.mean(np.abs(words - paper).max(axis=1) < 30)) > _OF_PLATE / 2


def find_plate_colour(pixels: NDArray[np.uint8], line: Line) -> NDArray[Any] | None:
    """Return the colour (3,) of the even plate around a line with ticks, None without one."""
    left, right = line.ticks
    if line.kind != "caps" or left is None or right is None or line.framed:
        return None
    x0, y0, x1, y1 = line.core
    inside = slice(x0 + _PLATE_PX, x1 - _PLATE_PX)
    sides = (
        pixels[y1 + 2 : y1 + _PLATE_PX, inside],
        pixels[max(0, y0 - _PLATE_PX) : max(0, y0 - 2), inside],
        pixels[y0:y1, max(0, line.box[0] - 4) : max(0, line.box[0] - 1)],
        pixels[y0:y1, line.box[2] + 1 : line.box[2] + 4],
    )
    if not all(side.size for side in sides):
        return None
    paper = np.median(sides[0].reshape(-1, 3), axis=0)
    like = [np.abs(side.astype(np.int16) - paper).max(axis=2) < 30 for side in sides]
    shares = [float(side.mean()) * (1 if at < 2 else 2) for at, side in enumerate(like)]
    return paper if min(shares) > _OF_PLATE else None  # a frame may be as near as ends are blurred


def _runs_on(pixels: NDArray[np.uint8], line: Line, colour: NDArray[Any]) -> bool:
    """Return whether a line's ink continues beyond an end, so that it is part of something else.

    Half of a ruler goes on beyond the tall tick in the middle.
    """
    if line.kind not in ("plain", "caps", "ruler"):
        return False
    x0, y0, x1, y1 = line.core
    thin = y1 - y0 <= _THIN_PX
    # Blur leaves half of a thin line's rows in another colour than the rest.
    colours = np.median(pixels[y0:y1, x0:x1], axis=1)[:, None] if thin else colour
    room = compute_room(pixels, line.core, colour, line.contrast)
    for beyond in (
        pixels[y0:y1, max(0, x0 - 10) : max(0, x0 - 1)],
        pixels[y0:y1, x1 + 1 : x1 + 10],
    ):
        ink = np.abs(beyond.astype(np.int16) - colours).max(axis=2) < room
        if ink.shape[1] and float(ink.mean(axis=0).min()) >= 0.5:
            return True
    return False


def compute_room(pixels: NDArray[np.uint8], core: Box, ink: NDArray[Any], contrast: float) -> float:
    """Return by how many grey values a pixel may differ from a line's ink and still be it.

    Where all of a line but its anti-aliased edge has exactly its ink, to both ends, texture that is
    only nearly as light or dark is not.
    """
    x0, y0, x1, y1 = core
    inner = pixels[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] if y1 - y0 >= 4 else pixels[y0:y1, x0:x1]
    room = min(75.0, 0.5 * contrast)
    off = np.abs(inner.astype(np.int16) - ink).max(axis=2)
    ends = (off[:, 2 : 2 + _END_PX], off[:, -2 - _END_PX : -2])  # but for the tip of an arrow
    exact = [float(np.mean(part <= 1)) for part in (off, *ends) if part.size]
    return min(room, _EXACT_ROOM) if min(exact) > _EXACT_SHARE else room


def _is_half(pixels: NDArray[np.uint8], line: Line, colour: NDArray[Any], place: Box) -> bool:
    """Return whether a line is half of one that its label breaks: it continues beyond the label."""
    left, right = line.ticks
    if line.kind != "plain" or (left is None) == (right is None):
        return False
    x0, y0, x1, y1 = line.core
    high = place[3] - place[1]
    if right is None:
        rows = pixels[y0:y1, x1 + 2 : place[2] + 2 * high] if place[0] >= x1 - 3 else None
    else:
        rows = pixels[y0:y1, max(0, place[0] - 2 * high) : x0 - 2] if place[2] <= x0 + 3 else None
    if rows is None or not rows.size:
        return False
    ink = np.abs(rows.astype(np.int16) - colour).max(axis=2) < min(75, 0.5 * line.contrast)
    runs = find_runs(ink.mean(axis=0) >= 0.5)
    return any(end - start > 0.8 * high for start, end in runs)  # longer than a letter's stroke


def _is_strip(line: Line, place: Box) -> bool:
    """Return whether a line is a strip of the plate of the words."""
    wide = line.width > 0.9 * (place[2] - place[0])
    margin = (place[3] - place[1]) // 4  # a bar may touch the box of its words
    middle = (place[0], place[1] + margin, place[2], place[3] - margin)
    box = line.core if is_in_room(line, place) else line.box
    return line.gap is None and wide and overlap(box, middle) > 0.5


def is_rim(pixels: NDArray[np.uint8], line: Line, place: Box, paper: NDArray[Any]) -> bool:
    """Return whether a line is the edge of a label's plate, which is on one side of it only."""
    x0, y0, x1, y1 = line.core
    if line.kind not in ("plain", "ruler") or not (place[1] >= y1 or place[3] <= y0):
        return False  # the sides of a plate resemble the ticks of a ruler
    above, below = pixels[max(0, y0 - 3) : max(0, y0 - 1), x0:x1], pixels[y1 + 1 : y1 + 3, x0:x1]
    near, far = (below, above) if place[1] >= y1 else (above, below)
    if not near.size or not far.size:
        return False
    share = [
        float(np.mean(np.abs(s.astype(np.int16) - paper).max(axis=2) < 30)) for s in (near, far)
    ]
    return share[0] > 0.9 and share[1] < 0.3


def _is_written_in(
    pixels: NDArray[np.uint8], place: Box, colour: NDArray[Any], paper: NDArray[Any]
) -> bool:
    """Return whether words have a line's colour as JPEG renders it, and their surroundings do not.

    JPEG spreads the colour of a thin stroke of line or letter over its plate: the paler one lies
    between the colour of the plate and that of the other.
    """
    way = colour - paper
    widest = float(np.abs(way).max())

    def compute_share(colours: NDArray[np.int16]) -> float:
        """Return the share of colours (n, 3) that lie near the line from plate to ink."""
        progress = (colours - paper) @ way / float(way @ way)
        aside = np.abs(colours - paper - progress[:, None] * way).max(axis=1)
        near = aside < np.maximum(50.0, 0.6 * np.maximum(1.0, progress) * widest)
        return float(np.mean((progress > 0.4) & (progress < 3.0) & near))

    x0, y0, x1, y1 = place
    within = compute_share(pixels[y0:y1, x0:x1].reshape(-1, 3).astype(np.int16))
    around = min(compute_share(get_rim(pixels, place, by)) for by in (-3, 0, 2))
    return within > max(0.06, 1.4 * around)


def _list_inks(pixels: NDArray[np.uint8], line: Line) -> list[NDArray[Any]]:
    """Return the colour of a line, or the two colours of a chequered one."""
    if line.kind != "checker":
        return [measure_colour(pixels, line)]
    x0, y0, x1, y1 = line.core
    row = pixels[(y0 + y1) // 2, x0:x1]
    tone = row.sum(axis=1, dtype=np.int32)
    dark = tone < (int(tone.max()) + int(tone.min())) / 2
    return [np.median(cells, axis=0) for cells in (row[dark], row[~dark]) if len(cells)]


def is_stroke(line: Line, place: Box) -> bool:
    """Return whether a line is a stroke of a letter, or the plate between letters."""
    if line.gap is not None or line.kind == "comb":
        return False
    wide, high = place[2] - place[0], place[3] - place[1]
    around = (place[0] - 2, place[1] - 2, place[2] + 2, place[3] + 2)
    if line.height <= 2 and overlap(line.box, around) > 0.9 and line.width < 0.6 * wide:
        return True
    return overlap(line.box, place) > 0.6 and line.width < 1.1 * high
