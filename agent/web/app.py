"""Build the web application of a lab: pages, images, API and reports behind one guard."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import reports
from agent.archive import Archive
from agent.errors import SetupError
from agent.features import FeatureFolder, SimilarIndex
from agent.nightly.facts.order_status import instruments as list_instruments
from agent.objects import BeingFetchedError, ObjectsUnavailableError
from agent.orders import SpecificationError
from agent.orders.facts.order_policy import (
    build_provenance,
    get_ring_rules,
    load_policy,
    prioritise_urgent,
    read_taxonomy,
)
from agent.orders.instruments.instrument_holds import load_holds
from agent.orders.specifications.taxonomy_changes import TAXONOMY_FILE, load_taxonomy_use
from agent.settings import Settings
from agent.store import Store, StoreFaultError
from agent.store.sites.site_folders import get_features_folder, get_own_file, reports_folder
from agent.store.work.file_states import chunks
from agent.web import api, cookies, dashboard
from agent.web import help as help_pages
from agent.web.access import refuse_strangers
from agent.web.archive import (
    archive,
    archive_api,
    bulk_decisions,
    embedding_map,
    files_page,
    history,
)
from agent.web.archive.uploads import Inbox
from agent.web.authentication import AuthenticationMiddleware
from agent.web.context import LearningSetup, TaxonomySetup, UnknownMicrographError, WebContext
from agent.web.cookies import LocaleMiddleware, read_choice
from agent.web.metrics import MEASURES
from agent.web.middleware import (
    HEADERS,
    PAGE_POLICY,
    WAIT_S,
    Crowd,
    OwnLimits,
    SecurityMiddleware,
    StorageWait,
    build_fetch_handler,
)
from agent.web.models import fleet_page, learning_page, models_page
from agent.web.orders import order_acts, order_confirm, order_desk, orders
from agent.web.orders.order_fields import remember_read
from agent.web.pages import FAULT, TITLES, WRONG_METHOD, ErrorPages, render_error, render_page
from agent.web.review import (
    images,
    needle_marks,
    needle_page,
    review_page,
    round_robin,
    scale_by_reviewer,
    viewer,
)
from agent.web.review.chart_plates import Chart, open_chart
from agent.web.review.decisions import DecidedMeanwhileError, NotYoursError
from agent.web.setup import first_steps, login, specification_page, taxonomy_page
from model import ModelError
from reports import Language, marked
from reports import gettext as _

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
ROUTERS: tuple[Callable[[WebContext], APIRouter], ...] = (
    api.router,
    archive_api.router,
    order_desk.api_router,
    api.health,
    login.router,
    cookies.router,
    dashboard.router,
    files_page.router,
    fleet_page.router,
    fleet_page.rollout_router,
    review_page.router,
    order_desk.router,
    order_confirm.router,
    scale_by_reviewer.router,
    taxonomy_page.proposal_router,
    orders.router,
    order_acts.router,
    orders.place_router,
    archive.router,
    bulk_decisions.router,
    embedding_map.similar_router,
    embedding_map.router,
    history.router,
    images.router,
    viewer.router,
    needle_marks.router,
    needle_page.router,
    viewer.chart_router,
    round_robin.router,
    models_page.router,
    learning_page.router,
    models_page.bundle_router,
    first_steps.router,
    taxonomy_page.router,
    specification_page.router,
    help_pages.router,
    help_pages.docs_router,
)


def create_app(
    web: WebContext,
    *,
    hosts: Iterable[str] = (),
    idle: timedelta = timedelta(minutes=30),
    requests: int = 64,
    language: Language = "en",
    storage_wait_s: float = WAIT_S,
) -> FastAPI:
    """Build the application.

    Args:
        web: What the pages and the API work on.
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
        dependencies=[Depends(api.refuse_unknown)],
    )
    app.state.closing = web.closing
    for build_router in ROUTERS:
        app.include_router(build_router(web))
    _give_files(app, web)
    _give_errors(app, web)
    _give_refusals(app, web)
    _give_last_resort(app, web, language)
    app.add_middleware(OwnLimits)
    app.add_middleware(AuthenticationMiddleware, known=web.store.accounts, now=web.now, idle=idle)
    app.add_middleware(Crowd, requests=requests)
    app.add_middleware(SecurityMiddleware, hosts=tuple(hosts))
    app.add_middleware(StorageWait, wait_s=storage_wait_s)
    app.add_middleware(ErrorPages, site=web.site)
    app.add_middleware(LocaleMiddleware, language=language)
    return app


