"""Build the web application: pages, images, API, reports and style sheets behind one guard."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import reports
from agent.errors import SetupError
from agent.objects import BeingFetched, ObjectsUnavailable
from agent.orders import BadSpecification
from agent.store import StoreFault
from agent.store.work.file_states import chunks
from agent.web import api, api_docs, cookies, language_choice
from agent.web import help as help_pages
from agent.web.archive import (
    archive,
    archive_api,
    bulk_decisions,
    embedding_map,
    files_page,
    history,
    similar,
)
from agent.web.authentication import AuthenticationMiddleware
from agent.web.connection_limits import Crowd, OwnLimits
from agent.web.context import Unknown
from agent.web.dashboard import dashboard
from agent.web.error_pages import FAULT, TITLES, WRONG_METHOD, ErrorPages, render_error
from agent.web.language_choice import read_choice
from agent.web.locale_middleware import LocaleMiddleware
from agent.web.models import bundle_page, fleet_page, learning_page, models_page, rollout_acts
from agent.web.orders import desk_api, order_acts, order_confirm, order_desk, orders, places
from agent.web.orders.specimen_fields import remember_read
from agent.web.pages import render_page
from agent.web.review import (
    chart_page,
    images,
    needle_marks,
    needle_page,
    review_page,
    round_robin,
    scale_by_reviewer,
    viewer,
)
from agent.web.review.decisions import Meanwhile, NotYours
from agent.web.review.storage_wait import WAIT_S, StorageWait, build_fetch_handler
from agent.web.security import HEADERS, PAGE_POLICY, SecurityMiddleware
from agent.web.setup import class_proposal, first_steps, login, taxonomy_page
from model import ModelError
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.web.context import Desk
    from reports import Language

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
REPORT_NAME = re.compile(
    r"(index|sites)\.html|\d{4}-\d\d-\d\d\.(html|json|csv)|\d{4}-\d\d-\d\d/page-\d{1,5}\.html"
    r"|(roundrobin|msa)/[A-Za-z0-9][A-Za-z0-9._-]{0,44}\.(html|csv|json)"
)
"""Files of the reports folder that may be served; no others are."""
REPORT_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
}


NOTHING = marked("There is nothing of that name.")
NO_REPORT = marked(
    "The first is written when the first night is over. To see the running night now: agent report"
)


def create_app(
    desk: Desk,
    *,
    hosts: Iterable[str] = (),
    idle: timedelta = timedelta(minutes=30),
    requests: int = 64,
    language: Language = "en",
    storage_wait_s: float = WAIT_S,
) -> FastAPI:
    """Build the application.

    Args:
        desk: What the pages and the API work on.
        hosts: Host names that are accepted in addition to those of this PC.
        idle: A browser that sent nothing for longer has to log in again.
        requests: How many requests are answered at once.
        language: Language of the pages; the API answers in English.
        storage_wait_s: How long (s) a page waits for the object storage.
    """
    app = FastAPI(
        title="Martensight",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    app.state.closing = desk.closing
    app.include_router(api.router(desk))
    app.include_router(archive_api.router(desk))
    app.include_router(desk_api.router(desk))
    app.include_router(api.health(desk))
    app.include_router(login.router(desk))
    app.include_router(language_choice.router(desk))
    app.include_router(dashboard.router(desk))
    app.include_router(files_page.router(desk))
    app.include_router(fleet_page.router(desk))
    app.include_router(rollout_acts.router(desk))
    app.include_router(review_page.router(desk))
    app.include_router(order_desk.router(desk))
    app.include_router(order_confirm.router(desk))
    app.include_router(scale_by_reviewer.router(desk))
    app.include_router(class_proposal.router(desk))
    app.include_router(orders.router(desk))
    app.include_router(order_acts.router(desk))
    app.include_router(places.router(desk))
    app.include_router(archive.router(desk))
    app.include_router(bulk_decisions.router(desk))
    app.include_router(similar.router(desk))
    app.include_router(embedding_map.router(desk))
    app.include_router(history.router(desk))
    app.include_router(images.router(desk))
    app.include_router(viewer.router(desk))
    app.include_router(needle_marks.router(desk))
    app.include_router(needle_page.router(desk))
    app.include_router(chart_page.router(desk))
    app.include_router(round_robin.router(desk))
    app.include_router(models_page.router(desk))
    app.include_router(learning_page.router(desk))
    app.include_router(bundle_page.router(desk))
    app.include_router(first_steps.router(desk))
    app.include_router(taxonomy_page.router(desk))
    app.include_router(help_pages.router(desk))
    app.include_router(api_docs.router(desk))
    _give_files(app, desk)
    _give_errors(app, desk)
    _give_refusals(app, desk)
    _give_last_resort(app, desk, language)
    app.add_middleware(OwnLimits)
    app.add_middleware(AuthenticationMiddleware, known=desk.store.accounts, now=desk.now, idle=idle)
    app.add_middleware(Crowd, requests=requests)
    app.add_middleware(SecurityMiddleware, hosts=tuple(hosts))
    app.add_middleware(StorageWait, wait_s=storage_wait_s)
    app.add_middleware(ErrorPages, site=desk.site)
    app.add_middleware(LocaleMiddleware, language=language)
    return app


def _give_files(app: FastAPI, desk: Desk) -> None:
    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in reports.ASSETS:
            raise Unknown(name)
        kind = KINDS[name[name.rindex(".") :]]
        return Response(reports.asset(name), media_type=kind, headers=images.FOR_GOOD)

    @app.get("/favicon.ico", include_in_schema=False)
    def favicon() -> Response:
        return static("icon.svg")

    @app.get("/reports", include_in_schema=False)
    def all_reports() -> Response:
        return RedirectResponse("/reports/index.html", 303)

    @app.get("/reports/{name:path}", include_in_schema=False)
    def report(request: Request, name: str) -> Response:
        if name in ("", "index.html") and not (desk.reports / "index.html").is_file():
            facts = {"reviewer": "", "title": _("No report yet"), "sentence": _(NO_REPORT)}
            return render_page(desk, request, "message", back="", **facts)
        named = REPORT_NAME.fullmatch(name or "index.html")
        path = desk.reports / (name or "index.html")
        if named is None or not path.is_file():
            raise Unknown(name)
        kind = REPORT_KINDS[path.suffix]
        headers = {"Content-Security-Policy": reports.report_policy()}
        content = path.read_bytes()
        if path.suffix == ".json" and path.parent == desk.reports:
            _remember_facts(desk, content, cookies.name_of(request))
        return Response(content, media_type=kind, headers=headers)


def _remember_facts(desk: Desk, content: bytes, who: str) -> None:
    """Record that a named reader gets the facts of a night, hidden answers too.

    Raises:
        Unknown: The file is damaged, so that it is not known whose answers it holds.
    """
    try:
        ids = [entry["id"] for entry in json.loads(content)["micrographs"]]
    except (ValueError, LookupError, TypeError) as error:
        raise Unknown("facts of a night") from error
    for batch in chunks(ids):
        remember_read(desk, desk.store.search.list_micrographs(batch), who)


def _give_errors(app: FastAPI, desk: Desk) -> None:
    def say(request: Request, code: int, title: str, sentence: str) -> Response:
        return _say(desk, request, code, title, sentence)

    def unknown(request: Request, error: Exception) -> Response:
        said = getattr(error, "detail", NOTHING)
        said = NOTHING if said == "Not Found" else said
        return say(request, 404, _("Not here"), _(said))

    def unreachable(request: Request, error: Exception) -> Response:
        return say(
            request,
            503,
            _("The database does not answer"),
            _("{error}. Try again in a moment.").format(error=error),
        )

    def unavailable(request: Request, error: Exception) -> Response:
        return say(
            request,
            503,
            _("The object storage does not answer"),
            _("{error}. Try again in a moment.").format(error=error),
        )

    def wrong(request: Request, error: Exception) -> Response:
        return say(request, 422, _("That cannot be kept"), str(error))

    def misruled(request: Request, error: Exception) -> Response:
        return say(request, 503, _("The specification limits cannot be used"), str(error))

    def not_yours(request: Request, error: Exception) -> Response:
        return say(request, 403, _("Not yours"), f"{error}.")

    def meanwhile(_request: Request, error: Exception) -> Response:
        view = error.view if isinstance(error, Meanwhile) else None
        holds = api.label_json(view.label) if view and view.label else None
        return JSONResponse({"detail": str(error), "holds": holds}, 409)

    def malformed(request: Request, error: Exception) -> Response:
        # Without the input: JSON may be unable to represent it.
        found = error.errors() if isinstance(error, RequestValidationError) else []
        said = "; ".join(
            f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in found
        )
        return say(request, 422, _("That cannot be kept"), said)

    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(Unknown, unknown)
    app.add_exception_handler(404, unknown)
    app.add_exception_handler(StoreFault, unreachable)
    app.add_exception_handler(ObjectsUnavailable, unavailable)
    app.add_exception_handler(BeingFetched, build_fetch_handler(say))
    app.add_exception_handler(BadSpecification, misruled)
    app.add_exception_handler(SetupError, wrong)
    app.add_exception_handler(ModelError, wrong)
    app.add_exception_handler(NotYours, not_yours)
    app.add_exception_handler(Meanwhile, meanwhile)


def _say(desk: Desk, request: Request, code: int, title: str, sentence: str) -> Response:
    """Return an error, as JSON where a program asks."""
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"detail": sentence}, code)
    reviewer = cookies.name_of(request)
    page = render_error(desk.site, request, code, sentence, title=title, reviewer=reviewer)
    return HTMLResponse(page, code)


def _give_refusals(app: FastAPI, desk: Desk) -> None:
    """Answer what a route refuses in the frame of a page, where a browser asked."""

    def refused(request: Request, error: Exception) -> Response:
        code = getattr(error, "status_code", 400)
        said, headers = str(getattr(error, "detail", "")), getattr(error, "headers", None)
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": said}, code, headers=headers)
        sentence = _(WRONG_METHOD) if code == HTTPStatus.METHOD_NOT_ALLOWED else _(said)
        answer = _say(desk, request, code, _(TITLES.get(code, TITLES[400])), sentence)
        answer.headers.update(headers or {})
        return answer

    app.add_exception_handler(HTTPException, refused)


def _give_last_resort(app: FastAPI, desk: Desk, language: Language) -> None:
    """Answer a fault of ours in the frame of a page; it runs outside every middleware."""

    def broke(request: Request, _error: Exception) -> Response:
        if request.scope["path"].startswith("/api/"):
            return JSONResponse({"detail": "internal error"}, 500)
        with reports.speaking(read_choice(request.cookies, language)):
            page = render_error(desk.site, request, 500, _(FAULT))
        headers = {**HEADERS, "Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(page, 500, headers)

    app.add_exception_handler(Exception, broke)


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # not read: the client has disconnected
