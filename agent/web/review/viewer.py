"""The viewer of a micrograph, and the chart plates and pictures that it is compared with.

The pages of an order open it over themselves by the key V; the address also works as a page, on
which nothing is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from agent.errors import FileError
from agent.files import pictures
from agent.nightly import build_card
from agent.nightly.page.embedded_images import parse_training_key
from agent.orders.specifications.class_texts import build_class_texts, describe_codes
from agent.store import MicrographView
from agent.web import cookies
from agent.web.context import UnknownMicrographError, WebContext, find
from agent.web.orders import order_fields
from agent.web.orders.order_fields import is_blind
from agent.web.pages import render_page
from agent.web.review.chart_plates import Chart, PlateFacts, PlateFile, group_plates
from agent.web.review.images import Linked, iter_layers, jpeg, ruler_of
from agent.web.review.needle_page import build_series
from reports import Picture, Viewer, marked
from reports import gettext as _

PLATE_PX = 2400
WALL_PX = 260
"""Width on the wall of a plate without a scale, and of the widest one with a scale."""
NO_CHART = marked(
    "There are no chart plates. An administrator sets [review] chart to a folder with one image "
    "per size."
)


def chart_router(web: WebContext) -> APIRouter:
    """Build the routes of the chart."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/chart")
    def wall(request: Request) -> Response:
        return _render_chart(web, request, _require_chart(web))

    @routes.get("/chart/{key}.jpg")
    def plate(key: str) -> Response:
        chart = _require_chart(web)
        found = chart.find(key)
        if found is None:
            raise UnknownMicrographError(key)
        try:
            pixels = chart.read_pixels(found)
        except (FileError, OSError) as error:
            raise UnknownMicrographError(key) from error
        return jpeg(pictures.encode_jpeg(pictures.fit_within(pixels, PLATE_PX), quality=90))

    return routes


class NoChartError(UnknownMicrographError):
    """The lab has no chart plates."""

    detail = NO_CHART


def _require_chart(web: WebContext) -> Chart:
    if web.chart is None:
        raise NoChartError("chart")
    return web.chart


def format_group(label: str, *, is_size: bool) -> str:
    """Return the heading of the plates of one label."""
    return _("Size {name}").format(name=label) if is_size else label


def _render_chart(web: WebContext, request: Request, chart: Chart) -> Response:
    plates = chart.list_plates()
    facts = {plate.key: chart.get_facts(plate) for plate in plates}
    is_common = bool(plates) and all(known.um_per_px for known in facts.values() if not known.fault)
    um_per_css_px = _find_common_scale(list(facts.values()))
    return render_page(
        web,
        request,
        "chart",
        groups=[
            (format_group(label, is_size=is_size), group)
            for label, is_size, group in group_plates(plates, web.taxonomy())
        ],
        pictures={
            plate.key: _build_picture(plate, facts[plate.key], um_per_css_px) for plate in plates
        },
        known=facts,
        common_um=um_per_css_px if is_common else None,
    )


def _find_common_scale(facts: Sequence[PlateFacts]) -> float | None:
    """Return µm per pixel on screen at which the widest plate fits; None without any scale."""
    widths_um = [plate.width * plate.um_per_px for plate in facts if plate.um_per_px]
    return max(widths_um) / WALL_PX if widths_um else None


def _build_picture(
    plate: PlateFile, known: PlateFacts, um_per_css_px: float | None
) -> Picture | None:
    if known.fault:
        return None
    width = WALL_PX
    if known.um_per_px and um_per_css_px:
        width = max(1, round(known.width * known.um_per_px / um_per_css_px))
    height = max(1, round(width * known.height / known.width))
    alt = _("Chart plate {name}").format(name=plate.name)
    return Picture(f"/chart/{plate.key}.jpg", alt, width, height)


REFERENCES_PER_CODE = 5


