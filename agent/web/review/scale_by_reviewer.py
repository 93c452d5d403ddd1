"""Page and API route where a reviewer enters the scale of a micrograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from agent.errors import UsageError
from agent.orders.facts.scale_tracing import (
    LATE_SCALE,
    GivenScale,
    ScaleProposal,
    describe_late,
    describe_state,
    give_scale,
    propose_from_line,
    propose_from_number,
    propose_from_objective,
)
from agent.store import BY_REVIEWER, MicrographView
from agent.watch import Calibration, Provenance
from agent.web import cookies
from agent.web.authentication import may_decide, may_lead, signing_name
from agent.web.context import LONGEST_NAME, WebContext, find
from agent.web.forms import read_form
from agent.web.pages import render_page
from agent.web.review.images import FOR_GOOD, held_of
from agent.web.schemas import FAULTS
from reports import decimal
from reports import gettext as _

LINE = ("from_x", "from_y", "to_x", "to_y")
Point = Annotated[
    tuple[float, float], Field(description="x and y in pixels of the file, from its top left.")
]


class ScaleIn(BaseModel):
    """A scale: `objective`, or `line_from`, `line_to` and `length_um`."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(
        min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who gives it."
    )
    objective: str | None = Field(None, min_length=1, max_length=80)
    line_from: Point | None = None
    line_to: Point | None = None
    length_um: float | None = Field(None, gt=0, lt=1e6)


class ScaleGiven(BaseModel):
    """A scale that was recorded."""

    um_per_px: float
    settled: bool = Field(description="It holds; false: a second reviewer has to give it too.")
    by: list[str] = Field(description="Who gave it.")


def router(web: WebContext) -> APIRouter:
    """Build the routes of the scale that a reviewer enters."""
    routes = APIRouter()

    @routes.get("/review/{public_id}/scale", include_in_schema=False)
    def page(request: Request, public_id: str) -> Response:
        return _render(web, request, find(web, public_id))

    @routes.post("/review/{public_id}/scale", include_in_schema=False)
    async def give(request: Request, public_id: str) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(_give, web, request, public_id, form)

    @routes.get("/pictures/{public_id}/whole.jpg", include_in_schema=False)
    def whole(public_id: str) -> Response:
        view = find(web, public_id)
        preview = held_of(
            lambda: web.archive.read(web.archive.preview_path(view.sha256, view.page))
        )
        return Response(preview, media_type="image/jpeg", headers=FOR_GOOD)

    @routes.post(
        "/api/v1/micrographs/{public_id}/scale",
        status_code=201,
        response_model=ScaleGiven,
        responses=FAULTS,
    )
    def give_scale_(request: Request, public_id: str, body: ScaleIn) -> dict[str, Any]:
        """Record the scale of a micrograph; the agent then evaluates the micrograph with it."""
        view = find(web, public_id)
        by = signing_name(request, body.by)
        size = (view.width, view.height)
        if body.objective is not None:
            proposal = propose_from_objective(list_objectives(web, view), body.objective, size)
        elif body.line_from and body.line_to and body.length_um is not None:
            proposal = propose_from_line(body.line_from, body.line_to, body.length_um, size)
        else:
            raise UsageError("send objective, or line_from, line_to and length_um.")
        settled = _record(web, view, proposal, by)
        return {
            "um_per_px": settled.um_per_px if settled else proposal.um_per_px,
            "settled": settled is not None,
            "by": list(settled.by) if settled else [by],
        }

    return routes


def list_objectives(web: WebContext, view: MicrographView) -> list[Calibration]:
    """Return the objectives of a micrograph's source that hold for its size and day."""
    taken_at = view.taken_at or view.result.done_at
    table = Provenance(objectives=web.objectives.get(view.source, ()))
    found = []
    for name in dict.fromkeys(entry.name for entry in table.objectives):
        um_per_px = table.um_per_px(
            {"objective": name}, on=taken_at.date(), size=(view.width, view.height)
        )
        if um_per_px is not None:
            found.append(Calibration(name, um_per_px))
    return found


