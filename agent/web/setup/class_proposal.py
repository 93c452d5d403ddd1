"""Page and API where a reviewer proposes a class that the taxonomy lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import WrongUse
from agent.orders.specifications.class_proposals import LONGEST_NAME as LONGEST_CLASS
from agent.orders.specifications.class_proposals import LONGEST_TEXT, list_open, propose_class
from agent.web import cookies
from agent.web.authentication import may_decide, signing_name
from agent.web.context import LONGEST_NAME, find
from agent.web.forms import read_form
from agent.web.schemas import FAULTS
from reports import Picture, ProposalPage
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.store import MicrographView
    from agent.web.context import Desk


class ProposalIn(BaseModel):
    """A class that the taxonomy lacks."""

    model_config = ConfigDict(strict=True, extra="forbid")

    by: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S")
    name: str = Field(min_length=1, max_length=LONGEST_CLASS, description="Of the class.")
    text: str = Field("", max_length=LONGEST_TEXT, description="What it looks like.")


class Proposed(BaseModel):
    """A proposal that was recorded."""

    record: int = Field(description="Number of its record.")


def router(desk: Desk) -> APIRouter:
    """Build the routes of proposals."""
    routes = APIRouter()

    @routes.get("/review/{public_id}/propose", include_in_schema=False)
    def show(request: Request, public_id: str) -> Response:
        page = _build_page(desk, request, find(desk, public_id))
        return HTMLResponse(reports.render("proposal", page=page))

    @routes.post("/review/{public_id}/propose", include_in_schema=False)
    async def propose(request: Request, public_id: str) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(_propose, desk, request, public_id, form)

    @routes.post(
        "/api/v1/micrographs/{public_id}/proposals",
        status_code=201,
        response_model=Proposed,
        responses=FAULTS,
    )
    def propose_(request: Request, public_id: str, body: ProposalIn) -> dict[str, int]:
        """Propose a class that the taxonomy lacks, shown by a micrograph; it decides nothing."""
        view, by = find(desk, public_id), signing_name(request, body.by)
        record = propose_class(
            desk.store, view.id, name=body.name, text=body.text, by=by, at=desk.now()
        )
        return {"record": record}

    return routes


def _propose(desk: Desk, request: Request, public_id: str, form: Mapping[str, str]) -> Response:
    view, who = find(desk, public_id), cookies.decides(request, form)
    name, text = form.get("name", ""), form.get("text", "")
    try:
        if wrong := cookies.wrong_name(who):
            raise WrongUse(wrong)  # noqa: TRY301 - shown like every other refusal
        propose_class(desk.store, view.id, name=name, text=text, by=who, at=desk.now())
    except WrongUse as error:
        page = _build_page(desk, request, view, wrong=str(error), form=form)
        return HTMLResponse(reports.render("proposal", page=page), 422)
    answer = RedirectResponse(f"/review/{view.id}/propose", 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _build_page(
    desk: Desk,
    request: Request,
    view: MicrographView,
    *,
    wrong: str = "",
    form: Mapping[str, str] | None = None,
) -> ProposalPage:
    form, who = form or {}, cookies.name_of(request)
    name = view.name
    return ProposalPage(
        site=desk.site,
        reviewer=who,
        may_decide=may_decide(request),
        id=view.id,
        name=name,
        picture=Picture(
            f"/pictures/{view.id}/thumb.jpg", _("Thumbnail of {name}").format(name=name), 320, 240
        ),
        proposed=form.get("name", ""),
        text=form.get("text", ""),
        own=tuple(
            proposed.name
            for proposed in list_open(desk.store)
            if any(own.micrograph == view.id and own.by == who for own in proposed.proposals)
        ),
        wrong=wrong,
    )
