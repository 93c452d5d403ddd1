"""Page of the PCs that run an agent, of this site or of all sites of the database."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from agent.store.sites.fleet import PcState, list_members
from agent.web.authentication import may_lead
from agent.web.context import read_database_time
from agent.web.models.rollout_view import build_start, build_view
from agent.web.pages import render_page
from reports import gettext as _
from reports import marked, ngettext

if TYPE_CHECKING:
    from fastapi.responses import HTMLResponse

    from agent.store.sites.fleet import FleetMember
    from agent.web.context import Desk

STATES = {
    PcState.RUNNING: marked("running"),
    PcState.STOPPED: marked("stopped"),
    PcState.SILENT: marked("silent"),
}
REMARKS = {
    "silent": marked("no heartbeat and not stopped: switch the PC on, or see its log"),
    "clock": marked("the clock is wrong: set up a time server"),
    "disk": marked("the disk is nearly full"),
    "checks": marked("a control check failed"),
    "other_version": marked("other version than the other PCs"),
    "other_bundle": marked("other bundle than the other PCs"),
    "other_recipe": marked("other crop recipe than the other PCs"),
    "other_settings": marked("other settings for cropping, triage or model than the other PCs"),
}


def router(desk: Desk) -> APIRouter:
    """Build the routes of the PCs."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/fleet")
    def fleet(request: Request) -> Response:
        return render_fleet(desk, request, message=request.query_params.get("done", "")[:200])

    return routes


def render_fleet(
    desk: Desk, request: Request, code: int = 200, *, message: str = ""
) -> HTMLResponse:
    """Render the page of the PCs.

    Args:
        desk: Of the pages.
        request: Who reads it, and of which sites.
        code: HTTP status; an error is an act that was refused.
        message: What an act has led to, "" for nothing.
    """
    may_see_all = may_lead(request)
    is_all = may_see_all and request.query_params.get("sites") == "all"
    store = desk.store
    agents = store.over_all_sites().agents() if is_all else store.agents.list_all()
    members = list_members(
        agents,
        now=read_database_time(desk),
        wanted={} if is_all else store.rollouts.list_wanted(),
    )
    start = build_start(desk, request)
    return render_page(
        desk,
        request,
        "fleet",
        code,
        headline=_describe(members),
        members=members,
        states=STATES,
        remarks=REMARKS,
        may_see_all=may_see_all,
        is_all=is_all,
        rollout=build_view(desk, request),
        start=start[0] if start else None,
        bundles=start[1] if start else (),
        message=message,
        is_refused=code >= HTTPStatus.BAD_REQUEST,
    )


def _describe(members: list[FleetMember]) -> str:
    if not members:
        return _("No agent ever ran here. Start one in the shell: agent run")
    running = sum(member.state is PcState.RUNNING for member in members)
    noted = sum(bool(member.remarks) for member in members)
    counted = ngettext("{running} of {n} PC runs.", "{running} of {n} PCs run.", len(members))
    text = counted.format(running=running, n=len(members))
    if not noted:
        return text
    rest = ngettext("{n} needs an operator.", "{n} need an operator.", noted).format(n=noted)
    return f"{text} {rest}"
