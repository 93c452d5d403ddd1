"""Draw the results of cropping over a micrograph.

Nothing is detected here: the picture shows only what the crop contains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agent.files.pictures import load_font, scale_box
from agent.imaging.crop import Box, Crop, locate_specimens

Colour = tuple[int, int, int]

KEPT, BAR, EDGE = (0, 158, 115), (230, 159, 0), (86, 180, 233)
BLEEDING, DROPPED, BAND = (213, 94, 0), (120, 120, 126), (204, 121, 167)
STAIN = (240, 228, 66)
"""Okabe and Ito's colours, distinguishable with red-green colour blindness."""
PAPER, INK, QUIET = (250, 250, 248), (28, 28, 32), (96, 96, 102)
SMALLEST_PX = 900
"""Narrower fields are enlarged to this width, so that the legend fits."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the legend.

    Args:
        colour: Colour of the mark, or None.
        name: What it marks.
        value: What was measured.
    """

    colour: Colour | None
    name: str
    value: str


def render_overlay(crop: Crop, title: str) -> NDArray[np.uint8]:
    """Draw bar, band, border, bleeding and the kept rectangle over the field, with a legend.

    Args:
        crop: The crop.
        title: Usually the file's name.

    Returns:
        (h, w, 3) uint8 RGB, the field above, the legend below.
    """
    picture = _enlarge(crop.preview)
    share = picture.shape[1] / crop.width
    drawn = _dim_dropped(picture, crop, share)
    thick = max(2, round(picture.shape[1] / 700))
    for part in crop.specimen_area.bleeding:
        _draw_hatching(drawn, part, share, BLEEDING)
    for part in crop.specimen_area.stains:
        _draw_polygon(drawn, part, share, STAIN, max(1, thick - 1))
    for part in crop.specimen_area.others:
        _draw_polygon(drawn, part, share, EDGE, thick)
    if not crop.specimen_area.whole_frame:
        _draw_polygon(drawn, crop.specimen_area.polygon, share, EDGE, thick)
    if crop.band:
        _draw_box(drawn, crop.band, share, BAND, thick)
    if crop.micron_bar:
        _draw_box(drawn, crop.micron_bar.bbox, share, BAR, thick)
    _draw_box(drawn, crop.box, share, KEPT, thick + 1)
    return np.vstack([drawn, _render_legend(crop, title, drawn.shape[1])])


def _enlarge(preview: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = SMALLEST_PX / preview.shape[1]
    if factor <= 1:
        return preview.copy()
    size = (SMALLEST_PX, max(1, round(preview.shape[0] * factor)))
    return np.asarray(cv2.resize(preview, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _dim_dropped(picture: NDArray[np.uint8], crop: Crop, share: float) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = scale_box(crop.box, share)
    drawn = (picture * 0.6 + np.array(DROPPED) * 0.15).astype(np.uint8)
    drawn[y0:y1, x0:x1] = picture[y0:y1, x0:x1]
    return drawn


def _draw_hatching(
    drawn: NDArray[np.uint8], points: Sequence[tuple[int, int]], share: float, colour: Colour
) -> None:
    mask = np.zeros(drawn.shape[:2], np.uint8)
    cv2.fillPoly(mask, [_scale_points(points, share)], 1)
    rows, columns = np.nonzero(mask)
    stripe = (rows + columns) % 12 < 4  # noqa: PLR2004 - pixels of a stripe and of its gap
    drawn[rows[stripe], columns[stripe]] = colour


def _draw_polygon(
    drawn: NDArray[np.uint8],
    points: Sequence[tuple[int, int]],
    share: float,
    colour: Colour,
    thick: int,
) -> None:
    corners = _scale_points(points, share)
    cv2.polylines(drawn, [corners], True, INK, thick + 2, cv2.LINE_AA)  # noqa: FBT003 - closed
    cv2.polylines(drawn, [corners], True, colour, thick, cv2.LINE_AA)  # noqa: FBT003


def _draw_box(drawn: NDArray[np.uint8], box: Box, share: float, colour: Colour, thick: int) -> None:
    x0, y0, x1, y1 = scale_box(box, share)
    cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), INK, thick + 2)
    cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), colour, thick)


def _scale_points(points: Sequence[tuple[int, int]], share: float) -> NDArray[np.int32]:
    return np.rint(np.array(points, np.float64) * share).astype(np.int32)


# ------------------------------------------------------------------------------------- legend


def _render_legend(crop: Crop, title: str, width: int) -> NDArray[np.uint8]:
    text_px = max(16, width // 62)
    step = round(text_px * 1.5)
    lines = list(_iter_legend(crop))
    height = step * (len(lines) + 2) + step // 2
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    left, named, measured = step // 2, step // 2 + step, step // 2 + step + text_px * 11
    pen.text((left, step // 3), title, INK, load_font(round(text_px * 1.15)))
    for number, line in enumerate(lines, start=1):
        top = round(step * (number + 0.35))
        if line.colour:
            side = round(text_px * 0.8)
            pen.rectangle((left, top + 3, left + side, top + 3 + side), line.colour, INK)
        pen.text((named, top), line.name, QUIET, load_font(text_px))
        pen.text((measured, top), line.value, INK, load_font(text_px))
    return np.asarray(page, np.uint8)


def _iter_legend(crop: Crop) -> Iterable[_Line]:
    yield _Line(None, "scale", format_scale(crop))
    x0, y0, x1, y1 = crop.box
    share = (x1 - x0) * (y1 - y0) / (crop.width * crop.height)
    yield _Line(
        KEPT, "kept", f"{x1 - x0} × {y1 - y0} of {crop.width} × {crop.height} px, {share:.0%}"
    )
    bar = crop.micron_bar
    if bar:
        yield _Line(BAR, "micron bar", f"{bar.label or 'label not read'}, {bar.line_px:.1f} px")
    if crop.band:
        yield _Line(BAND, "info band", "cut")
    area = crop.specimen_area
    if not area.whole_frame:
        yield _Line(
            EDGE, "specimen border", f"{area.outside_fraction:.1%} of the field lies outside"
        )
    if area.bleeding:
        yield _Line(BLEEDING, "bleeding", "cut along the border")
    if area.surface:
        yield _Line(None, "surface layer", "decarburised or nitrided rim or coating")
    if area.others:
        outlines = (area.polygon, *area.others)
        graded, *others = (
            f"{side}, {share:.0%} of the field"
            for side, share in locate_specimens(outlines, crop.width, crop.height)
        )
        yield _Line(EDGE, "graded specimen", graded)
        yield _Line(EDGE, "not graded", "; ".join(others))
    if area.stains:
        yield _Line(STAIN, "stain", f"{len(area.stains)}, away from the border: kept")
    if crop.warnings:
        yield _Line(None, "warnings", ", ".join(crop.warnings).replace("_", " "))


def format_scale(crop: Crop) -> str:
    """Return the scale with its sources, or why it is unknown."""
    sources = ", ".join(
        f"{scale.source.replace('_', ' ')} {scale.um_per_px:.4g}" for scale in crop.scales
    )
    if crop.um_per_px is None:
        return (
            f"not known; witnesses say {sources} µm/px" if sources else "not known: no bar, no note"
        )
    return f"{crop.um_per_px:.4g} µm per pixel ({sources})"
