# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Measure the length of a drawn line to subpixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.imaging.boxes import Box, find_runs
from agent.imaging.scale_bar.bars.line import EVEN, Line, find_even_columns, is_pale, measure_colour
from agent.imaging.scale_bar.bars.planes import COLOUR_PLANE

_FURTHER = 0.35  # of a pixel: largest extension of a detected end
_EXACT_ROOM = 60  # grey values from an exact ink that anti-aliasing leaves
_TICK_PX = 2  # of the columns near an end that a blurred tick takes
_OTHER_INK = 1.4  # of the paper-to-ink distance: beyond it is an outline


def measure_length(pixels: NDArray[np.uint8], line: Line) -> float:
    """Return the length of a line without ticks to subpixels, at half of its ink.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        line: The line as detected.

    Returns:
        Length in pixels; that of `line` where its ends cannot be refined.
    """
    if line.kind == "plain" and (line.ticks[0] is None) != (line.ticks[1] is None):
        return line.line_px - _measure_half_tick(line)
    if line.kind != "plain" or line.ticks != (None, None):
        return line.line_px
    between = measure_between_ticks(pixels, line)
    if between is not None:
        return between
    x0, y0, x1, y1 = line.core
    rows = pixels[max(0, y0 - 1) : y1 + 1].astype(np.float32)
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    beyond = (rows[:, max(0, x0 - 16) : x0 + 8][:, ::-1], rows[:, x1 - 8 : x1 + 16])
    height = slice(min(y0, 1), min(y0, 1) + y1 - y0)
    left, right = (
        _find_tip(out, ink) if head else _find_end(out[height, :20], ink, line)
        for out, head in zip(beyond, find_heads(pixels, line), strict=True)
    )
    if line.plane != COLOUR_PLANE:  # JPEG keeps light to the pixel, colour only to two or three
        left, right = (end and min(end, 8 + _FURTHER) for end in (left, right))
    return float(x1 - x0 + sum(end - 8 for end in (left, right) if end is not None))


def _measure_half_tick(line: Line) -> float:
    """Return half the width of the one tick that was seen of a line.

    With another one at its other end the length goes from centre to centre, which is a width less
    than that of the line; without one it is that of the line.
    """
    tick = line.ticks[0] or line.ticks[1]
    return 0.0 if tick is None else (abs(tick[1] - tick[0]) + 1) / 2


def measure_between_ticks(pixels: NDArray[np.uint8], line: Line) -> float | None:
    """Return the length of a ruler with ticks paler than its line, between the outer tick centres.

    Returns:
        Length in pixels; None where no row near the line shows evenly spaced ticks with the outer
        ones at the line's ends.
    """
    x0, y0, x1, y1 = line.core
    left, right = max(0, x0 - 3), min(pixels.shape[1], x1 + 3)
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    for strip in (pixels[max(0, y0 - 6) : max(0, y0 - 3)], pixels[y1 + 3 : y1 + 6]):
        rows = strip[:, left:right].astype(np.float32)
        if not rows.size:
            continue
        paper = np.median(rows.reshape(-1, 3), axis=0)
        way = ink - paper
        share = ((rows - paper) @ way / max(1.0, float(way @ way))).min(axis=0)
        ticks = find_runs(share > 0.25)
        centres = np.array(
            [a + np.average(np.arange(b - a), weights=share[a:b]) for a, b in ticks if b - a <= 6]
        )
        if len(centres) < 5 or len(centres) < len(ticks):
            continue
        steps = np.diff(centres)
        even = np.abs(steps - np.median(steps)).max() <= max(1.5, 0.1 * float(np.median(steps)))
        ends = (centres[0] + left - x0, x1 - 1 - left - centres[-1])
        if even and max(np.abs(ends)) <= 3:
            return float(centres[-1] - centres[0])
    return _measure_between_end_ticks(pixels, line, ink)


def _measure_between_end_ticks(
    pixels: NDArray[np.uint8], line: Line, ink: NDArray[Any]
) -> float | None:
    """Return the length between the centres of two ticks paler than their line, or None.

    A tick is ink at an end, above or below the line, with less than half of it on both sides.
    """
    x0, y0, x1, y1 = line.core
    if x0 < 10 or x1 + 10 > pixels.shape[1] or x1 - x0 < 30:
        return None
    for strip in (pixels[max(0, y0 - 4) : max(0, y0 - 2)], pixels[y1 + 2 : y1 + 4]):
        rows = strip[:, x0 - 10 : x1 + 10].astype(np.float32)
        if len(rows) < 2:
            continue
        paper = np.median(rows.reshape(-1, 3), axis=0)
        way = ink - paper
        share = ((rows - paper) @ way / max(1.0, float(way @ way))).mean(axis=0)
        centres = [_find_tick_centre(end) for end in (share[:20], share[::-1][:20])]
        if None not in centres:
            return float(x1 - x0 - 1 + 20 - sum(centre for centre in centres if centre))
    return None


