"""Read TIFF in all its forms, and say which of its pages are micrographs.

In:  a file's bytes. Out: a `Loader` per micrograph. Next: `read`.
A micrograph is one field: pyramid levels, thumbnails and masks are none, z planes are one field
of which the sharpest plane is taken, three single channels are one colour picture. Everything
else along a stack (time, tiles, plain pages) is a micrograph of its own.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tifffile

from agent.errors import FileCode, FileError
from agent.imaging.metadata import most_bits, ome_bits, tiff_scales, tiff_text
from agent.imaging.page import Limits, Loader, Page, check_pages, check_size
from agent.imaging.stack import COLOURS, fields, picture
from agent.imaging.tones import GREY_ALPHA, to_rgb, torn_at, upright

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.imaging.page import Stored
    from agent.imaging.stack import Position

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SHORTEST_BYTES = 8
"""A TIFF's header: how it begins, and where its first page is described."""
YCBCR = 6
JPEG, JPEG_END = 7, b"\xff\xd9"
PICTURE_AXES = "YXS"
PLAIN_KINDS = ("generic", "uniform", "shaped")
"""Files of pages; in others (OME, ImageJ, …) what holds for all planes stands at the first."""
LEVEL_AT_MOST = 0.75
SAME_PICTURE = 0.9
"""A page at most this much as large as the largest, and this alike, is a level of its pyramid."""
REDUCED, MASK = 1, 4
"""Bits of the NewSubfileType tag: a smaller version of another page, a transparency mask."""

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # we judge damage ourselves


def tiff(content: bytes, limits: Limits) -> list[Loader]:
    """Read a TIFF.

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
    stacks = _stacks(tif)
    for stack in stacks:
        check_size(stack.page.imagewidth, stack.page.imagelength, limits)
        check_pages(math.prod(stack.leading), limits)
    file = _File(content, tif)
    largest = max(stacks, key=_standing)  # a preview may stand before its picture
    whole = [stack for stack in stacks if not file.is_copy(stack, largest)] or [largest]
    each = [(stack, at) for stack in whole for at in fields(stack.sizes)]
    check_pages(len(each), limits)
    left_out = len(whole) < len(stacks)
    return [partial(file.load, stack, at, left_out=left_out) for stack, at in each]


@dataclass(frozen=True, slots=True)
class _Stack:
    """Planes of one size: what tifffile calls a series."""

    image: int
    kind: str
    axes: str
    leading: tuple[int, ...]
    page: tifffile.TiffPage
    pages: tuple[tifffile.TiffPage | tifffile.TiffFrame | None, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Axis → length, slowest first, without the picture's own."""
        return dict(zip(self.axes, self.leading, strict=True))

    def plane(self, position: Position) -> int:
        """Number of the plane at a position; an axis left out is at its start."""
        number = 0
        for axis, size in self.sizes.items():
            number = number * size + position.get(axis, 0)
        return number

    def described(self, number: int) -> tifffile.TiffPage:
        """Give the page whose tags speak of a plane: its own, where each page stands alone.

        Pages alike in size may still differ in resolution, palette and orientation.
        """
        own = self.pages[number] if number < len(self.pages) else None
        return own.aspage() if own is not None and self.kind in PLAIN_KINDS else self.page


def _stacks(tif: tifffile.TiffFile) -> list[_Stack]:
    found = []
    for image, series in enumerate(tif.series):
        # tifffile takes halves for pyramid levels by their size alone; we look at them.
        guessed = series.levels[1:] if series.kind == "generic" else []
        own = [series, *(level for level in guessed if not level.keyframe.is_subifd)]
        found += [_stack(image, one) for one in own if set("YX") <= set(one.axes)]
    return found


