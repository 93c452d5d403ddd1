"""The map of all micrographs: what looks alike is close together. Page, API, and what is selected.

A micrograph that waits for review has no code here, whoever looks: a decision about it stays blind.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.features import MOST_POINTS, load_map
from agent.web import cookies
from agent.web.archive.archive_acts import MOST_IMAGES
from agent.web.archive.archive_page import build_item
from agent.web.authentication import may_undo_any
from agent.web.context import ID
from agent.web.orders.specimen_fields import remember_shown
from agent.web.schemas import FAULTS, MapPoints
from reports import ArchivePage, MapColour, MapGroup, MapPage
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.features import EmbeddingMap
    from agent.store import MicrographFacets
    from agent.web.context import Desk

GRID = 4095
"""Places are sent as whole numbers from 0 to this."""
MOST_SELECTED = 200
MOST_GROUPS = 24
"""Groups with a colour of their own; the rest is one group."""
COLOURS = ("code", "reviewer", "microscope", "month")


def router(desk: Desk) -> APIRouter:
    """Build the routes of the map."""
    routes = APIRouter(responses=FAULTS)

    @routes.get("/archive/map", include_in_schema=False)
    def show_map(request: Request) -> Response:
        return HTMLResponse(reports.render("map", page=_build_page(desk, request)))

    @routes.get("/api/v1/map", response_model=MapPoints)
    def list_points() -> dict[str, Any]:
        """List the places of micrographs on the map, newest first, and their groups."""
        return _build_points(desk)

    @routes.get("/archive/map/selection", include_in_schema=False)
    def show_selection(
        request: Request, ids: Annotated[str, Query(max_length=MOST_SELECTED * 24)] = ""
    ) -> Response:
        return HTMLResponse(reports.render("archive", page=_build_selection(desk, request, ids)))

    return routes


def _build_points(desk: Desk) -> dict[str, Any]:
    found = load_map(desk.similar.folder) if desk.similar else None
    if found is None:
        return {"explained": None, "id": [], "x": [], "y": [], "colours": []}
    facets = {row.id: row for row in desk.store.search.list_facets(limit=4 * MOST_POINTS)}
    rows, ids = _select_known(found, facets)
    known = [facets[public_id] for public_id in ids]
    places = np.rint(found.xy[rows] * GRID).astype(int)
    return {
        "explained": round(found.explained, 4),
        "id": ids,
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "colours": [
            {"name": name, "groups": groups, "of": of}
            for name in COLOURS
            for groups, of in [_group([_find_value(row, name, desk.zone) for row in known])]
        ],
    }


def _select_known(
    found: EmbeddingMap, facets: dict[str, MicrographFacets]
) -> tuple[list[int], list[str]]:
    """Return the rows of the map whose micrographs this site has, and their public ids."""
    rows, ids = [], []
    for row, (sha256, page) in enumerate(zip(found.sha256, found.page.tolist(), strict=True)):
        name = sha256.tobytes()[:8].hex()
        public_id = name if page == 0 else f"{name}-p{page + 1}"
        if public_id in facets:
            rows.append(row)
            ids.append(public_id)
    return rows, ids


def _find_value(row: MicrographFacets, name: str, zone: str) -> str:
    if name == "code":
        return "" if row.outcome == "waiting" else row.code
    if name == "month":
        return row.taken_at.astimezone(ZoneInfo(zone)).strftime("%Y-%m")
    return str(getattr(row, name))


def _group(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the most frequent values, sorted, "" the last; and the index of each value's group."""
    frequent = [value for value, _n in Counter(values).most_common() if value]
    named = sorted(frequent[:MOST_GROUPS])
    groups = [*named, ""]
    index = {value: n for n, value in enumerate(groups)}
    return groups, [index.get(value, len(groups) - 1) for value in values]


def _build_page(desk: Desk, request: Request) -> MapPage:
    points = _build_points(desk)
    titles = {
        "code": _("Structure code"),
        "reviewer": _("Reviewer"),
        "microscope": _("Microscope"),
        "month": _("Month"),
    }
    nothing = {
        "code": _("hidden or none"),
        "reviewer": _("not reviewed"),
        "microscope": _("unknown"),
        "month": _("unknown"),
    }
    return MapPage(
        site=desk.site,
        reviewer=cookies.name_of(request),
        count=len(points["id"]),
        explained="" if points["explained"] is None else f"{100 * points['explained']:.0f}",
        most_selected=MOST_SELECTED,
        colours=tuple(
            MapColour(
                colour["name"],
                titles[colour["name"]],
                tuple(
                    MapGroup(
                        value or nothing[colour["name"]],
                        colour["of"].count(n),
                        f"/archive?{urlencode({colour['name']: value})}" if value else "",
                    )
                    for n, value in enumerate(colour["groups"])
                ),
            )
            for colour in points["colours"]
        ),
    )


def _build_selection(desk: Desk, request: Request, ids: str) -> ArchivePage:
    wanted = [public_id for public_id in ids.split(",") if ID.fullmatch(public_id)]
    views = desk.store.search.list_micrographs(list(dict.fromkeys(wanted))[:MOST_SELECTED])
    who, blind_first = cookies.name_of(request), cookies.is_blind_first(request)
    remember_shown(desk, (view for view in views if view.awaits and not blind_first), who)
    count = reports.ngettext("{n} micrograph", "{n} micrographs", len(views))
    return ArchivePage(
        site=desk.site,
        reviewer=who,
        query="",
        items=tuple(build_item(desk, view, blind_first=blind_first) for view in views),
        count=count.format(n=reports.integer(len(views))),
        counted_note=_("Selected on the map."),
        facets=(),
        chips=(),
        hidden=(),
        next_href="",
        first_href="",
        views=(),
        view_query="",
        notice="",
        problem="",
        may_save=False,
        may_act=may_undo_any(request),
        most_images=MOST_IMAGES,
    )
