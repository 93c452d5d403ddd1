"""Read pixel size and microscope from a file's metadata and sidecar files.

A wrong scale is worse than none: screen or printer resolutions, placeholders such as exactly 1,
and non-square pixels are ignored.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import tifffile

UM_PER_INCH = 25_400.0
COARSEST_UM = 5.0
"""µm per pixel; a coarser resolution tag (5080 dpi) is that of paper or a screen."""
PRINTER_DPI = (7200.0, 9600.0, 19200.0)
NOT_SQUARE = 0.01
WHOLE, WITH_BAND = 0.98, 1.25
"""Height of a rescaled export over that of its grid: the field alone, and with an info band."""
UM_PER = {
    "m": 1e6, "metre": 1e6, "meter": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0,
    "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "\\u00b5m": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "pm": 1e-6, "å": 1e-4, "inch": UM_PER_INCH, "in": UM_PER_INCH,
}  # fmt: skip


def get_square_scale(x: float | None, y: float | None) -> tuple[float, ...]:
    """Return the common µm per pixel of both directions.

    Args:
        x: µm per pixel along x, or None.
        y: µm per pixel along y; None: as along x.

    Returns:
        One value, or nothing where unset, exactly 1, or not square.
    """
    if x is None or not math.isfinite(x) or x <= 0 or x == 1.0:
        return ()
    if y is not None and math.isfinite(y) and y > 0 and abs(x / y - 1) > NOT_SQUARE:
        return ()
    return (x,)


def dots_to_um_per_px(x_per_m: float, y_per_m: float) -> tuple[float, ...]:
    """Convert dots per metre to µm per pixel; nothing for a resolution of paper or a screen."""
    if not (x_per_m > 0 and y_per_m > 0 and math.isfinite(x_per_m) and math.isfinite(y_per_m)):
        return ()
    dpi = x_per_m * 0.0254
    if 1e6 / x_per_m > COARSEST_UM or any(abs(dpi - printer) < 1 for printer in PRINTER_DPI):
        return ()
    return get_square_scale(1e6 / x_per_m, 1e6 / y_per_m)


def read_exif(exif: bytes) -> tuple[dict[str, str], int]:
    """Read EXIF: maker, microscope, time and operator, and the orientation (1 if absent)."""
    if not exif:
        return {}, 1
    try:
        with tifffile.TiffFile(BytesIO(exif)) as tif:
            tags = tif.pages.first.tags
            return _read_who_and_when(tags), _read_orientation(tags)
    except Exception:  # noqa: BLE001 - damaged EXIF takes nothing from a whole picture
        return {}, 1


def _read_orientation(tags: tifffile.TiffTags) -> int:
    value = tags.valueof(274, 1)
    return value if isinstance(value, int) else 1


def _read_who_and_when(tags: tifffile.TiffTags) -> dict[str, str]:
    names = {271: "maker", 272: "microscope", 305: "software", 306: "acquired_at", 315: "operator"}
    return {
        name: text
        for code, name in names.items()
        if (text := str(tags.valueof(code, "") or "").strip("\0 "))
    }


def read_tiff_scales(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, image: int
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Read the scale from every source that a TIFF has.

    Args:
        tif: The open file.
        page: The page.
        image: Index of the page among the OME images.

    Returns:
        Distinct µm per pixel, the microscope's own tag first; and warnings.
    """
    scales: list[float] = []
    warnings: list[str] = []
    readers = (
        _read_zeiss,
        _read_fei,
        _read_olympus,
        _read_tvips,
        _read_gatan,
        _read_tescan,
        _read_ome,
        _read_imagej,
        _read_description,
        _read_resolution,
    )
    for read in readers:
        try:
            values = read(tif, page, image)
        except _UnclearError:
            warnings.append("scale_unclear")
            continue
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError):
            continue  # damaged metadata: no scale from this source
        scales += select_new(values, scales)
    return tuple(scales), tuple(warnings)


class _UnclearError(ValueError):
    """A tag describes another image size that is no plain rescaling of this one."""


