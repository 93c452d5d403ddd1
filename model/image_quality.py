"""Name what is wrong with a picture or a preparation, and what to do about it.

In:  a `Field`, and what the taught fields' light, focus and surface are like. Out: `Defect`s.
Next: `triage` sends such a field to a person. A defect is no strangeness: the steel may be known,
but this picture of it should not be graded. Nothing here is a network; each gate is one number
that a person can check, and its limits come from the taught fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from model.block_statistics import block_colours, block_means, box_sums, compute_lightness
from model.framing import Field, Framing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

MEASURES: Final = ("focus", "contrast", "light", "burnt", "scratch", "stain", "area")
"""What is measured, in the order of every array below; `measure_quality` says what each means."""

_UM_PER_PX = 0.2
_BLACK, _WHITE = 3, 252
"""Grey values at which a camera of 8 bits has reached its end, but for JPEG."""

_SATURATED = 0.02
"""Share of pixels at the end of the camera's range that is always too much."""

_MARGIN = 0.35
"""How far beyond the taught range a measure may lie, as a share of the taught range."""

_ANGLES = 60
_SCRATCH_PX = 40_000
"""Lines are looked for in a picture of about so many pixels."""

_AROUND = 17
_STAIN_PX = 16
_LARGEST_PX = 4096
"""Of a larger field the middle is measured, as `impression` looks at the middle."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong, and the remedy.

    Args:
        name: A stable word, such as "out_of_focus".
        finding: In a person's words, such as "out of focus".
        action: What to do, such as "shoot again".
    """

    name: str
    finding: str
    action: str

    def __str__(self) -> str:
        """Say finding and action, such as "out of focus: shoot again"."""
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
    """What of each measure is usual.

    Args:
        low: (7,) float64, below it is unusual. middle: (7,) the median. high: (7,) above it.
    """

    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def around(cls, taught: Sequence[Mapping[str, float]]) -> DefectLimits:
        """Set the limits a little beyond what the taught fields measure."""
        values = np.array([[one[name] for name in MEASURES] for one in taught], np.float64)
        low, middle, high = np.quantile(values, [0.0, 0.5, 1.0], axis=0)
        inner = np.quantile(values, 0.975, axis=0) - np.quantile(values, 0.025, axis=0)
        margin = _MARGIN * np.maximum(inner, 0.05 * np.abs(middle))
        return cls(low - margin, middle, high + margin)

    def defects(self, found: Mapping[str, float]) -> tuple[Defect, ...]:
        """Name what is wrong, the weightiest first; () for a usual field.

        Args:
            found: From `measure_quality`.
        """
        return tuple(self._wrong(found))

    def _wrong(self, found: Mapping[str, float]) -> Iterator[Defect]:
        low = {name for name, limit in zip(MEASURES, self.low, strict=True) if found[name] < limit}
        high = {
            name for name, limit in zip(MEASURES, self.high, strict=True) if found[name] > limit
        }
        middle = dict(zip(MEASURES, self.middle, strict=True))
        if found["area"] < 0.5 * float(self.low[MEASURES.index("area")]):
            yield TOO_LITTLE
        if "burnt" in high and found["burnt"] > _SATURATED:
            yield SATURATED
        if "focus" in low:
            yield OUT_OF_FOCUS
        yield from _etch_or_light(found, middle, low, high)
        if "scratch" in high:
            yield SCRATCHED
        if "stain" in high:
            yield STAINED


def _etch_or_light(
    found: Mapping[str, float], middle: Mapping[str, float], low: set[str], high: set[str]
) -> Iterator[Defect]:
    dark = found["light"] < middle["light"]
    if "contrast" in high and dark:
        yield OVER_ETCHED
    elif "contrast" in low and "focus" not in low:
        yield LOW_CONTRAST if dark else UNDER_ETCHED
    elif "light" in low:
        yield TOO_DARK
    elif "light" in high:
        yield TOO_BRIGHT


