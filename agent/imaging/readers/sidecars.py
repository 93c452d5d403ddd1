"""Scales of files next to a micrograph, such as a microscope's text or XML file."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.files.regular_file import open_regular
from agent.imaging.readers.metadata import (
    UM_PER,
    compute_reduction,
    get_square_scale,
    iter_elements,
    parse_any,
    parse_tescan,
    parse_xml,
    read_ome_length,
    read_ome_pixels,
    select_new,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIDECARS = ("{stem}.txt", "{name}.txt", "{stem}.hdr", "{stem}-{ext}.hdr", "{stem}.xml",
            "{name}.xml", "{stem}_meta.xml", "{name}_meta.xml", "{stem}.cal.xml",
            "{name}_metadata.xml", "{stem}_metadata.xml")  # fmt: skip
SIDECAR_BYTES = 4_000_000
LONGEST_NAME = 255  # bytes, of every common file system


def read_sidecar_scales(
    path: Path, size: tuple[int, int], *, root: Path | None = None
) -> tuple[float, ...]:
    """Read the scale from text and XML files of the same name next to a picture.

    Args:
        path: The picture.
        size: Its (width, height) in pixels; a sidecar of another width describes a rescaled
            picture.
        root: Folder of the source, see `open_regular`.

    Returns:
        µm per pixel, in the order of `SIDECARS`; several only where the files disagree.
    """
    scales: list[float] = []
    for text in _iter_sidecars(path, root):
        scales += select_new(_parse_sidecar(text, size), scales)
    return tuple(scales)


def _iter_sidecars(path: Path, root: Path | None) -> Iterable[str]:
    names = {"stem": path.stem, "name": path.name, "ext": path.suffix.lstrip(".")}
    for pattern in dict.fromkeys(pattern.format(**names) for pattern in SIDECARS):
        file = path.with_name(pattern)
        if len(os.fsencode(pattern)) > LONGEST_NAME:
            continue  # no such file can exist, and testing for it is an error
        if pattern == path.name or not file.is_file() or file.stat().st_size > SIDECAR_BYTES:
            continue
        with suppress(OSError), open_regular(file, root=root) as opened:
            yield _decode_text(opened.read(SIDECAR_BYTES))


def _decode_text(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _parse_sidecar(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    for read in (_parse_ome, _parse_zen, _parse_axiovision, _parse_leica, _parse_hitachi,
                    _parse_jeol, parse_any):  # fmt: skip
        try:
            if um := read(text, size):
                return um
        except (ValueError, TypeError, KeyError, ArithmeticError):
            continue  # damaged, or of another program
    return parse_tescan(text)


def _parse_ome(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    pixels = read_ome_pixels(text, 0)
    if pixels is None:
        return ()
    grid = int(pixels["SizeX"])
    factor = compute_reduction(size, (grid, int(pixels.get("SizeY", grid * size[1] / size[0]))))
    x, y = (read_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY")
    return get_square_scale(x * factor if x else None, y * factor if y else None)


def _parse_zen(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    metres = {
        element.get("Id"): float(next(iter_elements(element, "Value")).text or 0)
        for element in iter_elements(parse_xml(text), "Distance")
        if element.get("Id") in ("X", "Y")
    }
    return get_square_scale(metres["X"] * 1e6, metres["Y"] * 1e6) if metres else ()


AXIOVISION_UM = "76"
"""AxioVision's code of micrometres; other units are ignored."""


def _parse_axiovision(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    # <V7>0.645</V7><I7>769</I7>: value and the number of the tag it belongs to.
    values = dict(re.findall(r"<V(\d+)>([^<]*)</V\1>", text))
    tags = {tag: values.get(n) for n, tag in re.findall(r"<I(\d+)>(\d+)</I\1>", text)}
    if not tags.get("769"):
        return ()
    x, y = (float((tags[tag] or "").replace(",", ".")) for tag in ("769", "772"))
    return get_square_scale(x, y) if tags["770"] == AXIOVISION_UM else ()


def _parse_leica(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    matches = [re.search(rf"{axis}Met(?:re|er)sPerPixel\W+([\d.eE+-]+)", text) for axis in "XY"]
    metres = [float(match[1]) * 1e6 for match in matches if match]
    return get_square_scale(metres[0], metres[-1]) if metres else ()


def _parse_hitachi(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    nm = re.search(r"^PixelSize=([\d.]+)", text, re.MULTILINE)
    grid = re.search(r"^DataSize=(\d+)x(\d+)", text, re.MULTILINE)
    if not nm or not grid:
        return ()
    factor = compute_reduction(size, (int(grid[1]), int(grid[2])))
    return get_square_scale(float(nm[1]) * 1e-3 * factor, None)


def _parse_jeol(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    px = re.search(r"^\$\$SM_MICRON_BAR\s+([\d.]+)", text, re.MULTILINE)
    marker = re.search(r"^\$\$SM_MICRON_MARKER\s+([\d.]+)\s*(\w+)", text, re.MULTILINE)
    return (
        get_square_scale(float(marker[1]) * UM_PER[marker[2]] / float(px[1]), None)
        if px and marker
        else ()
    )