def _find_tick_centre(share: NDArray[Any]) -> float | None:
    """Return the centre of the tick around column 10 of 20, or None."""
    peak = 7 + int(np.argmax(share[7:14]))
    near = slice(peak - 1, peak + 2)
    around = np.concatenate([share[: peak - 3], share[peak + 4 :]])
    if share[peak] < 0.25 or np.abs(around).max() > 0.5 * share[peak]:
        return None
    weights = np.maximum(share[near], 0)
    return float(np.average(np.arange(peak - 1, peak + 2), weights=weights))


def _find_tip(rows: NDArray[np.float32], ink: NDArray[Any]) -> int | None:
    """Return where rows that leave an arrow end: a tip has ink in at least one row."""
    paper = np.median(rows[:, -6:].reshape(-1, 3), axis=0)
    way = ink - paper
    if rows.shape[1] < 16 or np.abs(way).max() < 40:
        return None
    share = (rows - paper) @ way / float(way @ way)
    end = int(np.argmax(share.max(axis=0) < 0.4))
    return min(end, 10) if end >= 3 else None


def is_arrow(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether a line has an arrow head at both ends."""
    return line.kind == "plain" and all(find_heads(pixels, line))


def find_heads(pixels: NDArray[np.uint8], line: Line) -> tuple[bool, bool]:
    """Return whether a line has an arrow head at its left and at its right end."""
    x0, _, x1, _ = line.core
    left, right = (
        _has_head(pixels, line.core, end, exact=line.exact) for end in ((x0, 1), (x1 - 1, -1))
    )
    return left, right


def _has_head(pixels: NDArray[np.uint8], core: Box, end: tuple[int, int], *, exact: bool) -> bool:
    """Return whether a line ends in an arrow head.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        core: Box of the line.
        end: Column of the end, and the inward direction (1 or -1).
        exact: All of the line has one colour, so that texture nearly as bright is not its ink.
    """
    tip, *head, shaft = _count_ink(pixels, core, end, exact=exact)
    return bool(max(head) >= max(tip, shaft) + 2)


def has_long_heads(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether both ends are arrow heads that blurred ticks do not resemble.

    A head grows from its tip inwards; a tick is tallest at the end.
    """
    x0, _, x1, _ = line.core
    for end in ((x0, 1), (x1 - 1, -1)):
        tip, *head, shaft = _count_ink(pixels, line.core, end, exact=line.exact)
        if max(head[_TICK_PX:]) < max(tip, shaft, *head[:_TICK_PX]) + 1:
            return False
    return is_arrow(pixels, line)


def _count_ink(
    pixels: NDArray[np.uint8], core: Box, end: tuple[int, int], *, exact: bool
) -> list[int]:
    """Return the rows of ink at the end of a line, of eight columns near it, and of its shaft.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        core: Box of the line.
        end: Column of the end, and the inward direction (1 or -1).
        exact: All of the line has one colour, so that texture nearly as bright is not its ink.
    """
    x0, y0, x1, y1 = core
    ink = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    rows = pixels[max(0, y0 - 5) : y1 + 5].astype(np.int16)
    paper = np.median(rows[[0, -1], x0:x1].reshape(-1, 3), axis=0)
    least = 0.5 * float(np.abs(ink - paper).max())
    least = min(least, _EXACT_ROOM) if exact else least
    x, inwards = end
    columns = np.clip(x + inwards * np.array([0, *range(2, 10), 18]), 0, rows.shape[1] - 1)
    counts: list[int] = (np.abs(rows[:, columns] - ink).max(axis=2) < least).sum(axis=0).tolist()
    return counts


def _find_end(rows: NDArray[np.float32], ink: NDArray[Any], line: Line) -> float | None:
    """Return where rows that leave a line end: half of its ink is lost, or another ink begins.

    An outline, or a grain as light as the line, keeps the brightness and changes the colour.
    """
    if rows.shape[1] < 16:
        return None
    half = _find_half_ink(rows, ink, mean=line.plane == COLOUR_PLANE)
    off = np.abs(rows - ink).max(axis=2)
    off = off[len(off) // 3 : len(off) - len(off) // 3]  # an outline is round a rounded end
    drawn = off[:, :4].mean(axis=1) < 60
    other = (off[drawn] > 90).mean(axis=0) > 0.5 if drawn.any() else np.zeros(3, bool)
    other = other[:-2] & other[1:-1] & other[2:]  # of one column there may be an outline's corner
    begins = int(np.argmax(other))
    if 4 <= begins <= 12 and (half is None or half > begins + 0.6):
        return float(begins)
    changes = _find_tone_change(rows, line)
    if changes is not None and (half is None or half - changes > 1.2):
        return min(changes + 0.5, 8.0)
    return half


def _find_tone_change(rows: NDArray[np.float32], line: Line) -> int | None:
    """Return where an exact line loses its tone permanently, whatever is nearly as light beyond."""
    if not line.exact or line.plane == COLOUR_PLANE:
        return None
    tone = rows.max(axis=2) if line.plane == 0 else rows.min(axis=2)
    drawn, beyond = float(np.median(tone[:, :4])), float(np.median(tone[:, -6:]))
    room = max(12.0, 0.15 * abs(drawn - beyond))  # what JPEG makes of the last pixels
    same = (np.abs(tone - drawn) <= room).mean(axis=0) >= 0.5
    changes = int(np.flatnonzero(same[:8]).max(initial=-1)) + 1
    return changes if changes >= 3 else None


def _find_half_ink(rows: NDArray[np.float32], ink: NDArray[Any], *, mean: bool) -> float | None:
    """Return where rows that leave a line lose half of their ink: the longest or the mean row."""
    paper = np.median(rows[:, -6:].reshape(-1, 3), axis=0)
    off = ink - paper
    if not off.any():
        return None
    light = np.array([0.299, 0.587, 0.114])  # JPEG keeps it sharper than colour
    weights = light if abs(float(off @ light)) >= 40 else off * (np.abs(off) == np.abs(off).max())
    share = (rows - paper) @ weights / float(off @ weights)
    if float(share[:, -6:].std()) > 0.12:
        return None  # on an uneven background the line's colour is more reliable
    positions = []
    drawn = share[:, :5].mean(axis=1)
    drawn_rows = share[(drawn > 0.7) & (drawn < _OTHER_INK)]
    if mean and len(drawn_rows):
        drawn_rows = drawn_rows.mean(axis=0, keepdims=True)
    for row in drawn_rows:
        beyond = np.flatnonzero((row < 0.5) | (row > _OTHER_INK))
        if beyond.size and beyond[0]:
            x = int(beyond[0])
            part = (row[x - 1] - 0.5) / (row[x - 1] - row[x])
            positions.append(x if row[x] > 1 else x - 0.5 + float(part))
    return max(positions) if positions and abs(max(positions) - 8) <= 3 else None


# --- decide whether the ends of a line are where they were found

SAME = 0.02
"""Relative difference below which two lengths are one."""
_ROOM = 75  # grey values from a line's ink
_END_ROOM = 30  # grey values from an exact ink
_SOLID_PX, _LONG_PX = 6, 190  # height and length from which 2 per cent exceed that blur
_END_PX, _UNEVEN_END = 6, 0.34  # columns near an end; share of them with the line's edges
_ALIKE_ENDS = 0.7  # by which such shares differ at most where both ends are rounded
_ROUNDED_PX = 4  # height of a line with rounded ends
_TICKS_PX = 2  # by which ticks or halves of one bar may differ
_TICK_SHARE = 0.15  # of a line's colour that a tick keeps in a compressed picture, at the least
_LEAST_COLOURED_PX = 60  # of a line whose middle is compared with its ends
_CHROMA = np.eye(3) - 1 / 3  # takes the mean of the channels away
_THIN_PX = 4  # height of the shaft of an arrow; texture next to a thicker line resembles a head


def has_sure_ends(
    pixels: NDArray[np.uint8], line: Line, length_px: float, *, is_even: bool
) -> bool:
    """Return whether a line without ticks has the same length by its colours as where detected.

    `is_even`: its ink is even to both ends, so that no grain lengthens it.
    """
    room = max(1.0, SAME * line.line_px)
    x0, y0, x1, y1 = line.core
    paper = np.median(pixels[max(0, y0 - 4) : max(1, y0 - 2), x0:x1].reshape(-1, 3), axis=0)
    blurred = has_lost_ticks(line, measure_colour(pixels, line), paper) or (
        line.plane == COLOUR_PLANE and line.kind == "plain" and line.height < _SOLID_PX
    )
    if blurred and _has_ink_at_ends(pixels, line) and not has_long_heads(pixels, line):
        return False
    if not has_equal_ends(line):
        return False
    if line.kind == "plain" and not is_even and _has_uneven_end(pixels, line):
        return False
    thin = line.kind == "plain" and y1 - y0 <= _THIN_PX
    if thin and not is_even and len(set(find_heads(pixels, line))) > 1:
        return False  # an arrow with one head runs on into something else
    return line.kind != "plain" or is_even or abs(length_px - line.line_px) <= room


def has_equal_ends(line: Line) -> bool:
    """Return whether ticks and halves at both ends are alike; a grain changes one of them."""
    return _have_equal_ticks(line) and not _has_unequal_halves(line)


def _have_equal_ticks(line: Line) -> bool:
    left, right = line.ticks
    if left is None or right is None or line.kind not in ("caps", "ruler"):
        return True
    wide = abs(abs(left[1] - left[0]) - abs(right[1] - right[0]))
    tall = max(abs(left[2] - right[2]), abs(left[3] - right[3]))
    beyond = max(left[0] - line.core[0], line.core[2] - 1 - right[0])
    room = max(1.0, 0.01 * line.line_px)
    return wide <= max(_TICKS_PX, room) and tall <= _TICKS_PX and beyond <= room


def _has_unequal_halves(line: Line) -> bool:
    """Return whether a grain lengthens one half of a line that its label breaks."""
    if line.gap is None or None not in line.ticks:
        return False
    if line.ticks != (None, None):
        return True
    left, right = line.gap[0] - line.box[0], line.box[2] - line.gap[2]
    return abs(left - right) > max(_TICKS_PX, SAME * max(left, right))


def has_one_uneven_end(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether only one end of an even line has other edges; rounded ends are both such."""
    shares = _measure_ends(pixels, line)
    return shares is not None and shares[0] < _UNEVEN_END and shares[1] - shares[0] > _ALIKE_ENDS


def _has_uneven_end(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether an even line has other edges near one end, where a grain lengthens it."""
    shares = _measure_ends(pixels, line)
    if shares is None or shares[0] >= _UNEVEN_END:
        return False
    return shares[1] - shares[0] > _ALIKE_ENDS or not _are_rounded_alike(pixels, line)


def _measure_ends(pixels: NDArray[np.uint8], line: Line) -> tuple[float, float] | None:
    """Return the shares of columns near both ends with the line's edges, the smaller one first.

    None where the line is not even between them, or is an arrow.
    """
    colour = measure_colour(pixels, line)
    grey = colour.max() - colour.min() < _END_ROOM  # compression changes a colour everywhere
    even = find_even_columns(pixels, line, _END_ROOM if line.exact and grey else _ROOM)
    inside = even[_END_PX:-_END_PX]
    if len(inside) < 2 * _END_PX or inside.mean() < EVEN or all(find_heads(pixels, line)):
        return None
    ends = even[1 : _END_PX + 1], even[-_END_PX - 1 : -1]
    first, last = sorted(float(end.mean()) for end in ends)
    return first, last


def _are_rounded_alike(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether both ends of a thick line are rounded alike, which no grain does."""
    x0, y0, x1, y1 = line.core
    if y1 - y0 < _ROUNDED_PX:
        return False
    off = np.abs(pixels[y0:y1, x0:x1].astype(np.int16) - measure_colour(pixels, line)).max(axis=2)
    heights = (off < _ROOM).sum(axis=0)
    left, right = heights[: y1 - y0], heights[::-1][: y1 - y0]
    grows = (np.diff(left) >= -1).all() and (np.diff(right) >= -1).all()
    return bool(grows and np.abs(left - right).max() <= max(2, 0.3 * (y1 - y0)))


def has_lost_ticks(line: Line, ink: NDArray[Any], paper: NDArray[Any]) -> bool:
    """Return whether JPEG may have blurred ticks of a short line that only its colour shows.

    Args:
        line: The line.
        ink: (3,) its colour.
        paper: (3,) the colour around it.
    """
    short = line.line_px < _LONG_PX and line.height < _SOLID_PX
    return is_pale(ink, paper) and short and line.kind == "plain" and not line.exact


def _has_ink_at_ends(pixels: NDArray[np.uint8], line: Line) -> bool:
    """Return whether the ends of a coloured line may have ticks above or below them.

    Steel has no colour, so that only ticks colour the rows next to a line; where the picture was
    compressed, also the line itself, but its middle then as much as its ends.
    """
    x0, y0, x1, y1 = line.core
    if line.plane != COLOUR_PLANE or x1 - x0 < _LEAST_COLOURED_PX or y0 < 6 or x0 < 4:
        return True
    ink = measure_colour(pixels, line) @ _CHROMA
    for strip in (pixels[y0 - 6 : y0 - 2], pixels[y1 + 2 : y1 + 6]):
        if len(strip) < 4:
            return True
        coloured = strip[:, x0 - 4 : x1 + 4].astype(np.float32) @ _CHROMA
        share = (coloured @ ink / float(ink @ ink)).mean(axis=0)
        usual = float(np.percentile(share[14:-14], 90))
        if max(share[:10].max(), share[-10:].max()) > usual + _TICK_SHARE:
            return True
    return False
