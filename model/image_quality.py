"""Image quality: defects of the image or the preparation, each with its remedy.

A defect is not an OOD result: the steel can be normal while this image of it must not be graded.
Every measure is a plain number that a metallographer can verify, not the output of a network; its
limits come from the training fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.block_statistics import (
    LIGHTEST,
    GreySums,
    are_all,
    block_colours,
    box_sums,
    compute_std,
    count_values,
    count_within,
    split_into_blocks,
    sum_neighbours,
)
from model.framing import Frame

MEASURES: Final = ("focus", "contrast", "light", "burnt", "scratch", "stain", "area")
"""Measures, in the order of all arrays below; `measure_frame` defines them."""

_BLACK, _WHITE = 3, 252
"""Grey values of a saturated 8-bit camera, with a tolerance for JPEG artefacts."""

_SATURATED = 0.02
"""Least share of saturated pixels that is a defect, whatever the training fields have."""

_MARGIN = 0.35
"""Tolerance of a measure beyond the range of the training fields, as a share of that range."""

_ANGLES = 60
_SCRATCH_CELLS = 30_000
"""Approximate number of blocks to which an image is reduced for the search for lines."""

_SCRATCH_SIDE_PX = 5
"""Side of the square whose mean is no fine detail, in pixels of the sampled plane."""

_EDGE_PX = 9
_STAIN_PX = 16


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect and its remedy.

    Args:
        name: Stable identifier, such as "out_of_focus".
        finding: Text for users, such as "out of focus".
        action: Remedy for users, such as "shoot again".
    """

    name: str
    finding: str
    action: str

    def __str__(self) -> str:
        """Format finding and action, such as "out of focus: shoot again"."""
        return f"{self.finding}: {self.action}"


OUT_OF_FOCUS = Defect("out_of_focus", "out of focus", "shoot again")
SATURATED = Defect("saturated", "over- or underexposed", "shoot again with another exposure")
TOO_DARK = Defect("too_dark", "too dark", "shoot again with more light")
TOO_BRIGHT = Defect("too_bright", "too bright", "shoot again with less light")
LOW_CONTRAST = Defect("low_contrast", "too little contrast", "check the aperture and shoot again")
UNDER_ETCHED = Defect("under_etched", "under-etched", "etch longer")
OVER_ETCHED = Defect("over_etched", "over-etched", "re-polish and re-etch")
SCRATCHED = Defect("scratched", "scratched", "re-polish and re-etch, or take another field")
STAINED = Defect("stained", "stained", "clean and dry, or re-etch, or take another field")
TOO_LITTLE = Defect("too_little_steel", "too little steel in view", "take another field")

DEFECTS: Final = (
    OUT_OF_FOCUS,
    SATURATED,
    TOO_DARK,
    TOO_BRIGHT,
    LOW_CONTRAST,
    UNDER_ETCHED,
    OVER_ETCHED,
    SCRATCHED,
    STAINED,
    TOO_LITTLE,
)


@dataclass(frozen=True, slots=True)
class DefectLimits:
    """Normal range of each measure.

    Field names are parts of tensor names in a bundle.

    Args:
        low: (7,) float64, lower limits.
        middle: (7,) float64, medians of the training fields.
        high: (7,) float64, upper limits.
    """

    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def fit(cls, measured: Sequence[Mapping[str, float]]) -> DefectLimits:
        """Fit the limits: the range of the training fields, extended by a tolerance.

        Args:
            measured: Result of `measure_frame` for each training field.
        """
        values = np.array([[row[name] for name in MEASURES] for row in measured], np.float64)
        low, middle, high = np.quantile(values, [0.0, 0.5, 1.0], axis=0)
        inner = np.quantile(values, 0.975, axis=0) - np.quantile(values, 0.025, axis=0)
        margin = _MARGIN * np.maximum(inner, 0.05 * np.abs(middle))
        return cls(low - margin, middle, high + margin)

    def find_defects(self, measured: Mapping[str, float]) -> tuple[Defect, ...]:
        """Return the defects of a field, the most serious first; () if there are none.

        Args:
            measured: From `measure_frame`.
        """
        return tuple(self._iter_defects(measured))

    def _iter_defects(self, measured: Mapping[str, float]) -> Iterator[Defect]:
        low = {
            name for name, limit in zip(MEASURES, self.low, strict=True) if measured[name] < limit
        }
        high = {
            name for name, limit in zip(MEASURES, self.high, strict=True) if measured[name] > limit
        }
        middle = dict(zip(MEASURES, self.middle, strict=True))
        if measured["area"] < 0.5 * float(self.low[MEASURES.index("area")]):
            yield TOO_LITTLE
        if "burnt" in high and measured["burnt"] > _SATURATED:
            yield SATURATED
        if "focus" in low:
            yield OUT_OF_FOCUS
        yield from _find_etch_or_exposure(measured, middle, low, high)
        if "scratch" in high:
            yield SCRATCHED
        if "stain" in high:
            yield STAINED


