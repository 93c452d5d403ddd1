"""Serve a micrograph's images, and link to them: crop, whole field, thumbnail, maps, references.

Archived files never change, so a browser may cache every image permanently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Response
from numpy.typing import NDArray

from agent.files import pictures
from agent.imaging.crop import PREVIEW_PX
from agent.needles import LongNeedle
from agent.nightly import describe_map, get_palette
from agent.nightly.page.embedded_images import (
    format_map_alt,
    format_outline_alt,
    get_colour_limit,
    parse_training_key,
)
from agent.nightly.page.micrograph_cards import list_maps
from agent.orders.specifications.class_texts import ClassTexts
from agent.store import MicrographView
from agent.web.context import UnknownMicrographError, WebContext, find
from agent.web.orders.order_fields import is_blind
from reports import Layer, Picture, Ruler, decimal, marked
from reports import gettext as _

T = TypeVar("T")
CROP_PX = 1600
LAYER_PX = 640
WINDOW_PX = 320
LARGEST_WINDOW_UM = 100_000.0
MAPS = ("subtype", "size", "strangeness")
FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}


def router(web: WebContext) -> APIRouter:
    """Build the routes of the images."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/pictures/{public_id}/crop.jpg")
    def crop(public_id: str) -> Response:
        seen = find(web, public_id)
        full = crop_of(web, seen)
        shown = pictures.fit_within(full, CROP_PX)
        if seen.result.strangeness.where:
            shown = pictures.draw_box(
                shown, seen.result.strangeness.where, field_width=full.shape[1]
            )
        return jpeg(pictures.encode_jpeg(shown, quality=90))

    @routes.get("/pictures/{public_id}/plain.jpg")
    def plain(public_id: str) -> Response:
        shown = pictures.fit_within(crop_of(web, find(web, public_id)), CROP_PX)
        return jpeg(pictures.encode_jpeg(shown, quality=90))

    @routes.get("/pictures/{public_id}/full.jpg")
    def full(public_id: str) -> Response:
        return jpeg(pictures.encode_jpeg(crop_of(web, find(web, public_id)), quality=93))

    @routes.get("/pictures/{public_id}/field.jpg")
    def field(public_id: str) -> Response:
        seen = find(web, public_id)
        preview = held_of(
            lambda: pictures.decode_within(
                web.archive.read(web.archive.preview_path(seen.sha256, seen.page)), PREVIEW_PX
            )
        )
        if seen.crop:
            preview = pictures.draw_outline(
                preview,
                seen.crop,
                field_width=seen.width,
                polygon=seen.crop_facts.polygon,
                marks=seen.crop_facts.marks,
            )
        return jpeg(pictures.encode_jpeg(preview, quality=85))

    @routes.get("/pictures/{public_id}/thumb.jpg")
    def thumbnail(public_id: str) -> Response:
        view = find(web, public_id)
        return jpeg(
            held_of(lambda: web.archive.read(web.archive.thumbnail_path(view.sha256, view.page)))
        )

    _give_layers(routes, web)
    _give_compared(routes, web)
    return routes


def _give_layers(routes: APIRouter, web: WebContext) -> None:
    @routes.get("/pictures/{public_id}/{which}.png")
    def layer(public_id: str, which: str) -> Response:
        view = find(web, public_id)
        if is_blind(view):
            raise UnknownMicrographError(public_id)  # a map tells which code the model gave
        heat = web.archive.maps(view.sha256, view.page, view.result.bundle).get(which)
        if which not in MAPS or heat is None or not view.crop:
            raise UnknownMicrographError(public_id)
        drawn = pictures.heat_layer(
            heat,
            _layer_shape(view),
            limit=get_colour_limit(view, which),
            palette=get_palette(which),
        )
        encoded = pictures.encode_png(drawn, level=3)
        return Response(encoded, media_type="image/png", headers=FOR_GOOD)


def _give_compared(routes: APIRouter, web: WebContext) -> None:
    @routes.get("/pictures/{public_id}/window.jpg")
    def window(public_id: str, um: float) -> Response:
        seen = find(web, public_id)
        if not (0 < um <= LARGEST_WINDOW_UM) or not seen.um_per_px:
            raise UnknownMicrographError(public_id)
        pixels = crop_of(web, seen)
        x0, y0, x1, y1 = seen.result.strangeness.where or (0, 0, pixels.shape[1], pixels.shape[0])
        shown = pictures.cut_window(
            pixels, ((x0 + x1) / 2, (y0 + y1) / 2), um / seen.um_per_px, WINDOW_PX
        )
        return jpeg(pictures.encode_jpeg(shown, quality=88))

    @routes.get("/pictures/known/{key}.jpg")
    def known(key: str) -> Response:
        sha256, page = parse_training_key(key)
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):  # noqa: PLR2004 - hex digits
            raise UnknownMicrographError(key)
        if not web.store.retention.may_show(sha256):
            raise UnknownMicrographError(key)
        return jpeg(held_of(lambda: web.archive.read(web.archive.thumbnail_path(sha256, page))))


def _layer_shape(seen: MicrographView) -> tuple[int, int]:
    x0, y0, x1, y1 = seen.crop or (0, 0, 1, 1)
    share = min(1.0, LAYER_PX / max(x1 - x0, y1 - y0))
    return max(1, round((y1 - y0) * share)), max(1, round((x1 - x0) * share))


