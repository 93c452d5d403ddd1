# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect burned-in graphics of a micrograph: micron bar, label, info band.

A bar is a straight run of one colour with sharp ends, much thinner than long; a bright needle is
not. The label is read only where such a run was found, so an image without graphics needs no OCR.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging.boxes import Box, overlap, within
from agent.imaging.readers.channels import largest, smallest
from agent.imaging.scale_bar import ocr as labels
from agent.imaging.scale_bar.background import extend_to_plate
from agent.imaging.scale_bar.filled_bars import find_blocks
from agent.imaging.scale_bar.from_label import (
    BarLabel,
    LabelledLine,
    build_label,
    find_bar,
    find_labels,
)
from agent.imaging.scale_bar.info_band import find_band
from agent.imaging.scale_bar.lines import (
    COLOUR_PLANE,
    EVEN,
    Line,
    are_alike,
    are_cells,
    compute_distance,
    compute_evenness,
    compute_planes,
    drop_duplicates,
    find_lines,
    is_arrow,
    join_broken,
    measure_colour,
    measure_length,
)
from agent.imaging.scale_bar.matching import (
    SAME,
    FoundBar,
    continues_beyond_gap,
    has_hidden_end,
    is_believable,
    is_stroke,
    pair_lengths,
)
from agent.imaging.scale_bar.tick_rulers import find_combs
from agent.imaging.scale_bar.unlabelled import is_bar_without_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_SMALLEST_PX = 16  # an image with a shorter side has no room for a bar
_LOOKED_AT = 2.5  # rank above which a candidate's evenness is measured
_MIDDLING = 0.6  # evenness between that of needles (half of them below 0.35) and of bars
_UNEVEN = 0.5  # three needles in four are less even, one bar in twenty
_OF_ONE_RUN = ("plain", "caps", "ruler", "broken")  # kinds with two measurable edges
_MOST_READ = 6  # candidates whose surroundings are read, best first …
_TELLS_INK = 4  # pixels: JPEG changes the ink of all pixels of a thinner line
_PART = 1.025  # longer by more: detected in part; by less: runs into a needle
_APART = 0.1  # of two lengths of one line; paled ink runs a little into what lies beyond
_MOST_DETECTED = 2  # … and those with text detection


@dataclass(frozen=True, slots=True)
class Graphics:
    """All burned-in graphics.

    Args:
        bars: Best first; two panels have two.
        band: The full-width info band, or None.
        boxes: Every box of graphics: bars, labels, and the place of the undetected bar of a label.
    """

    bars: tuple[FoundBar, ...]
    band: Box | None
    boxes: tuple[Box, ...]


def find_graphics(pixels: NDArray[np.uint8]) -> Graphics:
    """Detect micron bars, their labels and the info band.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        The graphics; without any, no bars, no band and no boxes.
    """
    if min(pixels.shape[:2]) < _SMALLEST_PX:
        return Graphics((), None, ())
    planes = compute_planes(pixels)
    band = find_band(pixels)
    lines = _find_candidates(pixels, planes, band)
    bars, unpaired = _read_candidates(pixels, _rank_lines(pixels, lines, band), band)
    bars = [_drop_unsure_length(pixels, _remeasure(pixels, bar)) for bar in bars]
    if not _has_length(bars):
        bars = _list_blocks(pixels, planes, lines) or bars
    read: list[BarLabel] = []
    if not _has_length(bars):
        read = [build_label(pixels, place, length) for length, place in unpaired]
        read += find_labels(pixels, planes)
        by_labels = _find_by_labels(pixels, read)
        bars = [_drop_unsure_length(pixels, bar) for bar in by_labels] or bars
    if not _has_length(bars):
        bars = _find_by_ticks(pixels, planes, band) or bars
    boxes = [extend_to_plate(pixels, bar.bbox) for bar in bars]
    if not _has_length(bars):
        boxes += [_expand_to_bar(label.box, pixels.shape) for label in read]
    return Graphics(bars=tuple(bars), band=band, boxes=tuple(boxes))


def _has_length(bars: list[FoundBar]) -> bool:
    return any(bar.um is not None or bar.in_doubt for bar in bars)


