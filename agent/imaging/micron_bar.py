# ruff: noqa: PLR2004 - pixels, grey values and shares, measured on real bars and said where they stand
"""Find what a program burned into a micrograph: the micron bar, its label, the info band.

In:  the pixels. Out: `Graphics`. Next: `specimen_area` and `crop` leave them out.
A bar is a straight run of one colour with abrupt ends, much thinner than long; a bright
needle is none of that to the pixel. The label is read only where such a run was found, so an
image without graphics costs no reading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from agent.imaging import label as labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Plane = NDArray[Any]  # (h, w) grey

Box = tuple[int, int, int, int]

_MOST_READ = 6  # candidates whose surroundings are read, the best first …
_MOST_DETECTED = 2  # … and those for which the detector of words is asked
_STEP = 4  # columns: lines are looked for in every fourth, and measured in all
_COLOUR = 2  # the plane of coloured lines
_CONTRAST = 40  # grey values between a line and what is above and below it


@dataclass(frozen=True, slots=True)
class FoundBar:
    """A bar with what its label says.

    Args:
        line: The line with its ticks. label_box: the words, or None.
        line_px: The length that stands for the label, in pixels.
        label: "20 µm", or "". um: the label in µm, or None.
    """

    line: Box
    label_box: Box | None
    line_px: float
    label: str
    um: float | None

    @property
    def bbox(self) -> Box:
        """The box around line and label."""
        return self.line if self.label_box is None else _union(self.line, self.label_box)


@dataclass(frozen=True, slots=True)
class Graphics:
    """All that was burned in.

    Args:
        bars: Best first; two panels have two.
        band: The full-width info band, or None.
        boxes: Every box that holds graphics and no specimen: bars, labels, text boxes.
    """

    bars: tuple[FoundBar, ...]
    band: Box | None
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A candidate: straight, of one colour, abrupt.

    Args:
        box: The line with its ticks. line_px: what would stand for a label.
        exact: All of one value, as only a program draws. contrast: to what is around it.
        crisp: Share of its columns that fall off within two pixels, above and below.
        kind: "plain", "caps", "comb" or "broken". framed: it is the side of a box.
        gap: Where a broken line leaves room for its label. core: the line without its ticks.
        ticks: (outer x, inner x, top, bottom) of what stands up at its left and right end.
        plane: In which of the planes it was found. rank: how much it looks like a bar.
    """

    box: Box
    line_px: float
    exact: bool
    contrast: float
    crisp: float = 1.0
    kind: str = "plain"
    framed: bool = False
    gap: Box | None = None
    core: Box = (0, 0, 0, 0)
    ticks: tuple[Box | None, Box | None] = (None, None)
    plane: int = 0
    rank: float = 0.0

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]


def find_graphics(pixels: NDArray[np.uint8]) -> Graphics:
    """Find micron bars, their labels and the info band.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        What was burned in; an image without graphics gives no bars, no band and no boxes.
    """
    planes = _planes(pixels)
    band = find_band(pixels)
    lines = _distinct([line for number in range(len(planes)) for line in _lines(planes, number)])
    lines = _with_broken([line for line in lines if not _is_paper(pixels, line, band)])
    bars = _read(pixels, _ranked(lines, band, pixels.shape), band)
    if not any(bar.um is not None for bar in bars):
        combs = _distinct([comb for plane in planes for comb in _combs(plane)])
        bars = _read(pixels, _ranked(combs, band, pixels.shape), band) or bars
    boxes = tuple(bar.bbox for bar in bars)
    return Graphics(bars=tuple(bars), band=band, boxes=boxes)


def _is_paper(pixels: NDArray[np.uint8], line: _Line, band: Box | None) -> bool:
    """Say whether a line is a strip of an info band's own paper, between ticks and rules."""
    if band is None or line.box[3] <= band[1] - 2 or line.box[1] >= band[3] + 2:
        return False
    rows = pixels[band[1] : band[3], ::8].reshape(-1, 3)
    return _alike(_colour(pixels, line), np.median(rows, axis=0), 40)


