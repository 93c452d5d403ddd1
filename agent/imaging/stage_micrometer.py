"""Measure a stage micrometer: a scale independent of the microscope's software.

Metadata and burned-in bar come from one program, so a wrong objective setting makes both wrong
together; a certified ruling under the same objective does not depend on that setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

FEWEST_LINES = 6
"""Smallest number of lines with a meaningful uncertainty."""
DIP = 0.5
"""A line reaches at least this share of the contrast of a strong line."""
ROW_ENERGY = 0.4
"""Rows with less than this share of the strongest row's edges do not cross the ruling."""
CORNER = 0.5
"""A corner is this share of the picture's width and height."""
IRREGULAR_PX = 1.0
"""Largest rms distance of lines from equal steps, pixels."""
COVERAGE = 2.0
"""Factor k of the expanded uncertainty: about 95 %."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The ruling in one part of the picture along one direction.

    Args:
        um_per_px: µm per pixel.
        uncertainty: Expanded (k = 2), relative; from the lines' scatter.
        lines: Number of lines used.
        scatter_px: Their rms distance from equal steps, pixels.
    """

    um_per_px: float
    uncertainty: float
    lines: int
    scatter_px: float


@dataclass(frozen=True, slots=True)
class StageMeasurement:
    """A measured stage micrometer.

    Args:
        width: Of the picture, pixels; the scale holds for this size only.
        height: Of the picture, pixels.
        along: "x" and "y", each where lines cross that direction: value of the whole picture.
        corners: "top left" and so on → the mean over the directions that have lines there.
    """

    width: int
    height: int
    along: dict[str, Ruling]
    corners: dict[str, float]

    @property
    def um_per_px(self) -> float:
        """Mean over the directions, µm per pixel."""
        return float(np.mean([ruling.um_per_px for ruling in self.along.values()]))

    @property
    def uncertainty(self) -> float:
        """Expanded (k = 2), relative: the lines' scatter, and the difference of x and y."""
        own = max(ruling.uncertainty for ruling in self.along.values())
        values = [ruling.um_per_px for ruling in self.along.values()]
        return float(np.hypot(own, (max(values) - min(values)) / self.um_per_px))

    @property
    def distortion(self) -> float:
        """The largest relative difference of a corner from the whole; 0 without corners."""
        return max((abs(um / self.um_per_px - 1) for um in self.corners.values()), default=0.0)

    def as_json(self) -> dict[str, object]:
        """Return all measurements as plain values."""
        return {
            "width": self.width,
            "height": self.height,
            "um_per_px": self.um_per_px,
            "uncertainty": self.uncertainty,
            "distortion": self.distortion,
            "along": {axis: asdict(ruling) for axis, ruling in self.along.items()},
            "corners": dict(self.corners),
        }


def measure(pixels: NDArray[np.uint8], *, division_um: float) -> StageMeasurement | None:
    """Measure a ruling of equal divisions, straight or slightly turned.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        division_um: Distance of neighbouring lines, µm, from the certificate.

    Returns:
        The measurement, or None without a regular ruling of at least six lines.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = grey.shape
    along = {
        axis: ruling
        for axis, plane in (("x", grey), ("y", np.ascontiguousarray(grey.T)))
        if (ruling := _measure_ruling(plane, division_um))
    }
    if not along:
        return None
    corners = {
        name: float(np.mean(values))
        for name, part in _iter_corners(grey)
        if (values := list(_iter_values(part, division_um, along)))
    }
    return StageMeasurement(width, height, along, corners)


def _iter_corners(grey: Plane) -> Iterator[tuple[str, Plane]]:
    high, wide = (round(side * CORNER) for side in grey.shape)
    for row, rows in (("top", slice(high)), ("bottom", slice(-high, None))):
        for column, columns in (("left", slice(wide)), ("right", slice(-wide, None))):
            yield f"{row} {column}", grey[rows, columns]


def _iter_values(part: Plane, division_um: float, along: dict[str, Ruling]) -> Iterator[float]:
    for axis, whole in along.items():
        plane = part if axis == "x" else np.ascontiguousarray(part.T)
        ruling = _measure_ruling(plane, division_um)
        # A ruling of half the lines, or of every second one, is a misdetection.
        if ruling and abs(ruling.um_per_px / whole.um_per_px - 1) < 0.1:  # noqa: PLR2004
            yield ruling.um_per_px


def _measure_ruling(plane: Plane, division_um: float) -> Ruling | None:
    """Measure lines that cross the plane's rows."""
    flat = plane - cv2.blur(plane, _make_odd(plane.shape[1] / 8))
    edges = cv2.Sobel(flat, cv2.CV_32F, 1, 0, ksize=3)
    energy = np.abs(edges).mean(axis=1)
    rows = np.flatnonzero(energy >= ROW_ENERGY * np.quantile(energy, 0.98))
    if len(rows) < 8:  # noqa: PLR2004 - rows to average
        return None
    slope = _compute_slope(flat[rows.min() : rows.max() + 1])
    profile = _compute_profile(flat, rows, slope)
    centres = _find_centres(profile)
    # Along a row, inclined lines are farther apart than their division.
    return _fit_ruling(centres, division_um / float(np.cos(np.arctan(slope))))


