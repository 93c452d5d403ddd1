"""Page of the PCs that run an agent, and the rollout of a bundle on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from agent.retrain.bundle_registry import list_bundles
from agent.site_time import local
from agent.store import (
    BY_AGENT,
    HostState,
    Ring,
    RingRules,
    Rollout,
    RolloutHost,
    RolloutState,
    Signature,
    assign_rings,
    is_absent,
)
from agent.store.people import auth
from agent.store.sites.fleet import FleetMember, PcState, list_members, list_seen, rollout_to_json
from agent.web import cookies
from agent.web.authentication import may_decide, may_lead, signing_name, who_is
from agent.web.context import WebContext, read_database_time
from agent.web.forms import read_form
from agent.web.models import model_acts
from agent.web.models.models_page import NAME
from agent.web.pages import render_page
from agent.web.schemas import FAULTS, Requested, RolloutAnswer, SignedIn
from reports import Fact, SignForm, Tone, decimal, marked, ngettext
from reports import gettext as _

START, CONTINUE, STOP = "/fleet/rollout", "/fleet/rollout/continue", "/fleet/rollout/stop"
ROLLOUT_STATES = {
    RolloutState.RUNNING: (marked("running"), Tone.CALM),
    RolloutState.STOPPED: (marked("stopped"), Tone.PROBLEM),
    RolloutState.DONE: (marked("done"), Tone.CALM),
}
RINGS = {
    Ring.NAMED: marked("1: named PCs"),
    Ring.SHARE: marked("2: a share"),
    Ring.ALL: marked("3: all"),
}
HOSTS = {
    HostState.WAITING: (marked("not judged yet"), Tone.ATTENTION),
    HostState.AGREED: (marked("agrees"), Tone.CALM),
    HostState.DIFFERS: (marked("differs"), Tone.PROBLEM),
    HostState.REFUSED: (marked("it cannot be loaded"), Tone.PROBLEM),
    HostState.MISSING: (marked("bundle is missing"), Tone.ATTENTION),
}
BUNDLES_SHOWN = 50


def load_rollout(web: WebContext) -> dict[str, Any] | None:
    """Return the newest rollout as JSON, None before the first."""
    rollout = web.store.rollouts.find_latest()
    if rollout is None:
        return None
    seen, hosts = (
        list_seen(web.store.agents.list_all()),
        web.store.rollouts.list_hosts(rollout.id),
    )
    return rollout_to_json(rollout, hosts, seen=seen, now=read_database_time(web))


def build_view(web: WebContext, request: Request) -> dict[str, Any] | None:
    """Return the newest rollout of this site with its PCs; None before the first."""
    rollout = web.store.rollouts.find_latest()
    if rollout is None:
        return None
    agents, hosts = web.store.agents.list_all(), web.store.rollouts.list_hosts(rollout.id)
    seen, now = list_seen(agents), read_database_time(web)
    in_use = {member.name: member.bundle for member in list_members(agents, now=now)}
    wanted = web.store.rollouts.list_wanted()
    current = web.store.promotions.find_current() or ""
    state, tone = ROLLOUT_STATES[RolloutState(rollout.state)]
    is_stopped = rollout.state == RolloutState.STOPPED
    is_open = rollout.state == RolloutState.RUNNING or (
        is_stopped and rollout.stopped_by == BY_AGENT
    )
    pcs = []
    for name, host in hosts.items():
        text, urgency = _describe_state(rollout, host)
        pc = {"name": name, "host": host, "state": text, "tone": urgency}
        pc |= {"wanted": wanted.get(name, current), "in_use": in_use.get(name, "")}
        pcs.append(pc | {"is_off": is_absent(seen.get(name), rollout.rules, now=now)})
    return {
        "newest": rollout,
        "state": state,
        "tone": tone,
        "rings": RINGS,
        "facts": list(_list_facts(rollout, hosts, seen, web.zone, now)),
        "pcs": pcs,
        "may_stop": is_open and may_decide(request),
        "sign": _build_continue(request) if is_stopped and may_lead(request) else None,
    }


def build_start(web: WebContext, request: Request) -> tuple[SignForm, tuple[str, ...]] | None:
    """Build the form that starts a rollout, and the names of the bundles to choose from.

    None where a rollout is running, the reader is no lead, or there is nothing else to choose.
    """
    rules, current = web.learning.rings, web.store.promotions.find_current()
    newest = web.store.rollouts.find_latest()
    bundles = tuple(
        folder.name for folder in list_bundles(web.archive.folder)[::-1] if folder.name != current
    )[:BUNDLES_SHOWN]
    is_running = newest is not None and newest.state == RolloutState.RUNNING
    if not bundles or is_running or not may_lead(request):
        return None
    names = [agent.name for agent in web.store.agents.list_all() if agent.started_at]
    form = SignForm(
        action=START,
        title=_("Roll out a bundle in rings"),
        note=_describe_rings(names, rules),
        needs_password=who_is(request) is not None,
        blocked=""
        if Ring.NAMED in assign_rings(names, rules).values()
        else _("Name the PCs of ring 1 first: first = [...] in [rollout] of agent.toml."),
    )
    return form, bundles


def _describe_rings(names: list[str], rules: RingRules) -> str:
    rings = assign_rings(names, rules)
    first = ", ".join(sorted(name for name in names if rings[name] == Ring.NAMED)) or "–"
    share = ", ".join(sorted(name for name in names if rings[name] == Ring.SHARE)) or "–"
    rest = sum(ring == Ring.ALL for ring in rings.values())
    text = _(
        "Ring 1: {first}. Ring 2: {share}. Ring 3: {n} more. Each ring lasts at least {minutes} "
        "min. The first PC whose answers to the reference images differ stops it."
    )
    return text.format(first=first, share=share, n=rest, minutes=decimal(rules.wait_minutes, "g"))


def _build_continue(request: Request) -> SignForm:
    return SignForm(
        action=CONTINUE,
        title=_("Continue at ring 1"),
        note=_("Every PC of a ring judges the reference images again."),
        needs_password=who_is(request) is not None,
    )


def _list_facts(
    rollout: Rollout,
    hosts: Mapping[str, RolloutHost],
    seen: Mapping[str, datetime],
    zone: str,
    now: datetime,
) -> Iterator[Fact]:
    yield Fact(_("Ring"), _("{n} of {of}").format(n=rollout.step, of=len(Ring)))
    due = {name: host for name, host in hosts.items() if host.ring <= rollout.step}
    agreed = sum(host.state == HostState.AGREED for host in due.values())
    absent = sum(is_absent(seen.get(name), rollout.rules, now=now) for name in due)
    yield Fact(_("PCs that agree"), _("{n} of {of}").format(n=agreed, of=len(due)))
    if absent:
        text = ngettext("{n} PC, not waited for", "{n} PCs, not waited for", absent)
        yield Fact(_("Off"), text.format(n=absent))
    yield Fact(_("Replaces"), rollout.previous or _("no bundle"))
    yield Fact(_("Signed by"), f"{rollout.by}: {rollout.reason}")
    yield Fact(_("Started"), local(rollout.started_at, zone))
    if rollout.ended_at is not None:
        yield Fact(_("Ended"), local(rollout.ended_at, zone))
    if rollout.stopped_by:
        by = _("an agent") if rollout.stopped_by == BY_AGENT else rollout.stopped_by
        yield Fact(_("Stopped by"), by)
    if rollout.baseline_host:
        yield Fact(_("Compared with the answers of"), rollout.baseline_host)


def _describe_state(rollout: Rollout, host: RolloutHost) -> tuple[str, Tone | None]:
    if host.state == HostState.WAITING and host.ring > rollout.step:
        is_running = rollout.state == RolloutState.RUNNING
        return (marked("comes later") if is_running else marked("its ring was not reached")), None
    return HOSTS[HostState(host.state)]


PC_STATES = {
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
    "other_settings": marked(
        "other specifications, classes, or settings for cropping, triage or model"
    ),
}


def router(web: WebContext) -> APIRouter:
    """Build the routes of the PCs."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/fleet")
    def fleet(request: Request) -> Response:
        return render_fleet(web, request, message=request.query_params.get("done", "")[:200])

    return routes


