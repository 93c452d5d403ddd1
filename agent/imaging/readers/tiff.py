"""Read TIFF of all kinds and select the pages that are micrographs.

A micrograph is one field: pyramid levels, thumbnails and masks are not; z planes are one field
represented by the sharpest plane; three single channels are one colour picture. Every other page
of a stack (time, tiles, plain pages) is a separate micrograph.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from agent.errors import FileCode, FileError
from agent.imaging.readers.metadata import (
    read_ome_bits,
    read_tiff_bits,
    read_tiff_scales,
    read_tiff_text,
)
from agent.imaging.readers.page import (
    GREY_ALPHA,
    Limits,
    Loader,
    Page,
    Stored,
    apply_orientation,
    check_pages,
    check_scans,
    check_size,
    find_tear,
    to_rgb,
)
from agent.imaging.readers.z_stack import COLOURS, Position, assemble_field, list_fields

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SHORTEST_BYTES = 8
"""Size of a TIFF's header: signature and offset of the first page."""
YCBCR = 6
JPEG, JPEG_END = 7, b"\xff\xd9"
PICTURE_AXES = "YXS"
PLAIN_KINDS = ("generic", "uniform", "shaped")
"""Files of independent pages; in others (OME, ImageJ, …) the first page describes all planes."""
LEVEL_AT_MOST = 0.75
SAME_PICTURE = 0.9
"""A page at most this much as large as the largest, and this alike, is a level of its pyramid."""
REDUCED, MASK = 1, 4
"""Bits of the NewSubfileType tag: a smaller version of another page, a transparency mask."""

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is detected here


def list_tiff_loaders(content: bytes, limits: Limits) -> list[Loader]:
    """Return the loaders of a TIFF.

    Returns:
        One loader per micrograph, in the order of the file.

    Raises:
        FileError: `truncated`, `unsupported`, `too_large` or `unreadable`.
    """
    if len(content) < SHORTEST_BYTES:
        raise FileError(FileCode.TRUNCATED, "the TIFF ends inside its header.")
    tif = tifffile.TiffFile(BytesIO(content), _multifile=False)
    if len(tif.pages) == 0:
        raise FileError(FileCode.TRUNCATED, "the TIFF ends before its first page is described.")
    stacks = _list_stacks(tif)
    for stack in stacks:
        check_size(stack.page.imagewidth, stack.page.imagelength, limits)
        if stack.page.is_tiled:  # one is decoded whole, however small the picture is
            check_size(stack.page.tilewidth, stack.page.tilelength, limits)
        check_pages(math.prod(stack.leading), limits)
    file = _File(content, tif)
    largest = max(stacks, key=_rank)  # a preview may precede its picture
    whole = [stack for stack in stacks if not file.is_copy(stack, largest)] or [largest]
    each = [(stack, at) for stack in whole for at in list_fields(stack.sizes)]
    check_pages(len(each), limits)
    left_out = len(whole) < len(stacks)
    return [partial(file.load, stack, at, left_out=left_out) for stack, at in each]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Planes of one size, a series in tifffile."""

    image: int
    kind: str
    axes: str
    leading: tuple[int, ...]
    page: tifffile.TiffPage
    pages: tuple[tifffile.TiffPage | tifffile.TiffFrame | None, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Axis → length, slowest first, without the picture's axes."""
        return dict(zip(self.axes, self.leading, strict=True))

    def plane(self, position: Position) -> int:
        """Return the index of the plane at a position; a missing axis counts as 0."""
        number = 0
        for axis, size in self.sizes.items():
            number = number * size + position.get(axis, 0)
        return number

    def described(self, number: int) -> tifffile.TiffPage:
        """Return the page whose tags describe a plane: its own in files of independent pages.

        Pages of one size may still differ in resolution, palette and orientation.
        """
        own = self.pages[number] if number < len(self.pages) else None
        return own.aspage() if own is not None and self.kind in PLAIN_KINDS else self.page


def _list_stacks(tif: tifffile.TiffFile) -> list[_Stack]:
    stacks = []
    for image, series in enumerate(tif.series):
        # tifffile treats half-size pages as pyramid levels by size alone; they are compared here.
        guessed = series.levels[1:] if series.kind == "generic" else []
        own = [series, *(level for level in guessed if not level.keyframe.is_subifd)]
        stacks += [_build_stack(image, level) for level in own if set("YX") <= set(level.axes)]
    return stacks


