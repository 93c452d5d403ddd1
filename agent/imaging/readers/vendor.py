"""Read files of microscope makers: Zeiss CZI, Leica LIF, Nikon ND2.

Their libraries are in the extra `vendor`; without it a file is `unsupported`, with a message what
to install. Some libraries open the path again; completeness is checked on the hashed bytes.
"""

from __future__ import annotations

import math
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from agent.errors import FileCode, FileError
from agent.imaging.readers.metadata import UM_PER, get_square_scale, iter_elements, parse_xml
from agent.imaging.readers.page import Limits, Loader, Page, Stored, check_pages, check_size, to_rgb
from agent.imaging.readers.z_stack import Position, assemble_field, list_fields

CZI_START = b"ZISRAWFILE"
LIF_START = b"\x70\0\0\0"
ND2_STARTS = (b"\xda\xce\xbe\x0a", b"\0\0\0\x0cjP  \r\n\x87\n")
ND2_END = b"ND2 CHUNK MAP SIGNATURE"
OLD_ND2_END = b"LABORATORY IMAGING ND BOX MAP"
PICTURE_AXES = "YXS"


def list_czi_loaders(content: bytes, path: Path, limits: Limits) -> list[Loader]:
    """Return the loaders of a Zeiss CZI: one per scene, time and tile position.

    Raises:
        FileError: `truncated`, `unsupported`, `too_large` or `unreadable`.
    """
    try:
        from pylibCZIrw import czi as library  # noqa: PLC0415 - an extra
    except ImportError:
        raise _build_missing_error("a Zeiss CZI file") from None
    _check_czi_complete(content)
    with library.open_czi(str(path)) as file:
        scenes = dict(file.scenes_bounding_rectangle_no_pyramid) or {
            None: file.total_bounding_rectangle_no_pyramid
        }
        box = file.total_bounding_box_no_pyramid
        xml = parse_xml(file.raw_metadata)
    sizes = {
        axis: end - start for axis, (start, end) in box.items() if axis in "TZC" and end - start > 1
    }
    check_pages(math.prod(sizes.values()), limits)
    for scene in scenes.values():
        check_size(scene.w, scene.h, limits)
    each = [(scene, at) for scene in scenes for at in list_fields(sizes)]
    check_pages(len(each), limits)
    return [partial(_load_czi_page, path, scene, at, sizes, xml) for scene, at in each]


def _load_czi_page(
    path: Path, scene: int | None, at: Position, sizes: Mapping[str, int], xml: ET.Element
) -> Page:
    from pylibCZIrw import czi as library  # noqa: PLC0415

    def plane(position: Position) -> Stored:
        # (h, w, 1) grey or (h, w, 3) in the order blue, green, red
        stored = file.read(plane=dict(position), scene=scene)
        return np.asarray(stored[..., 0] if stored.shape[2] == 1 else stored[..., ::-1])

    with library.open_czi(str(path)) as file:
        stored, facts, warnings = assemble_field(at, sizes, plane, three_are_rgb=False)
    bits = next((e.text for e in iter_elements(xml, "ComponentBitCount") if e.text), "")
    pixels, tone_warnings = to_rgb(stored, bits=int(bits) if bits.isdigit() else None)
    metres = {e.get("Id"): _read_value(e) for e in iter_elements(xml, "Distance")}
    return Page(
        pixels=pixels,
        um_per_px=get_square_scale(*(value and value * 1e6 for value in map(metres.get, "XY"))),
        metadata=_read_czi_text(xml) | facts,
        warnings=(*warnings, *tone_warnings),
    )


def _read_value(element: ET.Element) -> float | None:
    try:
        return float(next(iter_elements(element, "Value")).text or "")
    except (ValueError, StopIteration):
        return None


