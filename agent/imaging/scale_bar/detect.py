# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Detect burned-in graphics of a micrograph: micron bar, label, info band.

A bar is a straight run of one colour with sharp ends, much thinner than long; a bright needle is
not. The label is read only where such a run was found, so an image without graphics needs no OCR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, overlap, within
from agent.imaging.scale_bar.bars.candidates import (
    drop_parts,
    find_candidates,
    is_convincing,
    rank_lines,
    surrounds,
)
from agent.imaging.scale_bar.bars.even_ink import settle_length
from agent.imaging.scale_bar.bars.figures import find_figure
from agent.imaging.scale_bar.bars.filled_bars import find_blocks
from agent.imaging.scale_bar.bars.line import FoundBar, Line, are_alike, drop_duplicates, is_in_room
from agent.imaging.scale_bar.bars.line_length import SAME, is_arrow
from agent.imaging.scale_bar.bars.planes import compute_planes
from agent.imaging.scale_bar.bars.plates import extend_to_plate, find_band
from agent.imaging.scale_bar.bars.second_length import has_other_length, measure_by_convention
from agent.imaging.scale_bar.bars.surroundings import (
    is_in_inset,
    is_part_of_figure,
    is_partly_covered,
    is_row_of_texture,
    is_tick,
)
from agent.imaging.scale_bar.bars.tick_rulers import find_combs
from agent.imaging.scale_bar.bars.turned_bars import find_standing_combs, find_turned_bars
from agent.imaging.scale_bar.doubts import (
    continues_beyond_gap,
    ends_in_texture,
    has_hidden_end,
    has_unsure_label,
    is_next_to_cell,
    is_off_its_words,
    is_side_of_frame,
)
from agent.imaging.scale_bar.labels.bar_label import (
    BarLabel,
    LabelledLine,
    build_label,
    choose_labelled,
    is_new,
    is_one_label,
    select_agreeing,
)
from agent.imaging.scale_bar.labels.from_label import find_bar, find_labels, find_plate_labels
from agent.imaging.scale_bar.labels.lengths import Length
from agent.imaging.scale_bar.matching import is_believable
from agent.imaging.scale_bar.reading import read_candidates

_SMALLEST_PX = 16  # an image with a shorter side has no room for a bar
_TELLS_INK = 4  # pixels: JPEG changes the ink of all pixels of a thinner line
_PART = 1.025  # longer by more: detected in part; by less: runs into a needle
_BETWEEN_TICKS = 0.965  # of the line's length; shorter, the ticks are not at its ends
_OF_HEADS_PX = 2  # by which the heads of one arrow may differ
_WITHOUT_CELL = 0.93  # of the length of a bar with at most twelve cells
_SHORT_PX = 100  # of a line whose second measurement counts however unsure it is, and of an arrow
_OF_SHAFT_PX, _IN_FIGURE = 6, 0.9  # height of a shaft; share of it that is in its arrow
_OF_ARROW = 1.5  # most by which an arrow is longer than its shaft
_OF_ONE_INK = 90  # most by which two measurements of one ink differ
_OF_ROWS = 0.7  # of a bar's height: a line inside it that is lower is a row of its cells
_INSIDE_PX, _OF_INNER = 3, 0.4  # from the sides of a plate; share of it that a bar in it has
_OF_TICK = 0.1  # of the height of an upright: thickness of its ticks at most
_APART = 0.1  # of two lengths of one line; paled ink runs a little into what lies beyond


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
    bars, read = _find_level(pixels, planes, band)
    if all(bar.um is None for bar in bars):
        turned = find_turned_bars(pixels, planes, _find_turned)
        places = [label.box for label in read]
        places += [bar.label_box for bar in bars if bar.label_box is not None]
        turned = turned or find_standing_combs(pixels, places)
        ticks = all(_is_in_upright(bar, upright) for upright in turned for bar in bars)
        bars = turned if turned and (ticks or not _has_length(bars)) else bars
    bars = [_settle_ends(pixels, bar) for bar in bars]
    boxes = [extend_to_plate(pixels, bar.bbox) for bar in bars]
    if not _has_length(bars):
        boxes += [_expand_to_bar(label.box, pixels.shape) for label in read]
    return Graphics(bars=tuple(bars), band=band, boxes=tuple(boxes))