def _find_candidates(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]], band: Box | None
) -> list[Line]:
    """Return the candidate lines of bars."""
    lines = drop_duplicates(
        [line for number in range(len(planes)) for line in find_lines(planes, number)]
    )
    lines = [line for line in lines if not _is_paper(pixels, line, band)]
    lines = [line for line in lines if not any(_is_outline(pixels, line, o) for o in lines)]
    lines = _drop_cells([_mark_chequered(pixels, line) for line in lines])
    return join_broken([line for line in lines if not _is_written_on(pixels, line)], pixels)


def _find_by_ticks(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]], band: Box | None
) -> list[FoundBar]:
    """Return bars that have ticks and no line."""
    combs = drop_duplicates([comb for plane in planes for comb in find_combs(plane)])
    bars, _ = _read_candidates(pixels, _rank_lines(pixels, _drop_parts(combs), band), band)
    return [_remeasure(pixels, bar) for bar in bars]


def _expand_to_bar(words: Box, shape: Sequence[int]) -> Box:
    """Return where the undetected bar of a label lies: above, below or next to it."""
    x0, y0, x1, y1 = words
    aside, beyond = x1 - x0, 2 * (y1 - y0)
    right, foot = min(shape[1], x1 + aside), min(shape[0], y1 + beyond)
    return (max(0, x0 - aside), max(0, y0 - beyond), right, foot)


def _find_by_labels(pixels: NDArray[np.uint8], read: list[BarLabel]) -> list[FoundBar]:
    """Return the bar of one of the labels; first one that states a length."""
    pairs = [(label, find_bar(pixels, label)) for label in _select_agreeing(read)]
    bars = [_build_bar(label, labelled) for label, labelled in pairs if labelled is not None]
    return sorted(bars, key=lambda bar: bar.um is None)[:1]


def _select_agreeing(read: list[BarLabel]) -> list[BarLabel]:
    """Return one label per place, if all readings there agree."""
    kept: list[BarLabel] = []
    for label in read:
        there = [reading for reading in read if overlap(label.box, reading.box) > 0.3]
        surely = {reading.length.um for reading in there} == {label.length.um} != {None}
        if surely and not any(reading in kept for reading in there):
            kept.append(label)
    return kept


def _build_bar(label: BarLabel, labelled: LabelledLine) -> FoundBar:
    """Build the bar of a label and its line; it states a length only if both are reliable."""
    states = labelled.sure and is_believable(label.length, labelled.line)
    return FoundBar(
        line=labelled.line.box,
        label_box=label.box,
        line_px=labelled.length_px,
        label=label.length.words if states else "",
        um=label.length.um if states else None,
        contrast=labelled.line.contrast,
        ink=tuple(label.ink),
        kind=labelled.line.kind,
    )


def _remeasure(pixels: NDArray[np.uint8], bar: FoundBar) -> FoundBar:
    """Return the bar measured again in its label's ink.

    Where both measurements differ and neither is a part of the other, the bar states nothing.
    """
    if bar.label_box is None or bar.um is None:
        return bar
    length, ink = labels.Length(bar.um, bar.label, 0.0, 1.0), np.array(bar.ink)
    label = build_label(pixels, bar.label_box, length, ink)
    of_line = replace(label, ink=ink)
    if bar.line[3] - bar.line[1] >= _TELLS_INK:
        label = of_line
    labelled = find_bar(pixels, label) or find_bar(pixels, of_line)
    if labelled is None:
        return bar
    if not _is_better(labelled, bar):
        return _put_in_doubt(bar) if _contradicts(labelled, bar) else bar
    if abs(labelled.length_px / bar.line_px - 1) < SAME:  # two ways have found one bar
        return replace(bar, line=labelled.line.box, line_px=labelled.length_px)
    return _build_bar(label, labelled)


def _drop_unsure_length(pixels: NDArray[np.uint8], bar: FoundBar) -> FoundBar:
    """Return the bar, without its length where its line may end elsewhere than it was found."""
    unsure = continues_beyond_gap(pixels, bar) or has_hidden_end(pixels, bar)
    return _put_in_doubt(bar) if bar.um is not None and unsure else bar


