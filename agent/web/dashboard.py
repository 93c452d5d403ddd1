"""The dashboard: what came today, what waits for whom, and how the lab is; it updates by itself.

An event carries no figure: the page loads them with a request of its own, so that a log-in that has
ended shows nothing more. A stream ends by itself after some minutes, and the browser opens the next
one, which is authenticated again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

import reports
from agent.nightly.facts.order_status import Instrument
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.judge.next_step import NextStep
from agent.site_time import local
from agent.store import StoreFaultError
from agent.triage import Reason
from agent.web import trends_page
from agent.web.access import iter_routes
from agent.web.context import WebContext
from agent.web.dashboard_figures import HOUR, Figures, get_figures, read_figures
from agent.web.pages import render_page
from agent.web.schemas import FAULTS, Today
from reports import Fact, Tone, decimal, marked, ngettext
from reports import gettext as _

TICK_S = 1.0
BEAT_S = 5.0
"""Without a beat for three times as long a page says that the connection is lost."""
AGAIN_MS = 3000


def stream_events(web: WebContext) -> StreamingResponse:
    """Return the stream of one page."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(iter_events(web), media_type="text/event-stream", headers=headers)


async def iter_events(web: WebContext) -> AsyncIterator[str]:
    """Yield an event at each change and every `BEAT_S`, until the stream's time is over."""
    loop = asyncio.get_running_loop()
    began_s, beat_s, sent = loop.time(), float("-inf"), ""
    yield f"retry: {AGAIN_MS}\n\n"
    while True:
        is_read = await _refresh(web)
        version, now_s = web.figures.version, loop.time()
        if is_read and (version != sent or now_s - beat_s >= BEAT_S):
            sent, beat_s = version, now_s
            yield format_beat(version, web.now(), web.zone)
        if now_s - began_s >= web.stream_s or web.closing.is_set():
            break
        await asyncio.sleep(TICK_S)
    yield "event: end\ndata: {}\n\n"


async def _refresh(web: WebContext) -> bool:
    """Read the figures where they are due; return False where the database does not answer."""
    now = web.now()
    if not web.figures.is_due(now):
        return True
    try:
        await run_in_threadpool(web.figures.refresh, partial(read_figures, web), now=now)
    except StoreFaultError:
        return False
    return True


def format_beat(version: str, at: datetime, zone: str) -> str:
    """Format the event that the figures of a version are right at an instant."""
    told = {"version": version, "at": format_clock(at, zone)}
    return f"event: beat\ndata: {json.dumps(told)}\n\n"


def format_clock(at: datetime, zone: str) -> str:
    """Format an instant as the site's clock shows it, such as "10:02:31"."""
    return f"{at.astimezone(ZoneInfo(zone)):%H:%M:%S}"


VERSION, AT = "X-Figures-Version", "X-Figures-At"
REVIEWER, LEAD, OPERATOR = marked("reviewer"), marked("lead"), marked("operator")
LOW_DISK_SHARE = 0.1
GB = 1e9

Need = tuple[int, str, str, str, Tone]
"""How many, what waits, the role that acts, where, and how urgently."""
LabFact = tuple[str, str, Tone] | tuple[str, str, Tone, str]
"""Name, value, how urgently it needs action, and the page behind it, where there is one."""


def router(web: WebContext) -> APIRouter:
    """Build the routes of the dashboard."""
    routes = APIRouter()
    routes.include_router(trends_page.router(web))

    @routes.get("/", include_in_schema=False)
    def dashboard(request: Request) -> Response:
        return render_page(web, request, "dashboard", **_build_facts(web, request))

    @routes.get("/today", include_in_schema=False)
    def today(request: Request) -> Response:
        facts = _build_facts(web, request)
        page = render_page(web, request, "_today", **facts)
        page.headers.update({VERSION: facts["figures_version"], AT: facts["at"]})
        return page

    @routes.get("/events", include_in_schema=False)
    async def events() -> Response:
        return stream_events(web)

    @routes.get("/api/v1/today", response_model=Today, responses=FAULTS)
    def figures() -> dict[str, Any]:
        """Return the numbers of the dashboard: today so far, and what waits for whom."""
        return figures_to_json(get_figures(web)[0])

    return routes