def crop_of(web: WebContext, one: MicrographView) -> NDArray[np.uint8]:
    """Return a micrograph's crop, (h, w, 3) uint8 RGB.

    Raises:
        UnknownMicrographError: Its pixels were deleted, or are damaged.
    """
    path = web.archive.crop_path(one.sha256, one.page)
    return held_of(lambda: pictures.decode_crop(web.archive.read(path), one.crop or (0, 0, 0, 0)))


def held_of(read: Callable[[], T]) -> T:
    """Return what is read from a file in the archive.

    Args:
        read: Reads the file.

    Raises:
        UnknownMicrographError: The pixels were deleted, or are damaged.
    """
    try:
        return read()
    except (FileNotFoundError, ValueError) as error:
        raise UnknownMicrographError("the pixels are not in the archive any more") from error


def jpeg(held: bytes) -> Response:
    """Build the response of an image that never changes."""
    return Response(held, media_type="image/jpeg", headers=FOR_GOOD)


SHOWN_WINDOW_PX = 160
ROUND = (1, 2, 5)
SCALES = {
    "subtype": marked("Orange: for. Violet: against. The same scale for every micrograph."),
    "size": marked("Orange: for. Violet: against. The same scale for every micrograph."),
    "strangeness": marked("Yellow: unusual. White outline: alarm level."),
}


class Linked:
    """Images as links, for `build_card`.

    Args:
        scaled: Returns the public id of a reference micrograph by its training key, None where its
            scale or its pixels are not known.
        window_um: Width of the part of it that is shown, 0.0 to show the whole of it.
    """

    def __init__(
        self, scaled: Callable[[str], str | None] = lambda _key: None, window_um: float = 0.0
    ) -> None:
        self._scaled, self._window_um = scaled, window_um

    def crop(self, micrograph: MicrographView) -> Picture | None:
        """Return the crop that the model evaluated."""
        if not micrograph.crop:
            return None
        x0, y0, x1, y1 = micrograph.crop
        return Picture(
            f"/pictures/{micrograph.id}/plain.jpg",
            _("Crop of {name}").format(name=micrograph.name),
            x1 - x0,
            y1 - y0,
        )

    def field(self, micrograph: MicrographView) -> Picture | None:
        """Return the whole field."""
        src = f"/pictures/{micrograph.id}/whole.jpg"
        return Picture(src, format_outline_alt(micrograph), micrograph.width, micrograph.height)

    def heat(self, micrograph: MicrographView, which: str) -> tuple[Picture | None, str]:
        """Return one map, to overlay on the crop, and a note."""
        if not micrograph.crop:
            return None, ""
        x0, y0, x1, y1 = micrograph.crop
        src = f"/pictures/{micrograph.id}/{which}.png?bundle={quote(micrograph.result.bundle)}"
        return Picture(src, format_map_alt(which), x1 - x0, y1 - y0), ""

    def needle(self, _micrograph: MicrographView, _needle: LongNeedle) -> Picture | None:
        """Return None: a page shows the whole crop."""
        return None

    def known(self, key: str, code: str) -> Picture | None:
        """Return a reference micrograph: a part as wide as the reviewed one's, else all of it."""
        public_id = self._scaled(key) if self._window_um else None
        if public_id:
            alt = _("Known {code}, {width} wide")
            said = alt.format(code=code, width=format_length(self._window_um))
            return Picture(
                window_href(public_id, self._window_um), said, SHOWN_WINDOW_PX, SHOWN_WINDOW_PX
            )
        src = f"/pictures/known/{quote(key, safe='')}.jpg"
        return Picture(src, _("Known {code}").format(code=code), 160, 120)


def iter_layers(web: WebContext, seen: MicrographView, texts: ClassTexts) -> Iterator[Layer]:
    """Yield the maps that the archive has, to overlay on the crop."""
    maps = (
        web.archive.maps(seen.sha256, seen.page, seen.result.bundle) if seen.result.bundle else {}
    )
    for which, title, caption in list_maps(seen, texts):
        picture, _note = Linked().heat(seen, which)
        if which in maps and picture:
            note = describe_map(maps[which], which, get_colour_limit(seen, which))
            yield Layer(which, title, caption, note, picture, _(SCALES[which]))


def ruler_of(seen: MicrographView) -> Ruler | None:
    """Return the scale bar over a crop, about a fifth of its width; None without a scale."""
    if not seen.um_per_px or not seen.crop:
        return None
    width, height = seen.crop[2] - seen.crop[0], seen.crop[3] - seen.crop[1]
    um = _floor_length(width * seen.um_per_px * 0.22)
    label = format_length(um)
    return Ruler(label, um / seen.um_per_px, width, height, seen.um_per_px)


def format_length(um: float) -> str:
    """Format a length, such as "80 µm"."""
    return f"{decimal(um, 'g')} µm" if um < 1000 else f"{decimal(um / 1000, 'g')} mm"  # noqa: PLR2004 - µm in a mm


def _floor_length(wanted_um: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted_um))
    return max(step * power for step in ROUND if step * power <= wanted_um)


def compute_window_um(seen: MicrographView) -> float:
    """Return the width (µm) of the part shown next to reference images, 0.0 without a scale."""
    if not seen.um_per_px or not seen.crop:
        return 0.0
    x0, y0, x1, y1 = seen.crop
    return _floor_length(min(x1 - x0, y1 - y0) * seen.um_per_px)


def window_href(public_id: str, um: float) -> str:
    """Return the address of a part of a micrograph, `um` micrometres wide."""
    return f"/pictures/{public_id}/window.jpg?um={um:g}"
