"""Crop a micrograph to steel by a versioned recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.errors import FileCode, FileError
from agent.imaging.readers.metadata import PageFacts, Scale, resolve_scale
from agent.imaging.readers.read import MicrographImage
from agent.imaging.scale_bar.detect import Graphics, find_graphics
from agent.imaging.specimen.area import Border, find_border
from agent.imaging.specimen.grid import grid_shape
from agent.settings.root import RECIPE

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels of the file, origin top left, x1 and y1 exclusive."""


@dataclass(frozen=True, slots=True)
class MicronBar:
    """A detected micron bar.

    Args:
        bbox: Encloses line and label, pixels.
        line_px: The length that the label states, in pixels.
        label: Text as read, such as "20 µm"; "" if unreadable.
        um: Length in µm, or None.
    """

    bbox: Box
    line_px: float
    label: str
    um: float | None


@dataclass(frozen=True, slots=True)
class SpecimenArea:
    """The part of the image that shows the specimen.

    Args:
        whole_frame: No border was detected: the image is steel throughout.
        outside_fraction: Share of the image outside the specimen, bleeding included.
        polygon: Outline of the specimen, (x, y) in pixels of the file.
        bleeding: Outlines of discolouration along that edge, for display.
        stains: Outlines of discolouration elsewhere; it is not removed.
        surface: Outlines of a deeper rim of the specimen, for display.
        others: Outlines of further specimens in the field, which are not kept.
        evidence: Depth in pixels of what is cut along the edge, and the spreads of the field by
            which it differs from the steel behind it; None where nothing is cut.
    """

    whole_frame: bool
    outside_fraction: float
    polygon: tuple[tuple[int, int], ...]
    bleeding: tuple[tuple[tuple[int, int], ...], ...] = ()
    stains: tuple[tuple[tuple[int, int], ...], ...] = ()
    surface: tuple[tuple[tuple[int, int], ...], ...] = ()
    others: tuple[tuple[tuple[int, int], ...], ...] = ()
    evidence: tuple[int, float] | None = None