def _put_in_doubt(bar: FoundBar) -> FoundBar:
    """Return the bar without its length, which no other method may state then."""
    return replace(bar, um=None, label="", in_doubt=True)


def _is_better(labelled: LabelledLine, bar: FoundBar) -> bool:
    """Return whether a line in the label's ink is measured better than the detected bar.

    Ticks define the ends of a bar. Without ticks the longer line counts: a detected line can end
    early where it is paler, or at its label, but never late.
    """
    line = labelled.line
    longer = labelled.length_px / bar.line_px
    ticked = line.ticks[0] is not None and line.ticks[1] is not None
    if overlap(line.box, bar.line) == 0:
        return labelled.sure and longer > 0.5 and bar.kind == "plain"
    if labelled.traced and labelled.sure:
        return longer < 1 - SAME or longer > _PART
    if overlap(line.core, bar.line) == 0 or longer < 0.85:
        return False
    if longer < 1 + SAME:
        return ticked
    return bar.kind in ("plain", "broken", line.kind)


def _contradicts(labelled: LabelledLine, bar: FoundBar) -> bool:
    """Return whether two sure measurements of one line without ticks differ."""
    line = labelled.line
    one_line = overlap(line.core, bar.line) > 0 and line.kind == bar.kind == "plain"
    return one_line and labelled.sure and abs(labelled.length_px / bar.line_px - 1) > _APART


def _list_blocks(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]], lines: list[Line]
) -> list[FoundBar]:
    """Return filled blocks that carry their length."""
    return [
        FoundBar(block, words, float(block[2] - block[0]), length.words, length.um)
        for block, words, length in find_blocks(pixels, planes)
        if not any(_lies_along(line, block) for line in lines)
    ]


def _lies_along(line: Line, block: Box) -> bool:
    """Return whether a line lies along a block, which is then the label's plate, not a bar."""
    x0, y0, x1, y1 = line.box
    beside = -2 <= y0 - block[3] <= 3 or -2 <= block[1] - y1 <= 3
    long = min(x1, block[2]) - max(x0, block[0]) > 0.7 * (block[2] - block[0])
    return beside and long and not line.framed and line.crisp >= 0.8 and line.contrast >= 100


def _is_paper(pixels: NDArray[np.uint8], line: Line, band: Box | None) -> bool:
    """Return whether a line is a strip of an info band's background between ticks and rules."""
    if band is None or line.box[3] <= band[1] - 2 or line.box[1] >= band[3] + 2:
        return False
    rows = pixels[band[1] : band[3], ::8].reshape(-1, 3)
    return are_alike(measure_colour(pixels, line), np.median(rows, axis=0), 40)


