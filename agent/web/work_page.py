"""Page of the work units: progress, rate, failures; a lead pauses, resumes and cancels a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

import reports
from agent.fleet import PcState, list_members
from agent.site_time import local
from agent.store import JobState, UnitState
from agent.web import cookies
from agent.web.authentication import may_undo_any
from reports import Fact, Tone, WorkLine, WorkPage, decimal, marked
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from agent.store import WorkProgress
    from agent.web.context import Desk

STATES = {
    JobState.OPEN: (marked("open"), Tone.CALM),
    JobState.PAUSED: (marked("paused"), Tone.ATTENTION),
    JobState.DONE: (marked("done"), Tone.CALM),
    JobState.CANCELLED: (marked("cancelled"), Tone.ATTENTION),
}
TITLES = {
    "reprocess": marked("Judged again with {bundle}"),
    "shadow": marked("Candidate {bundle}"),
}
ACTS = {"pause": marked("Pause"), "resume": marked("Resume"), "cancel": marked("Cancel")}
MINUTES = 60
LARGEST = 2**31 - 1
"""PostgreSQL refuses a larger number of a row."""


def router(desk: Desk) -> APIRouter:
    """Build the routes of the work units."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/work")
    def work(request: Request) -> Response:
        return HTMLResponse(reports.render_work(_build_page(desk, request)))

    @routes.post("/work")
    def act(
        request: Request, job: Annotated[str, Form()] = "", act: Annotated[str, Form()] = ""
    ) -> Response:
        by = cookies.decides(request, {}) or _("a user of this PC")
        number = cookies.number(job)
        if number is not None and number <= LARGEST and act in ACTS:
            getattr(desk.store.work_jobs, act)(number, by=by, at=desk.now())
        return RedirectResponse("/work", 303)

    return routes


def _build_page(desk: Desk, request: Request) -> WorkPage:
    progresses = desk.store.work_jobs.list_progress(at=desk.now())
    members = list_members(desk.store.agents.list_all(), now=desk.now())
    running = {member.name for member in members if member.state is PcState.RUNNING}
    return WorkPage(
        site=desk.site,
        reviewer=cookies.name_of(request),
        jobs=tuple(_build_line(desk, progress, running) for progress in progresses),
        may_act=may_undo_any(request),
        refreshes=any(progress.job.state is JobState.OPEN for progress in progresses),
    )


def _build_line(desk: Desk, progress: WorkProgress, running: Collection[str]) -> WorkLine:
    job = progress.job
    state, tone = STATES[job.state]
    done = progress.done + progress.set_aside
    return WorkLine(
        id=job.id,
        title=_(TITLES.get(job.role, TITLES["reprocess"])).format(bundle=job.bundle),
        tone=Tone.PROBLEM if progress.set_aside else tone,
        state=_(state),
        percent=round(100 * done / job.total) if job.total else 100,
        how_far=_("{done} of {total}").format(done=progress.done, total=job.total),
        facts=tuple(_iter_facts(desk, progress, running)),
        faults=tuple(
            _("Unit {number}, {n} micrographs: {reason}").format(
                number=fault.unit_id, n=fault.n, reason=fault.reason
            )
            for fault in progress.faults
        ),
        acts=tuple((act, _(ACTS[act])) for act in _list_acts(progress)),
    )


def _list_acts(progress: WorkProgress) -> Iterator[str]:
    state = progress.job.state
    if state is JobState.OPEN:
        yield "pause"
    if state is JobState.PAUSED or progress.units.get(UnitState.SET_ASIDE):
        yield "resume"
    if state in (JobState.OPEN, JobState.PAUSED):
        yield "cancel"


def _iter_facts(desk: Desk, progress: WorkProgress, running: Collection[str]) -> Iterator[Fact]:
    job = progress.job
    yield Fact(_("Requested"), f"{local(job.created_at, desk.zone)}, {job.by}")
    if progress.rate_per_s and progress.left_s is not None:
        yield Fact(
            _("Speed"), _("{n} per hour").format(n=decimal(progress.rate_per_s * 3600, ".0f"))
        )
        yield Fact(_("Time left"), _("{n} min").format(n=decimal(progress.left_s / MINUTES, ".0f")))
    counts = (
        (_("New answers"), progress.judged),
        (_("Answered earlier"), job.known + progress.known),
        (_("Unusual"), progress.flagged),
        (_("Changed codes"), sum(progress.flips.values())),
        (_("Without an archived crop"), progress.lost),
        (_("Unreadable crops"), progress.unreadable),
        (_("Put aside"), progress.set_aside),
    )
    yield from (Fact(name, str(n)) for name, n in counts if n)
    if progress.agents:
        yield Fact(_("In work on"), ", ".join(progress.agents))
    if missing := [name for name in progress.waits_for if name not in running]:
        yield Fact(_("Waits for the crops on"), ", ".join(missing))
    if job.acted_by:
        yield Fact(_("Last act by"), job.acted_by)
