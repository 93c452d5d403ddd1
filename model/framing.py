"""Turn a field into what a network is shown.

In:  `Field`s of any size. Out: `Frame`s with sides of whole network cells. Next: `network`.
A frame always starts at the top left of what it shows, so a map over the frame, cut at `extent`,
is a map over the field. Needle length is the label, so nothing here changes the scale of a field
except to bring every field to one scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_ZOOM = 2.0
"""How far a field is magnified to reach the common pixel size. Beyond it there is nothing to see
that was not seen before, and an overview of 3 µm per pixel would take ten gigabytes."""

FRAMINGS = ("mirror", "resize", "tile", "scale")

CELL_PX = 32
"""Sides of a frame are multiples of this: the coarsest stride of every architecture."""


@dataclass(frozen=True, slots=True)
class Field:
    """One cropped micrograph: steel, and where it is valid. The only image `model` is given.

    Args:
        pixels: (h, w, 3) uint8, RGB.
        valid: (h, w) bool; False where a pixel is no steel (a masked bar, resin, bleeding).
        um_per_px: Physical size of a pixel in µm, or None when unknown.
        microscope: What took it, "" where unknown; only an alarm rate asks for it.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    um_per_px: float | None
    microscope: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a network is shown of one field.

    Args:
        pixels: (h, w, 3) uint8, RGB; h and w multiples of `CELL_PX`.
        valid: (h, w) bool; what is pooled over. Padding is never valid, except where the framing
            counts mirrored steel as steel.
        extent: Rows and columns of the frame, from its top left, that show the field.
        box: What of the field that is: (x0, y0, x1, y1) in pixels of the field, x1/y1 exclusive.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    extent: tuple[int, int]
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Framing:
    """How fields become frames; one way for training and service.

    Args:
        kind: "mirror": cut from the middle, or mirrored to the right and bottom, to one square;
            mirrored steel counts (the paper's). "resize": the whole field brought to one square.
            "tile": squares side by side, their evidence averaged. "scale": the whole field brought
            to one size of pixel, and only steel counted.
        frame_px: Side of the square; for "scale" the largest side, beyond it the middle is taken.
        um_per_px: Pixel size that "scale" brings every field to, in µm.
        usual_um_per_px: What "scale" assumes of a field that does not know its own.
    """

    kind: Literal["mirror", "resize", "tile", "scale"] = "mirror"
    frame_px: int = 1994
    um_per_px: float = 0.2
    usual_um_per_px: float = 0.2

    def frames(self, field: Field) -> list[Frame]:
        """Give the frames of a field: one, or for "tile" as many as cover it."""
        field = fill_invalid(field)
        if self.kind == "mirror":
            return [_mirror(field, self.frame_px)]
        if self.kind == "resize":
            return [_resize(field, (self.frame_px, self.frame_px))]
        if self.kind == "tile":
            return _tiles(field, self.frame_px)
        return [self._rescaled(field)]

    def _rescaled(self, field: Field) -> Frame:
        factor = (field.um_per_px or self.usual_um_per_px) / self.um_per_px
        factor = min(factor, LARGEST_ZOOM)
        height, width = field.valid.shape
        most = max(1, math.floor(self.frame_px / factor))
        x0, y0 = max(0, (width - most) // 2), max(0, (height - most) // 2)
        x1, y1 = min(width, x0 + most), min(height, y0 + most)
        part = Field(field.pixels[y0:y1, x0:x1], field.valid[y0:y1, x0:x1], field.um_per_px)
        size = (max(1, round((y1 - y0) * factor)), max(1, round((x1 - x0) * factor)))
        shrunk = resample(part, size)
        return _pad(shrunk, (x0, y0, x1, y1), counted=False)


def fill_invalid(field: Field) -> Field:
    """Give what is no steel the mean colour of the steel, so that a network sees no false edge."""
    if field.valid.all():
        return field
    steel = field.pixels[field.valid]
    colour = steel.mean(axis=0) if len(steel) else np.full(3, 128.0)
    pixels = np.where(field.valid[..., None], field.pixels, colour.round().astype(np.uint8))
    return Field(pixels, field.valid, field.um_per_px)


def _mirror(field: Field, side: int) -> Frame:
    height, width = field.valid.shape
    x0, y0 = max(0, (width - side) // 2), max(0, (height - side) // 2)
    x1, y1 = min(width, x0 + side), min(height, y0 + side)
    part = Field(field.pixels[y0:y1, x0:x1], field.valid[y0:y1, x0:x1], field.um_per_px)
    whole = -(-side // CELL_PX) * CELL_PX
    return _pad(part, (x0, y0, x1, y1), counted=True, at_least=whole)


def _resize(field: Field, size: tuple[int, int]) -> Frame:
    rows, columns = (max(CELL_PX, round(side / CELL_PX) * CELL_PX) for side in size)
    height, width = field.valid.shape
    shown = resample(field, (rows, columns))
    return Frame(shown.pixels, shown.valid, (rows, columns), (0, 0, width, height))


def _tiles(field: Field, side: int) -> list[Frame]:
    height, width = field.valid.shape
    side = max(CELL_PX, side // CELL_PX * CELL_PX)
    tiles = []
    for y0 in range(0, height, side):
        for x0 in range(0, width, side):
            x1, y1 = min(width, x0 + side), min(height, y0 + side)
            part = Field(field.pixels[y0:y1, x0:x1], field.valid[y0:y1, x0:x1], field.um_per_px)
            tiles.append(_pad(part, (x0, y0, x1, y1), counted=False, at_least=side))
    steel = [tile for tile in tiles if tile.valid.sum() * 4 >= side * side]
    return steel or tiles[:1]


def _pad(
    part: Field,
    box: tuple[int, int, int, int],
    *,
    counted: bool,
    at_least: int = 0,
) -> Frame:
    """Mirror a part to the right and bottom until a network can take it."""
    height, width = part.valid.shape
    rows, columns = (max(at_least, -(-side // CELL_PX) * CELL_PX) for side in (height, width))
    around = ((0, rows - height), (0, columns - width))
    pixels = np.pad(part.pixels, (*around, (0, 0)), mode="symmetric")
    valid = (
        np.pad(part.valid, around, mode="symmetric")
        if counted
        else np.pad(part.valid, around, constant_values=False)
    )
    return Frame(np.ascontiguousarray(pixels), valid, (height, width), box)


def resample(field: Field, size: tuple[int, int]) -> Field:
    """Bring a field to (rows, columns), smoothing where it shrinks; its scale is not rewritten."""
    from torchvision.transforms.v2 import functional as pictures  # noqa: PLC0415 - over a second

    if field.valid.shape == size:
        return field
    pixels = torch.from_numpy(np.ascontiguousarray(field.pixels)).permute(2, 0, 1)  # (3, h, w)
    resized = pictures.resize(pixels, list(size), antialias=True).permute(1, 2, 0).contiguous()
    share = torch.from_numpy(np.ascontiguousarray(field.valid)).float()[None, None]
    steel = functional.interpolate(share, size=size, mode="bilinear", antialias=True)[0, 0]
    return Field(resized.numpy(), (steel >= 0.5).numpy(), field.um_per_px)  # noqa: PLR2004 - half
