"""The map of all micrographs, where what looks alike is close together, and the most similar ones.

A micrograph that waits for review has no code here, whoever looks: a decision about it stays blind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import APIRouter, Query, Request, Response

import reports
from agent.features import MOST_POINTS, EmbeddingMap, Similar, load_map
from agent.imaging.crop import public_id as format_public_id
from agent.store import MicrographView
from agent.web import cookies
from agent.web.archive.archive import describe_hit, render_hits
from agent.web.archive.archive_api import to_json
from agent.web.context import ID, WebContext, find
from agent.web.orders.order_fields import is_blind, remember_read, remember_shown
from agent.web.pages import render_page
from agent.web.schemas import FAULTS, MapPoints, SimilarHits
from reports import gettext as _

GRID = 4095
"""Places are sent as whole numbers from 0 to this."""
MOST_SELECTED = 200
MOST_GROUPS = 24
"""Groups with a colour of their own; the rest is one group."""
COLOURS = ("code", "reviewer", "microscope", "month")


def router(web: WebContext) -> APIRouter:
    """Build the routes of the map."""
    routes = APIRouter(responses=FAULTS)

    @routes.get("/archive/map", include_in_schema=False)
    def show_map(request: Request) -> Response:
        points = _build_points(web)
        return render_page(
            web,
            request,
            "map",
            count=len(points["id"]),
            explained=points["explained"],
            most_selected=MOST_SELECTED,
            colours=points["colours"],
        )

    @routes.get("/api/v1/map", response_model=MapPoints)
    def list_points() -> dict[str, Any]:
        """List the places of micrographs on the map, newest first, and their groups."""
        return _build_points(web)

    @routes.get("/archive/map/selection", include_in_schema=False)
    def show_selection(
        request: Request, ids: Annotated[str, Query(max_length=MOST_SELECTED * 24)] = ""
    ) -> Response:
        wanted = [public_id for public_id in ids.split(",") if ID.fullmatch(public_id)]
        views = web.store.search.list_micrographs(list(dict.fromkeys(wanted))[:MOST_SELECTED])
        blind_first = cookies.is_blind_first(request)
        shown = (view for view in views if not (view.awaits and blind_first))
        remember_shown(web, shown, cookies.name_of(request))
        count = reports.ngettext("{n} micrograph", "{n} micrographs", len(views))
        return render_hits(
            web,
            request,
            views,
            count=count.format(n=reports.integer(len(views))),
            counted_note=_("Selected on the map."),
        )

    return routes


def _build_points(web: WebContext) -> dict[str, Any]:
    found = load_map(web.similar.folder) if web.similar else None
    if found is None:
        return {"explained": None, "id": [], "x": [], "y": [], "colours": []}
    facets = {row.public_id: row for row in web.store.search.list_facets(limit=4 * MOST_POINTS)}
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
            for groups, of in [_group([_find_value(row, name, web.zone) for row in known])]
        ],
    }


def _select_known(found: EmbeddingMap, facets: dict[str, Any]) -> tuple[list[int], list[str]]:
    """Return the rows of the map whose micrographs this site has, and their public ids."""
    rows, ids = [], []
    for row, (sha256, page) in enumerate(zip(found.sha256, found.page.tolist(), strict=True)):
        name = sha256.tobytes()[:8].hex()
        public_id = name if page == 0 else f"{name}-p{page + 1}"
        if public_id in facets:
            rows.append(row)
            ids.append(public_id)
    return rows, ids


def _find_value(row: Any, name: str, zone: str) -> str:
    if name == "code":
        return "" if row.outcome == "waiting" else str(row.code)
    if name == "month":
        return str(row.taken_at.astimezone(ZoneInfo(zone)).strftime("%Y-%m"))
    return str(getattr(row, name))


def _group(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the most frequent values, sorted, "" the last; and the index of each value's group."""
    frequent = [value for value, _n in Counter(values).most_common() if value]
    named = sorted(frequent[:MOST_GROUPS])
    groups = [*named, ""]
    index = {value: n for n, value in enumerate(groups)}
    return groups, [index.get(value, len(groups) - 1) for value in values]


SHOWN, MOST = 24, 200
SPARE = 3
"""Times as many are looked for as are shown: some may be deleted, or of a set-aside row."""


def similar_router(web: WebContext) -> APIRouter:
    """Build the routes of similar micrographs."""
    routes = APIRouter(responses=FAULTS)

    @routes.get("/archive/similar/{public_id}", include_in_schema=False)
    def show_similar(request: Request, public_id: str) -> Response:
        return _render(web, request, public_id)

    @routes.get("/api/v1/micrographs/{public_id}/similar", response_model=SimilarHits)
    def list_similar(
        request: Request,
        public_id: str,
        *,
        limit: Annotated[int, Query(ge=1, le=MOST)] = SHOWN,
    ) -> dict[str, Any]:
        """List the micrographs that look most like one, those of its scale first."""
        view = find(web, public_id)
        hits = _find(web, view, limit)
        hides = is_blind(view)
        seen = [other for _hit, other in hits or () if not hides and not is_blind(other)]
        remember_read(web, seen, cookies.name_of(request))
        return {
            "has_features": hits is not None,
            "similar": [
                {
                    "cosine": round(hit.cosine, 4),
                    "same_scale": hit.is_same_scale,
                    "micrograph": to_json(other, hides=hides),
                }
                for hit, other in hits or ()
            ],
        }

    return routes


def _find(
    web: WebContext, view: MicrographView, n: int
) -> list[tuple[Similar, MicrographView]] | None:
    """Return similar micrographs that this site has, None where no features are kept."""
    found = web.similar.find(view.sha256, view.page, n=n * SPARE) if web.similar else None
    if found is None:
        return None
    hits = {format_public_id(hit.sha256, hit.page): hit for hit in found}
    views = web.store.search.list_micrographs(list(hits))
    known = [(hits[other.id], other) for other in views if hits[other.id].sha256 == other.sha256]
    return known[:n]


def _render(web: WebContext, request: Request, public_id: str) -> Response:
    view, who = find(web, public_id), cookies.name_of(request)
    blind_first = cookies.is_blind_first(request)
    hits = _find(web, view, SHOWN)
    # The codes of what looks alike would tell the answer that is hidden.
    hides = is_blind(view, asked=blind_first and view.awaits)
    if not hides:
        waits = (other for _hit, other in hits or () if other.awaits and not blind_first)
        remember_shown(web, waits, who)
    shown = [
        (hit, describe_hit(other, blind_first=blind_first, hides=hides))
        for hit, other in hits or ()
    ]
    return render_page(
        web,
        request,
        "similar",
        subject=describe_hit(view, blind_first=blind_first),
        hits=shown,
        has_features=hits is not None,
        hides=hides,
    )
