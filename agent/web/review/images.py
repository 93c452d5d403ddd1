"""Serve a micrograph's images: crop, whole field, thumbnail and maps.

Archived files never change, so a browser may cache every image permanently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from agent.files import pictures
from agent.nightly import get_colour_limit, get_palette
from agent.nightly.page.embedded_images import parse_training_key
from agent.web.context import Unknown, find
from agent.web.orders.specimen_fields import is_blind

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from agent.store import MicrographView
    from agent.web.context import Desk

CROP_PX = 1600
LAYER_PX = 640
WINDOW_PX = 320
LARGEST_WINDOW_UM = 100_000.0
MAPS = ("subtype", "size", "strangeness")
FOR_GOOD = {"Cache-Control": "private, max-age=31536000, immutable"}


def router(desk: Desk) -> APIRouter:
    """Build the routes of the images."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/pictures/{public_id}/crop.jpg")
    def crop(public_id: str) -> Response:
        seen = find(desk, public_id)
        full = crop_of(desk, seen)
        shown = pictures.fit_within(full, CROP_PX)
        if seen.result.strangeness.where:
            shown = pictures.draw_box(
                shown, seen.result.strangeness.where, field_width=full.shape[1]
            )
        return jpeg(pictures.encode_jpeg(shown, quality=90))

    @routes.get("/pictures/{public_id}/plain.jpg")
    def plain(public_id: str) -> Response:
        shown = pictures.fit_within(crop_of(desk, find(desk, public_id)), CROP_PX)
        return jpeg(pictures.encode_jpeg(shown, quality=90))

    @routes.get("/pictures/{public_id}/full.jpg")
    def full(public_id: str) -> Response:
        return jpeg(pictures.encode_jpeg(crop_of(desk, find(desk, public_id)), quality=93))

    @routes.get("/pictures/{public_id}/field.jpg")
    def field(public_id: str) -> Response:
        seen = find(desk, public_id)
        preview = pictures.decode(
            held_of(lambda: desk.archive.read(desk.archive.preview_path(seen.sha256, seen.page)))
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
        view = find(desk, public_id)
        return jpeg(
            held_of(lambda: desk.archive.read(desk.archive.thumbnail_path(view.sha256, view.page)))
        )

    _give_layers(routes, desk)
    _give_compared(routes, desk)
    return routes


def _give_layers(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/pictures/{public_id}/{which}.png")
    def layer(public_id: str, which: str) -> Response:
        view = find(desk, public_id)
        if is_blind(view):
            raise Unknown(public_id)  # a map tells which code the model gave
        heat = desk.archive.maps(view.sha256, view.page, view.result.bundle).get(which)
        if which not in MAPS or heat is None or not view.crop:
            raise Unknown(public_id)
        drawn = pictures.heat_layer(
            heat,
            _layer_shape(view),
            limit=get_colour_limit(view, which),
            palette=get_palette(which),
        )
        encoded = pictures.encode_png(drawn, level=3)
        return Response(encoded, media_type="image/png", headers=FOR_GOOD)


def _give_compared(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/pictures/{public_id}/window.jpg")
    def window(public_id: str, um: float) -> Response:
        seen = find(desk, public_id)
        if not (0 < um <= LARGEST_WINDOW_UM) or not seen.um_per_px:
            raise Unknown(public_id)
        pixels = crop_of(desk, seen)
        x0, y0, x1, y1 = seen.result.strangeness.where or (0, 0, pixels.shape[1], pixels.shape[0])
        shown = pictures.cut_window(
            pixels, ((x0 + x1) / 2, (y0 + y1) / 2), um / seen.um_per_px, WINDOW_PX
        )
        return jpeg(pictures.encode_jpeg(shown, quality=88))

    @routes.get("/pictures/known/{key}.jpg")
    def known(key: str) -> Response:
        sha256, page = parse_training_key(key)
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):  # noqa: PLR2004 - hex digits
            raise Unknown(key)
        if not desk.store.retention.may_show(sha256):
            raise Unknown(key)
        return jpeg(held_of(lambda: desk.archive.read(desk.archive.thumbnail_path(sha256, page))))


def _layer_shape(seen: MicrographView) -> tuple[int, int]:
    x0, y0, x1, y1 = seen.crop or (0, 0, 1, 1)
    share = min(1.0, LAYER_PX / max(x1 - x0, y1 - y0))
    return max(1, round((y1 - y0) * share)), max(1, round((x1 - x0) * share))


def crop_of(desk: Desk, one: MicrographView) -> NDArray[np.uint8]:
    """Return a micrograph's crop, (h, w, 3) uint8 RGB.

    Raises:
        Unknown: Its pixels were deleted.
    """
    return pictures.decode(
        held_of(lambda: desk.archive.read(desk.archive.crop_path(one.sha256, one.page)))
    )


def held_of(read: Callable[[], bytes]) -> bytes:
    """Return the bytes of a file in the archive.

    Args:
        read: Reads the file.

    Raises:
        Unknown: The pixels were deleted.
    """
    try:
        return read()
    except FileNotFoundError as error:
        raise Unknown("the pixels are not in the archive any more") from error


def jpeg(held: bytes) -> Response:
    """Build the response of an image that never changes."""
    return Response(held, media_type="image/jpeg", headers=FOR_GOOD)
