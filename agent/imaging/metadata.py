"""Find in a file's metadata how large a pixel is, and which microscope made it.

In:  TIFF tags, OME-XML, EXIF, sidecar text. Out: µm per pixel, most trusted first, and text.
Next: `read`.
A wrong scale is worse than none: dots per inch of screens and printers, placeholders such as
exactly one, and pixels that are not square give nothing.
"""

from __future__ import annotations

import math
import os
import re
import xml.etree.ElementTree as ET
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import tifffile

from agent.regular_file import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

UM_PER_INCH = 25_400.0
COARSEST_UM = 5.0
"""A resolution tag that says more than this per pixel (5080 dpi) speaks of paper or a screen."""
PRINTER_DPI = (7200.0, 9600.0, 19200.0)
NOT_SQUARE = 0.01
WHOLE, WITH_BAND = 0.98, 1.25
"""Height of a rescaled export over that of its grid: the field alone, with an info band below."""
UM_PER = {
    "m": 1e6, "metre": 1e6, "meter": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0,
    "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "\\u00b5m": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "pm": 1e-6, "å": 1e-4, "inch": UM_PER_INCH, "in": UM_PER_INCH,
}  # fmt: skip


def square(x: float | None, y: float | None) -> tuple[float, ...]:
    """Give the one µm per pixel of both directions, or nothing if they differ or are unset."""
    if x is None or not math.isfinite(x) or x <= 0 or x == 1.0:
        return ()
    if y is not None and math.isfinite(y) and y > 0 and abs(x / y - 1) > NOT_SQUARE:
        return ()
    return (x,)


def dots_as_um_per_px(x_per_m: float, y_per_m: float) -> tuple[float, ...]:
    """Read a resolution in dots per metre, unless it is that of paper or a screen."""
    if not (x_per_m > 0 and y_per_m > 0 and math.isfinite(x_per_m) and math.isfinite(y_per_m)):
        return ()
    dpi = x_per_m * 0.0254
    if 1e6 / x_per_m > COARSEST_UM or any(abs(dpi - printer) < 1 for printer in PRINTER_DPI):
        return ()
    return square(1e6 / x_per_m, 1e6 / y_per_m)


def text_tags(exif: bytes) -> tuple[dict[str, str], int]:
    """Read EXIF: who made the picture and when, and its orientation (1 where unsaid)."""
    if not exif:
        return {}, 1
    try:
        with tifffile.TiffFile(BytesIO(exif)) as tif:
            tags = tif.pages.first.tags
            return _who_and_when(tags), _orientation(tags)
    except Exception:  # noqa: BLE001 - damaged EXIF takes nothing from a whole picture
        return {}, 1


def _orientation(tags: tifffile.TiffTags) -> int:
    value = tags.valueof(274, 1)
    return value if isinstance(value, int) else 1


def _who_and_when(tags: tifffile.TiffTags) -> dict[str, str]:
    names = {271: "maker", 272: "microscope", 305: "software", 306: "acquired_at", 315: "operator"}
    return {
        name: text
        for code, name in names.items()
        if (text := str(tags.valueof(code, "") or "").strip("\0 "))
    }


