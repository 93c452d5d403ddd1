"""Name what is wrong with a picture or a preparation, and what to do about it.

In:  a `Field`, and what the taught fields' light, focus and surface are like. Out: `Defect`s.
Next: `triage` sends such a field to a person. A defect is no strangeness: the steel may be known,
but this picture of it should not be graded. Nothing here is a network; each gate is one number
that a person can check, and its limits come from the taught fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from model.frame import Field, Framing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

MEASURES: Final = ("focus", "contrast", "light", "burnt", "scratch", "stain", "area")
"""What is measured, in the order of every array below; `measured` says what each means."""

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
class Gates:
    """What of each measure is usual.

    Args:
        low: (7,) float64, below it is unusual. middle: (7,) the median. high: (7,) above it.
    """

    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def around(cls, taught: Sequence[Mapping[str, float]]) -> Gates:
        """Set the limits a little beyond what the taught fields measure."""
        values = np.array([[one[name] for name in MEASURES] for one in taught], np.float64)
        low, middle, high = np.quantile(values, [0.0, 0.5, 1.0], axis=0)
        inner = np.quantile(values, 0.975, axis=0) - np.quantile(values, 0.025, axis=0)
        margin = _MARGIN * np.maximum(inner, 0.05 * np.abs(middle))
        return cls(low - margin, middle, high + margin)

    def defects(self, found: Mapping[str, float]) -> tuple[Defect, ...]:
        """Name what is wrong, the weightiest first; () for a usual field.

        Args:
            found: From `measured`.
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


def measured(field: Field) -> dict[str, float]:
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
    frame = Framing("scale", 8192, _UM_PER_PX, _UM_PER_PX).frames(field)[0]
    rows, columns = frame.extent
    pixels, valid = frame.pixels[:rows, :columns], frame.valid[:rows, :columns]
    area = float(valid.sum()) * _UM_PER_PX**2
    valid = valid if valid.any() else np.ones_like(valid)
    light = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float()
    grey = light.mean(dim=0)
    median = max(float(np.median(grey.numpy()[valid])), 1.0)
    inner = _inside(valid)
    fine = grey - _blurred(grey, 3)
    coarse = _blurred(grey, 3) - _blurred(grey, 17)
    return {
        "focus": float(
            np.log((fine.numpy()[inner].std() + 1e-3) / (coarse.numpy()[inner].std() + 1e-3))
        ),
        "contrast": float(np.log((grey.numpy()[valid].std() + 1e-3) / median)),
        "light": median,
        "burnt": float(_burnt(pixels)[valid].mean()),
        "scratch": _scratch(grey, valid),
        "stain": _stain(light, valid),
        "area": area,
    }


def _burnt(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    burnt: NDArray[np.bool_] = (pixels.min(axis=2) >= _WHITE) | (pixels.max(axis=2) <= _BLACK)
    return burnt


def _inside(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Choose steel pixels away from any edge, where a blur has seen steel alone."""
    around = torch.from_numpy(valid).float()
    inner: NDArray[np.bool_] = (_blurred(around, 17) > 0.999).numpy()  # noqa: PLR2004 - rounding
    return inner if inner.any() else valid


def _blurred(plane: torch.Tensor, side: int) -> torch.Tensor:
    """Average over a square, rows first: the same as at once, in a fraction of the time."""
    rows = functional.avg_pool2d(
        plane[None], (side, 1), stride=1, padding=(side // 2, 0), count_include_pad=False
    )
    return functional.avg_pool2d(
        rows, (1, side), stride=1, padding=(0, side // 2), count_include_pad=False
    )[0]


def _scratch(grey: torch.Tensor, valid: NDArray[np.bool_]) -> float:
    """Add up thin detail along straight lines in all directions, and take the strongest line."""
    detail = grey - _blurred(grey, 9)
    step = max(1, round((detail.numel() / _SCRATCH_PX) ** 0.5))
    share = functional.avg_pool2d(torch.from_numpy(valid).float()[None], step)[0].numpy()
    inside = share > 0.999  # noqa: PLR2004 - rounding
    if not inside.any():
        return 0.0
    thin = functional.avg_pool2d(detail[None], step)[0].numpy()
    thin = np.clip(thin / max(float(thin[inside].std()), 1e-3), -3.0, 3.0)
    y, x = np.nonzero(inside)
    values = thin[inside]
    enough = 0.6 * min(thin.shape)
    strongest = 0.0
    for angle in np.arange(_ANGLES) * np.pi / _ANGLES:
        along = np.round(x * np.cos(angle) + y * np.sin(angle)).astype(np.int64)
        along -= along.min()
        counts = np.bincount(along)
        long = counts >= enough
        if long.any():
            sums = np.abs(np.bincount(along, values))[long] / np.sqrt(counts[long])
            strongest = max(strongest, float(sums.max()))
    return strongest


def _stain(light: torch.Tensor, valid: NDArray[np.bool_]) -> float:
    side = 16
    rows, columns = (max(1, length // side) for length in valid.shape)
    kept = np.s_[: rows * side, : columns * side]
    if min(valid.shape) < side:
        return 0.0
    mask = torch.from_numpy(np.ascontiguousarray(valid[kept])).float()
    share = functional.avg_pool2d(mask[None], side)[0]
    summed = functional.avg_pool2d((light[(slice(None), *kept)] * mask)[None], side)[0]
    mean = (summed / share.clamp_min(1e-6) + 12.0).log().numpy()
    steel = (share >= 0.5).numpy()  # noqa: PLR2004 - half
    if not steel.any():
        return 0.0
    colours = np.stack([mean[0] - mean[1], mean[2] - mean[1]])
    colours -= np.median(colours[:, steel], axis=1)[:, None, None]
    smooth = functional.avg_pool2d(
        torch.from_numpy(colours * steel)[None], 3, stride=1, padding=1, count_include_pad=False
    )[0].numpy()
    return float(np.hypot(*smooth)[steel].max())