def router(web: WebContext) -> APIRouter:
    """Build the routes of the viewer's page and of the pictures to compare with."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/review/{public_id}/viewer")
    def show(request: Request, public_id: str) -> Response:
        return _render(web, request, find(web, public_id))

    @routes.get("/review/{public_id}/companions")
    def companions(public_id: str) -> dict[str, Any]:
        view = find(web, public_id)
        groups = (*_iter_fields(web, view), *_iter_references(web, view), *_iter_chart(web))
        return {"groups": [group for group in groups if group["pictures"]]}

    return routes


def _render(web: WebContext, request: Request, view: MicrographView) -> Response:
    who, taxonomy = cookies.name_of(request), web.taxonomy()
    texts = build_class_texts(taxonomy)
    card = build_card(
        view, Linked(), zone=web.zone, words=describe_codes(taxonomy), review=None, texts=texts
    )
    series = build_series(web, request, view, request.query_params)
    is_hidden = series is not None or is_blind(view, asked=cookies.is_blind_first(request))
    layers = () if is_hidden else tuple(iter_layers(web, view, texts))
    if layers and view.result.structure_code:
        web.shown.add(who, view.result.id)  # a map tells which code the model gave
    return render_page(
        web,
        request,
        "viewer",
        micrograph=view,
        process=view.process_data,
        card=card,
        viewer=build_viewer(web, view, reviewer=who) if card.crop.picture else None,
        layers=layers,
        ruler=ruler_of(view),
        series=series,
    )


def build_viewer(web: WebContext, seen: MicrographView, *, reviewer: str) -> Viewer:
    """Build what the viewer of a micrograph shows a reviewer.

    Of measured needles it shows the reviewer's, so that people measure independently.
    """
    return Viewer(
        um_per_px=seen.um_per_px,
        full=f"/pictures/{seen.id}/full.jpg" if seen.crop else "",
        companions=f"/review/{seen.id}/companions",
        place=seen.result.strangeness.where,
        border=seen.crop,
        outline=seen.crop_facts.polygon,
        marks=seen.crop_facts.marks,
        chart="/chart" if web.chart else "",
        needles=f"/api/v1/micrographs/{seen.id}/needles"
        if seen.crop and web.measures_needles
        else "",
        kept=tuple(
            (needle.id, *needle.start, *needle.end)
            for needle in web.store.needle_measurements.list_of(seen.id)
            if reviewer == needle.by and not needle.withdrawn_by
        ),
    )


def find_scaled_reference(web: WebContext, key: str) -> MicrographView | None:
    """Return a reference micrograph by its training key.

    Returns:
        None where its scale is unknown, its pixels are deleted, or another site has it.
    """
    sha256, page = parse_training_key(key)
    view = web.store.results.find(f"{sha256[:16]}-p{page}" if page else sha256[:16])
    if view is None or view.sha256 != sha256 or not view.um_per_px:
        return None
    return view if web.archive.may_have(web.archive.crop_path(sha256, page)) else None


def _iter_fields(web: WebContext, view: MicrographView) -> Iterator[dict[str, Any]]:
    """Yield the other fields of the specimen, without their codes: one may be decided blind."""
    others = [other for other in order_fields.fields_of(web, view) if other.id != view.id]
    shown = []
    for other in others:
        crop = web.archive.crop_path(other.sha256, other.page)
        if other.crop is None or not web.archive.may_have(crop):
            continue
        field = other.process_data.get("field", "")
        name = other.name
        title = _("field {name}").format(name=field) if field else name
        shown.append(_describe(other, title))
    yield {"title": _("Fields of this specimen"), "pictures": shown}


def _iter_references(web: WebContext, view: MicrographView) -> Iterator[dict[str, Any]]:
    """Yield the most similar reference images of every code, in the order of the classes.

    Every code has its group, so that the list does not reveal the model's answer.
    """
    nearest = view.result.strangeness.nearest
    taxonomy = web.taxonomy()
    codes = [s.code(size.name) for s in taxonomy.subtypes for size in s.sizes]
    for code in [code for code in codes if code in nearest]:
        title = _("Reference images of {code}").format(code=code)
        shown = []
        for number, key in enumerate(nearest[code][:REFERENCES_PER_CODE], 1):
            name = f"{code} · {number}"
            reference = find_scaled_reference(web, key)
            if reference is not None:
                shown.append(_describe(reference, name))
                continue
            sha256, page = parse_training_key(key)
            if web.archive.may_have(web.archive.thumbnail_path(sha256, page)):
                src = f"/pictures/known/{quote(key, safe='')}.jpg"
                shown.append(_entry(name, src, 0, 0, None))
        yield {"title": title, "pictures": shown}


def _iter_chart(web: WebContext) -> Iterator[dict[str, Any]]:
    if web.chart is None:
        return
    for label, is_size, plates in group_plates(web.chart.list_plates(), web.taxonomy()):
        shown = []
        for plate in plates:
            facts = web.chart.get_facts(plate)
            if facts.fault:
                continue
            name = f"{label} · {plate.name}"
            src = f"/chart/{plate.key}.jpg"
            shown.append(_entry(name, src, facts.width, facts.height, facts.um_per_px))
        title = _("Chart plates: {name}").format(name=format_group(label, is_size=is_size))
        yield {"title": title, "pictures": shown}


def _describe(view: MicrographView, title: str) -> dict[str, Any]:
    x0, y0, x1, y1 = view.crop or (0, 0, 0, 0)
    return _entry(title, f"/pictures/{view.id}/plain.jpg", x1 - x0, y1 - y0, view.um_per_px)


def _entry(
    title: str, src: str, width: int, height: int, um_per_px: float | None
) -> dict[str, Any]:
    """Return one picture; a width of 0 means that the picture itself tells its size."""
    return {"title": title, "src": src, "width": width, "height": height, "um_per_px": um_per_px}