def _give_files(app: FastAPI, web: WebContext) -> None:
    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in reports.ASSETS:
            raise UnknownMicrographError(name)
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
        if name in ("", "index.html") and not (web.reports / "index.html").is_file():
            facts = {"reviewer": "", "title": _("No report yet"), "sentence": _(NO_REPORT)}
            return render_page(web, request, "message", back="", **facts)
        named = REPORT_NAME.fullmatch(name or "index.html")
        path = web.reports / (name or "index.html")
        if named is None or not path.is_file():
            raise UnknownMicrographError(name)
        kind = REPORT_KINDS[path.suffix]
        headers = {"Content-Security-Policy": reports.report_policy()}
        content = path.read_bytes()
        if path.suffix == ".json" and path.parent == web.reports:
            _remember_facts(web, content, cookies.name_of(request))
        return Response(content, media_type=kind, headers=headers)


def _remember_facts(web: WebContext, content: bytes, who: str) -> None:
    """Record that a named reader gets the facts of a night, hidden answers too.

    Raises:
        UnknownMicrographError: The file is damaged, so that it is not known whose answers it holds.
    """
    try:
        ids = [entry["id"] for entry in json.loads(content)["micrographs"]]
    except (ValueError, LookupError, TypeError) as error:
        raise UnknownMicrographError("facts of a night") from error
    for batch in chunks(ids):
        remember_read(web, web.store.search.list_micrographs(batch), who)


def _give_errors(app: FastAPI, web: WebContext) -> None:
    def say(request: Request, code: int, title: str, sentence: str) -> Response:
        return _say(web, request, code, title, sentence)

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
        view = error.view if isinstance(error, DecidedMeanwhileError) else None
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
    app.add_exception_handler(UnknownMicrographError, unknown)
    app.add_exception_handler(404, unknown)
    app.add_exception_handler(StoreFaultError, unreachable)
    app.add_exception_handler(ObjectsUnavailableError, unavailable)
    app.add_exception_handler(BeingFetchedError, build_fetch_handler(say))
    app.add_exception_handler(SpecificationError, misruled)
    app.add_exception_handler(SetupError, wrong)
    app.add_exception_handler(ModelError, wrong)
    app.add_exception_handler(NotYoursError, not_yours)
    app.add_exception_handler(DecidedMeanwhileError, meanwhile)


def _say(web: WebContext, request: Request, code: int, title: str, sentence: str) -> Response:
    """Return an error, as JSON where a program asks."""
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"detail": sentence}, code)
    reviewer = cookies.name_of(request)
    page = render_error(web.site, request, code, sentence, title=title, reviewer=reviewer)
    return HTMLResponse(page, code)


def _give_refusals(app: FastAPI, web: WebContext) -> None:
    """Answer what a route refuses in the frame of a page, where a browser asked."""

    def refused(request: Request, error: Exception) -> Response:
        code = getattr(error, "status_code", 400)
        said, headers = str(getattr(error, "detail", "")), getattr(error, "headers", None)
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": said}, code, headers=headers)
        sentence = _(WRONG_METHOD) if code == HTTPStatus.METHOD_NOT_ALLOWED else _(said)
        answer = _say(web, request, code, _(TITLES.get(code, TITLES[400])), sentence)
        answer.headers.update(headers or {})
        return answer

    app.add_exception_handler(HTTPException, refused)


