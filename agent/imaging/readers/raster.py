"""Read PNG, JPEG and BMP: one complete picture each.

OpenCV fills a truncated JPEG with grey without an error, so size and completeness are read from
the file's structure first. It applies the EXIF orientation in some versions and not in others, so
it is switched off there and applied here.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from agent.errors import FileCode, FileError
from agent.imaging.readers.metadata import dots_to_um_per_px, read_exif
from agent.imaging.readers.page import (
    RGBA,
    Limits,
    Loader,
    Page,
    Stored,
    apply_orientation,
    check_scans,
    check_size,
    find_tear,
    to_rgb,
)

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
BMP_START = b"BM"
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Lengths of a bitmap's second header, OS/2's and Windows' versions."""
CMYK_CHANNELS = 4
STDERR = 2


@dataclass(frozen=True, slots=True)
class _Header:
    """Facts from a file's structure before it is decoded."""

    width: int
    height: int
    bits: int | None = None
    alpha: bool = False
    exif: bytes = b""
    dots_per_m: tuple[float, float] | None = None
    upside_down: bool = False


def list_png_loaders(content: bytes, limits: Limits) -> list[Loader]:
    """Return the loader of a PNG.

    Raises:
        FileError: The content is not usable.
    """
    header = _read_png_header(content)
    check_size(header.width, header.height, limits)
    return [lambda: _decode_page(content, header, "PNG")]


def list_jpeg_loaders(content: bytes, limits: Limits) -> list[Loader]:
    """Return the loader of a JPEG, which yields it upright.

    Raises:
        FileError: The content is not usable.
    """
    header = _read_jpeg_header(content, limits)
    return [lambda: _decode_page(content, header, "JPEG")]


def list_bmp_loaders(content: bytes, limits: Limits) -> list[Loader]:
    """Return the loader of a Windows bitmap.

    Raises:
        FileError: The content is not usable.
    """
    header = _read_bmp_header(content, limits)
    return [lambda: _decode_page(content, header, "BMP")]


def _decode_page(content: bytes, header: _Header, what: str) -> Page:
    stored = _decode(content, what)
    height, width = stored.shape[:2]
    if (width, height) != (header.width, header.height):
        raise FileError(
            FileCode.UNREADABLE,
            f"it decodes to {width} × {height} px, its header says {header.width} × "
            f"{header.height} px.",
        )
    if what == "BMP" and find_tear(stored[::-1] if header.upside_down else stored) is not None:
        raise FileError(FileCode.TRUNCATED, "its picture breaks off into zeros in mid-row.")
    pixels, warnings = to_rgb(
        stored,
        bits=header.bits,
        alpha=stored.ndim == 3 and stored.shape[2] == RGBA,  # noqa: PLR2004
    )
    metadata, orientation = read_exif(header.exif)
    return Page(
        pixels=apply_orientation(pixels, orientation) if orientation != 1 else pixels,
        um_per_px=dots_to_um_per_px(*header.dots_per_m) if header.dots_per_m else (),
        metadata=metadata,
        warnings=warnings,
    )


def _decode(content: bytes, what: str) -> Stored:
    with capture_stderr() as lines:
        stored = cv2.imdecode(
            np.frombuffer(content, np.uint8),
            cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION,
        )
    damage = [line for line in lines if "Corrupt JPEG" in line and "extraneous" not in line]
    if damage:
        raise FileError(FileCode.UNREADABLE, f"its decoder says: {damage[0].strip()}.")
    if stored is None:
        raise FileError(FileCode.UNREADABLE, f"it begins as a {what} but cannot be decoded.")
    if stored.ndim == 3 and stored.shape[2] == 1:  # noqa: PLR2004 - one grey channel
        stored = stored[..., 0]
    if stored.ndim == 3:  # noqa: PLR2004 - OpenCV's order is blue, green, red
        stored = cv2.cvtColor(
            stored, cv2.COLOR_BGRA2RGBA if stored.shape[2] == RGBA else cv2.COLOR_BGR2RGB
        )
    return stored


@contextmanager
def capture_stderr() -> Iterator[list[str]]:
    """Capture lines that C libraries write to stderr inside the context.

    libjpeg continues after damaged data and reports it only there; what it invents would be
    classified. Captured text is not written on; without a stderr nothing is captured.
    """
    lines: list[str] = []
    try:
        original = os.dup(STDERR)
    except OSError:
        yield lines
        return
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), STDERR)
        try:
            yield lines
        finally:
            os.dup2(original, STDERR)
            os.close(original)
            buffer.seek(0)
            lines += buffer.read().decode("utf-8", "replace").splitlines()


