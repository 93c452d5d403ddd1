# ruff: noqa: PLR2004 - shares and spreads, chosen on fields of some labs and measured on others
"""Find straight borders by the profile of tone, colour and roughness across the field.

The first question to a field: does its mean over a line change in a step, all along that line,
that is large against the field's own spread? The answer holds for a strip at a side, tilted by up
to 7 degrees, from 1 % of the height on, for two sides, and for a band between two specimens. The
network maps what is curved, at a corner or of the tone of the steel.

Source:
    The means of rows that a yardstick uses (`tests/bench/border_strips.py`), in pieces, so that
    one coarse particle is no edge, and for tilted lines, a Radon transform of small angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.specimen.grid import OCTAVE, Mask, Plane

PIECES = 24
"""Pieces of a line whose steps are measured apart."""
WINDOW, GAP = 20, 2
"""Depth in pixels of the windows whose means are compared, and left out at the line itself."""
LEAST = np.array([2.0, 0.8, 0.8, 6.0])
"""Smallest credible spread of light, the two colours, and roughness in units of `OCTAVE`."""
LARGEST = 4.0
"""Spreads from which a step of a piece counts no more, so that one piece is no line."""
SURE = 2.2
"""Mean step of the pieces, in spreads, from which a line is an edge."""
STRAIGHT, CURVED = 2.5, 6.0
"""Pixels by which half of the pieces may lie off a line: a carbide's edge is 3 to 9 off, that of a
ground specimen up to 2.2; where the network sees a mount."""
THIN = 0.007
"""Share of the height from which a strip counts."""
LAYER = 0.12
"""Share of the field up to which a part next to the steel and a mount may be its rim."""
FLAT = OCTAVE * float(np.log2(0.6))
"""Log roughness of a part without even the camera's noise, which no steel is: overexposed."""
UNLIKE, MOUNT = 0.75, 0.5
"""Share of a part whose look only the outer sixth of the steel has, from which the part lies
outside; the same where the network sees a mount."""
_APART = WINDOW + 2 * GAP  # rows between two edges
_SHIFT = 12  # pixels by which tilted lines differ at their ends
_TILT = 0.13  # largest shift, as a share of the length of the line
_ROUGH = 10  # rows from which roughness is measured
_LASTING = 0.5  # share of a step that remains when the rows next to the line are left out
_STEEP = 6  # rows on both sides of an edge that place it
_EVERY = 2  # rows between lines that are tried
_SIZES = (1, 2, 4, 8, 16, WINDOW)  # depths of windows for which the spread is measured


@dataclass(frozen=True, slots=True)
class StraightEdge:
    """An edge across the field.

    Args:
        depth: Rows from the top to the line at the middle of its length.
        shift: Rows by which its right end is deeper than its left end.
        score: Mean step of the pieces, in spreads of the field.
        off: Rows between its pieces and the line, median.
    """

    depth: float
    shift: float
    score: float
    off: float = np.inf


