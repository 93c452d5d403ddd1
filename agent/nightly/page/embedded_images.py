"""Embed pictures in a page: small JPEGs as data URIs, so that one file is the whole report.

Every map is drawn on its bundle's fixed scale; the same micrograph gives the same bytes again.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from agent.archive import Archive
from agent.files import pictures
from agent.files.pictures import HALO_RGB, Palette, draw_axis
from agent.needles import LongNeedle
from agent.store import MicrographView
from reports import Card, Picture, decimal
from reports import gettext as _

SIDE_PX = 150
"""Side of a cut-out."""
ROOM = 1.5
"""Side of the part shown, in lengths of the needle."""
LEAST_PART_PX = 60
NEEDLE_RGB = (255, 176, 0)
TIP_PX = 4
AXIS_PX = 2


def draw_needle(
    crop: NDArray[np.uint8], line_px: Sequence[tuple[float, float]], *, is_dashed: bool = False
) -> NDArray[np.uint8]:
    """Draw the axis of a needle over the part of a crop around it.

    Args:
        crop: (h, w, 3) uint8 RGB.
        line_px: From tip to tip, (x, y) in pixels of the crop; at least one point.
        is_dashed: Whether length or tips are probably wrong.

    Returns:
        (150, 150, 3) uint8 RGB; outside of the crop dark.
    """
    line = np.asarray(line_px, np.float64)
    low, high = line.min(axis=0), line.max(axis=0)
    side = max(float((high - low).max()) * ROOM, LEAST_PART_PX)
    left, top = ((low + high) / 2 - side / 2).tolist()
    part = Image.fromarray(crop).transform(
        (SIDE_PX, SIDE_PX),
        Image.Transform.EXTENT,
        (left, top, left + side, top + side),
        Image.Resampling.BICUBIC,
        fillcolor=HALO_RGB,
    )
    points = [((x - left) / side * SIDE_PX, (y - top) / side * SIDE_PX) for x, y in line.tolist()]
    pen = ImageDraw.Draw(part)
    draw_axis(pen, points, NEEDLE_RGB, width=AXIS_PX, is_dashed=is_dashed)
    for x, y in (points[0], points[-1]):
        box = (x - TIP_PX, y - TIP_PX, x + TIP_PX, y + TIP_PX)
        pen.ellipse(box, None, HALO_RGB, 3)
        pen.ellipse(box, None, NEEDLE_RGB, 1)
    return np.asarray(part, np.uint8)


LARGE_PX = (1600, 1200, 900, 640)
"""Longest side of an enlarged crop, the first one that fits its page's budget."""
CARD_PX = pictures.THUMBNAIL_PX
"""As large as the archived thumbnail: a crop is decoded only where it is enlarged."""
MAP_PX = 260
BRIEF_PX = 240
"""Of the crop of a card that has no other picture."""
ROW_PX = 112
SMALL_ROW_PX = 84
NEAR_PX = 120
CARD_QUALITY = 56
LARGE_QUALITY = 55
ROW_QUALITY = 60

LEAST_GAIN = 1.3
"""A picture is not enlarged for less."""
EVIDENCE_LIMIT = 24.0
"""Evidence (in logits) that gets the full colour, where a bundle has no value of its own."""
ALARM_LIMIT = 2.0
"""Twice the alarm level, so that the level itself is in the middle of the scale."""

DRAWN = frozenset({"subtype", "size", "strangeness"})
"""Maps that are drawn in the report; the others are stored for the review and the shell."""

Drawn = dict[str, tuple[Picture | None, str]]


def get_colour_limit(micrograph: MicrographView, which: str) -> float:
    """Return the value that gets the full colour on one map: the bundle's own, or the default."""
    if which == "strangeness":
        return ALARM_LIMIT
    stage = "subtype" if which == "subtype" else "size"
    limit = micrograph.result.thresholds.get(f"{stage}_evidence_limit")
    return float(limit) if isinstance(limit, int | float) and limit > 0 else EVIDENCE_LIMIT


def get_palette(which: str) -> Palette:
    """Return the palette of a map."""
    return Palette.ALARM if which == "strangeness" else Palette.EVIDENCE


def describe_map(heat: NDArray[np.floating], which: str, limit: float) -> str:
    """Return a note where the colours of a map alone could mislead, "" for none."""
    if which == "strangeness":
        reached = bool((heat >= 1).any())
        return "" if reached else _("nothing reaches the alarm level")
    return "" if pictures.has_evidence(heat, limit=limit) else _("no positive evidence")


def format_outline_alt(micrograph: MicrographView) -> str:
    """Return the alt text of the picture of the whole field."""
    return _("Whole field of {name}, the kept rectangle outlined").format(name=micrograph.name)


