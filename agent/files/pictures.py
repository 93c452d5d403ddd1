"""Encode, decode and draw pictures for display: previews, outlines, heat maps.

A heat map has one fixed scale for all micrographs, and the micrograph shows through where there
is no evidence: stretching each map to its own extremes would paint red spots on images that have
none.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]


# --- write PNG files as fast as a micrograph is archived ------------------------------------------
# Each row is stored as its difference from the row above (filter "up") and compressed by
# libdeflate; picking a filter for each row, as libpng does, takes three times as long and saves 2
# % on steel.
# Source: PNG Specification, Third Edition, https://www.w3.org/TR/png-3/, sections 5.3, 9.2 and
# 11.2.


SIGNATURE = b"\x89PNG\r\n\x1a\n"
UP = 2  # filter type of a row
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels → grey, RGB, RGBA


def encode(pixels: NDArray[np.uint8] | NDArray[np.bool_], *, level: int = 1) -> bytes:
    """Encode pixels as PNG without loss.

    A picture whose three channels are equal is stored as grey, a third of the work and the size; a
    mask has one bit per pixel.

    Args:
        pixels: (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA, uint8; or (h, w) bool. Not empty.
        level: Compression of libdeflate, 1 fast to 12 small.

    Raises:
        ValueError: The shape is none of these.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[-1]  # noqa: PLR2004
    if not pixels.size or channels not in COLOUR_TYPES or pixels.ndim > 3:  # noqa: PLR2004
        raise ValueError(f"a picture of shape {pixels.shape} cannot be encoded as .png")
    bits = 1 if pixels.dtype == np.bool_ else 8
    if channels == 3 and _is_grey(pixels):  # noqa: PLR2004
        pixels, channels = pixels[..., 0], 1
    rows = np.packbits(pixels, axis=1) if bits == 1 else pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPES[channels], 0, 0, 0)
    content = bytes(imagecodecs.deflate_encode(_subtract_row_above(rows), level=level))
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _is_grey(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> bool:
    first = pixels[0]  # most colour pictures differ in the first row
    if not np.array_equal(first[..., 0], first[..., 1]):
        return False
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return np.array_equal(red, green) and np.array_equal(green, blue)


def _subtract_row_above(rows: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Return the filtered rows, each after its filter type, as h * (1 + bytes of a row) bytes."""
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered.tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = imagecodecs.deflate_crc32(kind + content)
    return b"".join((struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)))


# --- encode, decode and draw pictures for display: previews, outlines, heat maps ------------------


THUMBNAIL_PX = 320
PREVIEW_PX = 2000

OUTLINE_RGB = (255, 176, 0)
PLACE_RGB = (255, 255, 255)
SMOOTHING = 0.008
"""Blur of drawn evidence, as a share of the longer side: single cells would look significant."""

HALO_RGB = (20, 20, 24)
"""Every line is drawn light on dark, so that it is visible on bright and dark steel."""


class Palette(StrEnum):
    """Colour scale of a map."""

    EVIDENCE = "evidence"
    """Signed, for saliency: light orange is for the answer, dark violet against it; distinguishable
    with any colour vision, and by lightness alone."""
    JET = "jet"
    """Evidence for the answer alone, in the colours of the paper."""
    ALARM = "alarm"
    """Unsigned, for OOD scores: 1 is the alarm level and gets a contour."""


FOR_RGB = np.array([232, 97, 0], np.float32)
AGAINST_RGB = np.array([93, 58, 155], np.float32)


def draw_axis(
    pen: ImageDraw.ImageDraw,
    points: Sequence[tuple[float, float]],
    colour: tuple[int, int, int],
    *,
    width: int,
    is_dashed: bool,
) -> None:
    """Draw a line in a colour on a dark halo.

    Args:
        pen: Of the picture, drawn in place.
        points: From end to end, (x, y) in its pixels.
        colour: RGB.
        width: Of the coloured line; the halo is wider by a pixel on each side.
        is_dashed: Whether the coloured line is dashed.
    """
    pen.line(points, HALO_RGB, width + 2, joint="curve")
    if not is_dashed:
        pen.line(points, colour, width, joint="curve")
        return
    line = np.asarray(points, np.float64)
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    dash = 3.0 * width
    for start in np.arange(0, steps[-1], 2 * dash):
        ends = [start, min(start + dash, steps[-1])]
        x, y = (np.interp(ends, steps, line[:, k]) for k in (0, 1))
        pen.line([*zip(x.tolist(), y.tolist(), strict=True)], colour, width)


def encode_png(pixels: Pixels | NDArray[np.bool_], *, level: int = 1) -> bytes:
    """Encode as PNG.

    Args:
        pixels: (h, w, 3) RGB, (h, w, 4) RGBA or (h, w) grey, uint8; or (h, w) bool.
        level: Compression, 1 fast to 12 small.
    """
    return encode(pixels, level=level)


def encode_jpeg(pixels: Pixels, *, quality: int = 88, optimize: bool = False) -> bytes:
    """Encode for display.

    Args:
        pixels: (h, w, 3) RGB or (h, w) grey, uint8.
        quality: Of libjpeg, 1 to 100.
        optimize: Fit the Huffman tables to the picture: 3 % smaller, the same pixels, twice the
            time.
    """
    ordered = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # noqa: PLR2004
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, int(optimize)]
    is_encoded, encoded = cv2.imencode(".jpg", ordered, settings)
    if not is_encoded:
        raise ValueError(f"a picture of shape {pixels.shape} cannot be encoded as .jpg")
    return encoded.tobytes()


def decode(encoded: bytes) -> Pixels:
    """Decode a picture of ours to (h, w, 3) uint8 RGB.

    Raises:
        ValueError: It is not a picture.
    """
    return cast("Pixels", cv2.cvtColor(_decode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def read_size(encoded: bytes) -> tuple[int, int]:
    """Return the width and height that the header of a picture states; nothing is decoded.

    Raises:
        ValueError: It is not a picture.
    """
    if encoded.startswith(SIGNATURE) and len(encoded) >= 24:  # noqa: PLR2004 - its header
        width, height = struct.unpack(">II", encoded[16:24])
        return width, height
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return picture.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{len(encoded)} bytes that are no picture") from error


def decode_crop(encoded: bytes, box: Box) -> Pixels:
    """Decode a crop, a PNG of the size of its box: a picture of gigabytes in its place is refused.

    Raises:
        ValueError: It is not that picture.
    """
    size = (box[2] - box[0], box[3] - box[1])
    if not encoded.startswith(SIGNATURE) or read_size(encoded) != size:
        raise ValueError(f"{len(encoded)} bytes that are no crop of its size")
    return decode(encoded)


def decode_within(encoded: bytes, longest_px: int) -> Pixels:
    """Decode a picture of ours reduced to at most `longest_px`; a JPEG is decoded at about that.

    Args:
        encoded: JPEG or PNG.
        longest_px: Of the longer side.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: It is not a picture.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            share = longest_px / max(picture.size)
            if share < 1:  # libjpeg scales by 1/2, 1/4 or 1/8 while it decodes
                width, height = picture.size
                picture.draft("RGB", (math.ceil(width * share), math.ceil(height * share)))
            decoded = np.array(picture.convert("RGB"), np.uint8)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{len(encoded)} bytes that are no picture") from error
    return fit_within(decoded, longest_px)


def decode_mask(encoded: bytes) -> NDArray[np.bool_]:
    """Decode a mask of ours to (h, w) bool.

    Raises:
        ValueError: It is not a picture.
    """
    return _decode(encoded, cv2.IMREAD_GRAYSCALE) > 0


def _decode(encoded: bytes, how: int) -> Pixels:
    buffer = np.frombuffer(encoded, np.uint8)
    try:
        decoded = cv2.imdecode(buffer, how) if buffer.size else None
    except cv2.error:  # its header says more than 2^30 pixels
        decoded = None
    if decoded is None:
        raise ValueError(f"{len(encoded)} bytes that are no picture")
    return cast("Pixels", decoded)


def fit_within(pixels: Pixels, longest_px: int) -> Pixels:
    """Return the picture reduced to at most `longest_px` on its longer side; never enlarged."""
    height, width = pixels.shape[:2]
    share = longest_px / max(height, width)
    if share >= 1:
        return pixels
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return cast("Pixels", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


SMALLEST_SCALE = 1 / 8
"""A picture displayed at a smaller scale is first reduced to about its size."""


def cut_window(
    pixels: Pixels, centre: tuple[float, float], side_px: float, shown_px: int
) -> Pixels:
    """Cut out a square and scale it to a size, so that pictures of one scale can be compared.

    Args:
        pixels: (h, w, 3) RGB.
        centre: x, y in pixels; the square is shifted inside where it would cross an edge.
        side_px: Side of the square; a smaller picture gets a grey margin.
        shown_px: Side of the result.
    """
    if (
        reduction := SMALLEST_SCALE * side_px / shown_px
    ) > 1:  # a blur that wide would take minutes
        size = tuple(max(1, round(side / reduction)) for side in pixels.shape[1::-1])
        pixels = cast("Pixels", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        centre, side_px = (centre[0] / reduction, centre[1] / reduction), side_px / reduction
    height, width = pixels.shape[:2]
    scale = shown_px / side_px
    half = side_px / 2
    x = width / 2 if width < side_px else min(max(centre[0], half), width - half)
    y = height / 2 if height < side_px else min(max(centre[1], half), height - half)
    moved = np.array([[scale, 0, scale * (half - x)], [0, scale, scale * (half - y)]], np.float64)
    if scale < 1:  # else fine needles would turn into noise
        pixels = cast("Pixels", cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale))
    shown = cv2.warpAffine(
        pixels, moved, (shown_px, shown_px), flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128)
    )
    return cast("Pixels", shown)


def warp_to(pixels: Pixels, transform: Floats, shape: tuple[int, int]) -> Pixels:
    """Draw one picture in the frame of another; what lies outside is grey.

    Args:
        pixels: (h, w, 3) uint8 of the picture that is drawn.
        transform: (2, 3), from x and y of the other picture to those of this one; the centre of the
            first pixel is at 0.5.
        shape: (height, width) of the other picture.

    Returns:
        (height, width, 3) uint8.
    """
    matrix = np.asarray(transform, np.float64).copy()
    matrix[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5  # OpenCV counts from pixel centres
    drawn = cv2.warpAffine(
        pixels,
        matrix,
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=(128, 128, 128),
    )
    return cast("Pixels", drawn)


def thumbnail(pixels: Pixels) -> Pixels:
    """Return the picture reduced to at most `THUMBNAIL_PX`."""
    return fit_within(pixels, THUMBNAIL_PX)


def draw_outline(
    pixels: Pixels,
    box: Box,
    *,
    field_width: int,
    polygon: Sequence[tuple[int, int]] = (),
    marks: Sequence[Box],
) -> Pixels:
    """Draw the kept rectangle of a field; the rest is dimmed.

    Args:
        pixels: (h, w, 3) uint8, the preview of the whole field.
        box: The kept rectangle (x0, y0, x1, y1) in pixels of the file.
        field_width: Width of the file's page in pixels; it defines the scale of the preview.
        polygon: The specimen's outline in pixels of the file, drawn thin, or nothing.
        marks: More boxes, such as the micron bar's.
    """
    share = pixels.shape[1] / field_width
    drawn = _dim_outside(pixels, scale_box(box, share))
    if len(polygon) > 2:  # noqa: PLR2004 - two points enclose nothing
        corners = np.rint(np.array(polygon, np.float64) * share).astype(np.int32)
        cv2.polylines(drawn, [corners], isClosed=True, color=PLACE_RGB, thickness=1)
    for mark in marks:
        _draw_rectangle(drawn, scale_box(mark, share), PLACE_RGB)
    _draw_rectangle(drawn, scale_box(box, share), OUTLINE_RGB)
    return drawn


def draw_box(pixels: Pixels, box: Box, *, field_width: int) -> Pixels:
    """Draw one box of a field on its picture: the most unusual place."""
    drawn = pixels.copy()
    _draw_rectangle(drawn, scale_box(box, pixels.shape[1] / field_width), PLACE_RGB)
    return drawn


def draw_scale_bar(pixels: Pixels, um_per_px: float) -> Pixels:
    """Draw a scale bar of a round length into the lower right corner, its length above it.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        um_per_px: Of these pixels.
    """
    height, width = pixels.shape[:2]
    length_um = _round_down(width * um_per_px * LONGEST_BAR)
    length_px = max(1, round(length_um / um_per_px))
    margin, thick = max(4, width // 60), max(3, height // 120)
    font = load_font(max(10, height // 26))
    page = Image.fromarray(pixels)
    draw = ImageDraw.Draw(page)
    label = f"{length_um:g} µm"
    left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
    plate = (max(length_px, right - left) + 2 * margin, bottom - top + thick + 3 * margin)
    corner = (width - plate[0], height - plate[1])
    draw.rectangle((*corner, width, height), fill=HALO_RGB)
    x = corner[0] + (plate[0] - (right - left)) / 2
    draw.text((x - left, corner[1] + margin - top), label, fill=PLACE_RGB, font=font)
    start = corner[0] + (plate[0] - length_px) // 2
    y = height - margin - thick
    draw.rectangle((start, y, start + length_px - 1, y + thick - 1), fill=PLACE_RGB)
    return np.array(page, np.uint8)


LONGEST_BAR = 0.25
"""Longest scale bar, as a share of the picture's width."""


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with matplotlib: it has µ and ×, Pillow's own has neither."""
    spec = find_spec("matplotlib")
    file = Path(spec.origin or "").parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec else None
    return (
        ImageFont.truetype(file, size) if file and file.is_file() else ImageFont.load_default(size)
    )


def _round_down(value: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is no more than a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= value * (1 + 1e-9))


def _dim_outside(pixels: Pixels, box: Box) -> Pixels:
    x0, y0, x1, y1 = box
    drawn: Pixels = (pixels * np.float32(0.55)).astype(np.uint8)
    drawn[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
    return drawn


def _draw_rectangle(pixels: Pixels, box: Box, colour: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = box
    thick = max(1, round(max(pixels.shape[:2]) / 400))
    for width, paint in ((thick + 2, HALO_RGB), (thick, colour)):
        cv2.rectangle(pixels, (x0, y0), (x1 - 1, y1 - 1), paint, width)


def scale_box(box: Box, share: float) -> Box:
    """Return a box in pixels of a picture that is so many times as large."""
    x0, y0, x1, y1 = (round(edge * share) for edge in box)
    return x0, y0, x1, y1


def heat_layer(
    heat: NDArray[np.floating],
    shape: tuple[int, int],
    *,
    limit: float,
    palette: Palette = Palette.EVIDENCE,
) -> Pixels:
    """Draw a map as a layer for its micrograph.

    Args:
        heat: (rows, columns) over the whole field; not finite counts as no evidence.
        shape: (h, w) of the layer in pixels.
        limit: Value of the full colour, the same for all micrographs; > 0.
        palette: Colour scale.

    Returns:
        (h, w, 4) uint8 RGBA, transparent where there is no evidence.
    """
    least = -1.0 if palette is Palette.EVIDENCE else 0.0
    share = _smooth_heat(heat, shape, limit) if least else _scale_heat(heat, shape, limit)
    # `limit` of an alarm is twice its level, so that the contour is in the middle of the scale.
    inside = (share >= 0.5).astype(np.uint8) if palette is Palette.ALARM else None  # noqa: PLR2004
    np.clip(share, least, 1, out=share)
    share -= np.float32(least)
    share *= np.float32((COLOURS - 1) / (1 - least))
    share += np.float32(0.5)
    colours = _list_colours(palette).view(np.uint32)[:, 0]
    layer = colours[share.astype(np.uint16)].view(np.uint8).reshape(*shape, 4)
    if inside is not None:
        edge = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        layer[edge > 0] = CONTOUR_RGBA
    return layer


COLOURS = 2047
"""Colours of a scale, more than its 8-bit values can tell apart; odd, so that 0 is one of them."""
CONTOUR_RGBA = (255, 255, 255, 230)


@cache
def _list_colours(palette: Palette) -> NDArray[np.uint8]:
    """Return the colours of a scale, least value first: (`COLOURS`, 4) RGBA."""
    least = -1.0 if palette is Palette.EVIDENCE else 0.0
    value = np.linspace(least, 1, COLOURS, dtype=np.float32)
    if palette is Palette.JET:
        colour, opacity = _map_colours(value, _JET), np.full(COLOURS, 0.45, np.float32)
    elif palette is Palette.ALARM:
        colour = _map_colours(value, _ALARM)
        opacity = np.clip((value - 0.2) / 0.5, 0, 1) * np.float32(0.72)
    else:
        colour = np.where(value[:, None] >= 0, FOR_RGB, AGAINST_RGB)
        opacity = np.abs(value) * np.float32(0.78)
    return np.rint(np.column_stack([colour, opacity * 255])).astype(np.uint8)


def heat_overlay(
    pixels: Pixels,
    heat: NDArray[np.floating],
    *,
    limit: float,
    palette: Palette = Palette.EVIDENCE,
) -> Pixels:
    """Draw a map over its micrograph in grey, so that colour means evidence only.

    Args:
        pixels: (h, w, 3) uint8 RGB, the field.
        heat: As in `heat_layer`.
        limit: As in `heat_layer`.
        palette: As in `heat_layer`.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    layer = heat_layer(heat, pixels.shape[:2], limit=limit, palette=palette)
    opacity = layer[..., 3].astype(np.float32) / np.float32(255)
    colour = cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB)
    return cast("Pixels", cv2.blendLinear(colour, grey, opacity, 1 - opacity))


def colour_bar(palette: Palette) -> Pixels:
    """Draw the scale of a palette over middle grey, least value left: (12, 256, 3) uint8."""
    least = -1.0 if palette is Palette.EVIDENCE else 0.0
    ramp = np.tile(np.linspace(least, 1, 256, dtype=np.float32), (12, 1))
    grey = np.full((*ramp.shape, 3), 150, np.uint8)
    return heat_overlay(grey, ramp, limit=1.0, palette=palette)


def has_evidence(heat: NDArray[np.floating], *, limit: float) -> bool:
    """Return whether a map has visible evidence for the answer.

    A twentieth of the full colour is the smallest visible value.
    """
    finite = heat[np.isfinite(heat)]
    return bool(finite.size) and float(finite.max()) >= limit / 20


def _smooth_heat(heat: NDArray[np.floating], shape: tuple[int, int], limit: float) -> Floats:
    """Return a smoothed map at the size of its layer, blurred where it is small."""
    reduction = max(1.0, SMOOTHING * max(shape) / COARSE_SIGMA_PX)
    coarse = _scale_heat(
        heat, (max(1, round(shape[0] / reduction)), max(1, round(shape[1] / reduction))), limit
    )
    blurred = cv2.GaussianBlur(coarse, (0, 0), max(coarse.shape) * SMOOTHING)
    return cast("Floats", cv2.resize(blurred, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


COARSE_SIGMA_PX = 4.0
"""A blur this wide is smooth enough to be enlarged without steps."""


def _scale_heat(heat: NDArray[np.floating], shape: tuple[int, int], limit: float) -> Floats:
    if not (limit > 0 and math.isfinite(limit)):
        raise ValueError(f"a scale needs a limit above 0, not {limit}")
    finite = np.nan_to_num(heat.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    size = (shape[1], shape[0])
    return cast("Floats", cv2.resize(finite / limit, size, interpolation=cv2.INTER_LINEAR))


def _map_colours(level: Floats, stops: Sequence[tuple[int, int, int]]) -> Floats:
    """Return the interpolated colour of every level in [0, 1]: (…, 3) float32, 0 to 255."""
    at = np.linspace(0, 1, len(stops))
    channels = [np.interp(level, at, channel) for channel in zip(*stops, strict=True)]
    return np.stack(channels, axis=-1).astype(np.float32)


_ALARM = ((0, 32, 77), (66, 78, 108), (124, 123, 120), (188, 175, 111), (255, 234, 70))
"""Cividis (Nuñez et al. 2018, doi:10.1371/journal.pone.0199239), five of its colours."""
_JET = ((0, 0, 131), (0, 60, 170), (5, 255, 255), (255, 255, 0), (250, 0, 0), (128, 0, 0))