def _stack(image: int, series: tifffile.TiffPageSeries) -> _Stack:
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
        """Say whether a page is no field: a thumbnail, a mask, a pyramid's level.

        An unmarked page is a level if it is the largest page made smaller.
        """
        if stack.page.subfiletype & (REDUCED | MASK):
            return True
        width, height = stack.page.imagewidth, stack.page.imagelength
        if not _same_shape_but_smaller(stack.page, largest.page):
            return False
        large, small = (_grey(self._plane(one, {})[0]) for one in (largest, stack))
        shrunk = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
        alike = np.corrcoef(shrunk.ravel(), small.ravel())[0, 1]
        return bool(alike > SAME_PICTURE)

    def load(self, stack: _Stack, at: Position, *, left_out: bool) -> Page:
        alphas: set[bool] = set()

        def plane(position: Position) -> Stored:
            stored, alpha = self._plane(stack, position)
            alphas.add(alpha)
            return stored

        stored, noted, chosen = picture(at, stack.sizes, plane, three_are_rgb=True)
        page = stack.described(stack.plane(at))
        bits = ome_bits(self.tif, stack.image) or most_bits(page)
        pixels, toned = to_rgb(stored, bits=bits, alpha=True in alphas)
        um, unclear = tiff_scales(self.tif, page, stack.image)
        orientation = page.tags.valueof(274, 1)
        return Page(
            pixels=pixels if orientation == 1 else upright(pixels, orientation),
            um_per_px=um,
            metadata=tiff_text(self.tif, page) | noted,
            warnings=(
                *chosen,
                *(("first_channel_only",) if _has_more_channels(page) else ()),
                *toned,
                *unclear,
                *(("copies_left_out",) if left_out else ()),
            ),
        )

    def _plane(self, stack: _Stack, at: Position) -> tuple[Stored, bool]:
        """Decode one plane; says too whether its last channel is transparency."""
        number = stack.plane(at)
        refuse_colours(stack.page)
        if len(stack.pages) == math.prod(stack.leading):
            stored = self._decoded(stack.page, stack.pages[number])
        else:
            stored = self._of_one_page(stack, number)
        stored = _rows_first(stored, stack.page.axes)
        if not stack.page.is_tiled and torn_at(stored) is not None:
            raise FileError(FileCode.TRUNCATED, "its picture breaks off into zeros in mid-row.")
        return _coloured(stack.described(number), stored)

    def _of_one_page(self, stack: _Stack, number: int) -> Stored:
        """Give a plane of a stack that its first page alone describes, as large ones are."""
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
        order = _dtype(page).newbyteorder(self.tif.byteorder)
        values = np.frombuffer(self.content, order, math.prod(page.shape), start)
        native = values if order.isnative else values.astype(order.newbyteorder("="))
        return native.reshape(page.shape)

    def _refuse_cut(
        self, described: tifffile.TiffPage, page: tifffile.TiffPage | tifffile.TiffFrame
    ) -> None:
        """Refuse a page some of whose strips or tiles are not in the file, or hold zeros only."""
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
        if _code(described.compression) == JPEG and not all(
            self.content.rfind(JPEG_END, offset, offset + count) > 0 for offset, count in parts
        ):
            raise FileError(FileCode.TRUNCATED, "one of its JPEG parts has no end marker.")
        offset, count = parts[-1]
        if described.compression != 1 and self.content.count(0, offset, offset + count) == count:
            raise FileError(FileCode.TRUNCATED, "its last part is filled with zeros, not data.")
        if described.compression == 1 and described.is_tiled and self._are_torn(described, parts):
            raise FileError(FileCode.TRUNCATED, "its tiles break off into zeros in mid-row.")

    def _are_torn(self, page: tifffile.TiffPage, parts: Sequence[tuple[int, int]]) -> bool:
        """Say whether raw tiles break off into zeros, in the order in which the file has them.

        A tile of zeros alone says nothing: the specimen may end there, or the picture.
        """
        across, down = page.tilewidth, page.tilelength
        pixel = _dtype(page).itemsize * (page.samplesperpixel if page.planarconfig == 1 else 1)
        whole = across * down * pixel
        in_file = [at for at, count in sorted(parts) if count == whole]
        full = [n for n, at in enumerate(in_file) if self.content.count(0, at, at + whole) != whole]
        if not full:
            return False
        near = in_file[max(full[-1] - 1, 0) : full[-1] + 1]
        held = b"".join(self.content[at : at + whole] for at in near) + bytes(across * pixel)
        return torn_at(np.frombuffer(held, np.uint8).reshape(-1, across, pixel)) is not None