def _settle_ends(pixels: NDArray[np.uint8], bar: FoundBar) -> FoundBar:
    """Return the bar as long as both conventions for ticks allow; see `measure_by_convention`."""
    if bar.um is None:
        return bar
    length_px = measure_by_convention(pixels, bar)
    return _put_in_doubt(bar) if length_px is None else replace(bar, line_px=length_px)


def _is_in_upright(bar: FoundBar, upright: FoundBar) -> bool:
    """Return whether a level bar is a tick of an upright one."""
    tall, of_upright = (box[3] - box[1] for box in (bar.line, upright.line))
    return within(bar.line, upright.line) and tall < _OF_TICK * of_upright


def _find_turned(turned: NDArray[np.uint8]) -> list[FoundBar]:
    """Return the level bars of a turned part of a picture."""
    return _find_level(turned, compute_planes(turned), None)[0]


def _find_level(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]], band: Box | None
) -> tuple[list[FoundBar], list[BarLabel]]:
    """Return the level bars of a picture, best first, and labels that were read without a bar."""
    lines = find_candidates(pixels, planes, band)
    ranked = rank_lines(pixels, lines, band)
    bars, unpaired = read_candidates(pixels, ranked, band)
    measured = (settle_length(pixels, _remeasure(pixels, bar)) for bar in bars)
    bars = [_drop_unsure_length(pixels, bar) for bar in measured]
    bars.sort(key=lambda bar: bar.um is None)
    if not _has_length(bars):
        bars = _list_blocks(pixels, planes, lines) or bars
    read: list[BarLabel] = []
    if not _has_length(bars):
        read = [build_label(pixels, place, length) for length, place in unpaired]
        read += find_labels(pixels, planes, ranked)
        bars = _list_by_labels(pixels, read, ranked) or bars
    if not _has_length(bars):
        plated = [label for label in find_plate_labels(pixels, planes) if is_new(label, read)]
        read += plated
        bars = _list_by_labels(pixels, plated, ranked) or bars
    if not _has_length(bars):
        bars = _find_by_ticks(pixels, planes, band) or bars
    return bars, read


def _has_length(bars: list[FoundBar]) -> bool:
    return any(bar.um is not None or bar.in_doubt for bar in bars)


def _find_by_ticks(
    pixels: NDArray[np.uint8], planes: list[NDArray[np.uint8]], band: Box | None
) -> list[FoundBar]:
    """Return bars that have ticks and no line."""
    combs = drop_duplicates([comb for plane in planes for comb in find_combs(plane)])
    bars, _ = read_candidates(pixels, rank_lines(pixels, drop_parts(combs), band), band)
    return [_drop_unsure_length(pixels, _remeasure(pixels, bar)) for bar in bars]


def _expand_to_bar(words: Box, shape: Sequence[int]) -> Box:
    """Return where the undetected bar of a label lies: above, below or next to it."""
    x0, y0, x1, y1 = words
    aside, beyond = x1 - x0, 2 * (y1 - y0)
    right, foot = min(shape[1], x1 + aside), min(shape[0], y1 + beyond)
    return (max(0, x0 - aside), max(0, y0 - beyond), right, foot)


def _list_by_labels(
    pixels: NDArray[np.uint8], read: list[BarLabel], ranked: list[Line]
) -> list[FoundBar]:
    """Return the bar of one of the labels: a line or another figure; none where there is none."""
    bars = [
        _drop_unsure_length(pixels, settle_length(pixels, bar))
        for bar in _find_by_labels(pixels, read, ranked)
    ]
    bars = [_drop_contradicted(bar, ranked) for bar in bars]
    bars = [_drop_other_figure(pixels, bar, read) for bar in bars]
    if _has_length(bars):
        return bars
    figures = [_drop_unsure_length(pixels, bar) for bar in _find_figures(pixels, read)]
    return [_drop_contradicted(bar, ranked) for bar in figures] or bars


def _find_by_labels(
    pixels: NDArray[np.uint8], read: list[BarLabel], lines: list[Line]
) -> list[FoundBar]:
    """Return the bar of one of the labels; first one that states a length."""
    bars = []
    for label in select_agreeing(read):
        same = [other for other in read if is_one_label(other, label)]
        labelled = choose_labelled([find_bar(pixels, reading, lines) for reading in same])
        if labelled is not None:
            bar = _build_bar(label, labelled)
            arrow = _find_arrow(pixels, bar, label)
            bars.append(bar if arrow is None else _build_bar(label, arrow))
    return sorted(bars, key=lambda bar: bar.um is None)[:1]