def _build_stack(image: int, series: tifffile.TiffPageSeries) -> _Stack:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    axes = "".join(axis for axis in series.axes if axis not in PICTURE_AXES)
    leading = tuple(sizes[axis] for axis in axes)
    return _Stack(image, series.kind, axes, leading, series.keyframe, tuple(series.pages))


@dataclass(frozen=True, slots=True)
class _File:
    """An open TIFF whose bytes are in memory."""

    content: bytes
    tif: tifffile.TiffFile

    def is_copy(self, stack: _Stack, largest: _Stack) -> bool:
        """Return whether a page is a thumbnail, a mask or a pyramid level.

        An unmarked page is a level if it equals the largest page reduced in size.
        """
        if stack.page.subfiletype & (REDUCED | MASK):
            return True
        width, height = stack.page.imagewidth, stack.page.imagelength
        if not _is_reduced(stack.page, largest.page):
            return False
        large, small = (_to_grey(self._plane(each, {})[0]) for each in (largest, stack))
        reduced = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        correlation = np.corrcoef(reduced.ravel(), small.ravel())[0, 1]
        return bool(correlation > SAME_PICTURE)

    def load(self, stack: _Stack, at: Position, *, left_out: bool) -> Page:
        alphas: set[bool] = set()

        def plane(position: Position) -> Stored:
            stored, alpha = self._plane(stack, position)
            alphas.add(alpha)
            return stored

        stored, noted, chosen = assemble_field(at, stack.sizes, plane, three_are_rgb=True)
        page = stack.described(stack.plane(at))
        bits = read_ome_bits(self.tif, stack.image) or read_tiff_bits(page)
        pixels, toned = to_rgb(stored, bits=bits, alpha=True in alphas)
        um, unclear = read_tiff_scales(self.tif, page, stack.image)
        orientation = page.tags.valueof(274, 1)
        return Page(
            pixels=pixels if orientation == 1 else apply_orientation(pixels, orientation),
            um_per_px=um,
            metadata=read_tiff_text(self.tif, page) | noted,
            warnings=(
                *chosen,
                *(("first_channel_only",) if _has_more_channels(page) else ()),
                *toned,
                *unclear,
                *(("copies_left_out",) if left_out else ()),
            ),
        )

    def _plane(self, stack: _Stack, at: Position) -> tuple[Stored, bool]:
        """Return one decoded plane, and whether its last channel is transparency."""
        number = stack.plane(at)
        check_colours(stack.page)
        if len(stack.pages) == math.prod(stack.leading):
            stored = self._decoded(stack.page, stack.pages[number])
        else:
            stored = self._of_one_page(stack, number)
        stored = _rows_first(stored, stack.page.axes)
        if not stack.page.is_tiled and find_tear(stored) is not None:
            raise FileError(FileCode.TRUNCATED, "its picture breaks off into zeros in mid-row.")
        return _to_colours(stack.described(number), stored)

    def _of_one_page(self, stack: _Stack, number: int) -> Stored:
        """Return a plane of a stack that only its first page describes, as in large stacks."""
        page = stack.page
        start = page.dataoffsets[0] + number * page.nbytes
        if not page.is_contiguous or start + page.nbytes > len(self.content):
            raise FileError(
                FileCode.TRUNCATED,
                f"plane {number + 1} of {math.prod(stack.leading)} is missing.",
            )
        return self._view(page, start)

    def _decoded(
        self, described: tifffile.TiffPage, page: tifffile.TiffPage | tifffile.TiffFrame | None
    ) -> Stored:
        if page is None:
            raise FileError(FileCode.TRUNCATED, "one of its planes is missing.")
        self._refuse_cut(described, page)
        if described.is_contiguous and described.predictor == 1 and described.fillorder == 1:
            return self._view(described, page.dataoffsets[0])
        stored = page.asarray()
        if stored.shape != described.shape:
            raise FileError(
                FileCode.TRUNCATED,
                f"a page of {described.shape} decodes to {stored.shape}: the file is incomplete.",
            )
        return stored

    def _view(self, page: tifffile.TiffPage, start: int) -> Stored:
        # A view of the bytes in memory: a 100-megapixel page needs no second copy.
        order = _get_dtype(page).newbyteorder(self.tif.byteorder)
        values = np.frombuffer(self.content, order, math.prod(page.shape), start)
        native = values if order.isnative else values.astype(order.newbyteorder("="))
        return native.reshape(page.shape)

    def _refuse_cut(
        self, described: tifffile.TiffPage, page: tifffile.TiffPage | tifffile.TiffFrame
    ) -> None:
        """Check that all strips and tiles of a page are in the file and not only zeros.

        Raises:
            FileError: `truncated`.
        """
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if len(parts) < math.prod(described.chunked) or not all(map(all, parts)):
            raise FileError(FileCode.TRUNCATED, "some of its strips or tiles were never written.")
        end = max(offset + count for offset, count in parts)
        if described.is_contiguous:
            end = max(end, page.dataoffsets[0] + described.nbytes)
        if end > len(self.content):
            raise FileError(
                FileCode.TRUNCATED, f"the file has {len(self.content)} bytes, its pages need {end}."
            )
        if _get_code(described.compression) == JPEG and not all(
            self.content.rfind(JPEG_END, offset, offset + count) > 0 for offset, count in parts
        ):
            raise FileError(FileCode.TRUNCATED, "one of its JPEG parts has no end marker.")
        for offset, count in parts if _is_jpeg(described) else ():
            check_scans(self.content, offset, offset + count)
        offset, count = parts[-1]
        if described.compression != 1 and self.content.count(0, offset, offset + count) == count:
            raise FileError(FileCode.TRUNCATED, "its last part is filled with zeros, not data.")
        if described.compression == 1 and described.is_tiled and self._are_torn(described, parts):
            raise FileError(FileCode.TRUNCATED, "its tiles break off into zeros in mid-row.")

    def _are_torn(self, page: tifffile.TiffPage, parts: Sequence[tuple[int, int]]) -> bool:
        """Return whether raw tiles end in zeros within a row, in the order of the file.

        A tile of zeros alone proves nothing: the specimen or the picture may end there.
        """
        across, down = page.tilewidth, page.tilelength
        pixel = _get_dtype(page).itemsize * (page.samplesperpixel if page.planarconfig == 1 else 1)
        whole = across * down * pixel
        in_file = [at for at, count in sorted(parts) if count == whole]
        full = [n for n, at in enumerate(in_file) if self.content.count(0, at, at + whole) != whole]
        if not full:
            return False
        last = in_file[max(full[-1] - 1, 0) : full[-1] + 1]
        buffer = b"".join(self.content[at : at + whole] for at in last) + bytes(across * pixel)
        return find_tear(np.frombuffer(buffer, np.uint8).reshape(-1, across, pixel)) is not None


