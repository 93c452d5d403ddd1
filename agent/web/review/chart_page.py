"""The wall of the lab's chart plates, and their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from agent.errors import FileError
from agent.files import pictures
from agent.web.context import Unknown
from agent.web.pages import render_page
from agent.web.review.chart_plates import group_plates
from agent.web.review.images import jpeg
from reports import Picture, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.web.context import Desk
    from agent.web.review.chart_plates import Chart, PlateFacts, PlateFile

PLATE_PX = 2400
WALL_PX = 260
"""Width on the wall of a plate without a scale, and of the widest one with a scale."""
NO_CHART = marked(
    "There are no chart plates. An administrator sets [review] chart to a folder with one image "
    "per size."
)


def router(desk: Desk) -> APIRouter:
    """Build the routes of the chart."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/chart")
    def wall(request: Request) -> Response:
        return _render(desk, request, _require_chart(desk))

    @routes.get("/chart/{key}.jpg")
    def plate(key: str) -> Response:
        chart = _require_chart(desk)
        found = chart.find(key)
        if found is None:
            raise Unknown(key)
        try:
            pixels = chart.read_pixels(found)
        except (FileError, OSError) as error:
            raise Unknown(key) from error
        return jpeg(pictures.encode_jpeg(pictures.fit_within(pixels, PLATE_PX), quality=90))

    return routes


class NoChart(Unknown):
    """The lab has no chart plates."""

    detail = NO_CHART


def _require_chart(desk: Desk) -> Chart:
    if desk.chart is None:
        raise NoChart("chart")
    return desk.chart


def format_group(label: str, *, is_size: bool) -> str:
    """Return the heading of the plates of one label."""
    return _("Size {name}").format(name=label) if is_size else label


def _render(desk: Desk, request: Request, chart: Chart) -> Response:
    plates = chart.list_plates()
    facts = {plate.key: chart.get_facts(plate) for plate in plates}
    is_common = bool(plates) and all(known.um_per_px for known in facts.values() if not known.fault)
    um_per_css_px = _find_common_scale(list(facts.values()))
    return render_page(
        desk,
        request,
        "chart",
        groups=[
            (format_group(label, is_size=is_size), group)
            for label, is_size, group in group_plates(plates, desk.taxonomy())
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