def find_strips(small: NDArray[np.uint8], usable: Mask, mount: Plane) -> tuple[Mask, Mask]:
    """Return what straight edges part from the specimen: the outside, and further specimens.

    Args:
        small: (4 gh, 4 gw, 3) uint8, RGB, of `shrink`.
        usable: (gh, gw) bool, False where graphics are.
        mount: (gh, gw), the network's probability of a mount.

    Returns:
        (gh, gw) bool each.
    """
    cells = usable
    size = small.shape[1::-1]
    usable = cv2.resize(usable.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    mount = cv2.resize(mount, size, interpolation=cv2.INTER_NEAREST)
    outside, further = np.zeros(usable.shape, bool), np.zeros(usable.shape, bool)
    rows, columns = (np.flatnonzero(usable.mean(axis=1 - axis) > 0.5) for axis in (0, 1))
    if min(len(rows), len(columns)) < 4 * WINDOW:
        return np.zeros(cells.shape, bool), np.zeros(cells.shape, bool)
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    planes = _compute_planes(small[part], usable[part])
    for turned in (False, True):
        looks = planes.transpose(0, 2, 1) if turned else planes
        odds = mount[part].T if turned else mount[part]
        masks = _find_segments(looks, odds)
        for whole, mask in zip((outside, further), masks, strict=True):
            whole[part] |= mask.T if turned else mask
    outside, further = (
        cv2.resize(mask.astype(np.float32), cells.shape[::-1], interpolation=cv2.INTER_AREA) > share
        for mask, share in ((outside, 0.3), (further & ~outside, 0.7))
    )
    return outside & cells, further & cells


def _compute_planes(small: NDArray[np.uint8], usable: Mask) -> Plane:
    """Return light, the two colours and log roughness, (4, h, w)."""
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    rough = cv2.absdiff(grey, cv2.blur(grey, (3, 3))).astype(np.float32)
    per_light = 128 / np.maximum(lab[:, :, 0], 32)  # a dark grain has less colour
    planes: Plane = np.stack(
        [
            lab[:, :, 0],
            (lab[:, :, 1] - 128) * per_light,
            (lab[:, :, 2] - 128) * per_light,
            OCTAVE * np.log2(cv2.blur(rough, (9, 9)) + 0.5),
        ]
    )
    if not usable.all():
        for plane in planes:
            plane[~usable] = np.median(plane[usable])
    return planes


# -------------------------------------------------------------------------------------- lines


def _find_lines(pieces: Plane, length: int) -> list[StraightEdge]:
    """Return the edges across a field of this length, from the top."""
    steps, depths = _measure_steps(pieces)
    shifts = np.arange(-(_TILT * length // _SHIFT) * _SHIFT, _TILT * length + 1, _SHIFT)
    scores = np.abs(_score_lines(np.clip(steps, -LARGEST, LARGEST), shifts))
    lines: list[StraightEdge] = []
    for _ in range(8):
        at, plane, row = np.unravel_index(int(np.argmax(scores)), scores.shape)
        if scores[at, plane, row] < SURE:
            break
        line = StraightEdge(float(depths[row]), float(shifts[at]), float(scores[at, plane, row]))
        line = _settle(pieces[plane], line, steps[plane, row])
        # Between two edges the flank of one settles on it.
        if _lasts(pieces[plane], line) and not any(_is_near(line, other) for other in lines):
            lines.append(line)
        beyond = np.abs(shifts - shifts[at])[:, None] / 2
        near = np.abs(depths - depths[row]) < _APART + beyond
        np.moveaxis(scores, 1, 2)[near] = 0
    return sorted(lines, key=lambda line: line.depth)


def _is_near(line: StraightEdge, other: StraightEdge) -> bool:
    return abs(line.depth - other.depth) < _APART + abs(line.shift - other.shift) / 2


def _average_pieces(looks: Plane) -> Plane:
    """Return the means of the pieces of each row, (4, h, `PIECES`)."""
    count, height, length = looks.shape
    wide = length // PIECES
    first = (length - wide * PIECES) // 2
    inner = looks[:, :, first : first + wide * PIECES]
    means: Plane = inner.reshape(count, height, PIECES, wide).mean(axis=3)
    return means


def _measure_steps(pieces: Plane) -> tuple[Plane, NDArray[np.intp]]:
    """Return the steps of each piece in spreads of the field, (4, depths, `PIECES`), and depths."""
    height = pieces.shape[1]
    sums = np.pad(np.cumsum(pieces, axis=1, dtype=np.float64), ((0, 0), (1, 0), (0, 0)))

    def mean(top: NDArray[np.intp], foot: NDArray[np.intp]) -> Plane:
        means: Plane = (sums[:, foot] - sums[:, top]) / (foot - top)[None, :, None]
        return means

    depths = np.arange(GAP + 2, height - GAP - 1, _EVERY)
    above, below = depths - GAP, depths + GAP
    top, foot = np.maximum(above - WINDOW, 0), np.minimum(below + WINDOW, height)
    steps = mean(below, foot) - mean(top, above)
    inner = np.arange(int(0.1 * height), int(0.9 * height), 3)
    inner = inner[(inner >= WINDOW + GAP) & (inner + WINDOW + GAP <= height)]
    spreads = []
    for size in _SIZES:
        own = mean(inner + GAP, inner + GAP + WINDOW) - mean(inner - GAP - size, inner - GAP)
        low, high = np.percentile(own.reshape(len(pieces), -1), [16, 84], axis=1)
        spreads.append((high - low) / 2)
    spread = np.maximum(np.stack(spreads, axis=1), LEAST[:, None])  # (4, sizes)
    size = np.minimum(above - top, foot - below)
    steps[3, size < _ROUGH] = 0  # roughness is smoothed over more rows than these
    return steps / spread[:, np.searchsorted(_SIZES, size, side="right") - 1][:, :, None], depths


_OFF = (np.arange(PIECES) - (PIECES - 1) / 2) / (PIECES - 1)


def _score_lines(steps: Plane, shifts: NDArray[np.float64]) -> Plane:
    """Return the mean step along each line, (shifts, 4, depths); less where part is cut off."""
    count, depths, _ = steps.shape
    pad = int(shifts.max() / 2 / _EVERY) + 1
    padded = np.pad(steps.astype(np.float32), ((0, 0), (pad, pad), (0, 0)))
    within = np.pad(np.ones(depths, np.float32), pad)
    scores = np.empty((len(shifts), count, depths), np.float32)
    for row, shift in enumerate(shifts):
        starts = np.rint(shift * _OFF / _EVERY).astype(int) + pad
        total = np.zeros((count, depths), np.float32)
        pieces = np.zeros(depths, np.float32)
        for piece, start in enumerate(starts):
            total += padded[:, start : start + depths, piece]
            pieces += within[start : start + depths]
        scores[row] = total / np.sqrt(PIECES * np.maximum(pieces, PIECES / 3))
    return scores


def _settle(pieces: Plane, line: StraightEdge, step: Plane) -> StraightEdge:
    """Return a line moved to where its pieces change most, and how far they are from it.

    Args:
        pieces: (h, `PIECES`), the plane that shows the line.
        line: About where it is.
        step: (`PIECES`,), the steps there.
    """
    height = len(pieces)
    sums = np.pad(np.cumsum(pieces, axis=0, dtype=np.float64), ((1, 0), (0, 0)))
    near = np.arange(-_SHIFT, _SHIFT + 1)
    at = np.rint(line.depth + line.shift * _OFF).astype(int) + near[:, None]  # (near, pieces)
    inside = (at >= 2) & (at <= height - 2)
    at = np.clip(at, 2, height - 2)
    piece = np.arange(PIECES)
    up, down = np.maximum(at - _STEEP, 0), np.minimum(at + _STEEP, height)
    below = (sums[down, piece] - sums[at, piece]) / (down - at)
    above = (sums[at, piece] - sums[up, piece]) / (at - up)
    size = np.where(inside, (below - above) * np.sign(step.sum()), -np.inf)
    best = at[np.argmax(size, axis=0), piece].astype(float)
    present = inside.sum(axis=0) >= _SHIFT
    known = present
    for _ in range(3):
        if known.sum() < 6:
            return line
        slope, depth = np.polyfit(_OFF[known], best[known], 1)
        off = np.abs(best - depth - slope * _OFF)
        known = present & (off <= max(1.5, 2 * float(np.median(off[present]))))
    return StraightEdge(float(depth), float(slope), line.score, float(np.median(off[present])))


def _lasts(pieces: Plane, line: StraightEdge) -> bool:
    """Return whether the step at a line is one between its two sides, not a hair or a scratch."""
    height = len(pieces)
    at = np.rint(line.depth + line.shift * _OFF).astype(int)
    if at.min() < 4 * _STEEP or at.max() > height - 4 * _STEEP:
        return True
    rows = np.arange(height)[:, None]

    def step(gap: int) -> float:
        below = (rows >= at + gap) & (rows < at + gap + WINDOW)
        above = (rows < at - gap) & (rows >= at - gap - WINDOW)
        return float(pieces[below].mean() - pieces[above].mean())

    return step(2 * _STEEP) / step(GAP) > _LASTING


# ----------------------------------------------------------------------------------- segments


def _find_segments(looks: Plane, mount: Plane) -> tuple[Mask, Mask]:
    """Return what lies outside between the edges across the field, and further specimens."""
    height, length = mount.shape
    outside, further = np.zeros((height, length), bool), np.zeros((height, length), bool)
    pieces = _average_pieces(looks)
    lines = [line for line in _find_lines(pieces, length) if _is_parting(line, height)]
    if not lines:
        return outside, further
    odds = _average_pieces(mount[None])[0]
    segments = _divide(np.arange(height)[:, None], lines, _OFF)
    sizes = np.array([segment.mean() for segment in segments])
    flat = [float(np.median(pieces[3, segment])) < FLAT for segment in segments]
    chances = np.array([float(odds[segment].mean()) for segment in segments])
    chances[flat] = 1.0
    steel = int(np.argmax(sizes * (1 - chances)))
    low, high = np.percentile(pieces[:, segments[steel]], [16, 84], axis=1)
    low, high = (low - LEAST / 2)[:, None, None], (high + LEAST / 2)[:, None, None]
    unlike = [
        max(
            float(beyond[:, segment].mean(axis=1).max()) for beyond in (pieces < low, pieces > high)
        )
        for segment in segments
    ]
    masks = _divide(np.arange(height)[:, None], lines, np.linspace(-0.5, 0.5, length))
    mounts = [
        chance > 0.5 and share >= MOUNT for chance, share in zip(chances, unlike, strict=True)
    ]
    for number, mask in enumerate(masks):
        if number == steel:
            continue
        side = 1 if number > steel else -1
        last = not 0 <= number + side < len(masks)
        edges = lines[max(0, number - 1) : number + 1]
        if not last and mounts[number + side]:  # the edge away from the steel is not its own
            edges = edges[:1] if side > 0 else edges[1:]
        straight = all(line.off <= STRAIGHT for line in edges)
        if mounts[number] or (straight and unlike[number] >= UNLIKE):
            layer = sizes[number] < LAYER and chances[number] < 0.5 and number == steel + side
            beyond = 0 if last else unlike[number + side]
            if not (layer and beyond >= UNLIKE):  # a rim or a coating is a zone along the edge
                outside |= mask
        elif abs(number - steel) > 1 and unlike[number] < MOUNT:
            further |= mask
    return outside, further


def _is_parting(line: StraightEdge, height: int) -> bool:
    """Return whether a line parts a strip from the field, and is one."""
    return THIN * height <= line.depth <= (1 - THIN) * height and line.off <= CURVED


def _divide(y: Plane, lines: list[StraightEdge], across: Plane) -> list[Mask]:
    """Return the masks between lines; `across` runs from -0.5 to 0.5 along them."""
    edges = [np.full(len(across), -1.0), *(line.depth + line.shift * across for line in lines)]
    edges.append(np.full(len(across), np.inf))
    return [(y >= upper) & (y < lower) for upper, lower in pairwise(edges)]