def tiff_scales(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, image: int
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Ask every witness that a TIFF knows.

    Args:
        tif: The open file.
        page: The page in question.
        image: Its index among OME images.

    Returns:
        µm per pixel, the microscope's own tag first, each kept only if it says something new;
        and warnings.
    """
    heard: list[float] = []
    warnings: list[str] = []
    witnesses = (
        _zeiss,
        _fei,
        _olympus,
        _tvips,
        _gatan,
        _tescan,
        _ome,
        _imagej,
        _described,
        _resolution,
    )
    for witness in witnesses:
        try:
            said = witness(tif, page, image)
        except _UnclearError:
            warnings.append("scale_unclear")
            continue
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError):
            continue  # damaged metadata: this witness has nothing to say
        heard += _news(said, heard)
    return tuple(heard), tuple(warnings)


class _UnclearError(ValueError):
    """A tag speaks of another image size, and not of a mere enlargement of it."""


def _zeiss(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    # SmartSEM, tag 34118. "Pixel Size" is that of the frame store (1024 px or more), also in an
    # export of 512 px; the field's width and height hold for both.
    said = page.tags.valueof(34118)
    if not said:
        return ()
    pixel = _with_unit(said.get("ap_image_pixel_size") or said.get("ap_pixel_size"))
    width, height = _with_unit(said.get("ap_width")), _with_unit(said.get("ap_height"))
    if width and height and (across := square(width / page.imagewidth, height / page.imagelength)):
        return across
    if pixel and width and not _whole_multiple(pixel * page.imagewidth, width):
        raise _UnclearError
    return square(pixel, None)


def _shrunk(page: tuple[int, int], grid: tuple[float, float]) -> float:
    """Say how many pixels of the microscope's grid one of the picture's stands for.

    A picture of the grid's width is not shrunk, whatever was cut off above or below. Of any other
    width it is the grid made smaller or larger, with an info band or without; else a part cut
    out of it, and how much that was shrunk nobody knows.
    """
    shrunk = grid[0] / page[0]
    if shrunk != 1 and not WHOLE <= page[1] * shrunk / grid[1] <= WITH_BAND:
        raise _UnclearError
    return shrunk


def _whole_multiple(part: float, whole: float) -> bool:
    return abs(part / whole - 1) < 0.05  # noqa: PLR2004 - more is another field


def _fei(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    said = tif.fei_metadata if page.index == 0 else None  # it stands on the first page
    if not said:
        return ()
    scan = said.get("Scan") or said.get("EScan") or said.get("IScan") or {}
    grid = said.get("Image", {})
    size = (page.imagewidth, page.imagelength)
    grid_size = (float(grid.get("ResolutionX") or size[0]), float(grid.get("ResolutionY") or 0))
    x, y = float(scan["PixelWidth"]), float(scan["PixelHeight"])
    shrunk = _shrunk(size, grid_size) if grid_size[1] else grid_size[0] / size[0]
    return square(x * 1e6 * shrunk, y * 1e6 * shrunk)


def _olympus(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    # The tag stands on one page; the burned-in copy beside it has the same size.
    for other in tif.pages:
        said = other.aspage().tags.valueof(33560)
        if said and other.shape[:2] == page.shape[:2]:
            return square(said["pixelsizex"] * 1e6, said["pixelsizey"] * 1e6)
    return ()


def _tvips(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    said = page.tags.valueof(37706)
    return square(said["PixelSizeX"] * 1e-3, said["PixelSizeY"] * 1e-3) if said else ()


def _gatan(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    # DigitalMicrograph: unit and size of a pixel in x and y.
    unit_x, unit_y = page.tags.valueof(65003), page.tags.valueof(65004)
    if not unit_x:
        return ()
    x, y = page.tags.valueof(65009), page.tags.valueof(65010)
    return square(float(x) * UM_PER[unit_x.lower()], float(y) * UM_PER[unit_y.lower()])


def _tescan(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    block = page.tags.valueof(50431)
    return _tescan_text(bytes(block).decode("latin-1")) if block else ()


def _tescan_text(text: str) -> tuple[float, ...]:
    x, y = (re.search(rf"PixelSize{axis}\s*=\s*([-+.\deE]+)", text) for axis in "XY")
    return square(float(x[1]) * 1e6, float(y[1]) * 1e6 if y else None) if x else ()


def _ome(tif: tifffile.TiffFile, page: tifffile.TiffPage, image: int) -> tuple[float, ...]:
    pixels = _ome_pixels(tif.ome_metadata or "", image)
    if pixels is None:
        return ()
    x, y = (_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY")
    shrunk_x = int(pixels["SizeX"]) / page.imagewidth
    shrunk_y = int(pixels["SizeY"]) / page.imagelength
    return square(x * shrunk_x if x else None, y * shrunk_y if y else None)


def _ome_length(pixels: Mapping[str, str], name: str) -> float | None:
    value = pixels.get(name)
    unit = pixels.get(f"{name}Unit", "µm")
    if value is None or float(value) == 1.0:  # what converters write where nobody told them
        return None
    return float(value) * UM_PER[unit.lower() if unit not in UM_PER else unit]


def _ome_pixels(xml: str, image: int) -> Mapping[str, str] | None:
    """Give the attributes of one image's Pixels element."""
    root = parsed(xml)
    found = [element.attrib for element in named(root, "Pixels")]
    return found[image] if image < len(found) else None


def ome_bits(tif: tifffile.TiffFile, image: int) -> int | None:
    """Say how many bits OME-XML says the camera filled in, or None."""
    bits = (_ome_pixels(tif.ome_metadata or "", image) or {}).get("SignificantBits", "")
    return int(bits) if bits.isdigit() else None


def most_bits(page: tifffile.TiffPage) -> int | None:
    """Say how many bits a TIFF's own tags say the camera filled in, or None."""
    if page.bitspersample not in (8, 16):
        return int(page.bitspersample)
    largest = page.tags.valueof(281)  # MaxSampleValue
    largest = largest[0] if isinstance(largest, tuple) and largest else largest
    return largest.bit_length() if isinstance(largest, int) and largest > 0 else None


def _imagej(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    said = tif.imagej_metadata or {}
    unit = UM_PER.get(str(said.get("unit", "")).strip().lower())
    if unit is None:
        return ()
    x, y = _per_unit(page)
    if unit == UM_PER_INCH:
        return dots_as_um_per_px(x / 0.0254, y / 0.0254)
    return square(unit / x, unit / y)


def _described(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    text = page.description
    x, y, unit = (
        re.search(rf'id="spatial-calibration-{what}"[^>]*value="([^"]+)"', text)
        for what in ("x", "y", "units")
    )
    if x and y and unit:  # MetaMorph
        um = UM_PER[unit[1].lower()]
        return square(float(x[1]) * um, float(y[1]) * um)
    return _any_text(text, (page.imagewidth, page.imagelength))


def _resolution(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    per_m = {2: 1 / 0.0254, 3: 100.0}.get(int(page.tags.valueof(296, 2)))
    if per_m is None or tif.imagej_metadata:
        return ()
    x, y = _per_unit(page)
    return dots_as_um_per_px(x * per_m, y * per_m)


def _per_unit(page: tifffile.TiffPage) -> tuple[float, float]:
    (x, x_over), (y, y_over) = page.tags.valueof(282), page.tags.valueof(283)
    return x / x_over, y / y_over


def _with_unit(entry: Any) -> float | None:
    """Read a length such as `("Pixel Size", 5.825, "nm")` in µm."""
    if not entry or len(entry) < 3 or not entry[1]:  # noqa: PLR2004 - name, value, unit
        return None
    return float(entry[1]) * UM_PER[str(entry[2]).lower()]


def parsed(xml: str) -> ET.Element:
    """Parse XML of a foreign file; entities of its own are not for us, they can explode."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml or not xml:
        return ET.Element("nothing")
    try:
        return ET.fromstring(xml)  # noqa: S314 - no entities, see above
    except ET.ParseError:
        return ET.Element("nothing")


def named(root: ET.Element, name: str) -> Iterator[ET.Element]:
    """Give every element of a name, whatever its namespace."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def tiff_text(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> dict[str, str]:
    """Say which microscope made a TIFF, with which objective, and when, where it says so."""
    said = _who_and_when(page.tags) | _sem_text(tif)
    root = parsed(tif.ome_metadata or "")
    for name, element, attribute in (
        ("microscope", "Microscope", "Model"),
        ("maker", "Microscope", "Manufacturer"),
        ("objective", "Objective", "Model"),
        ("magnification", "Objective", "NominalMagnification"),
    ):
        found = next((e.get(attribute) for e in named(root, element) if e.get(attribute)), None)
        if found:
            said[name] = found
    date = next((e.text for e in named(root, "AcquisitionDate") if e.text), None)
    return said | ({"acquired_at": date} if date else {})


def _sem_text(tif: tifffile.TiffFile) -> dict[str, str]:
    """Read what SmartSEM and xT write: instrument, operator, magnification."""
    zeiss, fei = tif.sem_metadata or {}, tif.fei_metadata or {}
    system, user = fei.get("System"), fei.get("User")
    said = {
        "microscope": _second(zeiss.get("sv_serial_number")) or _inside(system, "SystemType"),
        "operator": _second(zeiss.get("sv_user_name")) or _inside(user, "User"),
        "magnification": _second(zeiss.get("ap_mag")),
    }
    return {name: text for name, text in said.items() if text}


def _second(entry: Any) -> str:
    return str(entry[1]) if isinstance(entry, tuple) and len(entry) > 1 else ""


def _inside(section: Any, key: str) -> str:
    return str(section.get(key) or "") if isinstance(section, dict) else ""


SIDECARS = ("{stem}.txt", "{name}.txt", "{stem}.hdr", "{stem}-{ext}.hdr", "{stem}.xml",
            "{name}.xml", "{stem}_meta.xml", "{name}_meta.xml", "{stem}.cal.xml",
            "{name}_metadata.xml", "{stem}_metadata.xml")  # fmt: skip
SIDECAR_BYTES = 4_000_000
LONGEST_NAME = 255  # bytes, of every common file system


def sidecar_scales(path: Path, size: tuple[int, int]) -> tuple[float, ...]:
    """Ask the text and XML files of the same name that microscopes write beside a picture.

    Args:
        path: The picture.
        size: Its (width, height) in pixels; a note of another width speaks of a shrunken picture.

    Returns:
        µm per pixel, in the order of `SIDECARS`; several only where the files disagree.
    """
    heard: list[float] = []
    for text in _sidecars(path):
        heard += _news(_sidecar_um(text, size), heard)
    return tuple(heard)


def _news(said: Iterable[float], heard: Iterable[float]) -> list[float]:
    """Leave out what was heard already."""
    return [um for um in said if all(abs(um / other - 1) > NOT_SQUARE for other in heard)]


def _sidecars(path: Path) -> Iterable[str]:
    names = {"stem": path.stem, "name": path.name, "ext": path.suffix.lstrip(".")}
    for pattern in dict.fromkeys(pattern.format(**names) for pattern in SIDECARS):
        file = path.with_name(pattern)
        if len(os.fsencode(pattern)) > LONGEST_NAME:
            continue  # no such file can be, and asking for it is an error
        if pattern == path.name or not file.is_file() or file.stat().st_size > SIDECAR_BYTES:
            continue
        with suppress(OSError), open_regular(file) as opened:
            yield _as_text(opened.read(SIDECAR_BYTES))


def _as_text(content: bytes) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _sidecar_um(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    for witness in (_ome_text, _zen_text, _axiovision_text, _leica_text, _hitachi_text,
                    _jeol_text, _any_text):  # fmt: skip
        try:
            if um := witness(text, size):
                return um
        except (ValueError, TypeError, KeyError, ArithmeticError):
            continue  # damaged, or of another program
    return _tescan_text(text)


def _ome_text(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    pixels = _ome_pixels(text, 0)
    if pixels is None:
        return ()
    grid = int(pixels["SizeX"])
    shrunk = _shrunk(size, (grid, int(pixels.get("SizeY", grid * size[1] / size[0]))))
    x, y = (_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY")
    return square(x * shrunk if x else None, y * shrunk if y else None)


def _zen_text(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    metres = {
        element.get("Id"): float(next(named(element, "Value")).text or 0)
        for element in named(parsed(text), "Distance")
        if element.get("Id") in ("X", "Y")
    }
    return square(metres["X"] * 1e6, metres["Y"] * 1e6) if metres else ()


AXIOVISION_UM = "76"
"""AxioVision's number for micrometres; another unit is not believed."""


def _axiovision_text(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    # <V7>0.645</V7><I7>769</I7>: value and the number of the tag it belongs to.
    values = dict(re.findall(r"<V(\d+)>([^<]*)</V\1>", text))
    tags = {tag: values.get(n) for n, tag in re.findall(r"<I(\d+)>(\d+)</I\1>", text)}
    if not tags.get("769"):
        return ()
    x, y = (float((tags[tag] or "").replace(",", ".")) for tag in ("769", "772"))
    return square(x, y) if tags["770"] == AXIOVISION_UM else ()


def _leica_text(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    found = [re.search(rf"{axis}Met(?:re|er)sPerPixel\W+([\d.eE+-]+)", text) for axis in "XY"]
    metres = [float(one[1]) * 1e6 for one in found if one]
    return square(metres[0], metres[-1]) if metres else ()


def _hitachi_text(text: str, size: tuple[int, int]) -> tuple[float, ...]:
    nm = re.search(r"^PixelSize=([\d.]+)", text, re.MULTILINE)
    grid = re.search(r"^DataSize=(\d+)x(\d+)", text, re.MULTILINE)
    if not nm or not grid:
        return ()
    shrunk = _shrunk(size, (int(grid[1]), int(grid[2])))
    return square(float(nm[1]) * 1e-3 * shrunk, None)


def _jeol_text(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    px = re.search(r"^\$\$SM_MICRON_BAR\s+([\d.]+)", text, re.MULTILINE)
    marker = re.search(r"^\$\$SM_MICRON_MARKER\s+([\d.]+)\s*(\w+)", text, re.MULTILINE)
    return (
        square(float(marker[1]) * UM_PER[marker[2]] / float(px[1]), None) if px and marker else ()
    )


NUMBER = r"\s*[:=]?\s*(\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?)(?![.,]?\d)"


def _any_text(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    # "Pixel size" alone may be the camera's own, so only what speaks of the image is believed.
    # A list of several images gives every value: which one is this picture's, nobody knows.
    said = re.findall(rf"image pixel size{NUMBER}\s*(nm|um|µm|μm|mm)", text, re.IGNORECASE)
    said += [
        (number, "um")
        for number in re.findall(
            rf"(?:um_per_px|[uµμ]m\s*(?:/|per)\s*(?:px|pixel))\b{NUMBER}", text, re.IGNORECASE
        )
    ]
    heard: list[float] = []
    for number, unit in said:
        um = float(number.replace(",", ".")) * UM_PER[unit.lower()]
        heard += _news(square(um, None), heard)
    return tuple(heard)
