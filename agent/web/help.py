"""Serve the user guide at `/help`, without a connection to any other PC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

import reports
from agent.web.context import Unknown
from agent.web.pages import render_page

if TYPE_CHECKING:
    from agent.web.context import Desk


def router(desk: Desk) -> APIRouter:
    """Build the routes of the guide."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/help")
    def show_contents(request: Request, q: str = "") -> Response:
        query = " ".join(q[: reports.LONGEST_QUERY].split())
        return _render(desk, request, query=query, hits=reports.search_guide(query))

    @routes.get("/help/pictures/{name}")
    def show_picture(name: str) -> Response:
        if name not in reports.GUIDE_PICTURES:
            raise Unknown(name)
        return Response(reports.read_guide_picture(name), media_type="image/webp")

    @routes.get("/help/{name}")
    def show_page(request: Request, name: str) -> Response:
        if name not in reports.GUIDE_PAGES:
            raise Unknown(name)
        return _render(desk, request, guide=reports.get_guide_page(name))

    return routes


def _render(desk: Desk, request: Request, **found: object) -> Response:
    shown = {"guide": None, "query": "", "hits": ()} | found
    return render_page(desk, request, "help", contents=reports.list_guide(), **shown)
