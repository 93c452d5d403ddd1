"""Correct the lengths of a field by the calibration of the site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.needles.field import LongNeedle, NeedleField, NeedleHistogram

LENGTHS = (
    *("l50_um", "l90_um", "l99_um"),
    *("l50_number_um", "l90_number_um", "l99_number_um", "maximum_um"),
)


@dataclass(frozen=True, slots=True)
class LengthCorrection:
    """A calibration as it is applied to a field.

    Args:
        version: Name of the calibration, which the field stores.
        ratio: Program over people; lengths are divided by it.
    """

    version: str
    ratio: float


def correct_lengths(field: NeedleField, correction: LengthCorrection | None) -> NeedleField:
    """Return a field with calibrated lengths; without a calibration or lengths as it is.

    The mean intercept stays: it is the independent evidence of the uncorrected length.
    """
    if correction is None or not field.is_measured:
        return field
    lengths = {
        name: round(um / correction.ratio, 2)
        for name in LENGTHS
        if (um := getattr(field, name)) is not None
    }
    histogram = field.histogram
    return replace(
        field,
        calibration=correction.version,
        longest=tuple(_correct_needle(needle, correction.ratio) for needle in field.longest),
        histogram=_correct_histogram(histogram, correction.ratio) if histogram else None,
        **lengths,
    )


def _correct_needle(needle: LongNeedle, ratio: float) -> LongNeedle:
    return replace(needle, length_um=round(needle.length_um / ratio, 2))


def _correct_histogram(histogram: NeedleHistogram, ratio: float) -> NeedleHistogram:
    """Return the same bins at corrected edges."""
    return replace(
        histogram,
        shortest_um=histogram.shortest_um / ratio,
        longest_um=histogram.longest_um / ratio,
    )
