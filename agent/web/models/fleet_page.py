"""Page of the PCs that run an agent, of this site or of all sites of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import reports
from agent.site_time import local
from agent.store.sites.fleet import PcState, list_members
from agent.web import cookies
from agent.web.authentication import may_undo_any
from agent.web.context import read_database_time
from agent.web.models.rollout_view import build_start, build_view
from reports import FleetPage, Link, PcLine, Tone, decimal, marked, ngettext
from reports import gettext as _

if TYPE_CHECKING:
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
GB = 1e9


def router(desk: Desk) -> APIRouter:
    """Build the routes of the PCs."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/fleet")
    def fleet(request: Request) -> Response:
        message = request.query_params.get("done", "")[:200]
        return HTMLResponse(
            reports.render("fleet", page=build_page(desk, request, message=message))
        )

    return routes


def build_page(
    desk: Desk, request: Request, *, message: str = "", is_refused: bool = False
) -> FleetPage:
    """Build the page of the PCs.

    Args:
        desk: Of the pages.
        request: Who reads it, and of which sites.
        message: What an act has led to, "" for nothing.
        is_refused: The act was refused.
    """
    may_see_all = may_undo_any(request)
    is_all = may_see_all and request.query_params.get("sites") == "all"
    store = desk.store
    agents = store.over_all_sites().agents() if is_all else store.agents.list_all()
    members = list_members(
        agents,
        now=read_database_time(desk),
        wanted={} if is_all else store.rollouts.list_wanted(),
    )
    other = Link(_("This site"), "/fleet") if is_all else Link(_("All sites"), "/fleet?sites=all")
    view, start = build_view(desk, request), build_start(desk, request)
    return FleetPage(
        site=desk.site,
        reviewer=cookies.name_of(request),
        headline=_describe(members),
        pcs=tuple(_build_line(desk, member) for member in members),
        other=other if may_see_all else None,
        rollout=view,
        start=start[0] if start else None,
        bundles=start[1] if start else (),
        message=message,
        is_refused=is_refused,
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


def _build_line(desk: Desk, member: FleetMember) -> PcLine:
    tone = Tone.PROBLEM if member.state is PcState.SILENT else Tone.CALM
    clock = member.clock_ahead_s
    return PcLine(
        site=member.site,
        name=member.name,
        tone=Tone.ATTENTION if member.remarks and tone is Tone.CALM else tone,
        state=_(STATES[member.state]),
        seen=local(member.seen_at, desk.zone) if member.seen_at else _("never"),
        version=member.version,
        bundle=member.bundle,
        recipe=member.recipe,
        queue="" if member.queue is None else str(member.queue),
        clock="" if clock is None else _("{n} s").format(n=decimal(clock, ".1f")),
        disk=""
        if member.free_bytes is None
        else _("{n} GB").format(n=decimal(member.free_bytes / GB, ".0f")),
        remarks=tuple(_(REMARKS[remark]) for remark in member.remarks),
    )