def needs_scale(web: WebContext, view: MicrographView) -> bool:
    """Return whether a reviewer may enter the scale: unknown, entered before, or contradicted."""
    is_own = view.um_per_px is None or view.um_per_px_source == BY_REVIEWER
    return is_own or bool(describe_late(web.store.records.latest(LATE_SCALE, view.id), view))


def _record(
    web: WebContext, view: MicrographView, proposal: ScaleProposal, by: str
) -> GivenScale | None:
    if not needs_scale(web, view):
        raise UsageError(
            _("The file gives the scale of this micrograph itself: {um} µm per pixel.").format(
                um=decimal(view.um_per_px or 0.0, ".4g")
            )
        )
    return give_scale(web.store, view, proposal, plausible=web.um_per_px_range, by=by, at=web.now())


def _give(web: WebContext, request: Request, public_id: str, form: Mapping[str, str]) -> Response:
    view, who = find(web, public_id), cookies.decides(request, form)
    try:
        if wrong := cookies.wrong_name(who):
            raise UsageError(wrong)  # noqa: TRY301 - shown like every other refusal
        proposal = _read_proposal(web, view, form)
        for entry in _list_covered(web, request, view, form):
            _record(web, entry, proposal, who.strip())
    except UsageError as error:
        return _render(web, request, view, form, 422, wrong=str(error))
    answer = RedirectResponse(f"/review/{public_id}", 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _list_covered(
    web: WebContext, request: Request, view: MicrographView, form: Mapping[str, str]
) -> list[MicrographView]:
    """Return the micrographs that get the scale: this one, or all of its source that wait for one.

    Raises:
        UsageError: The whole source is wanted, and the sender is no lead.
    """
    if form.get("whole_source") != "1":
        return [view]
    if not may_lead(request):
        raise UsageError(_("Only a lead enters a scale for a whole source."))
    waiting = web.store.review_queue.list_micrographs(source=view.source)
    others = [
        entry
        for entry in waiting
        if entry.id != view.id
        and entry.um_per_px is None
        and (entry.width, entry.height) == (view.width, view.height)
    ]
    return [view, *others]


def _read_proposal(web: WebContext, view: MicrographView, form: Mapping[str, str]) -> ScaleProposal:
    size = (view.width, view.height)
    if form.get("objective"):
        return propose_from_objective(list_objectives(web, view), form["objective"], size)
    if typed := form.get("um_per_px", "").strip():
        try:
            return propose_from_number(float(typed.replace(",", ".")))
        except ValueError:
            raise UsageError(_("Type the µm of one pixel, such as 0.12.")) from None
    try:
        x0, y0, x1, y1 = (float(form.get(name, "")) for name in LINE)
    except ValueError:
        raise UsageError(_("Draw a line over the scale bar, from tick to tick.")) from None
    try:
        length_um = float(form.get("length_um", "").strip().replace(",", "."))
    except ValueError:
        length_um = 0.0
    if form.get("unit") == "mm":
        length_um *= 1000
    return propose_from_line((x0, y0), (x1, y1), length_um, size)


def _render(
    web: WebContext,
    request: Request,
    view: MicrographView,
    form: Mapping[str, str] | None = None,
    code: int = 200,
    *,
    wrong: str = "",
) -> Response:
    return render_page(
        web,
        request,
        "scale",
        code,
        may_decide=may_decide(request),
        micrograph=view,
        objectives=list_objectives(web, view),
        line=_line(view, form or {}),
        form={"length_um": "", "um_per_px": ""} | dict(form or {}),
        state=describe_state(web.store, view),
        is_known=not needs_scale(web, view),
        wrong=wrong,
        may_give_all=may_lead(request),
    )


def _line(view: MicrographView, form: Mapping[str, str]) -> tuple[float, float, float, float]:
    """Return the initial line: as sent, else along the detected scale bar, else in the middle."""
    try:
        x0, y0, x1, y1 = (float(form.get(name, "")) for name in LINE)
    except ValueError:
        if bar := view.crop_facts.micron_bar:
            left, top, right, bottom = bar.box
            return left, (top + bottom) / 2, right, (top + bottom) / 2
        return view.width * 0.4, view.height * 0.9, view.width * 0.6, view.height * 0.9
    return x0, y0, x1, y1
