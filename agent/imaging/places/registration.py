"""Register two micrographs by their landmarks: whether they show one place, and how much of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.imaging.places.descriptors import compute_likenesses
from agent.imaging.places.landmarks import Landmarks

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]
Points = NDArray[np.complex64]

SAME_PLACE = 0.25
"""Share of the smaller micrograph from which two micrographs show one place."""

LEAST_PLACES = 6
"""Distinct places at which the landmarks of both must agree."""

_LEAST_AGREEING = 0.08  # of the landmarks in the overlap, of the micrograph that has fewer there
_LEAST_PRODUCT = 1.6  # share that agrees x places: few places prove something if most agree
_UNMOVED_PX, _LEAST_UNMOVED = 3.0, 0.15
"""Dirt on the camera and remnants of a scale bar lie at the same pixels in all its micrographs, so
more must agree where nothing moved. Working pixels."""

_LEAST_UNIQUE = 0.5  # of the agreeing landmarks: a periodic pattern agrees wherever it is laid
_LEAST_WIDTH = 0.1  # spread of the agreeing landmarks across their narrow side, of the overlap's
_LEAST_LANDMARKS = 4
_LEAST_VOTES = 3
_PAIRS = 160  # most distinctive pairs of landmarks, each of which proposes a motion
_MOTIONS = 2  # best proposals that are refined
_ROUNDS = 3  # of refining; the tolerance halves from the first to the last
_STRETCHED = 0.15  # largest |stretch| of a motion, as a share of |turn|: 1.35 to one
_RIGID = 0.3  # share that agrees from which no stretch is looked for
_GAINED = 1.3  # landmarks that a stretch must make agree for one that agrees without
_SCALE = 4.5  # largest change of scale in working pixels: magnification x different crop
_TOLERANCE = 2.5  # working pixels
_OF_SIZE = 0.25  # tolerance as a share of a landmark's diameter
_GROWTH = 1.5  # largest factor between an expected and a found diameter
_TURN = np.float32(np.cos(np.deg2rad(25)))  # largest turn from the expected orientation
_LIKE = 0.5  # least inner product of the vectors of two patches at one place
_PLACE = 8  # side of a place in working pixels of the finer micrograph


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """The common area of two micrographs.

    Args:
        share_of_smaller: Overlap as a share of the micrograph that shows less, in (0, 1]. Corners
            that an export filled up and what is not valid count as shown.
        area_px: Overlap in pixels of the first crop.
        other_area_px: Overlap in pixels of the second crop.
        transform: (2, 3) float64, from x and y in the first crop to those in the second; the centre
            of the first pixel is at 0.5.
        mirrored: Whether one is a mirror image.
        inverted: Whether one has black and white exchanged.
        scale: Pixels of the second crop for one pixel of the first.
        inliers: Landmarks that agree.
        places: Distinct places at which they do.
        agreeing: Inliers as a share of the landmarks in the overlap, of the micrograph with fewer.
        width: Spread of the inliers across their narrow side, as a share of the overlap's.
        unique: Share of the inliers that are more alike than with any landmark elsewhere; of a
            periodic pattern nearly none.
        is_unmoved: Whether the second crop shows it at the same pixels, neither turned nor scaled.
    """

    share_of_smaller: float
    area_px: float
    other_area_px: float
    transform: NDArray[np.float64]
    mirrored: bool
    inverted: bool
    scale: float
    inliers: int
    places: int
    agreeing: float
    width: float
    unique: float
    is_unmoved: bool

    @property
    def is_proven(self) -> bool:
        """Whether the landmarks prove that the two micrographs show steel in common."""
        least = _LEAST_UNMOVED if self.is_unmoved else _LEAST_AGREEING
        return (
            self.places >= LEAST_PLACES
            and self.agreeing >= max(least, _LEAST_PRODUCT / self.places)
            and self.width >= _LEAST_WIDTH
            and self.unique >= _LEAST_UNIQUE
        )


def register(first: Landmarks, second: Landmarks, *, inverted: bool = False) -> Overlap | None:
    """Return the overlap of two micrographs, or None if no place in common is proven.

    Args:
        first: Landmarks of the first micrograph.
        second: Landmarks of the second micrograph.
        inverted: Whether an exchange of black and white is tried as well; takes twice the time.

    Returns:
        The overlap, however small; compare its share with `SAME_PLACE`.
    """
    overlap = measure_overlap(first, second, inverted=inverted)
    return overlap if overlap is not None and overlap.is_proven else None


def measure_overlap(
    landmarks: Landmarks, other_landmarks: Landmarks, *, inverted: bool
) -> Overlap | None:
    """Return the overlap that fits best, proven or not; None if there is none."""
    if min(len(landmarks), len(other_landmarks)) < _LEAST_LANDMARKS:
        return None
    second = _View.build(other_landmarks)
    likenesses = compute_likenesses(landmarks.codes, other_landmarks.codes, inverted=inverted)
    best: tuple[_Fit, _View] | None = None
    for first, likeness in zip(_View.build_all(landmarks), likenesses, strict=False):
        fit = _fit(first, second, likeness)
        if fit is not None and (best is None or len(fit.ours) > len(best[0].ours)):
            best = fit, first
    return None if best is None else _describe(best[0], best[1], second)


@dataclass(frozen=True, slots=True)
class _View:
    """Landmarks in working pixels, as complex numbers x + iy.

    Args:
        points: (n,) positions.
        frames: (n,) vectors of a landmark's orientation, as long as its diameter.
        sizes: (n,) diameters.
        width: Of the working picture, pixels.
        height: Of the working picture, pixels.
        factor: Working pixels for one pixel of the crop.
        mirrored: Whether the micrograph is mirrored here.
        inverted: Whether black and white are exchanged here.
    """

    points: Points
    frames: Points
    sizes: NDArray[np.float32]
    width: float
    height: float
    factor: float
    mirrored: bool
    inverted: bool

    @classmethod
    def build(cls, landmarks: Landmarks) -> _View:
        """Return the micrograph as it is."""
        return next(cls.build_all(landmarks))

    @classmethod
    def build_all(cls, landmarks: Landmarks) -> Iterator[_View]:
        """Yield it as it is, mirrored, inverted, and both."""
        factor = landmarks.working_factor
        width, height = landmarks.width * factor, landmarks.height * factor
        sizes = landmarks.sizes * np.float32(factor)
        points = (landmarks.positions @ np.array([1, 1j])) * factor
        frames = sizes * np.exp(1j * landmarks.orientations)
        views = [(points, frames), (width - points.conj(), -frames.conj())]
        for inverted in (False, True):
            for mirrored, (at, along) in enumerate(views):
                yield cls(
                    at.astype(np.complex64),
                    # The gradient of an inverted picture points the other way.
                    (-along if inverted else along).astype(np.complex64),
                    sizes,
                    width,
                    height,
                    factor,
                    bool(mirrored),
                    inverted,
                )

    def contains(self, points: Points) -> Mask:
        """Return which points are in the picture."""
        inside: Mask = (points.real >= 0) & (points.real < self.width)
        inside &= (points.imag >= 0) & (points.imag < self.height)
        return inside


class _Motion(NamedTuple):
    """A turn and a scale, a stretch, then a shift: z -> turn z + stretch conj(z) + shift."""

    turn: complex
    shift: complex
    stretch: complex = 0j

    @property
    def area(self) -> float:
        """Area that it makes of one."""
        return abs(self.turn) ** 2 - abs(self.stretch) ** 2

    def move(self, points: Points) -> Points:
        """Return where it puts points."""
        moved: Points = (self.turn * points + self.shift).astype(np.complex64)
        if self.stretch:
            moved += (self.stretch * points.conj()).astype(np.complex64)
        return moved

    def move_back(self, points: Points) -> Points:
        """Return what it puts at points."""
        at = points - self.shift
        if self.stretch:
            at = (np.conj(self.turn) * at - self.stretch * at.conj()) / self.area
        else:
            at = at / self.turn
        back: Points = at.astype(np.complex64)
        return back


class _Fit(NamedTuple):
    """A motion and the landmarks that agree with it, pair by pair."""

    motion: _Motion
    ours: Indices
    theirs: Indices
    expected: int  # landmarks in the overlap, of the micrograph with fewer
    unique: float  # share of the pairs that are more alike than with any landmark elsewhere


def _fit(first: _View, second: _View, likeness: NDArray[np.float32]) -> _Fit | None:
    """Return the motion from the first to the second on which most landmarks agree."""
    ours, theirs = _pair(likeness)
    turns = second.frames[theirs] / first.frames[ours]
    possible = (np.abs(turns) < _SCALE) & (np.abs(turns) > 1 / _SCALE)
    ours, theirs, turns = ours[possible], theirs[possible], turns[possible]
    if len(ours) < _LEAST_VOTES:
        return None
    from_points, to_points = first.points[ours], second.points[theirs]
    supports = _find_supports(from_points, to_points, turns, second.sizes[theirs])
    votes = supports.sum(axis=1)
    best: _Fit | None = None
    for at in np.argsort(-votes, kind="stable")[:_MOTIONS]:
        if votes[at] < _LEAST_VOTES:
            break
        motion = _solve(from_points[supports[at]], to_points[supports[at]])
        fit = _refine(first, second, likeness, motion)
        if fit is not None and len(fit.ours) < _RIGID * fit.expected:
            stretched = _refine(first, second, likeness, fit.motion, stretched=True)
            if stretched is not None and len(stretched.ours) >= _GAINED * len(fit.ours):
                fit = stretched
        if fit is not None and (best is None or len(fit.ours) > len(best.ours)):
            best = fit
    return best


def _pair(likeness: NDArray[np.float32]) -> tuple[Indices, Indices]:
    """Return the pairs of landmarks most distinctively alike, in either direction.

    Distinctive is what is much more alike than the second best: texture repeats itself.
    """
    rows, columns = (np.arange(n) for n in likeness.shape)
    nearest = likeness.argmax(axis=1)
    margins = [_compute_margins(likeness, rows, nearest, axis=1)]
    # The same of each column, without a transposed copy: of equals, the first row is written last.
    equal_rows, equal_columns = _find_true(likeness == likeness.max(axis=0))
    nearest_rows = np.empty(len(columns), np.intp)
    nearest_rows[equal_columns[::-1]] = equal_rows[::-1]
    margins.append(_compute_margins(likeness, nearest_rows, columns, axis=0))
    ours, theirs = np.concatenate([rows, nearest_rows]), np.concatenate([nearest, columns])
    order = np.argsort(-np.concatenate(margins), kind="stable")[: 2 * _PAIRS]
    _, once = np.unique(ours[order] * likeness.shape[1] + theirs[order], return_index=True)
    order = order[np.sort(once)][:_PAIRS]
    return ours[order], theirs[order]


def _compute_margins(
    likeness: NDArray[np.float32], rows: Indices, columns: Indices, *, axis: int
) -> NDArray[np.float32]:
    """Return by how much the best of each line is above its second best.

    Args:
        likeness: (n, m); changed for a moment, since a copy would cost more than the search.
        rows: Row of the best of each line.
        columns: Column of the best of each line.
        axis: 1 for the best of each row, 0 for that of each column.
    """
    best = likeness[rows, columns]
    likeness[rows, columns] = -1
    margins: NDArray[np.float32] = best - likeness.max(axis=axis)
    likeness[rows, columns] = best
    return margins


def _find_supports(
    from_points: Points, to_points: Points, turns: Points, sizes: NDArray[np.float32]
) -> Mask:
    """Return (k, k): which pairs agree with the motion that each pair proposes."""
    shifts = to_points - turns * from_points
    errors = _square(turns[:, None] * from_points + shifts[:, None] - to_points)
    scales = np.abs(turns)
    wide = 3 * _TOLERANCE  # orientation and size of one landmark are known coarsely only
    allowed = np.maximum(wide * np.maximum(scales, 1)[:, None], 2 * _OF_SIZE * sizes)
    supports: Mask = errors < allowed**2
    at, other = _find_true(supports)
    supports[at, other] = _is_turn_alike(turns[at] / turns[other], 1.7)
    return supports


def _find_true(mask: Mask) -> tuple[Indices, Indices]:
    """Return rows and columns of what is true; NumPy does it slowly in two dimensions."""
    rows, columns = np.divmod(np.flatnonzero(mask), max(1, mask.shape[1]))
    return rows, columns


def _is_turn_alike(quotients: Points, growth: float) -> Mask:
    """Return where a turn and a scale are nearly none."""
    squares = _square(quotients)
    alike: Mask = (squares < growth**2) & (squares > 1 / growth**2)
    turned_little: Mask = quotients.real > _TURN * np.sqrt(squares)
    alike &= turned_little
    return alike


def _square(values: Points) -> NDArray[np.float32]:
    squares: NDArray[np.float32] = values.real**2 + values.imag**2
    return squares


def _solve(from_points: Points, to_points: Points, *, stretched: bool = False) -> _Motion | None:
    """Return the motion with the least squared error, or None if the points do not fix one."""
    source, target = from_points.astype(np.complex128), to_points.astype(np.complex128)
    if stretched:
        terms = np.stack([source, source.conj(), np.ones_like(source)], axis=1)
        (turn, stretch, shift), _, rank, _ = np.linalg.lstsq(terms, target)
        is_fixed = rank == terms.shape[1] and abs(stretch) < _STRETCHED * abs(turn)
        return _Motion(complex(turn), complex(shift), complex(stretch)) if is_fixed else None
    middle = source.mean()
    spread = source - middle
    total = float((spread.real**2 + spread.imag**2).sum())
    if total < 1e-6:  # noqa: PLR2004 - square pixels
        return None
    turn = complex((spread.conj() * (target - target.mean())).sum() / total)
    return _Motion(turn, complex(target.mean() - turn * middle))


def _refine(
    first: _View,
    second: _View,
    likeness: NDArray[np.float32],
    motion: _Motion | None,
    *,
    stretched: bool = False,
) -> _Fit | None:
    """Return the motion after all landmarks near to where it puts them were paired."""
    ours = theirs = np.zeros(0, np.intp)
    expected = 0
    for wide in np.linspace(2, 1, _ROUNDS):
        if motion is None or not 1 / _SCALE < abs(motion.turn) < _SCALE:
            return None
        moved, back = motion.move(first.points), motion.move_back(second.points)
        inside = np.flatnonzero(second.contains(moved))
        theirs_inside = np.flatnonzero(first.contains(back))
        expected = min(len(inside), len(theirs_inside))
        errors = _square(moved[inside][:, None] - second.points[theirs_inside])
        tolerance = _TOLERANCE * wide * max(1.0, abs(motion.turn))
        allowed = np.maximum(tolerance, _OF_SIZE * second.sizes[theirs_inside]) ** 2
        near, theirs_near = _find_true(errors < allowed)
        ours, theirs = inside[near], theirs_inside[theirs_near]
        quotients = motion.turn * first.frames[ours] / second.frames[theirs]
        alike = _is_turn_alike(quotients.astype(np.complex64), _GROWTH)
        alike &= likeness[ours, theirs] > _LIKE
        ours, theirs = _keep_best(ours[alike], theirs[alike], likeness)
        if len(ours) < _LEAST_VOTES:
            return None
        motion = _solve(first.points[ours], second.points[theirs], stretched=stretched)
    if motion is None:
        return None
    elsewhere = np.where(
        _square(second.points[theirs][:, None] - second.points) > (2 * _PLACE) ** 2,
        likeness[ours],
        -1,
    )
    unique = likeness[ours, theirs] > elsewhere.max(axis=1)
    return _Fit(motion, ours, theirs, expected, float(unique.mean()))


def _keep_best(
    ours: Indices, theirs: Indices, likeness: NDArray[np.float32]
) -> tuple[Indices, Indices]:
    """Return the pairs whose landmarks have each other as the most alike."""
    order = np.argsort(-likeness[ours, theirs], kind="stable")
    ours, theirs = ours[order], theirs[order]
    mutual = np.ones(len(ours), bool)
    for side in (ours, theirs):
        first = np.zeros(len(side), bool)
        first[np.unique(side, return_index=True)[1]] = True
        mutual &= first
    return ours[mutual], theirs[mutual]


def _describe(fit: _Fit, first: _View, second: _View) -> Overlap:
    """Return the overlap in pixels of the crops."""
    turn, shift, stretch = fit.motion
    from_points, to_points = first.points[fit.ours], second.points[fit.theirs]
    along, across = turn + stretch, 1j * (turn - stretch)
    linear = np.array([[along.real, across.real], [along.imag, across.imag]])
    offset = np.array([shift.real, shift.imag])
    outline = _build_outline(first.width, first.height) @ linear.T + offset
    area, common = cv2.intersectConvexConvex(
        outline.astype(np.float32),
        _build_outline(second.width, second.height).astype(np.float32),
    )
    scale = math.sqrt(fit.motion.area)
    smaller = min(first.width * first.height * scale**2, second.width * second.height)
    fine = to_points if scale > 1 else from_points
    cells = (fine.real // _PLACE).astype(int) * 100_000 + (fine.imag // _PLACE).astype(int)
    if first.mirrored:
        offset = offset + linear[:, 0] * first.width
        linear = linear * [-1, 1]
    return Overlap(
        share_of_smaller=min(1.0, area / smaller),
        area_px=area / (scale * first.factor) ** 2,
        other_area_px=area / second.factor**2,
        transform=np.column_stack([linear * first.factor, offset]) / second.factor,
        mirrored=first.mirrored,
        inverted=first.inverted,
        scale=scale * first.factor / second.factor,
        inliers=len(fit.ours),
        places=len(np.unique(cells)),
        agreeing=len(fit.ours) / max(1, fit.expected),
        width=_compute_width(to_points, np.asarray(common, np.float32)),
        unique=fit.unique,
        is_unmoved=not first.mirrored
        and bool((np.abs(outline - _build_outline(first.width, first.height)) < _UNMOVED_PX).all()),
    )


def _build_outline(width: float, height: float) -> NDArray[np.float64]:
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)


def _compute_width(points: Points, common: NDArray[np.float32]) -> float:
    """Return the spread of points across their narrow side, as a share of the overlap's."""
    if len(common) < 3:  # noqa: PLR2004 - corners of an area
        return 0.0
    corners = common.reshape(-1, 2)
    sides = np.linalg.eigvalsh(np.cov(np.stack([points.real, points.imag])))
    narrow = min(cv2.minAreaRect(corners)[1])
    return float(2 * np.sqrt(max(0.0, sides[0])) / max(narrow, 1e-6))