def _is_outline(pixels: NDArray[np.uint8], line: Line, bar: Line) -> bool:
    """Return whether a thin line is the outline of a thicker one: its colour is on both sides."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = line.core, bar.core
    if y1 - y0 > 2 or b1 - b0 < 3 or bar.crisp < 0.8 or (bar.plane == 1) == (line.plane == 1):
        return False
    if not (-1 <= y0 - b1 <= 1 or -1 <= b0 - y1 <= 1):
        return False
    around = a0 - 4 <= x0 <= a0 and a1 <= x1 <= a1 + 4
    if not around and not (x0 >= a0 and x1 <= a1 and is_arrow(pixels, bar)):
        return False
    far, beyond = (b0 - 1, b0 - 4) if y0 >= b1 - 1 else (b1, b1 + 3)
    if not (beyond >= 0 and far < len(pixels) and beyond < len(pixels)):
        return False
    ink, columns = measure_colour(pixels, line), slice(max(x0, a0), min(x1, a1))
    there, paper = (np.median(pixels[y, columns], axis=0) for y in (far, beyond))
    return are_alike(there, ink, 60) and not are_alike(paper, ink, 60)


def _mark_chequered(pixels: NDArray[np.uint8], line: Line) -> Line:
    """Return the line, marked as chequered if it has cells of two colours that its plane merges."""
    x0, y0, x1, y1 = line.core
    if line.kind != "plain" or y1 - y0 < 3:
        return line
    row = pixels[(y0 + y1) // 2, x0:x1].astype(np.int16)
    low, high = row.min(axis=0), row.max(axis=0)
    widest = int(np.argmax(high - low))
    if high[widest] - low[widest] < 90:
        return line
    full = row[:, widest] > (int(low[widest]) + int(high[widest])) / 2
    return replace(line, kind="checker", ticks=(None, None)) if are_cells(full) else line


def _drop_cells(lines: list[Line]) -> list[Line]:
    """Return the lines without single cells of a chequered bar."""
    bars = [line.box for line in lines if line.kind == "checker"]
    return [
        line
        for line in lines
        if line.kind == "checker"
        or not any(
            overlap(line.box, bar) > 0.8 and line.width < bar[2] - bar[0] - 4 for bar in bars
        )
    ]


def _drop_parts(combs: list[Line]) -> list[Line]:
    """Return the rulers without parts of wider ones."""
    return [
        comb
        for comb in combs
        if not any(o.width > comb.width and overlap(comb.box, o.box) > 0.8 for o in combs)
    ]


def _is_written_on(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a line is a plate: something else is drawn inside it."""
    x0, y0, x1, y1 = line.core
    if y1 - y0 < 8 or line.kind == "checker":
        return False
    rows = pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].astype(np.int16)
    off = np.abs(rows - np.median(rows.reshape(-1, 3), axis=0)).max(axis=2)
    return float(np.mean(off > 60)) > 0.03


def _rank_lines(pixels: NDArray[np.uint8], lines: list[Line], band: Box | None) -> list[Line]:
    """Return candidates best first; even ones, which no needle is, before the others."""
    ranked = []
    for line in lines:
        rank = _compute_rank(line, band, pixels.shape)
        even = (
            compute_evenness(pixels, line)
            if rank > _LOOKED_AT and line.kind in _OF_ONE_RUN
            else _MIDDLING
        )
        ranked.append(replace(line, even=even, rank=rank + 1.5 * (even - _MIDDLING)))
    return sorted(ranked, key=lambda line: line.rank, reverse=True)


def _compute_rank(line: Line, band: Box | None, shape: Sequence[int]) -> float:
    """Return how similar a candidate is to a bar; larger is better."""
    height, width = shape[:2]
    x0, y0, x1, y1 = line.box
    score = 1.5 * line.exact + min(line.contrast, 200) / 200 + 1.5 * line.crisp
    score += {"caps": 1.0, "ruler": 1.0, "comb": 1.0, "broken": 1.6}.get(line.kind, 0.0)
    score -= 1.5 * line.framed
    share = (x1 - x0) / width
    score += 1.0 if 0.03 <= share <= 0.6 else 0.0
    if band is not None and band[1] - 3 <= y0 and y1 <= band[3] + 3:
        score += 1.0
    edge_y, edge_x = min(y0, height - y1) / height, min(x0, width - x1) / width
    score += 0.5 * (edge_y < 0.12) + 0.5 * (edge_x < 0.12)
    return score + min(line.width, 100) / 100