def _read_png_header(content: bytes) -> _Header:
    size: tuple[int, int] | None = None
    bits: int | None = None
    exif = b""
    dots: tuple[float, float] | None = None
    for kind, body in _iter_png_chunks(content):
        if kind == b"IHDR" and len(body) == 13:  # noqa: PLR2004 - PNG 1.2, section 11.2.2
            size = struct.unpack(">II", body[:8])
        elif kind == b"sBIT" and body:
            bits = body[0]
        elif kind == b"eXIf":
            exif = body
        elif kind == b"pHYs" and len(body) == 9 and body[8] == 1:  # noqa: PLR2004 - per metre
            dots = struct.unpack(">II", body[:8])
    if size is None:
        raise FileError(FileCode.UNREADABLE, "it begins as a PNG but has no header.")
    return _Header(*size, bits=bits, exif=exif, dots_per_m=dots)


def _iter_png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_START)
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        end = at + 12 + length
        if end > len(content):
            break
        (crc,) = struct.unpack(">I", content[end - 4 : end])
        if zlib.crc32(memoryview(content)[at + 4 : end - 4]) != crc:
            raise FileError(
                FileCode.TRUNCATED if not any(content[end - 8 : end]) else FileCode.UNREADABLE,
                f"its {kind.decode('latin-1')!r} chunk does not match its checksum.",
            )
        if kind == b"IEND":
            return
        yield kind, content[at + 8 : end - 4] if length < 1 << 16 else b""
        at = end
    raise FileError(FileCode.TRUNCATED, "the PNG ends before its end marker.")


def _read_jpeg_header(content: bytes, limits: Limits) -> _Header:
    exif = b""
    dots: tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    for marker, start, end in _iter_jpeg_segments(content):
        body = content[start:end]
        if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 12:  # noqa: PLR2004
            dots = _parse_jfif_dots(body)
        elif marker == 0xE1 and body[:6] == b"Exif\0\0":  # noqa: PLR2004 - APP1
            exif = body[6:]
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:  # noqa: PLR2004
            size = _parse_jpeg_frame(body, limits)
        elif marker == 0xDA:  # noqa: PLR2004 - start of scan
            if size is None:
                break
            if content.rfind(JPEG_END) < end:
                raise FileError(FileCode.TRUNCATED, "the JPEG ends before its end marker.")
            check_scans(content, end, len(content))
            return _Header(*size, exif=exif, dots_per_m=dots)
    raise FileError(FileCode.TRUNCATED, "the JPEG ends before its picture begins.")


def _iter_jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:  # noqa: PLR2004 - every marker begins with it
            raise FileError(FileCode.UNREADABLE, "its JPEG structure is damaged.")
        marker = content[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # noqa: PLR2004 - markers without a body
            at += 2
            continue
        (length,) = struct.unpack(">H", content[at + 2 : at + 4])
        yield marker, at + 4, at + 2 + length
        at += 2 + max(length, 2)


def _parse_jpeg_frame(body: bytes, limits: Limits) -> tuple[int, int]:
    precision, height, width, channels = struct.unpack(">BHHB", body[:6])
    if precision != 8:  # noqa: PLR2004 - bits
        raise FileError(
            FileCode.UNSUPPORTED, f"it is a JPEG of {precision} bits; export it with 8."
        )
    if channels == CMYK_CHANNELS:
        raise FileError(
            FileCode.UNSUPPORTED, "its colours are CMYK, which is for printing; export it as RGB."
        )
    check_size(width, height, limits)
    return width, height


def _parse_jfif_dots(body: bytes) -> tuple[float, float] | None:
    unit, x, y = struct.unpack(">BHH", body[7:12])
    per_m = {1: 1 / 0.0254, 2: 100.0}.get(unit)
    return (x * per_m, y * per_m) if per_m else None


def _read_bmp_header(content: bytes, limits: Limits) -> _Header:
    if len(content) < 54:  # noqa: PLR2004 - both headers
        raise FileError(FileCode.TRUNCATED, "the bitmap ends inside its header.")
    offset, header_size, width, height = struct.unpack("<IIii", content[10:26])
    if header_size not in BMP_HEADERS:
        raise FileError(FileCode.NOT_AN_IMAGE, "it begins with BM, but not like a bitmap.")
    bits_per_px, compression = struct.unpack("<HI", content[28:34])
    dots = struct.unpack("<ii", content[38:46])
    if header_size < 40:  # noqa: PLR2004 - OS/2, which no program exports
        raise FileError(FileCode.UNSUPPORTED, "it is a bitmap of OS/2; export it as PNG.")
    check_size(width, abs(height), limits)
    stride = (width * bits_per_px + 31) // 32 * 4
    if compression in (0, 3) and offset + stride * abs(height) > len(content):
        raise FileError(
            FileCode.TRUNCATED,
            f"the bitmap has {len(content)} bytes, its header needs "
            f"{offset + stride * abs(height)}.",
        )
    return _Header(
        width,
        abs(height),
        dots_per_m=(float(dots[0]), float(dots[1])),
        upside_down=height > 0,
    )