def _read_zeiss(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    # SmartSEM, tag 34118. "Pixel Size" is that of the frame store (1024 px or more), also in an
    # export of 512 px; the field's width and height hold for both.
    tag = page.tags.valueof(34118)
    if not tag:
        return ()
    pixel = _parse_length(tag.get("ap_image_pixel_size") or tag.get("ap_pixel_size"))
    width, height = _parse_length(tag.get("ap_width")), _parse_length(tag.get("ap_height"))
    if (
        width
        and height
        and (across := get_square_scale(width / page.imagewidth, height / page.imagelength))
    ):
        return across
    if pixel and width and not _is_same_field(pixel * page.imagewidth, width):
        raise _UnclearError
    return get_square_scale(pixel, None)


def compute_reduction(page: tuple[int, int], grid: tuple[float, float]) -> float:
    """Return the number of grid pixels of the microscope per pixel of the picture.

    A picture of the grid's width is not rescaled, whatever was cropped above or below. Another
    width is the rescaled grid with or without an info band; otherwise it is a crop whose scale is
    unknown.

    Raises:
        _UnclearError: It is such a crop.
    """
    factor = grid[0] / page[0]
    if factor != 1 and not WHOLE <= page[1] * factor / grid[1] <= WITH_BAND:
        raise _UnclearError
    return factor


def _is_same_field(part: float, whole: float) -> bool:
    return abs(part / whole - 1) < 0.05  # noqa: PLR2004 - more is another field


def _read_fei(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    metadata = tif.fei_metadata if page.index == 0 else None  # it is on the first page only
    if not metadata:
        return ()
    scan = metadata.get("Scan") or metadata.get("EScan") or metadata.get("IScan") or {}
    grid = metadata.get("Image", {})
    size = (page.imagewidth, page.imagelength)
    grid_size = (float(grid.get("ResolutionX") or size[0]), float(grid.get("ResolutionY") or 0))
    x, y = float(scan["PixelWidth"]), float(scan["PixelHeight"])
    factor = compute_reduction(size, grid_size) if grid_size[1] else grid_size[0] / size[0]
    return get_square_scale(x * 1e6 * factor, y * 1e6 * factor)


def _read_olympus(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    # The tag is on one page; the burned-in copy next to it has the same size.
    for other in tif.pages:
        tag = other.aspage().tags.valueof(33560)
        if tag and other.shape[:2] == page.shape[:2]:
            return get_square_scale(tag["pixelsizex"] * 1e6, tag["pixelsizey"] * 1e6)
    return ()


def _read_tvips(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    tag = page.tags.valueof(37706)
    return get_square_scale(tag["PixelSizeX"] * 1e-3, tag["PixelSizeY"] * 1e-3) if tag else ()


def _read_gatan(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    # DigitalMicrograph: unit and size of a pixel in x and y.
    unit_x, unit_y = page.tags.valueof(65003), page.tags.valueof(65004)
    if not unit_x:
        return ()
    x, y = page.tags.valueof(65009), page.tags.valueof(65010)
    return get_square_scale(float(x) * UM_PER[unit_x.lower()], float(y) * UM_PER[unit_y.lower()])


def _read_tescan(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    block = page.tags.valueof(50431)
    return parse_tescan(bytes(block).decode("latin-1")) if block else ()


def parse_tescan(text: str) -> tuple[float, ...]:
    """Return the pixel sizes of a Tescan header, (x, y) or one, µm; () without any."""
    x, y = (re.search(rf"PixelSize{axis}\s*=\s*([-+.\deE]+)", text) for axis in "XY")
    return get_square_scale(float(x[1]) * 1e6, float(y[1]) * 1e6 if y else None) if x else ()


def _read_ome(tif: tifffile.TiffFile, page: tifffile.TiffPage, image: int) -> tuple[float, ...]:
    pixels = read_ome_pixels(tif.ome_metadata or "", image)
    if pixels is None:
        return ()
    x, y = (read_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY")
    factor_x = int(pixels["SizeX"]) / page.imagewidth
    factor_y = int(pixels["SizeY"]) / page.imagelength
    return get_square_scale(x * factor_x if x else None, y * factor_y if y else None)


def read_ome_length(pixels: Mapping[str, str], name: str) -> float | None:
    """Return a length of an OME `Pixels` element in µm, None without one."""
    value = pixels.get(name)
    unit = pixels.get(f"{name}Unit", "µm")
    if value is None or float(value) == 1.0:  # placeholder that converters write
        return None
    return float(value) * UM_PER[unit.lower() if unit not in UM_PER else unit]


def read_ome_pixels(xml: str, image: int) -> Mapping[str, str] | None:
    """Return the attributes of one image's Pixels element, or None."""
    root = parse_xml(xml)
    elements = [element.attrib for element in iter_elements(root, "Pixels")]
    return elements[image] if image < len(elements) else None


def read_ome_bits(tif: tifffile.TiffFile, image: int) -> int | None:
    """Return the significant bits that OME-XML states, or None."""
    bits = (read_ome_pixels(tif.ome_metadata or "", image) or {}).get("SignificantBits", "")
    return int(bits) if bits.isdigit() else None


def read_tiff_bits(page: tifffile.TiffPage) -> int | None:
    """Return the significant bits that a TIFF's tags state, or None."""
    if page.bitspersample not in (8, 16):
        return int(page.bitspersample)
    largest = page.tags.valueof(281)  # MaxSampleValue
    largest = largest[0] if isinstance(largest, tuple) and largest else largest
    return largest.bit_length() if isinstance(largest, int) and largest > 0 else None


def _read_imagej(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    metadata = tif.imagej_metadata or {}
    unit = UM_PER.get(str(metadata.get("unit", "")).strip().lower())
    if unit is None:
        return ()
    x, y = _read_dots_per_unit(page)
    if unit == UM_PER_INCH:
        return dots_to_um_per_px(x / 0.0254, y / 0.0254)
    return get_square_scale(unit / x, unit / y)


def _read_description(_: tifffile.TiffFile, page: tifffile.TiffPage, __: int) -> tuple[float, ...]:
    text = page.description
    x, y, unit = (
        re.search(rf'id="spatial-calibration-{what}"[^>]*value="([^"]+)"', text)
        for what in ("x", "y", "units")
    )
    if x and y and unit:  # MetaMorph
        um = UM_PER[unit[1].lower()]
        return get_square_scale(float(x[1]) * um, float(y[1]) * um)
    return parse_any(text, (page.imagewidth, page.imagelength))


def _read_resolution(tif: tifffile.TiffFile, page: tifffile.TiffPage, _: int) -> tuple[float, ...]:
    per_m = {2: 1 / 0.0254, 3: 100.0}.get(int(page.tags.valueof(296, 2)))
    if per_m is None or tif.imagej_metadata:
        return ()
    x, y = _read_dots_per_unit(page)
    return dots_to_um_per_px(x * per_m, y * per_m)


def _read_dots_per_unit(page: tifffile.TiffPage) -> tuple[float, float]:
    (x, x_over), (y, y_over) = page.tags.valueof(282), page.tags.valueof(283)
    return x / x_over, y / y_over


def _parse_length(entry: Any) -> float | None:
    """Return a length such as `("Pixel Size", 5.825, "nm")` in µm, or None."""
    if not entry or len(entry) < 3 or not entry[1]:  # noqa: PLR2004 - name, value, unit
        return None
    return float(entry[1]) * UM_PER[str(entry[2]).lower()]


def parse_xml(xml: str) -> ET.Element:
    """Parse foreign XML; documents with entities are refused, since entities can explode."""
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml or not xml:
        return ET.Element("nothing")
    try:
        return ET.fromstring(xml)  # noqa: S314 - no entities, see above
    except ET.ParseError:
        return ET.Element("nothing")


def iter_elements(root: ET.Element, name: str) -> Iterator[ET.Element]:
    """Yield every element of a name in any namespace."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def read_tiff_text(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> dict[str, str]:
    """Return microscope, maker, objective, magnification and time of a TIFF where known."""
    texts = _read_who_and_when(page.tags) | _read_sem_text(tif)
    root = parse_xml(tif.ome_metadata or "")
    for name, element, attribute in (
        ("microscope", "Microscope", "Model"),
        ("maker", "Microscope", "Manufacturer"),
        ("objective", "Objective", "Model"),
        ("magnification", "Objective", "NominalMagnification"),
    ):
        value = next(
            (e.get(attribute) for e in iter_elements(root, element) if e.get(attribute)), None
        )
        if value:
            texts[name] = value
    date = next((e.text for e in iter_elements(root, "AcquisitionDate") if e.text), None)
    return texts | ({"acquired_at": date} if date else {})


def _read_sem_text(tif: tifffile.TiffFile) -> dict[str, str]:
    """Return instrument, operator and magnification that SmartSEM and xT write."""
    zeiss, fei = tif.sem_metadata or {}, tif.fei_metadata or {}
    system, user = fei.get("System"), fei.get("User")
    texts = {
        "microscope": _get_value(zeiss.get("sv_serial_number")) or _get_text(system, "SystemType"),
        "operator": _get_value(zeiss.get("sv_user_name")) or _get_text(user, "User"),
        "magnification": _get_value(zeiss.get("ap_mag")),
    }
    return {name: text for name, text in texts.items() if text}


def _get_value(entry: Any) -> str:
    return str(entry[1]) if isinstance(entry, tuple) and len(entry) > 1 else ""


def _get_text(section: Any, key: str) -> str:
    return str(section.get(key) or "") if isinstance(section, dict) else ""


def select_new(values: Iterable[float], earlier: Iterable[float]) -> list[float]:
    """Return the values that differ from all earlier ones."""
    return [um for um in values if all(abs(um / other - 1) > NOT_SQUARE for other in earlier)]


NUMBER = r"\s*[:=]?\s*(\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?)(?![.,]?\d)"


def parse_any(text: str, _: tuple[int, int]) -> tuple[float, ...]:
    """Return every pixel size that a free text names, µm."""
    # "Pixel size" alone may be the camera's, so only the image's pixel size counts.
    # A list of several images yields every value: which one is this picture's is unknown.
    matches = re.findall(rf"image pixel size{NUMBER}\s*(nm|um|µm|μm|mm)", text, re.IGNORECASE)
    matches += [
        (number, "um")
        for number in re.findall(
            rf"(?:um_per_px|[uµμ]m\s*(?:/|per)\s*(?:px|pixel))\b{NUMBER}", text, re.IGNORECASE
        )
    ]
    scales: list[float] = []
    for number, unit in matches:
        um = float(number.replace(",", ".")) * UM_PER[unit.lower()]
        scales += select_new(get_square_scale(um, None), scales)
    return tuple(scales)


# --- the pixel size of a micrograph by each of its sources, and what they agree on ----------------


_AGREEMENT = 0.05  # scales that differ by a larger share contradict each other


@dataclass(frozen=True, slots=True)
class Scale:
    """The pixel size according to one source.

    Args:
        source: "metadata", "micron_bar", "sidecar" or "settings".
        um_per_px: µm per pixel.
    """

    source: str
    um_per_px: float


@dataclass(frozen=True, slots=True)
class PageFacts:
    """One page or scene of one content, apart from its pixels.

    Args:
        sha256: Of the file's bytes, lower-case hex.
        page: Index among the file's micrographs, from 0.
        pages: Number of micrographs in the file.
        format: "TIFF", "PNG", "JPEG", "BMP", "CZI", "LIF" or "ND2".
        scales: As found, the most trusted first.
        metadata: Text from the file where known: "microscope", "objective", "magnification",
            "acquired_at", …
        warnings: Stable words, such as "sharpest_plane" or "scale_conflict".
    """

    sha256: str
    page: int
    pages: int
    format: str
    scales: tuple[Scale, ...]
    metadata: dict[str, str]
    warnings: tuple[str, ...]


def resolve_scale(
    scales: tuple[Scale, ...], plausible: tuple[float, float]
) -> tuple[float | None, str | None, tuple[str, ...]]:
    """Return the scale all sources agree on, its most trusted source, and warnings."""
    low, high = plausible
    in_range = [scale for scale in scales if low <= scale.um_per_px <= high]
    warnings = ("scale_out_of_range",) if len(in_range) < len(scales) else ()
    if not in_range:
        return None, None, warnings
    values = [scale.um_per_px for scale in in_range]
    if max(values) > (1 + _AGREEMENT) * min(values):
        return None, None, (*warnings, "scale_conflict")
    return in_range[0].um_per_px, in_range[0].source, warnings