def _rank(stack: _Stack) -> tuple[bool, int]:
    """Return the sort key of a page: pages not marked as copies first, then by size."""
    page = stack.page
    return not page.subfiletype & (REDUCED | MASK), page.imagewidth * page.imagelength


def _is_reduced(page: tifffile.TiffPage, largest: tifffile.TiffPage) -> bool:
    across = page.imagewidth / largest.imagewidth
    down = page.imagelength / largest.imagelength
    return across <= LEVEL_AT_MOST and abs(across - down) * largest.imagewidth <= 2 / min(
        across, down
    )


def _to_grey(stored: Stored) -> NDArray[np.float32]:
    plane = stored if stored.ndim == 2 else stored[..., 0]  # noqa: PLR2004 - rows and columns
    return plane.astype(np.float32)


def check_colours(page: tifffile.TiffPage) -> None:
    """Check before decoding that a page is a picture in grey or RGB.

    Raises:
        FileError: `unsupported`.
    """
    photometric = _get_code(page.photometric)
    if photometric == 5:  # noqa: PLR2004 - "separated"
        raise FileError(
            FileCode.UNSUPPORTED, "its colours are CMYK, which is for printing; export it as RGB."
        )
    if not 0 <= photometric <= 6:  # noqa: PLR2004 - CIELAB, raw sensor data, depth maps
        raise FileError(
            FileCode.UNSUPPORTED,
            f"its colours are stored as {_get_name(page.photometric)}; export it as grey or RGB.",
        )
    subsampled = tuple(page.subsampling or (1, 1)) != (1, 1)
    if photometric == YCBCR and not _is_jpeg(page) and subsampled:
        raise FileError(
            FileCode.UNSUPPORTED, "its colours are subsampled YCbCr without JPEG; export it as RGB."
        )
    dtype = _get_dtype(page)
    if dtype.kind not in "ub" or dtype.itemsize > 2:  # noqa: PLR2004 - bytes
        raise FileError(
            FileCode.UNSUPPORTED,
            f"its values are {dtype}, for which black and white are not defined; "
            "export it with 8 or 16 bits per channel.",
        )