def format_map_alt(which: str) -> str:
    """Return the alt text of a map over the crop."""
    return {
        "subtype": _("Map of the subtype over the crop"),
        "size": _("Map of the size over the crop"),
        "strangeness": _("Map of unusual places over the crop"),
    }[which]


class Embedded:
    """Pictures inside the page.

    One micrograph's pictures are drawn together, and only the last micrograph's are cached.

    Args:
        archive: Where the pixels are.
        list_px: Longer side of a thumbnail in a list.
        is_brief: Draw no maps, and crops of `BRIEF_PX`.
    """

    def __init__(self, archive: Archive, *, list_px: int = ROW_PX, is_brief: bool = False) -> None:
        self._archive, self._list_px, self._is_brief = archive, list_px, is_brief
        self._known: dict[str, Picture | None] = {}
        self._last: tuple[str, Drawn] = ("", {})
        self._last_crop: tuple[str, NDArray[np.uint8] | None] = ("", None)

    def crop(self, micrograph: MicrographView) -> Picture | None:
        """Return the crop that the model received, its most unusual place marked."""
        return self._draw_cached(micrograph)["crop"][0]

    def large_crop(self, micrograph: MicrographView, *, most_bytes: int) -> Picture | None:
        """Return the crop in the largest size that is no more than so many bytes, or None.

        Args:
            micrograph: The micrograph.
            most_bytes: Of the data URI.
        """
        # A JPEG of a micrograph takes a fifth of a byte per pixel at the least.
        sizes_px = [px for px in LARGE_PX if px * px // 5 <= most_bytes]
        full = self._read_crop(micrograph) if sizes_px else None
        if full is None:
            return None
        alt = _("Crop of {name}").format(name=micrograph.name)
        for longest_px in sizes_px:
            crop = _mark(pictures.fit_within(full, longest_px), micrograph, full.shape[1])
            picture = embed_jpeg(crop, alt, LARGE_QUALITY)
            if len(picture.src) <= most_bytes:
                return picture
        return None

    def field(self, micrograph: MicrographView) -> Picture | None:
        """Return the whole field, the removed part dark."""
        path = self._archive.preview_path(micrograph.sha256, micrograph.page)
        try:
            preview = pictures.decode_within(self._archive.read(path), MAP_PX)
        except (OSError, ValueError):
            return None
        if micrograph.crop is not None:
            preview = pictures.draw_outline(
                preview,
                micrograph.crop,
                field_width=micrograph.width,
                polygon=micrograph.crop_facts.polygon,
                marks=micrograph.crop_facts.marks,
            )
        return embed_jpeg(preview, format_outline_alt(micrograph))

    def heat(self, micrograph: MicrographView, which: str) -> tuple[Picture | None, str]:
        """Return one map over the crop, and a note on it."""
        return self._draw_cached(micrograph).get(which, (None, _("no map was kept")))

    def needle(self, micrograph: MicrographView, needle: LongNeedle) -> Picture | None:
        """Return the part of the crop with one needle, its axis drawn; None without pixels."""
        if self._last_crop[0] != micrograph.id:
            self._last_crop = (micrograph.id, self._read_crop(micrograph))
        crop = self._last_crop[1]
        if crop is None:
            return None
        alt = _("Needle of {um} µm, its axis drawn").format(um=decimal(needle.length_um, ".1f"))
        drawn = draw_needle(crop, needle.line_px, is_dashed=not needle.is_reliable)
        return embed_jpeg(drawn, alt, ROW_QUALITY)

    def known(self, key: str, code: str) -> Picture | None:
        """Return the thumbnail of a reference image, by its training key."""
        if key not in self._known:
            self._known[key] = self._thumbnail(
                *parse_training_key(key), _("Known {code}").format(code=code), NEAR_PX
            )
        return self._known[key]

    def thumbnail(self, micrograph: MicrographView) -> Picture | None:
        """Return the thumbnail for a row."""
        return self._thumbnail(micrograph.sha256, micrograph.page, micrograph.name, self._list_px)

    def _thumbnail(self, sha256: str, page: int, alt: str, longest_px: int) -> Picture | None:
        try:
            encoded = self._archive.read(self._archive.thumbnail_path(sha256, page))
            return embed_jpeg(pictures.decode_within(encoded, longest_px), alt, ROW_QUALITY)
        except (OSError, ValueError):
            return None

    def _draw_cached(self, micrograph: MicrographView) -> Drawn:
        if self._last[0] != micrograph.id:
            self._last = (micrograph.id, self._draw(micrograph))
        return self._last[1]

    def _read_crop(self, micrograph: MicrographView) -> NDArray[np.uint8] | None:
        """Return a crop as (h, w, 3) uint8 RGB; None where the archive has none."""
        try:
            encoded = self._archive.read(
                self._archive.crop_path(micrograph.sha256, micrograph.page)
            )
            return pictures.decode_crop(encoded, micrograph.crop or (0, 0, 0, 0))
        except (OSError, ValueError):
            return None

    def _read_small_crop(
        self, micrograph: MicrographView, longest_px: int
    ) -> NDArray[np.uint8] | None:
        """Return a reduced crop as (h, w, 3) uint8 RGB; None where the archive has none."""
        paths = self._archive.thumbnail_path, self._archive.crop_path
        for path in (find(micrograph.sha256, micrograph.page) for find in paths):
            try:
                return pictures.decode_within(self._archive.read(path), longest_px)
            except (OSError, ValueError):
                continue
        return None

    def _draw(self, micrograph: MicrographView) -> Drawn:
        small = self._read_small_crop(micrograph, BRIEF_PX if self._is_brief else CARD_PX)
        if small is None:
            return {"crop": (None, "")}
        shown = _mark(small, micrograph, _get_crop_width(micrograph))
        crop = pictures.fit_within(small, MAP_PX)
        drawn: Drawn = {
            "crop": (embed_jpeg(shown, _("Crop of {name}").format(name=micrograph.name)), "")
        }
        maps = (
            self._archive.maps(micrograph.sha256, micrograph.page, micrograph.result.bundle)
            if micrograph.result.bundle and not self._is_brief
            else {}
        )
        for which in DRAWN & maps.keys():
            heat = maps[which]
            limit = get_colour_limit(micrograph, which)
            over = pictures.heat_overlay(crop, heat, limit=limit, palette=get_palette(which))
            note = describe_map(heat, which, limit)
            drawn[which] = (
                embed_jpeg(over, "; ".join((format_map_alt(which), note or _("see caption")))),
                note,
            )
        return drawn


def _get_crop_width(micrograph: MicrographView) -> int:
    if micrograph.crop is None:
        return micrograph.width
    x0, _y0, x1, _y1 = micrograph.crop
    return x1 - x0


def _mark(
    crop: NDArray[np.uint8], micrograph: MicrographView, full_width: int
) -> NDArray[np.uint8]:
    """Return a crop with its most unusual place marked."""
    if not micrograph.result.strangeness.where:
        return crop
    return pictures.draw_box(crop, micrograph.result.strangeness.where, field_width=full_width)


def parse_training_key(key: str) -> tuple[str, int]:
    """Parse a training key: a content hash, and the page if it is not the first.

    Returns:
        The sha256 and the index of the page, from 0.
    """
    sha256, _, page = key.partition("-p")
    return sha256, int(page) if page.isdecimal() else 0


def embed_jpeg(pixels: NDArray[np.uint8], alt: str, quality: int = CARD_QUALITY) -> Picture:
    """Encode pixels as JPEG in a data URI.

    Args:
        pixels: (h, w, 3) uint8.
        alt: Alt text.
        quality: Of the JPEG, 1 to 100.
    """
    encoded = base64.b64encode(pictures.encode_jpeg(pixels, quality=quality, optimize=True)).decode(
        "ascii"
    )
    return Picture(f"data:image/jpeg;base64,{encoded}", alt, pixels.shape[1], pixels.shape[0])


def embed_colour_scale(palette: Palette, alt: str) -> Picture:
    """Encode a palette's colour scale as PNG in a data URI."""
    encoded = base64.b64encode(pictures.encode_png(pictures.colour_bar(palette), level=9))
    return Picture(f"data:image/png;base64,{encoded.decode('ascii')}", alt, 256, 12)


def enlarge(
    cards: Sequence[Card],
    micrographs: Mapping[str, MicrographView],
    gallery: Embedded,
    room_bytes: int,
    *,
    brief: Collection[str],
) -> tuple[Card, ...]:
    """Return cards whose crops are as large as the room of their page allows, at most 1600 px.

    Args:
        cards: Of one page.
        micrographs: Public id → the micrograph.
        gallery: Has the crops.
        room_bytes: What the page may still weigh.
        brief: Public ids of cards that are not enlarged.
    """
    enlarged = []
    for number, card in enumerate(cards):
        share = room_bytes // (len(cards) - number)
        small = card.crop.picture
        is_shown = small is not None and card.id not in brief
        large = gallery.large_crop(micrographs[card.id], most_bytes=share) if is_shown else None
        if small is None or large is None or large.width < LEAST_GAIN * small.width:
            enlarged.append(card)
            continue
        room_bytes -= len(large.src) - len(small.src)
        enlarged.append(replace(card, crop=replace(card.crop, picture=large)))
    return tuple(enlarged)