def _find_figures(pixels: NDArray[np.uint8], read: list[BarLabel]) -> list[FoundBar]:
    """Return the bar of one of the labels that is no line but another figure."""
    pairs = [(label, find_figure(pixels, label)) for label in select_agreeing(read)]
    bars = [_build_bar(label, figure) for label, figure in pairs if figure is not None]
    return [bar for bar in bars if bar.um is not None][:1]


def _drop_other_figure(pixels: NDArray[np.uint8], bar: FoundBar, read: list[BarLabel]) -> FoundBar:
    """Return the bar of a label, without its length where another figure is as likely its bar."""
    label = next((label for label in read if label.box == bar.label_box), None)
    if bar.um is None or label is None:
        return bar
    figure = find_figure(pixels, label)
    apart = figure is not None and overlap(figure.line.box, bar.line) == 0
    differs = figure is not None and abs(figure.length_px / bar.line_px - 1) > SAME
    return _put_in_doubt(bar) if apart and differs else bar


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
    length, ink = Length(bar.um, bar.label, 0.0, 1.0, bar.number), np.array(bar.ink)
    label = build_label(pixels, bar.label_box, length, ink)
    of_line = replace(label, ink=ink)
    if bar.line[3] - bar.line[1] >= _TELLS_INK:
        label = of_line
    labelled = find_bar(pixels, label) or find_bar(pixels, of_line)
    arrow = _find_arrow(pixels, bar, label)
    if arrow is not None:
        longer = replace(bar, line=arrow.line.box, line_px=arrow.length_px, kind=arrow.line.kind)
        other_ink = not are_alike(label.ink, np.array(bar.ink), _OF_ONE_INK)  # such as a glow's
        return _put_in_doubt(bar) if other_ink else longer
    if labelled is None:
        return bar
    if not _is_better(pixels, labelled, bar):
        return _put_in_doubt(bar) if _contradicts(labelled, bar) else bar
    if abs(labelled.length_px / bar.line_px - 1) < SAME:  # two ways have found one bar
        return replace(bar, line=labelled.line.box, line_px=labelled.length_px)
    return _build_bar(label, labelled)


def _find_arrow(pixels: NDArray[np.uint8], bar: FoundBar, label: BarLabel) -> LabelledLine | None:
    """Return the arrow of which a thin bar is the shaft, or None."""
    if bar.kind != "plain" or bar.line[3] - bar.line[1] > _OF_SHAFT_PX:
        return None
    figure = find_figure(pixels, label)
    if figure is None or not figure.sure or overlap(bar.line, figure.line.box) < _IN_FIGURE:
        return None
    tall = figure.line.height >= 2 * (bar.line[3] - bar.line[1])
    long = 1 <= figure.length_px / bar.line_px < _OF_ARROW
    return figure if tall and long and figure.line.kind == "figure" else None


def _drop_unsure_length(pixels: NDArray[np.uint8], bar: FoundBar) -> FoundBar:
    """Return the bar, without its length where its line may end elsewhere than it was found."""
    if bar.um is None:
        return bar
    unsure = (
        has_other_length(pixels, bar)
        or continues_beyond_gap(pixels, bar)
        or has_hidden_end(pixels, bar)
        or ends_in_texture(pixels, bar)
        or is_side_of_frame(pixels, bar)
        or is_next_to_cell(pixels, bar)
        or is_off_its_words(bar)
        or is_tick(pixels, bar)
        or is_in_inset(pixels, bar)
        or is_partly_covered(pixels, bar)
        or is_part_of_figure(pixels, bar)
        or is_row_of_texture(pixels, bar)
        or _is_short_arrow(pixels, bar)
        or has_unsure_label(pixels, bar)
    )
    return _put_in_doubt(bar) if unsure else bar