def _build_facts(web: WebContext, request: Request) -> dict[str, Any]:
    figures, version = get_figures(web)
    has_archive = any(route.path == "/archive" for route in iter_routes(request.app.routes))
    since = (figures.read_at - HOUR).astimezone(ZoneInfo(web.zone))
    return {
        "figures": figures,
        "figures_version": version,
        "at": format_clock(figures.read_at, web.zone),
        "day": figures.day.isoformat(),
        "last_hour": f"since:{since:%Y-%m-%dT%H:%M}",
        "has_archive": has_archive,
        "problems": list(_list_problems(figures.slow.status)),
        "steps": list(_list_first_steps(figures)),
        "needs": list(_list_needs(figures)),
        "largest": max((max(row.share, row.high or 0.0) for row in figures.codes), default=1.0),
        "lab": [(*fact, "")[:4] for fact in _list_lab_facts(figures, web.zone)],
        "jobs": list(_list_jobs(figures)),
    }


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
        "sources": [source.model_dump() for source in figures.sources],
        "codes": [row.model_dump() for row in figures.codes],
        "problems": list(slow.status.get("problems", ())),
    }


# --- the sections in words ------------------------------------------------------------------------


def _list_first_steps(figures: Figures) -> Iterator[tuple[str, bool, str]]:
    """Yield what to do first; nothing once files come and a bundle answers."""
    status = figures.slow.status
    has_bundle = bool(status.get("bundle", True))
    if not figures.is_empty and has_bundle:
        return
    yield (_("Set the folder of a microscope as a source"), bool(figures.sources), "/setup#source")
    yield (_("Export a micrograph into that folder"), not figures.is_empty, "/help/first-night")
    yield (_("Add or train a model bundle"), has_bundle, "/setup#train")
    yield (_("Set a folder for back-ups"), bool(status.get("backup")), "/setup#backup")
    yield (_("Add an account for each reviewer"), figures.slow.has_accounts, "/setup#account")


def _list_needs(figures: Figures) -> Iterator[Need]:
    """Yield what waits for a reviewer, a lead or an operator, the most pressing first."""
    needs = (
        *_list_order_needs(figures.slow.orders),
        *_list_review_needs(figures),
        *_list_other_needs(figures),
    )
    yield from (need for need in needs if need[0])


def _list_order_needs(orders: Mapping[str, int]) -> Iterator[Need]:
    n = orders.get(NextStep.PROBABLY_OUT, 0)
    text = ngettext(
        "order is probably out of specification", "orders are probably out of specification", n
    )
    yield (n, text, _(LEAD), _orders(NextStep.PROBABLY_OUT), Tone.PROBLEM)
    n = orders.get(Conformity.DOES_NOT_CONFORM, 0)
    text = ngettext("order does not conform", "orders do not conform", n)
    yield (n, text, _(LEAD), _orders(Conformity.DOES_NOT_CONFORM), Tone.PROBLEM)
    n = orders.get(NextStep.TO_CONFIRM, 0)
    text = ngettext("order to confirm", "orders to confirm", n)
    yield (n, text, _(REVIEWER), _orders(NextStep.TO_CONFIRM), Tone.ATTENTION)
    n = orders.get(NextStep.HELD, 0)
    text = ngettext("order held", "orders held", n)
    yield (n, text, _(LEAD), _orders(NextStep.HELD), Tone.ATTENTION)


def _list_review_needs(figures: Figures) -> Iterator[Need]:
    n = figures.waiting
    text = ngettext("micrograph to review", "micrographs to review", n)
    yield (n, text, _(REVIEWER), "/review", Tone.ATTENTION)
    n = figures.slow.disagreed
    text = ngettext(
        "micrograph that two reviewers answered differently",
        "micrographs that two reviewers answered differently",
        n,
    )
    yield (n, text, _(REVIEWER), "/review", Tone.ATTENTION)
    n = figures.reasons.get(Reason.DOUBTED_LABEL, 0)
    text = ngettext("suspect label to review again", "suspect labels to review again", n)
    yield (n, text, _(REVIEWER), _queue(Reason.DOUBTED_LABEL), Tone.ATTENTION)
    n = figures.reasons.get(Reason.DISAGREEMENT, 0)
    text = ngettext(
        "micrograph that raters answered differently",
        "micrographs that raters answered differently",
        n,
    )
    yield (n, text, _(REVIEWER), _queue(Reason.DISAGREEMENT), Tone.ATTENTION)
    n = figures.slow.unassigned
    text = ngettext("field without a specimen", "fields without a specimen", n)
    yield (n, text, _(REVIEWER), "/orders#loose", Tone.ATTENTION)


def _list_other_needs(figures: Figures) -> Iterator[Need]:
    n = sum(source.failed for source in figures.sources)
    text = ngettext("file failed", "files failed", n)
    yield (n, text, _(OPERATOR), "/files?state=failed", Tone.ATTENTION)
    failed = [one for one in figures.slow.instruments if one.failed or one.control_faults]
    n = len(failed)
    text = ngettext("instrument check failed", "instrument checks failed", n)
    yield (n, text, _(OPERATOR), "#lab", Tone.PROBLEM)
    due = [one for one in figures.slow.instruments if one not in failed and _is_check_due(one)]
    n = len(due)
    text = ngettext("instrument check due", "instrument checks due", n)
    yield (n, text, _(OPERATOR), "#lab", Tone.ATTENTION)
    n = figures.slow.alarms
    text = ngettext("alarm: something changed", "alarms: something changed", n)
    yield (n, text, _(LEAD), "/trends", Tone.PROBLEM)
    n = len(figures.slow.proposed)
    text = ngettext("bundle to sign", "bundles to sign", n)
    yield (n, text, _(LEAD), "/models", Tone.ATTENTION)


