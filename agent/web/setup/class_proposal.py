"""Page and API where a reviewer proposes a class that the taxonomy lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from agent.errors import WrongUse
from agent.orders.specifications.taxonomy_changes import LONGEST_NAME as LONGEST_CLASS
from agent.orders.specifications.taxonomy_changes import LONGEST_TEXT, list_open, propose_class
from agent.web import cookies
from agent.web.authentication import may_decide, signing_name
from agent.web.context import LONGEST_NAME, Desk, find
from agent.web.forms import read_form
from agent.web.pages import render_page
from agent.web.schemas import FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.store import MicrographView


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
        return _render(desk, request, find(desk, public_id))

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
        return _render(desk, request, view, form, 422, wrong=str(error))
    answer = RedirectResponse(f"/review/{view.id}/propose", 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _render(
    desk: Desk,
    request: Request,
    view: MicrographView,
    form: Mapping[str, str] | None = None,
    code: int = 200,
    *,
    wrong: str = "",
) -> Response:
    who = cookies.name_of(request)
    return render_page(
        desk,
        request,
        "proposal",
        code,
        may_decide=may_decide(request),
        micrograph=view,
        form={"name": "", "text": ""} | dict(form or {}),
        own=[
            proposed.name
            for proposed in list_open(desk.store)
            if any(own.micrograph == view.id and own.by == who for own in proposed.proposals)
        ],
        wrong=wrong,
    )
