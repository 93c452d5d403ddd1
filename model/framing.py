"""Framing: fields of any size to network inputs with sides that are multiples of `CELL_PX`.

A frame starts at the top left of the part of the field that it shows, so a map over the frame,
cropped to `extent`, is a map over that part. The scale of a field may only be changed to a scale
common to all fields, because needle length determines the label. Where no label depends on a length
and the scales of the fields differ widely, "native" leaves the pixels as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.block_statistics import mean_colour, swap_axes
from model.products import multiply_on_one_thread

# --- resample pixels and masks with antialiasing, to the bits of PyTorch's bilinear interpolation

# Masks with a side of a few pixels may differ from it where a pixel's share is a half.
#
# A serving agent does without PyTorch, whose import takes a second and 150 to 200 MB.


_ROWS = 8
"""Rows that one product computes: more would multiply by more zeros."""

_LARGEST_WEIGHT, _MOST_BITS = 1 << 15, 22

_EXACT_BITS = 16
"""Precision of the weights up to which sums of 255 times a weight are exact in float32."""

_HALF = 0.5

_CLOSE = 1e-4
"""Distance from a half within which the order of additions may decide on a pixel of a mask."""

_AT_ONCE = 100_000


def resample_pixels(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resample an image in whole numbers: weights of 15 bits, first along the rows.

    MEASURED, 2000 × 1500 to 1600 × 1200 px: 24 ms, PyTorch 6 ms.

    Args:
        pixels: (h, w, 3) uint8.
        size: Rows and columns of the result.

    Source:
        PyTorch, UpSampleKernelAVXAntialias.h, after Pillow-SIMD.
    """
    rows, columns = size
    if pixels.shape[1] != columns:
        pixels = swap_axes(_resample_rows(swap_axes(pixels), columns))
    if len(pixels) != rows:
        pixels = _resample_rows(pixels, rows)
    return pixels


