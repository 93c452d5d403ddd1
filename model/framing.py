"""Framing: fields of any size to network inputs with sides that are multiples of `CELL_PX`.

A frame starts at the top left of the part of the field that it shows, so a map over the frame,
cropped to `extent`, is a map over that part. The scale of a field may only be changed to a scale
common to all fields, because needle length determines the label. Where no label depends on a length
and the scales of the fields differ widely, "native" leaves the pixels as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from model.block_statistics import mean_colour
from model.resampling import resample_mask, resample_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_ZOOM = 2.0
"""Upper limit of the magnification to the common pixel size. More adds no information, and an
overview of 3 µm per pixel would take ten gigabytes."""

FRAMINGS = ("mirror", "resize", "tile", "scale", "native")

CELL_PX = 32
"""Sides of a frame are multiples of this, the coarsest stride of every architecture."""


@dataclass(frozen=True, slots=True)
class Field:
    """A cropped micrograph with its mask; the only kind of image that `model` accepts.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        valid: (h, w) bool; False where a pixel shows no steel (masked scale bar, resin, bleeding).
        um_per_px: Pixel size in µm, or None if unknown.
        microscope: Name of the microscope, "" if unknown; used only for false-alarm rates.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    um_per_px: float | None
    microscope: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A network input made from a field.

    Args:
        pixels: (h, w, 3) uint8, RGB; h and w multiples of `CELL_PX`.
        valid: (h, w) bool, the pixels that are pooled over. Padding is invalid, except in the
            framing "mirror".
        extent: Rows and columns of the frame, from its top left, that show the field.
        box: (x0, y0, x1, y1), the part of the field shown, in pixels of the field; x1 and y1
            exclusive.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    extent: tuple[int, int]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Framing:
    """Method that turns fields into frames; the same for training and inference.

    Args:
        kind: "mirror": centre crop, or mirror padding at right and bottom, to a square; the padding
            counts as steel (Durmaz et al. 2023). "resize": the whole field resized to a square.
            "tile": adjacent squares whose evidence is averaged. "scale": the whole field resampled
            to a common pixel size; padding does not count. "native": as "scale", but with the
            pixels as they are, whatever their size in µm.
        frame_px: Side of the square; for "scale" and "native" the largest side, beyond which the
            middle of the field is cropped.
        um_per_px: Pixel size in µm to which "scale" resamples.
        usual_um_per_px: Pixel size in µm that "scale" assumes for a field without one.
    """

    kind: Literal["mirror", "resize", "tile", "scale", "native"] = "mirror"
    frame_px: int = 1994
    um_per_px: float = 0.2
    usual_um_per_px: float = 0.2

    def frames(self, field: Field) -> list[Frame]:
        """Return the frames of a field: one, or for "tile" as many as cover it."""
        field = fill_invalid(field)
        if self.kind == "mirror":
            return [_mirror(field, self.frame_px)]
        if self.kind == "resize":
            return [_resize(field, (self.frame_px, self.frame_px))]
        if self.kind == "tile":
            return _tile(field, self.frame_px)
        return [self._rescale(field, 1.0 if self.is_native else self._zoom(field))]

    @property
    def is_native(self) -> bool:
        """Whether fields keep their pixels, in place of a common pixel size."""
        return self.kind == "native"

    def _zoom(self, field: Field) -> float:
        """Return the magnification to the common pixel size."""
        factor = (field.um_per_px or self.usual_um_per_px) / self.um_per_px
        return min(factor, LARGEST_ZOOM)

    def _rescale(self, field: Field, factor: float) -> Frame:
        height, width = field.valid.shape
        max_px = max(1, math.floor(self.frame_px / factor))
        x0, y0 = max(0, (width - max_px) // 2), max(0, (height - max_px) // 2)
        x1, y1 = min(width, x0 + max_px), min(height, y0 + max_px)
        part = Field(field.pixels[y0:y1, x0:x1], field.valid[y0:y1, x0:x1], field.um_per_px)
        size = (max(1, round((y1 - y0) * factor)), max(1, round((x1 - x0) * factor)))
        resampled = resample(part, size)
        return _pad(resampled, (x0, y0, x1, y1), counted=False)


def fill_invalid(field: Field) -> Field:
    """Fill invalid pixels with the mean colour of the steel, so that they form no false edge."""
    if field.valid.all():
        return field
    colour = mean_colour(field.pixels, field.valid) if field.valid.any() else np.full(3, 128.0)
    pixels = field.pixels.copy()
    pixels[~field.valid] = colour.round().astype(np.uint8)
    return Field(pixels, field.valid, field.um_per_px)


def _mirror(field: Field, side: int) -> Frame:
    height, width = field.valid.shape
    x0, y0 = max(0, (width - side) // 2), max(0, (height - side) // 2)
    x1, y1 = min(width, x0 + side), min(height, y0 + side)
    part = Field(field.pixels[y0:y1, x0:x1], field.valid[y0:y1, x0:x1], field.um_per_px)
    rounded = -(-side // CELL_PX) * CELL_PX
    return _pad(part, (x0, y0, x1, y1), counted=True, at_least=rounded)


def _resize(field: Field, size: tuple[int, int]) -> Frame:
    rows, columns = (max(CELL_PX, round(side / CELL_PX) * CELL_PX) for side in size)
    height, width = field.valid.shape
    resized = resample(field, (rows, columns))
    return Frame(resized.pixels, resized.valid, (rows, columns), (0, 0, width, height))


def _tile(field: Field, side: int) -> list[Frame]:
    """Cut a field into tiles with at least a quarter of steel; return the first if none has it."""
    height, width = field.valid.shape
    side = max(CELL_PX, side // CELL_PX * CELL_PX)
    tiles = []
    for y0 in range(0, height, side):
        for x0 in range(0, width, side):
            x1, y1 = min(width, x0 + side), min(height, y0 + side)
            part = Field(field.pixels[y0:y1, x0:x1], field.valid[y0:y1, x0:x1], field.um_per_px)
            tiles.append(_pad(part, (x0, y0, x1, y1), counted=False, at_least=side))
    with_steel = [tile for tile in tiles if tile.valid.sum() * 4 >= side * side]
    return with_steel or tiles[:1]


def _pad(
    part: Field,
    box: tuple[int, int, int, int],
    *,
    counted: bool,
    at_least: int = 0,
) -> Frame:
    """Pad a part by mirroring at right and bottom until its sides are multiples of `CELL_PX`.

    Args:
        part: The part of a field.
        box: Its position in the field, (x0, y0, x1, y1) in pixels.
        counted: Whether the padding counts as valid.
        at_least: Least side of the frame in pixels.
    """
    height, width = part.valid.shape
    rows, columns = (max(at_least, -(-side // CELL_PX) * CELL_PX) for side in (height, width))
    padding = ((0, rows - height), (0, columns - width))
    pixels = np.pad(part.pixels, (*padding, (0, 0)), mode="symmetric")
    valid = (
        np.pad(part.valid, padding, mode="symmetric")
        if counted
        else np.pad(part.valid, padding, constant_values=False)
    )
    return Frame(np.ascontiguousarray(pixels), valid, (height, width), box)


def resample(field: Field, size: tuple[int, int]) -> Field:
    """Resample a field to (rows, columns) with antialiasing; `um_per_px` is left unchanged."""
    if field.valid.shape == size:
        return field
    resized = resample_pixels(field.pixels, size)
    is_whole = bool(field.valid.all())
    valid = np.ones(size, np.bool_) if is_whole else resample_mask(field.valid, size)
    return Field(resized, valid, field.um_per_px)