def _read_candidates(
    pixels: NDArray[np.uint8], ranked: list[Line], band: Box | None
) -> tuple[list[FoundBar], list[tuple[labels.Length, Box]]]:
    """Read around the best candidates; return bars, and lengths without a bar.

    Letters in the line's ink are tried first; text detection, which costs as much as everything
    else together, runs only where the line alone is convincing.
    """
    bars: list[FoundBar] = []
    lengths_read: list[tuple[labels.Length, Box]] = []
    regions: list[tuple[Box, NDArray[Any]]] = []
    detected = 0
    for line in ranked:
        if len(regions) >= _MOST_READ:
            break
        colour = measure_colour(pixels, line)
        done = (within(line.box, place) and are_alike(colour, ink, 70) for place, ink in regions)
        if not _is_worth_reading(line) or any(done):
            continue
        if any(bar.um is not None for bar in bars) and not _is_convincing(line):
            continue  # a second panel's bar is as clear as the first
        region = _expand_to_label(line, pixels.shape, band)
        regions.append((region, colour))
        inside = [line, *(o for o in ranked if o is not line and within(o.box, region))]
        bar, words = _read_around(pixels, inside, region, detect=False)
        lengths_read += words
        unread = bar is None or bar.um is None
        if unread and detected < _MOST_DETECTED and _is_convincing(line):
            detected += 1 if line.exact or line.even > EVEN else _MOST_DETECTED
            detected_bar, words = _read_around(pixels, inside, region, detect=True)
            bar = detected_bar or bar
            lengths_read += words
        if bar is None or _is_parted(bar, band):
            continue
        if any(_is_half(bar, line) or _is_next_cell(bar, line) for line in ranked):
            continue
        same = [known for known in bars if _is_the_same(bar, known)]
        clearer = same and (_is_clearer(bar, same[0]) or _contains_bar(bar, same[0]))
        if not same or (same[0].um is None and bar.um is not None) or clearer:
            bars = [bar if known in same else known for known in bars] if same else [*bars, bar]
    bars.sort(key=lambda bar: bar.um is None)
    if not bars:
        alone = (line for line in ranked[:_MOST_READ] if is_bar_without_label(pixels, line, band))
        bars = [
            FoundBar(line.box, None, measure_length(pixels, line), "", None)
            for line in itertools.islice(alone, 1)
        ]
    return bars, lengths_read


def _is_clearer(bar: FoundBar, known: FoundBar) -> bool:
    """Return whether a bar is the clearer of two separate lines for one label."""
    return bar.contrast > 1.1 * known.contrast and overlap(bar.line, known.line) < 0.5


def _contains_bar(bar: FoundBar, known: FoundBar) -> bool:
    """Return whether a bar is the whole line of which another is a part."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = bar.line, known.line
    level = y0 - 2 <= b0 and b1 <= y1 + 2
    return level and x0 <= a0 + 2 and a1 <= x1 + 2 and x1 - x0 > 1.1 * (a1 - a0)


def _is_parted(bar: FoundBar, band: Box | None) -> bool:
    """Return whether the edge of an info band separates a bar from its label."""
    if band is None or bar.label_box is None:
        return False
    inside = (overlap(box, band) > 0.5 for box in (bar.line, bar.label_box))
    return len(set(inside)) > 1


def _is_the_same(bar: FoundBar, known: FoundBar) -> bool:
    """Return whether two bars are one, or share one label; the first is then the better one."""
    if overlap(bar.line, known.line) > 0.3:
        return True
    label, known_label = bar.label_box, known.label_box
    return (
        label is not None and known_label is not None and _compute_overlap(label, known_label) > 0.5
    )


def _compute_overlap(box: Box, other: Box) -> float:
    """Return the share of the smaller of two boxes that lies in the other."""
    return max(overlap(box, other), overlap(other, box))


def _is_convincing(line: Line) -> bool:
    """Return whether a line is similar enough to a bar for text detection."""
    if line.exact:
        sharp = max(line.crisp, line.even) >= 0.7
        return sharp and line.contrast >= 80 and line.width >= 16
    if line.even > EVEN:
        return line.rank >= 5 and line.contrast >= 80 and line.width >= 16
    if line.even < _UNEVEN:
        return False
    if line.kind in ("caps", "ruler"):
        least = 0.7 if line.kind == "caps" else 0.85
        return line.crisp >= least and line.contrast >= 100 and line.rank >= 5 and line.width >= 28
    near_edge = line.rank >= (4.6 if line.crisp >= 0.93 else 4.8)
    return near_edge and line.crisp >= 0.85 and line.contrast >= 90 and line.width >= 28


def _is_worth_reading(line: Line) -> bool:
    """Return whether a candidate is sharp enough to read its surroundings."""
    if line.framed or line.rank < 3.2:
        return False
    crisp = max(line.crisp, line.even if line.even > EVEN else 0.0)
    if line.exact:
        return crisp >= 0.5 and line.contrast >= 50
    least = 0.55 if line.kind == "caps" and line.contrast > 120 else 0.75
    if line.rank >= 4.8 and line.contrast > 150:
        least = 0.6
    return crisp >= least and crisp * line.contrast >= 68


def _expand_to_label(line: Line, shape: Sequence[int], band: Box | None) -> Box:
    """Return where a line's label can be; for a line in an info band, inside the band."""
    height, width = shape[:2]
    reach = int(np.clip(0.06 * max(height, width), 36, 110))
    x0, y0, x1, y1 = line.box
    side = int(1.4 * reach)
    top, foot = 0, height
    if band is not None and overlap(line.box, band) > 0.9:
        top, foot = band[1], band[3]
    return (
        max(0, x0 - side),
        max(top, y0 - reach),
        min(width, x1 + side),
        min(foot, y1 + reach),
    )