def _find_etch_or_exposure(
    measured: Mapping[str, float], middle: Mapping[str, float], low: set[str], high: set[str]
) -> Iterator[Defect]:
    """Yield at most one defect of etching or exposure.

    Etching darkens the surface: contrast above the range in a dark image means over-etching, below
    the range in a bright image under-etching. A blurred image loses contrast without either.
    """
    dark = measured["light"] < middle["light"]
    if "contrast" in high and dark:
        yield OVER_ETCHED
    elif "contrast" in low and "focus" not in low:
        yield LOW_CONTRAST if dark else UNDER_ETCHED
    elif "light" in low:
        yield TOO_DARK
    elif "light" in high:
        yield TOO_BRIGHT


def measure_frame(frame: Frame, um_per_px: float, grey: GreySums | None = None) -> dict[str, float]:
    """Measure image and surface quality of a frame, over the steel only.

    Limits hold for the pixel size that they were fitted at. Focus and scratch are measured on every
    second pixel in both directions.

    Args:
        frame: A frame of the framing "scale".
        um_per_px: Its pixel size in µm.
        grey: Sums of its pixels, where there are any.

    Returns:
        focus: Logarithm of the ratio of fine to coarse detail; small is blurred.
        contrast: Logarithm of the standard deviation of the grey value over its median.
        light: Median grey value, 0 to 255.
        burnt: Share of saturated pixels, black or white, in [0, 1].
        scratch: Largest absolute mean detail along a straight line across the field, in standard
            errors of such a mean.
        stain: Largest deviation of the colour of a region of about 10 µm from the field's median
            colour, as the logarithm of a ratio.
        area: Area of steel in µm²; a field without a scale counts as having that of the frame.
    """
    rows, columns = frame.extent
    pixels, valid = frame.pixels[:rows, :columns], frame.valid[:rows, :columns]
    area = float(np.count_nonzero(valid)) * um_per_px**2
    valid = valid if valid.any() else np.ones_like(valid)
    grey = (grey or GreySums.of(frame.pixels)).crop(frame.extent)
    lightness = grey.lightness
    middle, spread = _measure_light(lightness, valid)
    median = max(middle / 3, 1.0)
    sampled, own = grey.sample(), valid[::2, ::2]
    own = own if own.any() else np.ones_like(own)
    return {
        "focus": _measure_focus(sampled, own),
        "contrast": float(np.log((spread / 3 + 1e-3) / median)),
        "light": median,
        "burnt": _count_saturated(pixels, lightness, valid) / float(np.count_nonzero(valid)),
        "scratch": _measure_scratch(sampled.around, own),
        "stain": _measure_stain(pixels, valid),
        "area": area,
    }