def _planes(pixels: NDArray[np.uint8]) -> list[Plane]:
    """Give the planes in which drawn lines are bright: light ones, dark ones, coloured ones.

    Red on grey is as bright as grey; its largest channel is bright and its smallest dark.
    """
    red, green, blue = cv2.split(pixels)
    most = cv2.max(cv2.max(red, green), blue)
    least = cv2.min(cv2.min(red, green), blue)
    colour = cv2.subtract(most, least)
    planes: list[Plane] = [most, cv2.bitwise_not(least)]
    if int((colour > 110).sum()) > 20:
        planes.append(colour)
    return planes


# ------------------------------------------------------------------------------------- lines


def _lines(planes: list[Plane], number: int) -> Iterator[_Line]:
    """Yield the straight bright lines of one plane."""
    plane = planes[number]
    height, width = plane.shape
    shortest = max(13, round(0.017 * width)) | 1  # odd: an even kernel shifts by a pixel
    thick = int(np.clip(0.04 * height, 12, 60)) | 1
    runs = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((1, shortest), np.uint8))
    thin = cv2.subtract(runs, cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8)))
    sampled = np.ascontiguousarray(thin[:, ::_STEP])  # a run has three samples at least
    for level in (_CONTRAST, 3 * _CONTRAST):
        mask = (sampled > level).view(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        stats = stats[1:]
        stats[:, [0, 2]] *= _STEP
        w, h, area = stats[:, 2], stats[:, 3], stats[:, 4] * _STEP
        likely = (area >= 0.75 * w * h) & (w >= 1.8 * h) & (h < thick) & (w < 0.95 * width)
        best = np.argsort(-(w * likely))[:160]
        for x, y, wide, high, _ in stats[best[likely[best]]]:
            end = min(width, int(x + wide - _STEP + 1))
            line = _measured(plane, (int(x), int(y), end, int(y + high)), number)
            if line is not None:
                yield line


def _measured(plane: Plane, box: Box, number: int) -> _Line | None:
    """Measure a candidate to the pixel, or refuse it."""
    x0, y0, x1, y1 = box
    height = plane.shape[0]
    inside = plane[y0:y1, x0:x1]
    sampled = inside[:, :: max(1, (x1 - x0) // 12)]
    best_row = int(np.argmax(sampled.sum(axis=1)))
    core = inside[best_row].astype(np.int16)
    beside = plane[[max(0, y0 - 3), min(height - 1, y1 + 2)], x0:x1]
    if float(np.mean(beside[:, ::3] < int(core[0]) // 2 + int(core[-1]) // 2 - 18)) < 0.5:
        return None
    level = float(np.median(core))
    spread = np.abs(core - level)
    if level < 90 or np.mean(spread > 0.18 * level) > 0.07:
        return None
    exact = bool(np.mean(spread <= 1) > 0.97)
    if not exact and (y0 == 0 or y1 == height):
        return None  # a strip that the image's edge makes of an area
    # Within four pixels above and below something else begins, in nearly every column.
    above, below = plane[max(0, y0 - 4) : y0, x0:x1], plane[y1 : min(height, y1 + 4), x0:x1]
    drops = [level - side.min(axis=0).astype(np.int16) for side in (above, below) if side.size]
    if not drops or min(float(np.mean(drop > 25)) for drop in drops) < 0.7:
        return None
    contrast = float(np.mean([np.median(drop) for drop in drops]))
    share = 0.45 if number == _COLOUR else 0.1 if exact else 0.4
    ends = _ends(plane, box, level, share)
    if contrast < _CONTRAST or ends is None:
        return None
    near = [plane[max(0, y0 - 2) : y0, x0:x1], plane[y1 : min(height, y1 + 2), x0:x1]]
    crisp = min(
        float(np.mean(level - side.min(axis=0).astype(np.int16) > 0.6 * contrast))
        for side in near
        if side.size
    )
    box = (ends[0], y0, ends[1], y1)
    line = _Line(box, float(ends[1] - ends[0]), exact, contrast, crisp, core=box, plane=number)
    return _with_ticks(plane, line, level)


def _ends(plane: Plane, box: Box, level: float, share: float) -> tuple[int, int] | None:
    """Say where the line has lost a share of its height, or None where it fades out."""
    x0, y0, x1, y1 = box
    width = plane.shape[1]
    middle = (y0 + y1) // 2
    rows = plane[max(y0, middle - 2) : min(y1, middle + 3)].max(axis=0).astype(np.int16)
    reach = 8 + _STEP
    outer = [rows[max(0, x0 - reach) : x0], rows[x1 : min(width, x1 + reach)]]
    levels = [float(side.min()) if side.size else 0.0 for side in outer]
    if max(levels) > level - 30:
        return None
    left = _crossing(rows, x0, -1, level - share * (level - levels[0]))
    right = _crossing(rows, x1 - 1, 1, level - share * (level - levels[1]))
    return (left, right + 1) if right - left > 8 else None


def _crossing(rows: Plane, start: int, step: int, threshold: float) -> int:
    """Walk outwards while the line goes on, or inwards to where it begins; say its last pixel."""
    at = start
    while 0 <= at + step < len(rows) and rows[at + step] >= threshold and abs(at - start) < 13:
        at += step
    while 0 <= at - step < len(rows) and rows[at] < threshold and abs(at - start) < 13:
        at -= step
    return at


def _with_ticks(plane: Plane, line: _Line, level: float) -> _Line:
    """Find what stands up at the ends of a line: ticks of a bar, or the sides of a box."""
    x0, y0, x1, y1 = line.box
    least = level - (20 if line.exact and line.plane != _COLOUR else 70)
    left = _upright(plane, range(x0 - 1, x0 + 9), y0, y1, least)
    right = _upright(plane, range(x1, x1 - 10, -1), y0, y1, least)
    left = None if left is None or left[0] > x0 + 2 else left
    right = None if right is None or right[0] < x1 - 3 else right
    line = replace(line, ticks=(left, right))  # but for the head of an arrow, a ruler's second
    if left is None or right is None:
        return line
    (la, lb, ltop, lbottom), (rb, ra, rtop, rbottom) = left, right
    tall = max(lbottom, rbottom) - min(ltop, rtop)
    line = replace(line, line_px=(ra + rb) / 2 - (la + lb) / 2)
    alike = abs(ltop - rtop) <= 4 and abs(lbottom - rbottom) <= 4
    if not alike or tall > min(0.12 * plane.shape[0] + 20, 1.1 * line.width):
        return replace(line, framed=True)
    one_sided = ltop >= y0 - 1 or lbottom <= y1 + 1
    far = slice(lbottom - 4, lbottom) if ltop >= y0 - 1 else slice(ltop, ltop + 4)
    if one_sided and _closed(plane[far, x0:x1], level):
        return replace(line, framed=True)
    box = (min(x0, la), min(ltop, rtop), max(x1, rb + 1), max(lbottom, rbottom))
    return replace(line, box=box, kind="ruler" if one_sided else "caps")


def _closed(rows: Plane, level: float) -> bool:
    return bool(np.mean(rows >= level - 40, axis=1).max() > 0.9)


def _upright(
    plane: Plane, columns: range, y0: int, y1: int, least: float
) -> tuple[int, int, int, int] | None:
    """Find the outermost columns that stand above or below: (outer, inner, top, bottom)."""
    height, width = plane.shape
    thick = y1 - y0
    reach = height // 5
    found: list[tuple[int, int, int]] = []
    for x in columns:
        if not 0 <= x < width:
            continue
        bright = plane[max(0, y0 - reach) : min(height, y1 + reach), x] >= least
        middle = (y0 + y1) // 2 - max(0, y0 - reach)
        if not bright[middle]:
            if found:
                break
            continue
        dark_above = np.flatnonzero(~bright[:middle])
        dark_below = np.flatnonzero(~bright[middle:])
        top = int(dark_above[-1]) + 1 if dark_above.size else 0
        bottom = middle + int(dark_below[0]) if dark_below.size else len(bright)
        if bottom - top >= max(thick + 4, 1.5 * thick):
            found.append((x, top, bottom))
        elif found:
            break
    if not found or len(found) > max(5, thick + 3):
        return None
    highs = [b - t for _, t, b in found]
    if highs[0] < 0.75 * max(highs):
        return None  # it rises from a point: the head of an arrow
    top = max(0, y0 - reach) + int(np.median([t for _, t, _ in found]))
    bottom = max(0, y0 - reach) + int(np.median([b for _, _, b in found]))
    return found[0][0], found[-1][0], top, bottom


def _distinct(lines: list[_Line]) -> list[_Line]:
    """Keep one of the candidates that several planes and levels gave."""
    kept: list[_Line] = []
    order = sorted(lines, key=lambda line: (line.exact, line.crisp > 0.9, line.width), reverse=True)
    for line in order[:400]:
        same = (_overlap(line.box, k.box) > 0.6 and _overlap(k.box, line.box) > 0.6 for k in kept)
        if not any(same):
            kept.append(line)
    return kept


def _with_broken(lines: list[_Line]) -> list[_Line]:
    """Add lines that their label breaks in two."""
    joined = []
    halves = sorted(lines, key=lambda line: line.width, reverse=True)[:60]
    for one in halves:
        for other in halves:
            gap = other.box[0] - one.box[2]
            if not 8 < gap < 4 * (one.width + other.width):
                continue
            (_, a0, _, a1), (_, b0, _, b1) = one.box, other.box
            alike = abs(one.width - other.width) <= max(6, 0.25 * one.width)
            level = abs((a0 + a1) - (b0 + b1)) <= 4 and abs((a1 - a0) - (b1 - b0)) <= 4
            long = min(one.width, other.width) >= max(18, 8 * (a1 - a0))
            drawn = one.exact and other.exact
            close = drawn or abs(one.contrast - other.contrast) < 60
            if alike and level and long and close:
                box = (one.box[0], min(a0, b0), other.box[2], max(a1, b1))
                length = float(box[2] - box[0])
                left, right = one.ticks[0], other.ticks[1]
                if left is not None and right is not None:
                    box = (box[0], min(left[2], right[2]), box[2], max(left[3], right[3]))
                    length = (right[0] + right[1] - left[0] - left[1]) / 2
                joined.append(
                    replace(
                        one,
                        box=box,
                        line_px=length,
                        exact=one.exact or other.exact,
                        contrast=min(one.contrast, other.contrast),
                        kind="broken",
                        framed=False,
                        gap=(one.box[2], box[1], other.box[0], box[3]),
                        core=(one.box[0], a0, other.box[2], a1),
                    )
                )
    return lines + joined


def _combs(plane: Plane) -> Iterator[_Line]:
    """Yield rulers that have ticks and no line."""
    up = cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((5, 1), np.uint8))
    thin = cv2.subtract(up, cv2.morphologyEx(up, cv2.MORPH_OPEN, np.ones((1, 7), np.uint8)))
    _, _, stats, _ = cv2.connectedComponentsWithStats((thin > 60).astype(np.uint8), connectivity=4)
    stats = stats[1:]
    w, h, area = stats[:, 2], stats[:, 3], stats[:, 4]
    ticks = stats[(w <= 5) & (h >= 5) & (h <= 70) & (area >= 0.8 * w * h)]
    if len(ticks) > 5000:
        return
    for foot in (ticks[:, 1], ticks[:, 1] + ticks[:, 3]):
        for y in np.unique(foot):
            row = ticks[np.abs(foot - y) <= 1]
            if len(row) >= 5:
                for comb, step in _even(row):
                    if not _goes_on(plane, comb, step, int(row[:, 3].min())):
                        yield comb


def _goes_on(plane: Plane, comb: _Line, step: float, short: int) -> bool:
    """Say whether a comb has another tick beyond one of its ends: then it was not seen whole."""
    x0, y0, x1, y1 = comb.box
    for x in (x0 - step, x1 - 1 + step):
        left, right = round(x) - 2, round(x) + 3
        if left < 3 or right > plane.shape[1] - 3:
            continue
        for rows in (slice(y1 - short, y1), slice(y0, y0 + short)):
            row = plane[rows, left - 3 : right + 3].min(axis=0).astype(np.int16)
            if int(row[3:-3].max()) - int(np.median(row)) > 25:
                return True
    return False


def _even(ticks: NDArray[Any]) -> Iterator[tuple[_Line, float]]:
    """Yield the longest run of ticks with one spacing and one width, one in four may be lost."""
    ticks = ticks[np.argsort(ticks[:, 0])]
    centres = ticks[:, 0] + (ticks[:, 2] - 1) / 2
    best: list[int] = []
    steps = 0
    for first in range(len(ticks) - 4):
        for second in range(first + 1, min(first + 3, len(ticks))):
            step = centres[second] - centres[first]
            if not 3.5 <= step <= 150:
                continue
            run, count = [first, second], 1
            lost = 0
            while True:
                aim = centres[first] + step * (count + 1 + lost)
                near = int(np.argmin(np.abs(centres - aim)))
                if abs(centres[near] - aim) <= 1.5 and near > run[-1]:
                    run.append(near)
                    count += 1 + lost
                    lost = 0
                    step = (centres[near] - centres[first]) / count
                elif lost == 0:
                    lost = 1
                else:
                    break
            if len(run) > len(best) and len(run) > 0.75 * count:
                best, steps = run, count
    if len(best) >= 5 and np.ptp(ticks[best, 2]) <= 2:
        chosen = ticks[best]
        x0, y0 = int(chosen[0, 0]), int(chosen[:, 1].min())
        x1 = int(chosen[-1, 0] + chosen[-1, 2])
        y1 = int((chosen[:, 1] + chosen[:, 3]).max())
        length = float(centres[best[-1]] - centres[best[0]])
        if x1 - x0 > 20:
            box = (x0, y0, x1, y1)
            yield (
                _Line(box, length, exact=True, contrast=100.0, kind="comb", core=box),
                (length / steps),
            )


def _ranked(lines: list[_Line], band: Box | None, shape: Sequence[int]) -> list[_Line]:
    ranked = [replace(line, rank=_rank(line, band, shape)) for line in lines]
    return sorted(ranked, key=lambda line: line.rank, reverse=True)


def _rank(line: _Line, band: Box | None, shape: Sequence[int]) -> float:
    """Say how much a candidate looks like a bar."""
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


# ------------------------------------------------------------------------------------- labels


def _read(pixels: NDArray[np.uint8], ranked: list[_Line], band: Box | None) -> list[FoundBar]:
    """Read around the best candidates; keep those whose label makes them bars.

    Letters in the line's own ink are tried first; the detector, which costs as much as all
    else together, only where the line alone is convincing.
    """
    bars: list[FoundBar] = []
    tried: list[Box] = []
    detected = 0
    for line in ranked:
        if len(tried) >= _MOST_READ:
            break
        if not _worth_reading(line) or any(_within(line.box, done) for done in tried):
            continue
        region = _surroundings(line, pixels.shape)
        tried.append(region)
        inside = [line, *(o for o in ranked if o is not line and _within(o.box, region))]
        bar = _labelled(pixels, inside, region, detect=False)
        if bar is None and detected < _MOST_DETECTED and _is_convincing(line):
            detected += 1 if line.exact else _MOST_DETECTED
            bar = _labelled(pixels, inside, region, detect=True)
        if bar is not None and any(_goes_on_beyond(bar, line) for line in ranked):
            continue
        if bar is not None and not any(_overlap(bar.line, b.line) > 0.3 for b in bars):
            bars.append(bar)
            if band is not None:
                break
    if not bars:
        bars = [_unlabelled(line) for line in ranked[:1] if _is_bar_without_label(line, pixels)]
    return bars


def _is_convincing(line: _Line) -> bool:
    """Say whether a line is so like a bar that its label is worth looking for at length."""
    if line.exact:
        return line.crisp >= 0.85 and line.contrast >= 80 and line.width >= 16
    near_edge = line.rank >= 4.6
    return near_edge and line.crisp >= 0.93 and line.contrast >= 90 and line.width >= 28


def _worth_reading(line: _Line) -> bool:
    """Say whether a candidate is sharp enough to spend time on its surroundings."""
    sharp = line.crisp >= (0.6 if line.exact else 0.75)
    return sharp and not line.framed and line.contrast >= 50 and line.rank >= 3.2


def _surroundings(line: _Line, shape: Sequence[int], wider: float = 1.0) -> Box:
    """Say where a line's label would be."""
    height, width = shape[:2]
    reach = int(wider * np.clip(0.06 * max(height, width), 36, 110))
    x0, y0, x1, y1 = line.box
    side = int(1.4 * reach)
    return (
        max(0, x0 - side),
        max(0, y0 - reach),
        min(width, x1 + side),
        min(height, y1 + reach),
    )


def _labelled(
    pixels: NDArray[np.uint8],
    lines: list[_Line],
    region: Box,
    *,
    detect: bool,
) -> FoundBar | None:
    """Read around a line; read wider where the region's edge cut words in two."""
    bar, cut = _best_pair(pixels, lines, region, detect=detect)
    if bar is None and cut:
        wide = _surroundings(lines[0], pixels.shape, wider=1.8)
        bar, _ = _best_pair(pixels, lines, wide, detect=detect)
    return bar


def _best_pair(
    pixels: NDArray[np.uint8],
    lines: list[_Line],
    region: Box,
    *,
    detect: bool,
) -> tuple[FoundBar | None, bool]:
    """Read the words around the first of some lines; pair a length with the line it labels.

    Returns:
        The bar, or None; and whether words near it were cut by the region's edge.
    """
    x0, y0, x1, _ = region
    views = _views(pixels, lines[0], region)
    picture = views[0]
    found = labels.texts(picture) if detect else _letters(picture, lines[0], pixels, x0)
    places = [(x0 + box[0], y0 + box[1], x0 + box[2], y0 + box[3]) for box in found]
    lines = [line for line in lines if not any(_is_stroke(line, place) for place in places)]
    if not detect:
        near = [
            min((c for c in (_distance(ln, p) for ln in lines) if c is not None), default=9.0)
            for p in places
        ]
        order = np.argsort(near, kind="stable")[:2]
        found, places = [found[i] for i in order], [places[i] for i in order]
    cut = False
    lengths: list[tuple[labels.Length, Box]] = []
    for box, around in zip(found, places, strict=True):
        if all(_distance(line, around) is None for line in lines):
            continue
        if (x0 and box[0] <= 2) or (x1 < pixels.shape[1] and box[2] >= x1 - x0 - 2):
            cut = True
            continue
        for length in labels.read_lengths(views, box):
            left, right = (round(at * (box[2] - box[0])) for at in (length.start, length.end))
            lengths.append((length, (around[0] + left, around[1], around[0] + right, around[3])))
    return _paired(pixels, lines, lengths), cut


def _paired(
    pixels: NDArray[np.uint8], lines: list[_Line], lengths: list[tuple[labels.Length, Box]]
) -> FoundBar | None:
    """Pair a length with the line it labels: near it, in its colour, not in its paper's."""
    best: tuple[float, FoundBar] | None = None
    colours = [_colour(pixels, line) for line in lines]
    for length, place in lengths:
        paper, ink = _paper_and_ink(pixels, place, colours[0] if colours else None)
        for line, colour in zip(lines, colours, strict=True):
            cost = _distance(line, place)
            if cost is None or _alike(colour, paper, 40):
                continue
            if not _alike(colour, ink, 90):
                if not line.exact:
                    continue
                cost += 0.4
            cost -= 0.15 * line.rank
            if best is None or cost < best[0]:
                bar = FoundBar(line.box, place, line.line_px, length.words, length.um)
                best = (cost, bar)
    return None if best is None else best[1]


def _views(pixels: NDArray[np.uint8], line: _Line, region: Box) -> list[NDArray[np.uint8]]:
    """Cut out a region without its line, so that ticks and arrows are not read as letters.

    Where the line is coloured, the first picture is of the colour alone: texture has none.
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
    if line.plane != _COLOUR:
        return [picture]
    ink = cv2.bitwise_not(cv2.subtract(picture.max(axis=2), picture.min(axis=2)))
    return [np.asarray(cv2.merge([ink, ink, ink]), np.uint8), picture]


def _paint_over(picture: NDArray[np.uint8], box: Box) -> None:
    height, width = picture.shape[:2]
    x0, y0 = max(0, box[0]), max(0, box[1])
    x1, y1 = min(width, box[2]), min(height, box[3])
    rim = np.concatenate([picture[max(0, y0 - 2) : y0, x0:x1], picture[y1 : y1 + 2, x0:x1]])
    picture[y0:y1, x0:x1] = np.median(rim.reshape(-1, 3), axis=0) if rim.size else 0


def _ink(picture: NDArray[np.uint8], line: _Line, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which pixels of a picture have the colour of a line."""
    if line.plane == _COLOUR:
        grey = picture[:, :, 0]
        return np.asarray(grey < 0.5 * float(np.median(grey)))
    x0, y0, x1, y1 = line.core
    colour = np.median(pixels[y0:y1, x0:x1].reshape(-1, 3), axis=0)
    off = cv2.absdiff(picture, np.full_like(picture, colour.astype(np.uint8))).max(axis=2)
    return np.asarray(off < 0.42 * max(60.0, float(np.median(off))))


def _letters(
    picture: NDArray[np.uint8], line: _Line, pixels: NDArray[np.uint8], left: int
) -> list[Box]:
    """Find rows of letters in the ink of a line; those of a broken line stand in its gap."""
    ink = _ink(picture, line, pixels)
    if line.gap is not None:
        ink[:, : max(0, line.gap[0] - left)] = False
        ink[:, max(0, line.gap[2] - left) :] = False
    return labels.rows_of_ink(ink)


def _paper_and_ink(
    pixels: NDArray[np.uint8], place: Box, line: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Say the colour that words are written on, and the colour they are written in.

    Where enough of the words has the colour of the line they were read for, it is that one.
    """
    x0, y0, x1, y1 = place
    words = pixels[y0:y1, x0:x1].reshape(-1, 3).astype(np.int16)
    paper = np.median(words, axis=0)
    off = np.abs(words - paper).max(axis=1)
    ink = np.median(words[off >= np.percentile(off, 92)], axis=0)
    if line is not None and float(np.mean(np.abs(words - line).max(axis=1) < 70)) > 0.08:
        ink = line
    return paper, ink


def _colour(pixels: NDArray[np.uint8], line: _Line) -> NDArray[Any]:
    x0, y0, x1, y1 = line.core
    rows = pixels[y0:y1, x0:x1]
    if line.gap is not None:
        rows = rows[:, : max(1, line.gap[0] - x0)]
    if line.kind == "comb":
        rows = rows[-3:, :1]
    colour: NDArray[Any] = np.median(rows.reshape(-1, 3), axis=0)
    return colour


def _alike(one: NDArray[Any], other: NDArray[Any], within: float) -> bool:
    return bool(np.abs(one - other).max() < within)


def _goes_on_beyond(bar: FoundBar, other: _Line) -> bool:
    """Say whether a bar is but the half of one that its label breaks, of which this is more."""
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


def _is_stroke(line: _Line, place: Box) -> bool:
    """Say whether a line is a stroke of a letter, or the paper between letters."""
    if line.gap is not None or line.kind == "comb":
        return False
    high = place[3] - place[1]
    return _overlap(line.box, place) > 0.6 and line.width < 1.1 * high


def _distance(line: _Line, place: Box) -> float | None:
    """Say how far a label is from being where this line's label would be, or None."""
    x0, y0, x1, y1 = line.box
    high = max(8, place[3] - place[1])
    if line.width < max(0.7 * high, 0.32 * (place[2] - place[0])):
        return None
    middle_x, middle_y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    penalty = (0.0 if line.exact else 0.3) + (1.5 if line.framed else 0.0) + (1 - line.crisp)
    if line.gap is not None:
        room = 0.35 * high  # words are boxed with some room around them
        inside = line.gap[0] - room <= place[0] and place[2] <= line.gap[2] + room
        return 0.2 * penalty if inside and place[1] <= (y0 + y1) / 2 <= place[3] else None
    overlap = min(x1, place[2]) - max(x0, place[0])
    beside = not x0 < middle_x < x1 and overlap < 0.5 * (place[2] - place[0])
    if overlap > 0.3 * high and not (beside and y0 - 0.3 * high <= middle_y <= y1 + 0.3 * high):
        through = min(y1, place[3] - 0.2 * high) - max(y0, place[1] + 0.2 * high)
        away = max(place[1] - y1, y0 - place[3], 0) / high
        if away > 2.5 or through > 0.15 * high:
            return None
        return away + 0.3 * abs(middle_x - (x0 + x1) / 2) / max(x1 - x0, 1) + penalty
    if y0 - 0.7 * high <= middle_y <= y1 + 0.7 * high:
        away = max(0, -overlap) / high
        return 0.3 + away + penalty if away < 3 else None
    return None


def _unlabelled(line: _Line) -> FoundBar:
    return FoundBar(line.box, None, line.line_px, "", None)


def _is_bar_without_label(line: _Line, pixels: NDArray[np.uint8]) -> bool:
    """Believe a bar that has no label only if nothing else can look like it."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = line.box
    cornered = min(y0, height - y1) < 0.15 * height and min(x0, width - x1) < 0.15 * width
    drawn = line.exact and line.contrast > 80 and not line.framed and line.width >= 30
    solid = line.kind == "plain" and line.height >= 3 and line.width >= 4 * line.height
    caps = line.kind == "caps" and line.crisp > 0.85
    return drawn and cornered and (caps or (solid and line.crisp > 0.97))


# ------------------------------------------------------------------------------------- the band


def find_band(pixels: NDArray[np.uint8]) -> Box | None:
    """Find the info band: full-width rows of one exact colour with words on it.

    Args:
        pixels: (h, w, 3) uint8, RGB.

    Returns:
        The band, or None. It need not reach the image's edge.
    """
    height, width = pixels.shape[:2]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    best: Box | None = None
    for level in _flat_levels(grey):
        paper = cv2.inRange(grey, max(0, level - 4), min(255, level + 4)).mean(axis=1) / 255.0
        for top, bottom in _stretches(paper > 0.35):
            if not 0.02 * height <= bottom - top <= 0.4 * height:
                continue
            inner = paper[top:bottom]
            if np.mean(inner > 0.97) < 0.08 or np.median(inner) < 0.6:
                continue
            if _is_drawn(grey[top:bottom], level) and (
                best is None or bottom - top > best[3] - best[1]
            ):
                best = (0, top, width, bottom)
    return best


def _is_drawn(band: Plane, level: int) -> bool:
    """Say whether a band is flat to the grey value, and what is on it is far from its colour."""
    off = cv2.absdiff(band, np.full_like(band, level))
    words = float(np.mean(off > 60))
    between = float(np.mean((off > 8) & (off <= 60)))
    flat = float(np.mean(off[off <= 8] <= 2)) if (off <= 8).any() else 0.0
    return words > 0.002 and between < max(0.02, 1.2 * words) and flat > 0.9


def _flat_levels(grey: Plane) -> list[int]:
    """Say which grey values fill whole rows near the top or the bottom."""
    height = grey.shape[0]
    levels: dict[int, int] = {}
    for y in [*range(0, height // 4, 4), *range(3 * height // 4, height, 4)]:
        row = grey[y]
        level = int(np.median(row))
        if np.mean(np.abs(row.astype(np.int16) - level) <= 4) > 0.9:
            levels[level] = levels.get(level, 0) + 1
    return sorted(levels, key=lambda level: -levels[level])[:3]


def _stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _union(one: Box, other: Box) -> Box:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def _within(inner: Box, outer: Box) -> bool:
    return (
        inner[0] >= outer[0]
        and inner[1] >= outer[1]
        and inner[2] <= outer[2]
        and inner[3] <= outer[3]
    )


def _overlap(one: Box, other: Box) -> float:
    """Say which share of `one` lies in `other`."""
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / max(1, (one[2] - one[0]) * (one[3] - one[1]))