def _get_dtype(page: tifffile.TiffPage) -> np.dtype[Any]:
    if page.dtype is None:
        raise FileError(FileCode.UNSUPPORTED, "its values are of no known kind.")
    return page.dtype


def _is_jpeg(page: tifffile.TiffPage) -> bool:
    """Return whether the decoder converts YCbCr to RGB, as JPEG decoders do."""
    return _get_code(page.compression) in (6, JPEG, 33007, 34712)


def _get_code(value: object) -> int:
    """Return a tag's number, or -1; a damaged tag may hold anything."""
    return int(value) if isinstance(value, int) else -1


def _get_name(value: object) -> str:
    return str(getattr(value, "name", value))


def _rows_first(stored: Stored, axes: str) -> Stored:
    """Return a decoded page as (h, w) or (h, w, channels)."""
    while stored.ndim > 2 and axes[0] not in PICTURE_AXES:  # noqa: PLR2004 - rows and columns
        stored, axes = stored[0], axes[1:]
    return np.moveaxis(stored, 0, -1) if axes.startswith("S") else stored


def _has_more_channels(page: tifffile.TiffPage) -> bool:
    """Return whether a grey page has further channels that are not transparency."""
    if _get_code(page.photometric) not in (0, 1) or page.samplesperpixel in (1, COLOURS):
        return False
    return page.samplesperpixel > GREY_ALPHA or not _has_alpha(page)


def _has_alpha(page: tifffile.TiffPage) -> bool:
    return [int(e) for e in page.extrasamples][:1] in ([1], [2])


def _to_colours(page: tifffile.TiffPage, stored: Stored) -> tuple[Stored, bool]:
    """Apply palettes, invert negatives, and expand fewer than eight bits."""
    photometric, bits = _get_code(page.photometric), _get_code(page.bitspersample)
    if photometric == 3:  # noqa: PLR2004 - palette
        table = np.asarray(page.colormap)
        if table.ndim != 2 or len(table) != COLOURS:  # noqa: PLR2004 - a row per colour
            raise FileError(FileCode.UNREADABLE, "its palette is missing or damaged.")
        colours = np.moveaxis(table, 0, -1)
        eight = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)  # noqa: PLR2004
        numbers = stored.astype(np.uint8) if stored.dtype == np.bool_ else stored
        full = np.zeros((1 << 8 * numbers.dtype.itemsize, COLOURS), np.uint8)
        full[: len(eight)] = eight[: len(full)]
        return full[numbers], False
    if stored.dtype == np.uint8 and 0 < bits < 8:  # noqa: PLR2004
        stored = (stored * np.uint8(255 // ((1 << bits) - 1))).astype(np.uint8)
    if photometric == 0:  # white is zero
        stored = ~stored if stored.dtype == np.bool_ else np.iinfo(stored.dtype).max - stored
    if photometric == YCBCR and not _is_jpeg(page):
        swapped = np.ascontiguousarray(stored[..., [0, 2, 1]])  # OpenCV's order is Y, Cr, Cb
        stored = np.asarray(cv2.cvtColor(swapped, cv2.COLOR_YCrCb2RGB))
    wanted = COLOURS if photometric in (2, YCBCR) or page.samplesperpixel == COLOURS else 1
    samples = stored.shape[2] if stored.ndim == 3 else 1  # noqa: PLR2004
    if samples <= wanted:
        return stored, False
    alpha = samples == wanted + 1 and _has_alpha(page)
    return (stored, True) if alpha else (stored[..., :wanted], False)
