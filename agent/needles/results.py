"""JSON and pictures of measured needles.

Lengths are absent wherever the outcome is not "measured": a number that must not be used is not
written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from agent.files.pictures import draw_axis, load_font
from agent.needles.field import NO_SCALE, REASONS, LongNeedle
from model.needles.field import FieldMeasurement, NeedleOutcome
from model.needles.lengths import LENGTH_EDGES_UM, LengthEstimate, LongestNeedle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.imaging import Crop

COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66))
"""Okabe and Ito's colours, the longest needle first."""
INK, PAPER = (20, 20, 24), (250, 250, 248)
SMALLEST_PX = 1000

TYPICAL_ERROR = {"l50": 0.048, "l90": 0.086, "longest_right_share": 0.37}
"""MEASURED on fields that others drew, no steel: median relative errors of the 11 of 21 that get
lengths, share of listed longest needles right within 15 %. See tests/bench/notebook/needles.md."""

TRIAL = (
    "Trial: apparent lengths in the section, not calibrated here. On drawings by others L50 is "
    "wrong by 5 % and L90 by 9 % (medians); 37 % of the listed needles are right within 15 %."
)


def measurement_to_json(
    measured: FieldMeasurement | None, *, pixel_um: float | None, weights: str
) -> dict[str, Any]:
    """Return the needles of one field as JSON.

    Args:
        measured: The measurement, or None where no scale is known.
        pixel_um: µm per px of the micrograph.
        weights: Version of the network.
    """
    status = NO_SCALE if measured is None else measured.outcome.value
    facts: dict[str, Any] = {
        "status": status,
        "trial": True,
        "calibrated": False,
        "typical_error_on_drawings": TYPICAL_ERROR,
        "network": weights,
        "pixel_um": pixel_um,
    }
    if measured is None:
        return facts
    facts |= {
        "area_um2": round(measured.size_um[0] * measured.size_um[1], 1),
        "structure_share": round(measured.structure_share, 3),
        "measured_share": round(measured.measured_share, 3),
        "mean_intercept_um": _round(measured.intercept_um),
        "l50_expected_from_intercept_um": _round(measured.expected_l50_um),
        "expected_relative_error": round(measured.expected_error, 3),
    }
    if measured.outcome is not NeedleOutcome.MEASURED:
        return facts
    return facts | _lengths_to_json(measured, pixel_um or 1.0)


def _lengths_to_json(measured: FieldMeasurement, pixel_um: float) -> dict[str, Any]:
    distribution = measured.distribution
    return {
        "needles": int((measured.weights > 0).sum()),
        "needles_at_border": int((measured.weights == 0).sum()),
        "l50_um": _round(distribution.quantile_um(0.5)),
        "l90_um": _round(distribution.quantile_um(0.9)),
        "l99_um": _round(distribution.quantile_um(0.99)),
        "l50_by_number_um": _round(distribution.quantile_um(0.5, weighted="number")),
        "l90_by_number_um": _round(distribution.quantile_um(0.9, weighted="number")),
        "longest": [
            {
                "length_um": _round(float(measured.needles.length_um[index])),
                "expected_relative_error": round(float(measured.needles.relative_error[index]), 3),
                "reliable": measured.is_reliable(index),
                "line_px": np.round(measured.needles.trace(index) / pixel_um, 1).tolist(),
            }
            for index in measured.longest
        ],
        "orientation_shares": np.round(measured.orientation, 4).tolist(),
        "anisotropy": round(measured.anisotropy, 3),
        "heterogeneity": _round(measured.heterogeneity),
        "edges_um": np.round(LENGTH_EDGES_UM, 3).tolist(),
        "by_number": np.round(distribution.by_number, 3).tolist(),
        "by_area_um2": np.round(distribution.by_area, 2).tolist(),
    }


def estimate_to_json(estimate: LengthEstimate | None) -> dict[str, Any] | None:
    """Return a pooled length with its interval as JSON."""
    if estimate is None:
        return None
    return {
        "value_um": _round(estimate.value_um),
        "low_um": _round(estimate.low_um),
        "high_um": _round(estimate.high_um),
        "fields": estimate.n_fields,
    }


def longest_to_json(longest: LongestNeedle | None) -> dict[str, Any] | None:
    """Return the longest needle expected in an area as JSON."""
    if longest is None:
        return None
    return {
        "value_um": _round(longest.value_um),
        "low_um": _round(longest.low_um),
        "high_um": _round(longest.high_um),
        "area_mm2": longest.area_mm2,
        "fields": longest.n_fields,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def render_needles(crop: Crop, measured: FieldMeasurement | None, title: str) -> NDArray[np.uint8]:
    """Draw the five longest needles with their lengths over the crop, with a legend below.

    Without values the picture has the reason and no lines.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    height, width = crop.pixels.shape[:2]
    factor = max(1.0, SMALLEST_PX / width)
    picture = Image.fromarray(crop.pixels).resize((round(width * factor), round(height * factor)))
    pen = ImageDraw.Draw(picture)
    text_px = max(16, picture.width // 60)
    lines = [title, *_describe(measured)]
    if measured is not None and measured.outcome is NeedleOutcome.MEASURED and crop.um_per_px:
        for index, colour in zip(measured.longest, COLOURS, strict=False):
            line = measured.needles.trace(index) / crop.um_per_px * factor
            needle = LongNeedle(
                length_um=float(measured.needles.length_um[index]),
                relative_error=float(measured.needles.relative_error[index]),
                is_reliable=measured.is_reliable(index),
                line_px=tuple((float(x), float(y)) for x, y in line),
            )
            _draw_needle(pen, needle, colour=colour, text_px=text_px, size=picture.size)
    step = round(text_px * 1.5)
    page = Image.new("RGB", (picture.width, picture.height + step * len(lines) + step // 2), PAPER)
    page.paste(picture, (0, 0))
    pen = ImageDraw.Draw(page)
    for number, text in enumerate(lines):
        top = picture.height + step // 3 + number * step
        pen.text((step // 2, top), text, INK, load_font(text_px))
    return np.asarray(page, np.uint8)


def _describe(measured: FieldMeasurement | None) -> Sequence[str]:
    if measured is None:
        return (f"Needles not measured: {REASONS[NO_SCALE]}.",)
    if measured.outcome is not NeedleOutcome.MEASURED:
        return (f"Needles not measured: {REASONS[measured.outcome]}.",)
    quantiles = ", ".join(
        f"L{round(100 * share)} {measured.distribution.quantile_um(share) or 0:.1f} µm"
        for share in (0.5, 0.9, 0.99)
    )
    count = int((measured.weights > 0).sum())
    return (
        f"{quantiles} (share of the needles' area; {count} complete needles)",
        "Trial, not calibrated here. Dashed: length or tips are probably wrong. Check each line.",
    )


def _draw_needle(
    pen: ImageDraw.ImageDraw,
    needle: LongNeedle,
    *,
    colour: tuple[int, int, int],
    text_px: int,
    size: tuple[int, int],
) -> None:
    points, text = needle.line_px, f"{needle.length_um:.1f} µm"
    draw_axis(pen, points, colour, width=4, is_dashed=not needle.is_reliable)
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), colour, INK)
    font = load_font(text_px)
    wide = pen.textlength(text, font)
    x, y = points[len(points) // 2]
    left = min(max(x + 8, 4), size[0] - wide - 8)
    top = min(max(y + 4, 4), size[1] - 1.4 * text_px)
    pen.rectangle((left - 3, top - 1, left + wide + 3, top + 1.25 * text_px), INK)
    pen.text((left, top), text, colour, font)