def _measure_light(lightness: NDArray[np.uint16], valid: NDArray[np.bool_]) -> tuple[float, float]:
    """Return median and standard deviation of the lightness of the steel."""
    counts = count_values(lightness, valid)
    number = counts.sum()
    values = np.arange(LIGHTEST + 1, dtype=np.float64)
    ranks = [(number - 1) // 2 + 1, number // 2 + 1]  # the middle two, or the middle one twice
    median = float(np.searchsorted(np.cumsum(counts), ranks).mean())
    mean = float(values @ counts) / number
    return median, float(np.sqrt(np.square(values - mean) @ counts / number))


def _measure_focus(grey: GreySums, valid: NDArray[np.bool_]) -> float:
    smooth = np.asarray(np.divide(grey.around, 9, dtype=np.float32), np.float32)
    wide, inner = _box_means(grey.around, 9), _erode(valid, _EDGE_PX)  # 9 samples of 3 × 3 pixels
    wide /= 9
    fine = compute_std(np.asarray(grey.lightness - smooth, np.float32), inner)
    coarse = compute_std(np.subtract(smooth, wide, out=smooth), inner)
    return float(np.log((fine / 3 + 1e-3) / (coarse / 3 + 1e-3)))


def _box_means(lightness: NDArray[np.uint16], side: int) -> NDArray[np.float32]:
    means = box_sums(lightness, side)
    means /= side**2
    return means


def _count_saturated(
    pixels: NDArray[np.uint8], lightness: NDArray[np.uint16], valid: NDArray[np.bool_]
) -> int:
    """Count the valid pixels whose three channels are all black or all white."""
    count = 0
    if lightness.min() <= 3 * _BLACK:  # else no pixel is black, which takes longer to find out
        count += count_within(pixels, 0, _BLACK, valid)
    if lightness.max() >= 3 * _WHITE:
        count += count_within(pixels, _WHITE, 255, valid)
    return count


def _erode(valid: NDArray[np.bool_], edge_px: int) -> NDArray[np.bool_]:
    """Erode the mask, so that windows of `edge_px` around its pixels contain steel only."""
    if valid.all() and min(valid.shape) > edge_px:
        inner = np.zeros_like(valid)
        inner[edge_px // 2 : -edge_px // 2, edge_px // 2 : -edge_px // 2] = True
        return inner
    inner = box_sums(valid.astype(np.uint16), edge_px) == edge_px**2
    return inner if inner.any() else valid


def _measure_scratch(plane: NDArray[np.uint16], valid: NDArray[np.bool_]) -> float:
    """Sum fine detail along straight lines in all directions; return the strongest line.

    Args:
        plane: (h, w) uint16.
        valid: (h, w) bool.
    """
    detail = _box_means(plane, _SCRATCH_SIDE_PX)
    np.subtract(plane, detail, out=detail)
    step = max(1, round((detail.size / _SCRATCH_CELLS) ** 0.5))
    inside = are_all(valid, step)
    if not inside.any():
        return 0.0
    cells = split_into_blocks(detail, step).sum(axis=1).sum(axis=-1)  # (rows, columns)
    cells = np.clip(cells / max(float(cells[inside].std()), 1e-3), -3.0, 3.0)
    values = cells[inside].astype(np.float64)
    least = 0.6 * min(cells.shape)
    everywhere = bool(inside.all())
    strongest = 0.0
    for index, lines in enumerate(_index_lines(*inside.shape)):
        line_of_cell = lines.ravel() if everywhere else lines[inside]
        lengths = _count_cells(*inside.shape)[index] if everywhere else np.bincount(line_of_cell)
        long = lengths >= least
        if long.any():
            sums = np.bincount(line_of_cell, values)
            own = float((np.abs(sums[long]) / np.sqrt(lengths[long])).max())
            strongest = max(strongest, own)
    return strongest


@lru_cache(maxsize=4)
def _count_cells(rows: int, columns: int) -> list[NDArray[np.intp]]:
    """Return per angle the number of cells of each line, where all of them are steel."""
    return [np.bincount(lines.ravel()) for lines in _index_lines(rows, columns)]


@lru_cache(maxsize=4)
def _index_lines(rows: int, columns: int) -> NDArray[np.int16]:
    """Assign each cell of a grid to one line per angle.

    Returns:
        (angles, rows, columns), index of the line among those of its angle.
    """
    y, x = np.mgrid[:rows, :columns]
    lines = np.empty((_ANGLES, rows, columns), np.int16)
    for index, angle in enumerate(np.arange(_ANGLES) * np.pi / _ANGLES):
        distance = np.round(x * np.cos(angle) + y * np.sin(angle)).astype(np.intp)
        lines[index] = distance - distance.min()
    return lines


def release_memory() -> None:
    """Release the lines of recent shapes, 5 MB for each of up to four."""
    _index_lines.cache_clear()
    _count_cells.cache_clear()


def _measure_stain(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> float:
    if min(valid.shape) < _STAIN_PX:
        return 0.0
    steel = split_into_blocks(valid, _STAIN_PX).sum(axis=1, dtype=np.uint16).sum(axis=-1)
    steel = 2 * steel >= _STAIN_PX**2  # half
    if not steel.any():
        return 0.0
    log_colours = np.log(block_colours(pixels, _STAIN_PX) + 12.0)  # (rows, columns, 3)
    colours = np.stack(  # (2, rows, columns): red to green, blue to green
        [log_colours[..., 0] - log_colours[..., 1], log_colours[..., 2] - log_colours[..., 1]]
    )
    colours = (colours - np.median(colours[:, steel], axis=1)[:, None, None]) * steel
    count = sum_neighbours(steel.astype(np.float32))
    smooth = [sum_neighbours(colour) / np.maximum(count, 1.0) for colour in colours]
    return float(np.hypot(*smooth)[steel].max())