def _read_czi_text(xml: ET.Element) -> dict[str, str]:
    nothing = parse_xml("")
    used = next((e.get("Id") for e in iter_elements(xml, "ObjectiveRef")), None)
    objectives = [e for e in iter_elements(xml, "Objective") if used is None or e.get("Id") == used]
    objective = objectives[0] if objectives else nothing
    texts = {
        "microscope": next(iter_elements(xml, "Microscope"), nothing).get("Name"),
        "objective": objective.get("Name"),
        "magnification": _read_text(objective, "NominalMagnification"),
        "acquired_at": _read_text(xml, "AcquisitionDateAndTime"),
    }
    return {name: text for name, text in texts.items() if text}


def _read_text(xml: ET.Element, name: str) -> str:
    return next((e.text.strip() for e in iter_elements(xml, name) if e.text), "")


def _check_czi_complete(content: bytes) -> None:
    """Check that the segments, each of stated length, fill the file.

    Raises:
        FileError: `truncated`.
    """
    at = 0
    while at < len(content):
        if at + 32 > len(content) or not content[at : at + 16].rstrip(b"\0"):
            raise FileError(FileCode.TRUNCATED, f"its segments end at byte {at} of {len(content)}.")
        (allocated,) = struct.unpack("<q", content[at + 16 : at + 24])
        if allocated < 0 or at + 32 + allocated > len(content):
            raise FileError(
                FileCode.TRUNCATED,
                f"the file has {len(content)} bytes, its segment at {at} needs "
                f"{max(allocated, 0) + 32}.",
            )
        at += 32 + allocated


def list_lif_loaders(content: bytes, _: Path, limits: Limits) -> list[Loader]:
    """Return the loaders of a Leica LIF: one per image, time and tile.

    Raises:
        FileError: `unsupported`, `too_large` or `unreadable`.
    """
    try:
        from liffile import LifFile  # noqa: PLC0415 - an extra
    except ImportError:
        raise _build_missing_error("a Leica LIF file") from None
    file = LifFile(BytesIO(content), squeeze=False)
    images = [image for image in file.images if not image.is_flim]
    every = [dict(image.sizes) for image in images]
    loaders: list[Loader] = []
    for image, sizes in zip(images, every, strict=True):
        if not {"X", "Y"} <= set(sizes):
            continue
        check_size(sizes["X"], sizes["Y"], limits)
        stack = {axis: n for axis, n in sizes.items() if axis not in PICTURE_AXES}
        check_pages(math.prod(stack.values()), limits)
        loaders += [partial(_load_lif_page, image, sizes, at) for at in list_fields(stack)]
    if not loaders:
        raise FileError(FileCode.UNSUPPORTED, "the LIF holds no image.")
    check_pages(len(loaders), limits)
    return loaders


def _load_lif_page(image: Any, sizes: Mapping[str, int], at: Position) -> Page:
    everything = image.asarray()
    attributes = [element.attrib for element in image.xml_element.iter()]
    axes = "".join(sizes)
    stack = {axis: n for axis, n in sizes.items() if axis not in PICTURE_AXES}

    def plane(position: Position) -> Stored:
        chosen = tuple(slice(None) if a in PICTURE_AXES else position.get(a, 0) for a in axes)
        left = "".join(axis for axis in axes if axis in PICTURE_AXES)
        order = [left.index(axis) for axis in PICTURE_AXES if axis in left]
        return np.transpose(everything[chosen], order)

    stored, facts, warnings = assemble_field(at, stack, plane, three_are_rgb=False)
    bits = {int(a["Resolution"]) for a in attributes if a.get("Resolution", "").isdigit()}
    pixels, tone_warnings = to_rgb(stored, bits=max(bits, default=None))
    return Page(
        pixels=pixels,
        um_per_px=get_square_scale(*(_read_lif_scale(attributes, axis) for axis in ("1", "2"))),
        metadata=dict(_iter_lif_texts(attributes)) | facts,
        warnings=(*warnings, *tone_warnings),
    )