def measure_quality(field: Field) -> dict[str, float]:
    """Measure a field's picture and surface at 0.2 µm per pixel, steel alone.

    Returns:
        focus: Logarithm of fine detail against coarse detail; small is blurred.
        contrast: Logarithm of the grey value's standard deviation over its median.
        light: Median grey value, 0 to 255.
        burnt: Share of pixels at either end of the camera's range.
        scratch: How far the strongest straight line across the field stands out, in standard
            deviations of all such lines.
        stain: Largest deviation of colour over some 10 µm from the field's own, logarithm of ratio.
        area: Steel in view, µm²; without a scale as if at 0.2 µm per pixel.
    """
    frame = Framing("scale", _LARGEST_PX, _UM_PER_PX, _UM_PER_PX).frames(field)[0]
    rows, columns = frame.extent
    pixels, valid = frame.pixels[:rows, :columns], frame.valid[:rows, :columns]
    area = float(valid.sum()) * _UM_PER_PX**2
    valid = valid if valid.any() else np.ones_like(valid)
    light = compute_lightness(pixels)
    known = light[valid]
    median = max(float(np.median(known)) / 3, 1.0)
    return {
        "focus": _focus(light, valid),
        "contrast": float(np.log((known.std() / 3 + 1e-3) / median)),
        "light": median,
        "burnt": float(_burnt(pixels)[valid].mean()),
        "scratch": _scratch(light, valid),
        "stain": _stain(pixels, valid),
        "area": area,
    }


def _focus(light: NDArray[np.uint16], valid: NDArray[np.bool_]) -> float:
    near = box_sums(light, 3).astype(np.float32) / 9
    inner = _inside(valid)
    fine = (light - near)[inner].std()
    coarse = (near - box_sums(light, 17).astype(np.float32) / 17**2)[inner].std()
    return float(np.log((fine / 3 + 1e-3) / (coarse / 3 + 1e-3)))


def _burnt(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say where all three channels are at one end of the camera's range."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    burnt: NDArray[np.bool_] = np.minimum(np.minimum(red, green), blue) >= _WHITE
    burnt |= np.maximum(np.maximum(red, green), blue) <= _BLACK
    return burnt


def _inside(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose steel pixels away from any edge, where a mean has seen steel alone."""
    if valid.all() and min(valid.shape) > _AROUND:
        inner = np.zeros_like(valid)
        inner[_AROUND // 2 : -_AROUND // 2, _AROUND // 2 : -_AROUND // 2] = True
        return inner
    inner = box_sums(valid.astype(np.uint16), _AROUND) == _AROUND**2
    return inner if inner.any() else valid


def _scratch(light: NDArray[np.uint16], valid: NDArray[np.bool_]) -> float:
    """Add up thin detail along straight lines in all directions, and take the strongest line."""
    detail = light - box_sums(light, 9).astype(np.float32) / 81
    step = max(1, round((detail.size / _SCRATCH_PX) ** 0.5))
    inside = block_means(valid, step).all(axis=(1, 3))
    if not inside.any():
        return 0.0
    thin = block_means(detail, step).sum(axis=1).sum(axis=-1)
    thin = np.clip(thin / max(float(thin[inside].std()), 1e-3), -3.0, 3.0)
    lines, lengths = _lines(*inside.shape)
    along = lines.ravel() if inside.all() else lines[:, inside].ravel()
    if not inside.all():
        lengths = np.bincount(along, minlength=len(lengths))
    long = lengths >= 0.6 * min(thin.shape)
    if not long.any():
        return 0.0
    sums = np.bincount(along, np.tile(thin[inside], _ANGLES), minlength=len(lengths))
    return float((np.abs(sums[long]) / np.sqrt(lengths[long])).max())


@lru_cache(maxsize=4)
def _lines(rows: int, columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Say for every angle which line each cell lies on, (angles, rows, columns), and their lengths.

    Every angle has lines of its own.
    """
    y, x = np.mgrid[:rows, :columns]
    lines = np.empty((_ANGLES, rows, columns), np.intp)
    used = 0
    for index, angle in enumerate(np.arange(_ANGLES) * np.pi / _ANGLES):
        along = np.round(x * np.cos(angle) + y * np.sin(angle)).astype(np.intp)
        lines[index] = along - along.min() + used
        used = int(lines[index].max()) + 1
    return lines, np.bincount(lines.ravel())


def _stain(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> float:
    if min(valid.shape) < _STAIN_PX:
        return 0.0
    steel = block_means(valid, _STAIN_PX).mean(axis=(1, 3)) >= 0.5  # noqa: PLR2004 - half
    if not steel.any():
        return 0.0
    light = np.log(block_colours(pixels, _STAIN_PX) + 12.0)
    colours = np.stack([light[..., 0] - light[..., 1], light[..., 2] - light[..., 1]])
    colours = (colours - np.median(colours[:, steel], axis=1)[:, None, None]) * steel
    share = _around(steel.astype(np.float32))
    smooth = [_around(colour) / np.maximum(share, 1.0) for colour in colours]
    return float(np.hypot(*smooth)[steel].max())


def _around(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum over each cell and its eight neighbours."""
    wide = np.pad(plane, 1)
    tall = wide[:-2] + wide[1:-1] + wide[2:]
    found: NDArray[np.float32] = tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:]
    return found