def _resample_rows(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Resample the first axis of an image to so many rows."""
    own = len(pixels)
    flat = np.ascontiguousarray(pixels).reshape(own, -1)
    taps = _compute_taps(own, count, np.float64)
    bits = _choose_bits(float(taps.weights.max()))
    # A power of two scales without rounding, so every sum below is exact.
    dtype = np.float32 if bits <= _EXACT_BITS else np.float64
    weights = np.floor(taps.weights * (1 << bits) + _HALF) / (1 << bits)
    taps = taps._replace(weights=weights.astype(dtype))
    resampled = np.empty((count, flat.shape[1]), np.uint8)
    for top in range(0, count, _ROWS):
        band, first = taps.build_band(top, top + _ROWS)
        part: NDArray[np.floating] = flat[first : first + band.shape[1]].astype(dtype)
        sums = multiply_on_one_thread(band, part)
        sums += dtype(_HALF)
        resampled[top : top + _ROWS] = sums
    return resampled.reshape(count, *pixels.shape[1:])


def _choose_bits(largest: float) -> int:
    """Return the most bits with which the largest weight stays below 2¹⁵."""
    bits = 0
    while bits < _MOST_BITS and int(_HALF + largest * (1 << (bits + 1))) < _LARGEST_WEIGHT:
        bits += 1
    return bits


def resample_mask(valid: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resample a mask: True where at least half of what a pixel shows is.

    Args:
        valid: (h, w) bool.
        size: Rows and columns of the result.
    """
    vertical, horizontal = (
        _compute_taps(own, count, np.float32) for own, count in zip(valid.shape, size, strict=True)
    )
    share = valid.astype(np.float32)
    share = np.ascontiguousarray(_multiply_rows(np.ascontiguousarray(share.T), horizontal).T)
    share = _multiply_rows(share, vertical)
    is_set = np.asarray(share >= _HALF, np.bool_)
    rows, columns = np.nonzero(np.abs(share - np.float32(_HALF)) < _CLOSE)
    for start in range(0, len(rows), _AT_ONCE):
        part = np.s_[start : start + _AT_ONCE]
        exact = _interpolate(valid, vertical.take(rows[part]), horizontal.take(columns[part]))
        is_set[rows[part], columns[part]] = exact >= _HALF
    return is_set


def _multiply_rows(plane: NDArray[np.float32], taps: _Taps) -> NDArray[np.float32]:
    """Interpolate the first axis, rounded in any order."""
    product = np.empty((len(taps.first), plane.shape[1]), np.float32)
    for top in range(0, len(product), _ROWS):
        band, first = taps.build_band(top, top + _ROWS)
        part = plane[first : first + band.shape[1]]
        product[top : top + _ROWS] = multiply_on_one_thread(band, part)
    return product


def _interpolate(
    valid: NDArray[np.bool_], vertical: _Taps, horizontal: _Taps
) -> NDArray[np.float32]:
    """Interpolate single pixels, adding term by term as fused multiplications and additions do.

    Args:
        valid: (h, w) bool.
        vertical: Rows that each pixel is made of.
        horizontal: Its columns.

    Returns:
        (n,) float32.
    """
    total = np.zeros(len(vertical.first), np.float32)
    for row in range(vertical.weights.shape[1]):
        across = np.zeros_like(total)
        rows = np.minimum(vertical.first + row, len(valid) - 1)
        for column in range(horizontal.weights.shape[1]):
            columns = np.minimum(horizontal.first + column, valid.shape[1] - 1)
            across = _add(across, valid[rows, columns], horizontal.weights[:, column])
        total = _add(total, across, vertical.weights[:, row])
    return total


def _add(
    total: NDArray[np.float32], factor: NDArray[np.generic], weight: NDArray[np.floating]
) -> NDArray[np.float32]:
    exact = total + factor.astype(np.float64) * weight.astype(np.float64)
    return np.asarray(exact, np.float32)


class _Taps(NamedTuple):
    """Which rows each row of the result is made of.

    Attributes:
        first: (n,) first row.
        last: (n,) end of the rows.
        weights: (n, taps), in sum 1; 0 beyond the rows.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    weights: NDArray[np.floating]

    def take(self, rows: NDArray[np.intp]) -> _Taps:
        """Return those of some rows."""
        return _Taps(self.first[rows], self.last[rows], self.weights[rows])

    def build_band(self, top: int, bottom: int) -> tuple[NDArray[np.floating], int]:
        """Return the matrix of some rows, (rows, taps), and the row that its first column is of."""
        own = self.take(np.arange(top, min(bottom, len(self.first))))
        first, last = int(own.first[0]), int(own.last.max())
        band = np.zeros((len(own.first), last - first), self.weights.dtype)
        for row, (start, stop) in enumerate(zip(own.first, own.last, strict=True)):
            band[row, start - first : stop - first] = own.weights[row, : stop - start]
        return band, first


def _compute_taps(own: int, count: int, dtype: type[np.float32 | np.float64]) -> _Taps:
    """Return the weights of a triangle as wide as a row of the result, rounded as PyTorch does."""
    scale = dtype(own) / dtype(count)
    support = max(scale, dtype(1))
    inverse = dtype(1) / scale if scale >= 1 else dtype(1)
    exact = np.float64(scale) * (np.arange(count) + _HALF)
    centre: NDArray[np.floating] = exact.astype(dtype)  # (n,)
    first = np.maximum(((centre - support).astype(np.float64) + _HALF).astype(np.int64), 0)
    last = np.minimum(((centre + support).astype(np.float64) + _HALF).astype(np.int64), own)
    taps = np.arange(int(np.ceil(support)) * 2 + 1)
    shown: NDArray[np.floating] = (first[:, None] + taps).astype(dtype)  # (n, taps)
    offsets = shown - centre[:, None]
    distances = ((offsets.astype(np.float64) + _HALF) * np.float64(inverse)).astype(dtype)
    weights = np.maximum(dtype(1) - np.abs(distances), dtype(0))
    weights[taps >= (last - first)[:, None]] = 0
    total = np.zeros(count, dtype)
    for index in range(len(taps)):
        total += weights[:, index]
    return _Taps(first, last, weights / total[:, None])


# --- framing: fields of any size to network inputs with sides that are multiples of `CELL_PX` -----


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