def render_fleet(
    web: WebContext, request: Request, code: int = 200, *, message: str
) -> HTMLResponse:
    """Render the page of the PCs.

    Args:
        web: Of the pages.
        request: Who reads it, and of which sites.
        code: HTTP status; an error is an act that was refused.
        message: What an act has led to, "" for nothing.
    """
    may_see_all = may_lead(request)
    is_all = may_see_all and request.query_params.get("sites") == "all"
    store = web.store
    agents = store.over_all_sites().agents() if is_all else store.agents.list_all()
    members = list_members(
        agents,
        now=read_database_time(web),
        wanted={} if is_all else store.rollouts.list_wanted(),
    )
    start = build_start(web, request)
    return render_page(
        web,
        request,
        "fleet",
        code,
        headline=_describe(members),
        members=members,
        states=PC_STATES,
        remarks=REMARKS,
        may_see_all=may_see_all,
        is_all=is_all,
        rollout=build_view(web, request),
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


class StopIn(SignedIn):
    """Who stops the rollout."""


def rollout_router(web: WebContext) -> APIRouter:
    """Build the routes of the rollout; a stop needs the role reviewer, other acts a lead."""
    routes = APIRouter()
    signing = partial(_sign, web, auth.PasswordCheck())

    @routes.post(START, include_in_schema=False)
    async def start(request: Request) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(signing, request, form, act=partial(_start, web, form))

    @routes.post(CONTINUE, include_in_schema=False)
    async def resume(request: Request) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(signing, request, form, act=partial(_resume, web))

    @routes.post(STOP, include_in_schema=False)
    def stop(request: Request) -> Response:
        by = cookies.decides(request, {}) or _("a user of this PC")
        web.store.rollouts.stop(by=by, at=web.now())
        return RedirectResponse("/fleet", 303)

    @routes.get("/api/v1/rollout", response_model=RolloutAnswer, responses=FAULTS)
    def read() -> dict[str, Any]:
        """Return the newest rollout with what each PC answered; null before one."""
        return {"rollout": load_rollout(web)}

    @routes.post("/api/v1/rollout/stop", response_model=Requested, responses=FAULTS)
    def stop_by_program(request: Request, body: StopIn) -> dict[str, int]:
        """Stop the rollout: every PC goes back; `count` is 0 where there is none to stop."""
        by = signing_name(request, body.by)
        return {"count": int(web.store.rollouts.stop(by=by, at=web.now()))}

    return routes


def _sign(
    web: WebContext,
    check: auth.PasswordCheck,
    request: Request,
    form: Mapping[str, str],
    *,
    act: Callable[[Signature], str],
) -> Response:
    def refuse(why: str) -> Response:
        return render_fleet(web, request, 422, message=why)

    return model_acts.answer_signed(
        web, check, request, form, act=act, page="/fleet", refuse=refuse
    )


def _start(web: WebContext, form: Mapping[str, str], signature: Signature) -> str:
    name = form.get("bundle", "")
    return model_acts.promote(
        web, name if NAME.fullmatch(name) else "", signature, rings=web.learning.rings
    )


def _resume(web: WebContext, signature: Signature) -> str:
    rollout = web.store.rollouts.resume(signature, ring_at=read_database_time(web))
    return _("The rollout of {name} continues at ring 1.").format(name=rollout.bundle)