def _make_odd(size: float) -> tuple[int, int]:
    side = max(3, round(size) | 1)
    return side, side


def _compute_slope(flat: Plane) -> float:
    """Return the inclination of lines, in columns per row, from the gradient directions."""
    across = cv2.Sobel(flat, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(flat, cv2.CV_32F, 0, 1, ksize=3)
    strong = np.abs(across) > 3 * np.abs(down)
    if not strong.any():
        return 0.0
    weight = across[strong] ** 2
    return float(-(across[strong] * down[strong]).sum() / weight.sum())


def _compute_profile(flat: Plane, rows: NDArray[np.intp], slope: float) -> NDArray[np.float64]:
    """Return the mean of rows along the lines' direction; lines become dips."""
    middle = rows.mean()
    columns = np.arange(flat.shape[1], dtype=np.float64)
    total = np.zeros(flat.shape[1])
    for row in rows:
        total += np.interp(columns + slope * (row - middle), columns, flat[row])
    profile: NDArray[np.float64] = total / len(rows)
    dark, bright = np.median(profile) - profile.min(), profile.max() - np.median(profile)
    return profile if dark >= bright else -profile


def _find_centres(profile: NDArray[np.float64]) -> list[float]:
    """Return the centre of every dip to subpixels, weighted below half its depth."""
    base = float(np.median(profile))
    depth = base - float(np.quantile(profile, 0.01))
    if depth <= 0:
        return []
    below = profile < base - DIP * depth
    edges = np.flatnonzero(np.diff(below.astype(np.int8)))
    starts = [e + 1 for e in edges if below[e + 1]]
    ends = [e + 1 for e in edges if not below[e + 1]]
    if ends and (not starts or ends[0] < starts[0]):
        ends = ends[1:]  # a line cut by the picture's edge has no centre
    centres = []
    for start, end in zip(starts, ends, strict=False):
        first = max(0, int(start) - 2)
        weight = np.clip(base - DIP * depth * 0.5 - profile[first : int(end) + 2], 0, None)
        places = first + np.arange(len(weight))
        centres.append(float((places * weight).sum() / weight.sum()))
    return centres


def _fit_ruling(centres: list[float], division_um: float) -> Ruling | None:
    """Fit equal steps; missing lines are gaps, all others must fit."""
    if len(centres) < FEWEST_LINES:
        return None
    step = float(np.median([b - a for a, b in pairwise(centres)]))
    numbers = np.cumsum([0, *(max(1, round((b - a) / step)) for a, b in pairwise(centres))])
    places = np.array(centres)
    is_kept = np.ones(len(places), bool)
    for _ in range(3):
        slope, start = np.polyfit(numbers[is_kept], places[is_kept], 1)
        off = np.abs(places - start - slope * numbers)
        is_kept = off <= max(3 * float(np.sqrt((off[is_kept] ** 2).mean())), 0.25)
        if is_kept.sum() < FEWEST_LINES:
            return None
    slope, start = np.polyfit(numbers[is_kept], places[is_kept], 1)
    residual = places[is_kept] - start - slope * numbers[is_kept]
    scatter = float(np.sqrt((residual**2).sum() / (is_kept.sum() - 2)))
    if scatter > IRREGULAR_PX or is_kept.mean() < 0.8:  # noqa: PLR2004 - share of lines that fit
        return None
    spread = numbers[is_kept] - numbers[is_kept].mean()
    error = scatter / float(np.sqrt((spread**2).sum()))
    return Ruling(
        um_per_px=division_um / float(slope),
        uncertainty=COVERAGE * error / float(slope),
        lines=int(is_kept.sum()),
        scatter_px=scatter,
    )