def _read_around(
    pixels: NDArray[np.uint8],
    lines: list[Line],
    region: Box,
    *,
    detect: bool,
) -> tuple[FoundBar | None, list[tuple[labels.Length, Box]]]:
    """Read around a line; read a wider region where the edge cut words in two."""
    bar, cut, lengths = _find_best_pair(pixels, lines, region, detect=detect)
    if bar is None and cut is not None:
        bar, _, lengths = _find_best_pair(
            pixels, lines, _expand_cut_words(cut, pixels.shape), detect=detect
        )
    return bar, lengths


def _expand_cut_words(words: Box, shape: Sequence[int]) -> Box:
    """Return the region of words cut by an edge: eight letters on, and a line above."""
    x0, y0, x1, y1 = words
    high = max(16, y1 - y0)
    return (
        max(0, x0 - 8 * high),
        max(0, y0 - high),
        min(shape[1], x1 + 8 * high),
        min(shape[0], y1 + high),
    )


def _find_best_pair(
    pixels: NDArray[np.uint8],
    lines: list[Line],
    region: Box,
    *,
    detect: bool,
) -> tuple[FoundBar | None, Box | None, list[tuple[labels.Length, Box]]]:
    """Read the words around the first line; pair a length with the line it labels.

    Returns:
        The bar or None; words cut by the region's edge, or None; all lengths read.
    """
    x0, y0, x1, _ = region
    views = _render_views(pixels, lines[0], region)
    picture, ink = views[0], measure_colour(pixels, lines[0])
    boxes = labels.detect_texts(picture) if detect else _find_letters(picture, lines[0], pixels, x0)
    boxes = [labels.extend_to_lost_digits(picture, box) for box in boxes]
    places = [(x0 + box[0], y0 + box[1], x0 + box[2], y0 + box[3]) for box in boxes]
    lines = [line for line in lines if not any(is_stroke(line, place) for place in places)]
    if not detect:
        near = [
            min(
                (c for c in (compute_distance(ln, p) for ln in lines) if c is not None), default=9.0
            )
            for p in places
        ]
        order = np.argsort(near, kind="stable")[:2]
        boxes, places = [boxes[i] for i in order], [places[i] for i in order]
    cut: Box | None = None
    lengths: list[tuple[labels.Length, Box]] = []
    for box, around in zip(boxes, places, strict=True):
        if all(compute_distance(line, around) is None for line in lines):
            continue
        near_edge = 0.4 * (box[3] - box[1])
        goes_on = (x0 and box[0] <= near_edge, x1 < pixels.shape[1] and around[2] >= x1 - near_edge)
        if any(goes_on):
            cut = around if cut is None else cut
            continue
        for length in labels.read_lengths(views, box):
            left, right = (round(at * (box[2] - box[0])) for at in (length.start, length.end))
            lengths.append((length, (around[0] + left, around[1], around[0] + right, around[3])))
    if not detect:  # letters were looked for in the first line's ink
        lines = [line for line in lines if are_alike(measure_colour(pixels, line), ink, 90)]
    return pair_lengths(pixels, lines, lengths), cut, lengths