def _read_lif_scale(attributes: list[dict[str, str]], dim_id: str) -> float | None:
    """Return µm per pixel; Leica's length is between the centres of the first and last pixel."""
    for attribute in attributes:
        if attribute.get("DimID") == dim_id:
            unit = UM_PER.get(attribute.get("Unit", "").lower())
            steps = int(attribute["NumberOfElements"]) - 1
            return float(attribute["Length"]) * unit / steps if unit and steps > 0 else None
    return None


def _iter_lif_texts(attributes: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    for name, key in (
        ("microscope", "SystemTypeName"),
        ("objective", "ObjectiveName"),
        ("magnification", "Magnification"),
    ):
        if text := next((a[key] for a in attributes if a.get(key)), ""):
            yield name, text


def list_nd2_loaders(content: bytes, path: Path, limits: Limits) -> list[Loader]:
    """Return the loaders of a Nikon ND2: one per position and time.

    Raises:
        FileError: `truncated`, `unsupported`, `too_large` or `unreadable`.
    """
    if content.startswith(ND2_STARTS[1]) and OLD_ND2_END not in content[-40:]:
        raise FileError(
            FileCode.UNSUPPORTED,
            "it is a JPEG 2000 picture (or an old Nikon ND2 without its end), which is not read; "
            "export it as TIFF.",
        )
    try:
        from nd2 import ND2File  # noqa: PLC0415 - an extra
    except ImportError:
        raise _build_missing_error("a Nikon ND2 file") from None
    if content.startswith(ND2_STARTS[0]) and ND2_END not in content[-40:]:
        raise FileError(FileCode.TRUNCATED, "the ND2 ends before its map of chunks.")
    with ND2File(path) as file:
        sizes = dict(file.sizes)
    check_size(sizes.get("X", 1), sizes.get("Y", 1), limits)
    stack = {axis: n for axis, n in sizes.items() if axis not in PICTURE_AXES}
    check_pages(math.prod(stack.values()), limits)
    return [partial(_load_nd2_page, path, stack, at) for at in list_fields(stack)]


def _load_nd2_page(path: Path, stack: Mapping[str, int], at: Position) -> Page:
    from nd2 import ND2File  # noqa: PLC0415

    with ND2File(path) as file:
        loops = {axis: n for axis, n in stack.items() if axis != "C"}
        rgb = file.components_per_channel == 3  # noqa: PLR2004 - colours

        def plane(position: Position) -> Stored:
            number = 0
            for axis, size in loops.items():
                number = number * size + position.get(axis, 0)
            frame = np.array(file.read_frame(number))  # a copy: the view ends with the file
            if stack.get("C", 1) > 1:
                frame = frame[position.get("C", 0)]
            return frame[..., ::-1] if rgb else frame  # NIS stores blue, green, red

        stored, facts, warnings = assemble_field(at, stack, plane, three_are_rgb=False)
        bits = file.attributes.bitsPerComponentSignificant
        channels = file.metadata.channels
        text = dict(file.text_info)
    if not stored.any():
        raise FileError(FileCode.TRUNCATED, "its pixels were never written.")
    pixels, tone_warnings = to_rgb(stored, bits=bits)
    texts = {"acquired_at": str(text.get("date", "") or "")}
    calibrated: Sequence[float] = ()
    if channels:
        optics, volume = channels[0].microscope, channels[0].volume
        if optics.objectiveMagnification:
            texts["magnification"] = f"{optics.objectiveMagnification:g}"
        texts["objective"] = optics.objectiveName or ""
        calibrated = volume.axesCalibration[:2] if volume.axesCalibrated[0] else ()
    return Page(
        pixels=pixels,
        um_per_px=get_square_scale(*calibrated) if calibrated else (),
        metadata={name: value for name, value in texts.items() if value} | facts,
        warnings=(*warnings, *tone_warnings),
    )


def _build_missing_error(what: str) -> FileError:
    return FileError(
        FileCode.UNSUPPORTED,
        f"it is {what}, whose reader is not installed: pip install 'martensight[vendor]'.",
    )