def _drop_contradicted(bar: FoundBar, lines: list[Line]) -> FoundBar:
    """Return the bar of a label, without its length where a clear line there has another.

    A line around which there is a bar with ticks, or with a line between its ticks, is a side of
    the plate of another bar.
    """
    if bar.um is None:
        return bar
    x0, y0, x1, y1 = bar.line
    inside = (x0 + _INSIDE_PX, y0 + _INSIDE_PX, x1 - _INSIDE_PX, y1 - _INSIDE_PX)
    for line in lines:
        is_inner = bar.kind == "ruler" and within(line.core, inside)
        if surrounds(bar.line, line) or (is_inner and line.width > _OF_INNER * (x1 - x0)):
            return _put_in_doubt(bar)
        a0, b0, a1, b1 = line.core
        level = b0 - 2 <= (y0 + y1) / 2 <= b1 + 2 or y0 - 2 <= (b0 + b1) / 2 <= y1 + 2
        along = min(x1, a1) - max(x0, a0) > 0.6 * max(x1 - x0, a1 - a0)
        differs = abs(line.line_px / bar.line_px - 1) > SAME
        cells = within(line.box, bar.line) and line.height < _OF_ROWS * (y1 - y0)
        if level and along and differs and not (cells or line.framed) and is_convincing(line):
            return _put_in_doubt(bar)
    return bar


def _put_in_doubt(bar: FoundBar) -> FoundBar:
    """Return the bar without its length, which no other method may state then."""
    return replace(bar, um=None, label="", in_doubt=True)


def _is_shaft(pixels: NDArray[np.uint8], traced: Line, bar: FoundBar) -> bool:
    """Return whether a bar is an arrow, of which only the shaft was traced."""
    if abs((traced.box[0] - bar.line[0]) - (bar.line[2] - traced.box[2])) > _OF_HEADS_PX:
        return False
    line = Line(bar.line, bar.line_px, exact=False, contrast=bar.contrast, core=bar.line)
    return is_arrow(pixels, line)


def _is_short_arrow(pixels: NDArray[np.uint8], bar: FoundBar) -> bool:
    """Return whether a bar is an arrow so short that what blur takes of its tips matters."""
    line = Line(bar.line, bar.line_px, exact=False, contrast=bar.contrast, core=bar.line)
    return bar.kind == "plain" and bar.line_px < _SHORT_PX and is_arrow(pixels, line)


def _is_better(pixels: NDArray[np.uint8], labelled: LabelledLine, bar: FoundBar) -> bool:
    """Return whether a line in the label's ink is measured better than the detected bar.

    Ticks define the ends of a bar. Without ticks the longer line counts: a detected line can end
    early where it is paler, or at its label, but never late.
    """
    line = labelled.line
    longer = labelled.length_px / bar.line_px
    ticked = line.ticks[0] is not None and line.ticks[1] is not None
    if overlap(line.box, bar.line) == 0:
        frame = bar.label_box is not None and is_in_room(line, bar.label_box)  # half of a plate's
        return labelled.sure and longer > 0.5 and bar.kind == "plain" and not frame
    if labelled.traced and labelled.sure and bar.kind not in ("caps", "ruler"):
        shaft = longer < 1 - SAME and _is_shaft(pixels, line, bar)
        return not shaft and (longer < 1 - SAME or longer > _PART)
    if line.kind == bar.kind == "checker":  # an outline or a glow is not in the label's ink …
        lost = longer < _WITHOUT_CELL  # … but a whole cell that is only outlined may be lost there
        return labelled.sure and not lost and overlap(line.core, bar.line) > 0
    if overlap(line.core, bar.line) == 0 or longer < 0.85:
        return False
    if longer < 1 + SAME or _are_both_ticked(line, bar):
        # half of its ticks is lost; the sides of an outline are no ticks
        other = bar.kind in ("caps", "ruler", "hollow") and line.kind != bar.kind
        return ticked and not other and _BETWEEN_TICKS < longer < 1 + SAME
    return bar.kind in ("plain", "broken", line.kind)


def _are_both_ticked(line: Line, bar: FoundBar) -> bool:
    return line.kind == bar.kind and bar.kind in ("caps", "ruler")


def _contradicts(labelled: LabelledLine, bar: FoundBar) -> bool:
    """Return whether two sure measurements of one line differ."""
    line = labelled.line
    if line.kind == "caps" and bar.kind == "plain" and labelled.sure:
        return labelled.length_px < _BETWEEN_TICKS * bar.line_px  # or arrow heads taken for ticks
    if line.kind == bar.kind == "checker" or _are_both_ticked(line, bar):
        return overlap(line.core, bar.line) > 0 and abs(labelled.length_px / bar.line_px - 1) > SAME
    one_line = overlap(line.core, bar.line) > 0 and line.kind == bar.kind == "plain"
    off = abs(labelled.length_px / bar.line_px - 1)
    if one_line and bar.line_px < _SHORT_PX and off > SAME:
        return True  # what blur and an outline add to a short line is more than 2 per cent
    return one_line and labelled.sure and off > _APART


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