def _render_views(pixels: NDArray[np.uint8], line: Line, region: Box) -> list[NDArray[np.uint8]]:
    """Return the region without its line, so that ticks and arrows are not read as letters.

    For a coloured line the first picture is of the colour alone, since texture has none.
    """
    x0, y0, x1, y1 = region
    picture = pixels[y0:y1, x0:x1].copy()
    ax, ay, bx, by = line.box
    head = 5 if by - ay <= 5 else 1
    if line.gap is None:
        _paint_over(picture, (ax - 1 - x0, ay - head - y0, bx + 1 - x0, by + head - y0))
    else:
        _paint_over(picture, (ax - 1 - x0, ay - head - y0, line.gap[0] + 2 - x0, by + head - y0))
        _paint_over(picture, (line.gap[2] - 2 - x0, ay - head - y0, bx + 1 - x0, by + head - y0))
    if line.plane != COLOUR_PLANE:
        return [picture]
    ink = cv2.bitwise_not(cv2.subtract(largest(picture), smallest(picture)))
    return [np.asarray(cv2.merge([ink, ink, ink]), np.uint8), picture]


def _paint_over(picture: NDArray[np.uint8], box: Box) -> None:
    """Fill a box, each half with the row above or below."""
    height, width = picture.shape[:2]
    x0, y0 = max(0, box[0]), max(0, box[1])
    x1, y1 = min(width, box[2]), min(height, box[3])
    if x0 >= x1 or y0 >= y1:
        return
    middle = (y0 + y1) // 2
    picture[y0:middle, x0:x1] = picture[max(0, y0 - 1) if y0 else min(y1, height - 1), x0:x1]
    picture[middle:y1, x0:x1] = picture[y1 if y1 < height else max(0, y0 - 1), x0:x1]


def _mask_ink(
    picture: NDArray[np.uint8], line: Line, pixels: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Return the mask of pixels with the colour of a line."""
    if line.plane == COLOUR_PLANE:
        paper = float(np.median(picture[:, :, 0]))
        x0, y0, x1, y1 = line.core
        drawn = pixels[y0:y1, x0:x1].reshape(-1, 3)
        ink = 255.0 - float(np.median(drawn.max(axis=1) - drawn.min(axis=1)))
        return np.asarray(picture[:, :, 0] < 0.6 * paper + 0.4 * ink)  # JPEG pales thin strokes
    x0, y0, x1, y1 = line.core
    colour = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    off = largest(cv2.absdiff(picture, np.full_like(picture, colour.astype(np.uint8))))
    return np.asarray(off < 0.42 * max(60.0, float(np.median(off))))


def _find_letters(
    picture: NDArray[np.uint8], line: Line, pixels: NDArray[np.uint8], left: int
) -> list[Box]:
    """Detect rows of letters in the ink of a line; those of a broken line are in its gap."""
    ink = _mask_ink(picture, line, pixels)
    if line.gap is not None:
        ink[:, : max(0, line.gap[0] - left)] = False
        ink[:, max(0, line.gap[2] - left) :] = False
    return labels.detect_rows(ink)


def _is_half(bar: FoundBar, other: Line) -> bool:
    """Return whether a bar is only half of one that its label breaks, of which `other` is more."""
    if bar.label_box is None or other.gap is not None:
        return False
    (x0, y0, x1, y1), place = bar.line, bar.label_box
    middle = other.core[1] + other.core[3]
    if not (2 * y0 - 4 <= middle <= 2 * y1 + 4 and other.width > 0.4 * (x1 - x0)):
        return False
    room, slack = 1.5 * (place[3] - place[1]), 0.4 * (place[3] - place[1])
    if place[0] >= x1 - slack:
        return -slack <= other.core[0] - place[2] < room
    return place[2] <= x0 + slack and -slack <= place[0] - other.core[2] < room


def _is_next_cell(bar: FoundBar, other: Line) -> bool:
    """Return whether a bar is one cell of a divided bar, of which `other` is the next but one."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = bar.line, other.core
    wide = x1 - x0
    level = abs(b0 - y0) <= 2 and abs(b1 - y1) <= 2
    gap = max(a0 - x1, x0 - a1)
    return level and abs(a1 - a0 - wide) <= 0.2 * wide and 0.5 * wide <= gap <= 1.5 * wide