def _standing(stack: _Stack) -> tuple[bool, int]:
    """Rank the pages of a file: those not marked as copies first, then by size."""
    page = stack.page
    return not page.subfiletype & (REDUCED | MASK), page.imagewidth * page.imagelength


def _same_shape_but_smaller(page: tifffile.TiffPage, largest: tifffile.TiffPage) -> bool:
    across = page.imagewidth / largest.imagewidth
    down = page.imagelength / largest.imagelength
    return across <= LEVEL_AT_MOST and abs(across - down) * largest.imagewidth <= 2 / min(
        across, down
    )


def _grey(stored: Stored) -> NDArray[np.float32]:
    plane = stored if stored.ndim == 2 else stored[..., 0]  # noqa: PLR2004 - rows and columns
    return plane.astype(np.float32)


def refuse_colours(page: tifffile.TiffPage) -> None:
    """Refuse what is not a picture in grey or RGB, before it is decoded. Raises `FileError`."""
    photometric = _code(page.photometric)
    if photometric == 5:  # noqa: PLR2004 - "separated"
        raise FileError(
            FileCode.UNSUPPORTED, "its colours are CMYK, which is for printing; export it as RGB."
        )
    if not 0 <= photometric <= 6:  # noqa: PLR2004 - CIELAB, raw sensor data, depth maps
        raise FileError(
            FileCode.UNSUPPORTED,
            f"its colours are stored as {_name(page.photometric)}; export it as grey or RGB.",
        )
    subsampled = tuple(page.subsampling or (1, 1)) != (1, 1)
    if photometric == YCBCR and not _is_jpeg(page) and subsampled:
        raise FileError(
            FileCode.UNSUPPORTED, "its colours are subsampled YCbCr without JPEG; export it as RGB."
        )
    dtype = _dtype(page)
    if dtype.kind not in "ub" or dtype.itemsize > 2:  # noqa: PLR2004 - bytes
        raise FileError(
            FileCode.UNSUPPORTED,
            f"its values are {dtype}, for which black and white are not defined; "
            "export it with 8 or 16 bits per channel.",
        )


def _dtype(page: tifffile.TiffPage) -> np.dtype[Any]:
    if page.dtype is None:
        raise FileError(FileCode.UNSUPPORTED, "its values are of no known kind.")
    return page.dtype


def _is_jpeg(page: tifffile.TiffPage) -> bool:
    """Say whether a decoder turns YCbCr into RGB on the way, as those of JPEG do."""
    return _code(page.compression) in (6, JPEG, 33007, 34712)


def _code(value: object) -> int:
    """Give a tag's number; a damaged tag may hold anything."""
    return int(value) if isinstance(value, int) else -1


def _name(value: object) -> str:
    return str(getattr(value, "name", value))


def _rows_first(stored: Stored, axes: str) -> Stored:
    """Bring a decoded page to (h, w) or (h, w, channels)."""
    while stored.ndim > 2 and axes[0] not in PICTURE_AXES:  # noqa: PLR2004 - rows and columns
        stored, axes = stored[0], axes[1:]
    return np.moveaxis(stored, 0, -1) if axes.startswith("S") else stored


def _has_more_channels(page: tifffile.TiffPage) -> bool:
    """Say whether a grey page has other channels beside its first that are no transparency."""
    if _code(page.photometric) not in (0, 1) or page.samplesperpixel in (1, COLOURS):
        return False
    return page.samplesperpixel > GREY_ALPHA or not _has_alpha(page)


def _has_alpha(page: tifffile.TiffPage) -> bool:
    return [int(e) for e in page.extrasamples][:1] in ([1], [2])


def _coloured(page: tifffile.TiffPage, stored: Stored) -> tuple[Stored, bool]:
    """Look palettes up, turn negatives round, widen fewer than eight bits."""
    photometric, bits = _code(page.photometric), _code(page.bitspersample)
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
