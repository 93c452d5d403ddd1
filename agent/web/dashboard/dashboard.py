"""The dashboard: what came today, what waits for whom, and how the lab is; it updates by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.web import cookies
from agent.web.access import iter_routes
from agent.web.dashboard.dashboard_figures import get_figures
from agent.web.dashboard.dashboard_parts import (
    list_code_rows,
    list_first_steps,
    list_lab_facts,
    list_needs,
    list_source_cards,
    list_tiles,
    name_codes_basis,
)
from agent.web.dashboard.event_stream import format_clock, stream_events
from agent.web.schemas import FAULTS, Today
from reports import DashboardPage, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.web.context import Desk
    from agent.web.dashboard.dashboard_figures import Figures

VERSION, AT = "X-Figures-Version", "X-Figures-At"


def router(desk: Desk) -> APIRouter:
    """Build the routes of the dashboard."""
    routes = APIRouter()

    @routes.get("/", include_in_schema=False)
    def dashboard(request: Request) -> Response:
        return HTMLResponse(reports.render("dashboard", page=build_dashboard(desk, request)))

    @routes.get("/today", include_in_schema=False)
    def today(request: Request) -> Response:
        page = build_dashboard(desk, request)
        headers = {VERSION: page.version, AT: page.at}
        return HTMLResponse(reports.render("_today", page=page), headers=headers)

    @routes.get("/events", include_in_schema=False)
    async def events() -> Response:
        return stream_events(desk)

    @routes.get("/api/v1/today", response_model=Today, responses=FAULTS)
    def figures() -> dict[str, Any]:
        """Return the numbers of the dashboard: today so far, and what waits for whom."""
        return figures_to_json(get_figures(desk)[0])

    return routes


def build_dashboard(desk: Desk, request: Request) -> DashboardPage:
    """Build the dashboard."""
    figures, version = get_figures(desk)
    has_archive = any(route.path == "/archive" for route in iter_routes(request.app.routes))
    return DashboardPage(
        site=desk.site,
        reviewer=cookies.name_of(request),
        day=reports.whole_date(figures.day),
        at=format_clock(figures.read_at, desk.zone),
        version=version,
        problems=tuple(_list_problems(figures.slow.status)),
        steps=tuple(list_first_steps(figures)),
        needs=tuple(list_needs(figures)),
        tiles=tuple(list_tiles(figures, desk.zone, has_archive=has_archive)),
        sources=tuple(list_source_cards(figures, desk.zone, has_archive=has_archive)),
        codes=tuple(list_code_rows(figures, has_archive=has_archive)),
        codes_note=name_codes_basis(figures),
        lab=tuple(list_lab_facts(figures, desk.zone)),
        jobs=tuple(_list_jobs(figures)),
    )


def _list_problems(status: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of an agent's status in the language of the page."""
    messages = status.get("problem_messages", {})
    for text in status.get("problems", ()):
        yield str(reports.read_message(messages.get(text), text))


def _list_jobs(figures: Figures) -> Iterable[Fact]:
    for job in figures.slow.status.get("jobs", ()):
        done = f" {job['done']}/{job['total']}" if job.get("total") else ""
        yield Fact(str(job["name"]), f"{job['stage']}{done}")


def figures_to_json(figures: Figures) -> dict[str, Any]:
    """Return the figures as JSON has them."""
    slow = figures.slow
    return {
        "day": figures.day.isoformat(),
        "read_at": figures.read_at.isoformat(),
        "micrographs": figures.today,
        "review_requested": figures.review,
        "reviewed": figures.reviewed,
        "waiting_for_review": figures.waiting,
        "reasons": {reason.value: n for reason, n in figures.reasons.items()},
        "orders": dict(slow.orders),
        "unassigned": slow.unassigned,
        "disagreed": slow.disagreed,
        "agreement": {"n": slow.blind_n, "same": slow.blind_same},
        "sources": [
            {
                "name": source.name,
                "online": source.online,
                "today": source.today,
                "last_hour": source.last_hour,
                "last_file": source.last_file or None,
                "last_at": source.last_at.isoformat() if source.last_at else None,
                "waiting": source.waiting,
                "failed": source.failed,
                "set_aside": source.set_aside,
            }
            for source in figures.sources
        ],
        "codes": [
            {
                "code": row.code,
                "n": row.n,
                "share": row.share,
                "usual": row.usual,
                "low": row.low,
                "high": row.high,
            }
            for row in figures.codes
        ],
        "problems": list(slow.status.get("problems", ())),
    }