def _give_last_resort(app: FastAPI, web: WebContext, language: Language) -> None:
    """Answer a fault of ours in the frame of a page; it runs outside every middleware."""

    def broke(request: Request, _error: Exception) -> Response:
        if request.scope["path"].startswith("/api/"):
            return JSONResponse({"detail": "internal error"}, 500)
        with reports.speaking(read_choice(request.cookies, language)):
            page = render_error(web.site, request, 500, _(FAULT))
        headers = {**HEADERS, "Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(page, 500, headers)

    app.add_exception_handler(Exception, broke)


def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # not read: the client has disconnected


def app_of(
    settings: Settings,
    *,
    store: Store,
    archive: Archive,
    now: Callable[[], datetime],
    status: Callable[[], dict[str, Any]],
    inbox: Inbox | None = None,
    restart: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the application that `[web]` describes.

    Args:
        settings: The lab's settings.
        store: Open; it stays open as long as the application runs.
        archive: The pixels.
        now: Returns the time, aware UTC.
        status: Returns what `agent status --json` prints.
        inbox: Receives files that programs send; None where this process receives none.
        restart: Requests a restart of the agent; None where none runs with this application.

    Raises:
        BadSettingsError: `[web] host` can be reached from other PCs, and there are no accounts; or
            the folder of `[review] chart` is missing.
    """
    refuse_strangers(settings.web, store.accounts)
    web = WebContext(
        store=store,
        archive=archive,
        reports=reports_folder(settings.store.folder, store),
        site=settings.site.name,
        zone=settings.site.time_zone,
        taxonomy=lambda: read_taxonomy(settings, store, now=now()),
        now=now,
        status=status,
        inbox=inbox,
        measures=get_own_file(settings.store.folder, MEASURES, url=settings.store.url),
        similar=_open_similar(settings, store),
        taxonomy_setup=_taxonomy_setup(settings, store),
        settings_file=settings.file,
        specifications=settings.orders.specifications,
        is_outdated=lambda written: written != settings,
        restart=restart,
        holds=lambda: load_holds(settings, store),
        instruments=lambda: list_instruments(
            store,
            [source.name for source in settings.sources],
            {},
            control=settings.orders.control,
            every=timedelta(hours=settings.orders.control_every_h),
            now=now(),
        ),
        hasten=lambda: prioritise_urgent(store, settings),
        measures_needles=settings.needles.enabled or not settings.model.taxonomy,
        learns_from=settings.retrain.learns_from,
        learning=LearningSetup(
            promoters=settings.retrain.promoters,
            min_new_labels=settings.retrain.min_new_labels,
            language=settings.report.language,
            names_leads=bool(settings.orders.leads),
            rings=get_ring_rules(settings),
            names_taxonomy=bool(settings.model.taxonomy),
        ),
        objectives={
            source.name: build_provenance(source).objectives for source in settings.sources
        },
        customer_templates=Path(settings.report.customer_templates)
        if settings.report.customer_templates
        else None,
        um_per_px_range=settings.imaging.um_per_px_range,
        chart=_open_chart(settings),
        look_s=settings.review.look_s,
        correction_reasons=settings.review.correction_reasons
        if settings.review.reason_on_correction
        else None,
        lab=lambda: load_policy(
            settings,
            store,
            read_taxonomy(settings, store, now=now()),
            now=now(),
            held=load_holds(settings, store),
        ),
    )
    hosts = (settings.web.host, platform.node(), *settings.web.names)
    return create_app(
        web,
        hosts=hosts,
        idle=timedelta(minutes=settings.web.lock_after_min),
        requests=settings.web.requests,
        language=settings.report.language,
    )


def _open_similar(settings: Settings, store: Store) -> SimilarIndex | None:
    if not settings.features.keep:
        return None
    folder = FeatureFolder(get_features_folder(settings.store.folder, store), platform.node())
    return SimilarIndex(folder, most_rows=settings.features.search_rows)


def _open_chart(settings: Settings) -> Chart | None:
    """Return the chart plates of `[review] chart`, None where it is not set."""
    if not settings.review.chart:
        return None
    return open_chart(
        Path(settings.review.chart),
        um_per_px_range=settings.imaging.um_per_px_range,
        max_megapixels=settings.imaging.max_megapixels,
    )


def _taxonomy_setup(settings: Settings, store: Store) -> TaxonomySetup:
    """Return where the classes are written: the file that the settings name, or next to them."""
    named = settings.model.taxonomy
    beside = settings.file.parent if settings.file else settings.store.folder
    return TaxonomySetup(
        file=Path(named) if named else beside / TAXONOMY_FILE,
        is_named=bool(named),
        load_use=lambda: load_taxonomy_use(
            store, data=settings.store.folder, specifications=settings.orders.specifications
        ),
    )
