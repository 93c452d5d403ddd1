# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars, explained in place
"""Measure the length of a drawn line to subpixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.imaging.boxes import Box, find_runs
from agent.imaging.scale_bar.planes import COLOUR_PLANE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.imaging.scale_bar.line import Line

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