def _orders(state: str) -> str:
    return f"/orders?{urlencode({'state': str(state)})}"


def _queue(reason: Reason) -> str:
    return f"/review?{urlencode({'reason': reason.value})}"


# --- the lab ------------------------------------------------------------------------------------


def _list_lab_facts(figures: Figures, zone: str) -> Iterator[LabFact]:
    """Yield how the lab is: agreement, instruments, disk, back-up, bundle, next report."""
    status = figures.slow.status
    if not status.get("running", True):
        yield (_("Agent"), _("does not run; no new file is processed"), Tone.PROBLEM)
    yield _describe_agreement(figures)
    for instrument in figures.slow.instruments:
        yield _describe_instrument(instrument, zone)
    yield from _list_storage(figures, zone)
    bundle = status.get("bundle")
    yield (
        _("Model bundle"),
        str(bundle) if bundle else _("none in use: every micrograph goes to review"),
        Tone.CALM if bundle else Tone.ATTENTION,
        "/models",
    )
    for note in status.get("notes", ()):
        yield (_("False-alarm rate"), str(note), Tone.ATTENTION, "/models")
    if at := status.get("next_report_at"):
        value = local(datetime.fromisoformat(at), zone)
        yield (_("Next report"), value, Tone.CALM, "/reports/index.html")
    if fault := figures.slow.orders_fault:
        yield (_("Orders"), fault, Tone.PROBLEM, "/orders")


def _describe_agreement(figures: Figures) -> LabFact:
    n, same = figures.slow.blind_n, figures.slow.blind_same
    name = _("Agreement, blind")
    if not n:
        text = _("not known: no decision in 90 days without the model's answer in view")
        return (name, text, Tone.ATTENTION, "/help/reviewing")
    from model import wilson  # noqa: PLC0415 - loads scipy

    share = wilson(same, n)
    low, high = (decimal(100 * (end or 0.0), ".0f") for end in (share.low, share.high))
    text = _("{share} % of {n} decisions (95 % interval {low} to {high} %)").format(
        share=decimal(100 * same / n, ".0f"), n=n, low=low, high=high
    )
    return (name, text, Tone.CALM, "/trends")


def _is_check_due(instrument: Instrument) -> bool:
    return instrument.overdue or instrument.control_overdue


def _describe_instrument(instrument: Instrument, zone: str) -> LabFact:
    name = _("Checks of {source}").format(source=instrument.source)
    if instrument.failed or instrument.control_faults:
        text = _("failed: {why}").format(
            why=instrument.failed or "; ".join(instrument.control_faults)
        )
        return (name, text, Tone.PROBLEM)
    if instrument.checked_at is None and not instrument.control_overdue:
        return (name, _("not checked yet: new source"), Tone.ATTENTION)
    checked = local(instrument.checked_at, zone) if instrument.checked_at else _("never")
    if instrument.overdue:
        return (name, _("due; last one {at}").format(at=checked), Tone.ATTENTION)
    if instrument.control_overdue:
        control = local(instrument.control_at, zone) if instrument.control_at else _("never")
        text = _("control specimen due; last one {at}").format(at=control)
        return (name, text, Tone.ATTENTION)
    return (name, _("passed {at}").format(at=checked), Tone.CALM)


def _list_storage(figures: Figures, zone: str) -> Iterator[LabFact]:
    status = figures.slow.status
    if disk := status.get("disk"):
        free, total = disk["free_bytes"], disk["total_bytes"]
        text = _("{free} GB of {total} GB free").format(
            free=decimal(free / GB, ".0f"), total=decimal(total / GB, ".0f")
        )
        tone = Tone.ATTENTION if free < LOW_DISK_SHARE * total else Tone.CALM
        yield (_("Disk"), text, tone)
    if "backup" not in status:
        return
    backup, name = status["backup"], _("Last back-up")
    if backup is None:
        text = _("none: no folder for back-ups is set")
        yield (name, text, Tone.ATTENTION, "/help/settings")
    elif backup["last_at"] is None:
        yield (name, _("none yet"), Tone.ATTENTION, "/help/troubleshooting")
    else:
        yield (name, local(datetime.fromisoformat(backup["last_at"]), zone), Tone.CALM)