@dataclass(frozen=True, slots=True)
class Crop(PageFacts):
    """One micrograph cropped to steel: exactly one per page of a file content.

    Args:
        width: Of the page, pixels.
        height: Of the page, pixels.
        um_per_px: µm per pixel that all sources agree on, or None.
        um_per_px_source: The most trusted source of it, or None.
        micron_bar: Burned-in bar, or None.
        band: Box of the burned-in info band, or None.
        specimen_area: Outline of the specimen.
        box: The kept rectangle, pixels of the file.
        recipe: Version of the recipe.
        pixels: (h, w, 3) uint8 RGB, the kept rectangle.
        valid: (h, w) bool, False where the rectangle holds no steel.
        preview: (h, w, 3) uint8 RGB, the whole field, at most 2000 px, for display.
        landmarks: Of its place, as the database keeps them; b"" where the pool was not to extract
            them.
    """

    width: int
    height: int
    um_per_px: float | None
    um_per_px_source: str | None
    micron_bar: MicronBar | None
    band: Box | None
    specimen_area: SpecimenArea
    box: Box
    recipe: str
    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    preview: NDArray[np.uint8]
    landmarks: bytes = b""

    @property
    def id(self) -> str:
        """The public id: 16 hex digits, and the page number from the second page on."""
        return public_id(self.sha256, self.page)

    def __getstate__(self) -> dict[str, Any]:
        """Return what goes from a worker to the agent: a third of the bytes of a 3-megapixel crop.

        The mask is packed to bits. A preview that was not reduced holds the crop's pixels.
        """
        state = {field.name: getattr(self, field.name) for field in fields(self)}
        state["valid"] = (np.packbits(self.valid), self.valid.shape)
        if self.preview.shape == (self.height, self.width, 3):
            x0, y0, x1, y1 = self.box
            if np.array_equal(self.preview[y0:y1, x0:x1], self.pixels):
                state["pixels"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore every field as it was."""
        bits, shape = state["valid"]
        valid = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).view(bool)
        pixels = state["pixels"]
        if pixels is None:
            x0, y0, x1, y1 = state["box"]
            pixels = np.ascontiguousarray(state["preview"][y0:y1, x0:x1])
        for name, value in {**state, "valid": valid, "pixels": pixels}.items():
            object.__setattr__(self, name, value)


def public_id(sha256: str, page: int) -> str:
    """Return a micrograph's public id; that of the second page of a file ends in `-p2`."""
    return sha256[:16] if page == 0 else f"{sha256[:16]}-p{page + 1}"


PREVIEW_PX = 2000
_ASPECT = 2.5  # a crop is no longer than this …
_ASPECT_COST = 0.10  # … if that costs less than this share of its area
_SMALLEST_PX = 64  # a crop with a shorter side holds no needle to judge
_PIECES = (32, 8, 2)  # of a side of the box, whose edges are placed apart; fewer see a fainter step
_STEP = 4.0  # spreads of a step at a side
_MIDST, _NEAR = 0.5, 0.15  # shares of the step in the midst of an edge, and where it ends
_REACH = 4  # cells by which a side moves outwards at most; inwards half of it
_BOX_MARGIN_PX = 4  # around graphics, for JPEG's ringing


def crop(
    micrograph: MicrographImage,
    *,
    um_per_px_range: tuple[float, float],
    settings_scale: float | None = None,
    keep_surface: bool = False,
) -> Crop:
    """Crop a micrograph to steel.

    Args:
        micrograph: The micrograph.
        um_per_px_range: Smallest and largest plausible µm per pixel.
        settings_scale: µm per pixel of the objective in the settings, or None.
        keep_surface: A decarburised or nitrided rim or a coating counts as steel.

    Returns:
        The crop with scale, graphics and specimen area.

    Raises:
        FileError: `no_steel`: nothing usable is left; inspect the file.
    """
    pixels = micrograph.pixels
    height, width = pixels.shape[:2]
    graphics = find_graphics(pixels)
    covered = _mask_graphics(graphics, height, width)
    border = find_border(pixels, covered, keep_surface=keep_surface)
    if border.blank:
        raise FileError(
            FileCode.NO_STEEL,
            "it shows one tone and no structure of steel; check lamp, focus and etching.",
        )
    box = _find_kept_box(border.steel & ~covered, height, width)
    if box is None:
        raise FileError(
            FileCode.NO_STEEL,
            "no steel is left next to border, bleeding and graphics; inspect the image.",
        )
    box = _settle_box(pixels, box, border.outside & ~covered, covered)
    scales = _collect_scales(micrograph, graphics, settings_scale)
    um_per_px, source, warnings = resolve_scale(scales, um_per_px_range)
    x0, y0, x1, y1 = box
    valid = cv2.resize(
        (~covered).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )[y0:y1, x0:x1]
    return Crop(
        sha256=micrograph.sha256,
        page=micrograph.page,
        pages=micrograph.pages,
        width=width,
        height=height,
        format=micrograph.format,
        um_per_px=um_per_px,
        um_per_px_source=source,
        scales=scales,
        micron_bar=_build_micron_bar(graphics),
        band=graphics.band,
        specimen_area=_build_specimen_area(border, covered, height, width),
        box=box,
        recipe=RECIPE,
        warnings=(*micrograph.warnings, *warnings, *border.warnings),
        pixels=np.ascontiguousarray(pixels[y0:y1, x0:x1]),
        valid=np.ascontiguousarray(valid > 0),
        preview=_build_preview(pixels),
        metadata=dict(micrograph.metadata),
    )


# -------------------------------------------------------------------------------------- scale


def _collect_scales(
    micrograph: MicrographImage, graphics: Graphics, settings_scale: float | None
) -> tuple[Scale, ...]:
    """Return the scales of all sources, the most trusted first."""
    scales = list(micrograph.scales)
    scales += [
        Scale("micron_bar", bar.um / bar.line_px)
        for bar in graphics.bars
        if bar.um is not None and bar.line_px > 0
    ]
    if settings_scale is not None:
        scales.append(Scale("settings", settings_scale))
    return tuple(scales)


def _build_micron_bar(graphics: Graphics) -> MicronBar | None:
    if not graphics.bars:
        return None
    bar = graphics.bars[0]
    return MicronBar(bbox=bar.bbox, line_px=bar.line_px, label=bar.label, um=bar.um)


# ----------------------------------------------------------------------------- kept rectangle


def _mask_graphics(graphics: Graphics, height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask of grid cells that graphics touch."""
    rows, columns = grid_shape(height, width)
    covered = np.zeros((rows, columns), bool)
    boxes = [*graphics.boxes, *([graphics.band] if graphics.band else [])]
    for x0, y0, x1, y1 in boxes:
        left = int((x0 - _BOX_MARGIN_PX) * columns // width)
        right = int(-(-(x1 + _BOX_MARGIN_PX) * columns // width))
        top = int((y0 - _BOX_MARGIN_PX) * rows // height)
        bottom = int(-(-(y1 + _BOX_MARGIN_PX) * rows // height))
        covered[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
    return covered


def _find_kept_box(clean: NDArray[np.bool_], height: int, width: int) -> Box | None:
    """Return the largest clean rectangle, or None if it is too small.

    It is shortened to `_ASPECT` where that costs little.
    """
    rows, columns = clean.shape
    free = _find_largest_rectangle(clean)
    if free is None:
        return None
    x0, y0, x1, y1 = free
    box = (
        -(-x0 * width // columns),
        -(-y0 * height // rows),
        x1 * width // columns,
        y1 * height // rows,
    )
    box = _shorten(box)
    if min(box[2] - box[0], box[3] - box[1]) < min(_SMALLEST_PX, height, width):
        return None
    return box


def _settle_box(
    pixels: NDArray[np.uint8],
    box: Box,
    outside: NDArray[np.bool_],
    covered: NDArray[np.bool_],
) -> Box:
    """Return the box with each side that is next to the outside moved to the edge in the pixels.

    A cell is 1/190 of the field, more than a crop should lose at a border. No side moves over
    graphics.
    """
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = box
    cell = max(height, width) / max(outside.shape)
    reach = max(4, round(_REACH * cell))
    size = (width, height)
    kinds = outside.astype(np.uint8) + 2 * covered.astype(np.uint8)
    places = np.asarray(cv2.resize(kinds, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    def settle(at: int, size: int, field: NDArray[np.uint8], places: NDArray[np.uint8]) -> int:
        """Return the first row of the box, seen from its side."""
        first = max(0, at - reach)
        near = places[first:at]
        if at < 1 or at + 3 * reach > size or not (near == 1).any():
            return at
        moved = at + _measure_settling(field[first : at + 3 * reach], at - first, reach)
        rows = np.flatnonzero((near > 1).any(axis=1))
        return max(moved, first + int(rows[-1]) + 1) if rows.size else moved

    top = settle(y0, height, pixels[:, x0:x1], places[:, x0:x1])
    foot = height - settle(height - y1, height, pixels[::-1, x0:x1], places[::-1, x0:x1])
    across, aside = pixels[y0:y1].transpose(1, 0, 2), places[y0:y1].T
    left = settle(x0, width, across, aside)
    right = width - settle(width - x1, width, across[::-1], aside[::-1])
    if min(right - left, foot - top) < min(_SMALLEST_PX, height, width):
        return box
    return left, top, right, foot


def _measure_settling(field: NDArray[np.uint8], at: int, reach: int) -> int:
    """Return by how many rows the first row of the box moves inwards; below 0, outwards.

    Args:
        field: (rows, length, 3) uint8, RGB, from outside the box inwards.
        at: Row of the box's side.
        reach: Rows that the side moves inwards at most.
    """
    for count in _PIECES:
        pieces = cv2.resize(field, (count, len(field)), interpolation=cv2.INTER_AREA)
        tones = pieces.astype(np.float32)  # (rows, pieces, 3)
        inner = np.median(tones[at + reach :], axis=0)
        spread = np.maximum(2.0, tones[at + reach :].std(axis=0))
        step = (np.median(tones[: max(1, at // 4)], axis=0) - inner) / spread
        seen = np.abs(step).max(axis=1) > _STEP
        if 2 * seen.sum() >= count:
            break
    else:
        return 0
    step, off = step[seen], ((tones - inner) / spread)[:, seen]
    foreign = (off * step).sum(axis=2) / (step**2).sum(axis=1)  # 1 outside, 0 in the steel
    edges, ends = (
        np.where((foreign < share).any(axis=0), np.argmax(foreign < share, axis=0), len(foreign))
        for share in (_MIDST, _NEAR)
    )
    # A dark grain at the edge shifts the end of a piece, not the width that all have.
    width = float(np.percentile(ends - edges, 30))
    edge = float(np.percentile(np.minimum(edges, at + reach // 2), 90))
    return int(edge + width) + 1 - at


def _shorten(box: Box) -> Box:
    """Return the box shortened to `_ASPECT` if that loses less than `_ASPECT_COST` of it."""
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    long, short = max(w, h), min(w, h)
    wanted = int(_ASPECT * short)
    if long <= wanted or wanted < (1 - _ASPECT_COST) * long:
        return box
    off = (long - wanted) // 2
    if w >= h:
        return (x0 + off, y0, x0 + off + wanted, y1)
    return (x0, y0 + off, x1, y0 + off + wanted)


def _find_largest_rectangle(clean: NDArray[np.bool_]) -> Box | None:
    """Return the largest all-True rectangle, from the histogram of heights of each row."""
    rows, columns = clean.shape
    heights = np.zeros(columns, int)
    best, rectangle = 0, None
    for y in range(rows):
        heights = np.where(clean[y], heights + 1, 0)
        goes_on = y + 1 < rows and bool((clean[y + 1] | ~clean[y]).all())
        if goes_on or int(heights.max()) * columns <= best:
            continue
        open_at: list[tuple[int, int]] = []  # (left, height), heights rising
        for x, h in enumerate([*heights.tolist(), 0]):
            left = x
            while open_at and open_at[-1][1] >= h:
                left, tall = open_at.pop()
                if tall * (x - left) > best:
                    best, rectangle = tall * (x - left), (left, y + 1 - tall, x, y + 1)
            open_at.append((left, h))
    return rectangle


# ---------------------------------------------------------------------------------- the rest


def _build_specimen_area(
    border: Border, covered: NDArray[np.bool_], height: int, width: int
) -> SpecimenArea:
    beyond = (border.outside | border.bleeding) & ~covered
    stains = tuple(_trace_outlines(border.stain, height, width))
    if not border.outside.any():
        corners = ((0, 0), (width, 0), (width, height), (0, height))
        return SpecimenArea(whole_frame=True, outside_fraction=0.0, polygon=corners, stains=stains)
    share = float(beyond.sum() / max(1, (~covered).sum()))
    return SpecimenArea(
        whole_frame=False,
        outside_fraction=share,
        polygon=_trace_outlines(~border.outside, height, width)[0],
        bleeding=tuple(_trace_outlines(border.bleeding & ~covered, height, width)),
        stains=stains,
        surface=tuple(_trace_outlines(border.surface & ~covered, height, width)),
        others=()
        if border.others is None
        else tuple(_trace_outlines(border.others, height, width)),
        evidence=None
        if border.evidence is None
        else (
            round(border.evidence[0] * max(height, width) / max(border.outside.shape)),
            round(border.evidence[1], 1),
        ),
    )


def _trace_outlines(
    cells: NDArray[np.bool_], height: int, width: int
) -> list[tuple[tuple[int, int], ...]]:
    """Return outlines of a grid mask, the largest part first, as (x, y) in pixels of the file."""
    contours, _ = cv2.findContours(cells.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rows, columns = cells.shape
    across, down = width / max(1, columns - 1), height / max(1, rows - 1)
    return [
        tuple(
            (round(x * across), round(y * down))
            for x, y in cv2.approxPolyDP(part, 1.0, closed=True)[:, 0].tolist()
        )
        for part in sorted(contours, key=cv2.contourArea, reverse=True)
    ]


def _build_preview(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    factor = PREVIEW_PX / max(height, width)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


# --- convert a crop to the JSON that `agent look` prints and result rows store --------------------
# The keys are those of `agent look --json` in DESIGN.md without "file"; they are persisted.


def crop_to_json(crop: Crop) -> dict[str, object]:
    """Return a crop as JSON; boxes and points in pixels of the file."""
    bar = crop.micron_bar
    area = crop.specimen_area
    return {
        "id": crop.id,
        "sha256": crop.sha256,
        "page": crop.page,
        "pages": crop.pages,
        "width": crop.width,
        "height": crop.height,
        "format": crop.format,
        "um_per_px": crop.um_per_px,
        "um_per_px_source": crop.um_per_px_source,
        "scales": [{"source": scale.source, "um_per_px": scale.um_per_px} for scale in crop.scales],
        "micron_bar": bar
        and {"bbox": list(bar.bbox), "line_px": bar.line_px, "label": bar.label, "um": bar.um},
        "band": crop.band and list(crop.band),
        "specimen_area": {
            "whole_frame": area.whole_frame,
            "outside_fraction": area.outside_fraction,
            "polygon": [list(point) for point in area.polygon],
            "others": [[list(point) for point in outline] for outline in area.others],
            "zone": area.evidence and {"depth_px": area.evidence[0], "spreads": area.evidence[1]},
        },
        "crop": list(crop.box),
        "recipe": crop.recipe,
        "warnings": list(crop.warnings),
    }


def locate_specimens(
    outlines: Sequence[Sequence[Sequence[int]]], width: int, height: int
) -> list[tuple[str, float]]:
    """Return the side and the share of the field of each specimen in a field.

    Args:
        outlines: Outlines in pixels of the file, (x, y), that of the graded specimen first.
        width: Of the field, pixels.
        height: Of the field, pixels.

    Returns:
        "left", "right", "top" or "bottom" next to the graded one, of that next to the first other.
    """
    centres, shares = [], []
    for outline in outlines:
        xs, ys = zip(*outline, strict=True)
        centres.append(((min(xs) + max(xs)) / 2 / width, (min(ys) + max(ys)) / 2 / height))
        turned = zip(xs, ys, (*xs[1:], xs[0]), (*ys[1:], ys[0]), strict=True)
        area = abs(sum(x * next_y - next_x * y for x, y, next_x, next_y in turned)) / 2
        shares.append(area / (width * height))
    sides = []
    for number, (x, y) in enumerate(centres):
        base_x, base_y = centres[0 if number else min(1, len(centres) - 1)]
        if abs(x - base_x) > abs(y - base_y):
            sides.append("left" if x < base_x else "right")
        else:
            sides.append("top" if y < base_y else "bottom")
    return list(zip(sides, shares, strict=True))
