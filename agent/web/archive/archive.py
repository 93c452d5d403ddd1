"""The archive: every micrograph that was ever taken, searched, narrowed, and acted on together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

import reports
from agent.errors import SetupError
from agent.web import cookies
from agent.web.archive import archive_acts
from agent.web.archive.archive_page import build_page, keep_known, read_query
from agent.web.pages import request_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.web.context import Desk

Ids = Annotated[list[str], Form(default_factory=list)]


def router(desk: Desk) -> APIRouter:
    """Build the routes of the archive."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/archive")
    def archive(request: Request) -> Response:
        return HTMLResponse(reports.render("archive", page=build_page(desk, request)))

    @routes.post("/archive/review")
    def request_reviews(
        request: Request,
        micrograph: Ids,
        reason: Annotated[str, Form()] = "",
        back: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        fields = [("micrograph", public_id) for public_id in micrograph]
        fields += [("reason", reason), ("back", back)]
        if refused := _request_name(desk, request, who, fields):
            return refused
        try:
            n = archive_acts.request_reviews(desk, micrograph, reason, by=who.strip())
        except SetupError as error:
            return _refuse(desk, request, back, error)
        return _go_back(back, who, reviewed=str(n))

    @routes.post("/archive/campaign")
    def plan_campaign(
        request: Request,
        micrograph: Ids,
        *,
        name: Annotated[str, Form()] = "",
        raters: Annotated[str, Form()] = "",
        back: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        fields = [("micrograph", public_id) for public_id in micrograph]
        fields += [("name", name), ("raters", raters), ("back", back)]
        if refused := _request_name(desk, request, who, fields):
            return refused
        try:
            n = archive_acts.plan_campaign(desk, micrograph, name, raters, by=who.strip())
        except SetupError as error:
            return _refuse(desk, request, back, error)
        return _go_back(back, who, planned=str(n))

    @routes.post("/archive/export")
    def export(
        request: Request,
        micrograph: Ids,
        form: Annotated[str, Form(alias="as")] = "csv",
        back: Annotated[str, Form()] = "",
    ) -> Response:
        try:
            query, who = read_query(desk, keep_known(back)), cookies.name_of(request)
            return archive_acts.export(desk, micrograph, query, form, who=who)
        except SetupError as error:
            return _refuse(desk, request, back, error)

    _add_views(routes, desk)
    return routes


def _add_views(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/archive/views")
    def save_view(
        request: Request,
        name: Annotated[str, Form()] = "",
        query: Annotated[str, Form()] = "",
        by: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.decides(request, {"by": by})
        if refused := _request_name(desk, request, who, [("name", name), ("query", query)]):
            return refused
        kept = urlencode(keep_known(query))
        try:
            desk.store.saved_views.save(who.strip(), name, kept, at=desk.now())
        except SetupError as error:
            return _refuse(desk, request, query, error)
        return _go_back(query, who, saved="1")

    @routes.post("/archive/views/delete")
    def delete_view(
        request: Request,
        name: Annotated[str, Form()] = "",
        query: Annotated[str, Form()] = "",
    ) -> Response:
        who = cookies.name_of(request)
        desk.store.saved_views.delete(who, name)
        return _go_back(query, who)


def _request_name(
    desk: Desk, request: Request, who: str, fields: Sequence[tuple[str, str]]
) -> Response | None:
    return request_name(desk, request, who, request.scope["path"], fields, then="/archive")


def _refuse(desk: Desk, request: Request, back: str, error: SetupError) -> Response:
    """Show the search again, with the reason why nothing was done."""
    page = build_page(desk, request, asked=keep_known(back), problem=str(error))
    return HTMLResponse(reports.render("archive", page=page), 422)


def _go_back(back: str, who: str, **done: str) -> Response:
    query = urlencode([*keep_known(back), *done.items()])
    answer = RedirectResponse(f"/archive?{query}" if query else "/archive", 303)
    if who:
        cookies.keep(answer, cookies.NAME, who.strip())
    return answer
