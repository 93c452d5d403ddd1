"""Acts on a rollout from the page of the PCs and by programs: start, stop, continue."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from agent.store.people import auth
from agent.web import cookies
from agent.web.authentication import signing_name
from agent.web.context import LONGEST_NAME, read_database_time
from agent.web.forms import read_form
from agent.web.models import model_acts
from agent.web.models.fleet_page import render_fleet
from agent.web.models.models_page import NAME
from agent.web.models.rollout_view import CONTINUE, START, STOP, load_rollout
from agent.web.schemas import FAULTS, Requested, RolloutAnswer
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.store import Signature
    from agent.web.context import Desk


class StopIn(BaseModel):
    """Who stops the rollout."""

    model_config = ConfigDict(strict=True, extra="forbid")

    by: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who.")


def router(desk: Desk) -> APIRouter:
    """Build the routes of the rollout; a stop needs the role reviewer, other acts a lead."""
    routes = APIRouter()
    signing = partial(_sign, desk, auth.PasswordCheck())

    @routes.post(START, include_in_schema=False)
    async def start(request: Request) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(signing, request, form, act=partial(_start, desk, form))

    @routes.post(CONTINUE, include_in_schema=False)
    async def resume(request: Request) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(signing, request, form, act=partial(_resume, desk))

    @routes.post(STOP, include_in_schema=False)
    def stop(request: Request) -> Response:
        by = cookies.decides(request, {}) or _("a user of this PC")
        desk.store.rollouts.stop(by=by, at=desk.now())
        return RedirectResponse("/fleet", 303)

    @routes.get("/api/v1/rollout", response_model=RolloutAnswer, responses=FAULTS)
    def read() -> dict[str, Any]:
        """Return the newest rollout with what each PC answered; null before one."""
        return {"rollout": load_rollout(desk)}

    @routes.post("/api/v1/rollout/stop", response_model=Requested, responses=FAULTS)
    def stop_by_program(request: Request, body: StopIn) -> dict[str, int]:
        """Stop the rollout: every PC goes back; `count` is 0 where there is none to stop."""
        by = signing_name(request, body.by)
        return {"count": int(desk.store.rollouts.stop(by=by, at=desk.now()))}

    return routes


def _sign(
    desk: Desk,
    check: auth.PasswordCheck,
    request: Request,
    form: Mapping[str, str],
    *,
    act: Callable[[Signature], str],
) -> Response:
    def refuse(why: str) -> Response:
        return render_fleet(desk, request, 422, message=why)

    return model_acts.answer_signed(
        desk, check, request, form, act=act, page="/fleet", refuse=refuse
    )


def _start(desk: Desk, form: Mapping[str, str], signature: Signature) -> str:
    name = form.get("bundle", "")
    return model_acts.promote(
        desk, name if NAME.fullmatch(name) else "", signature, rings=desk.learning.rings
    )


def _resume(desk: Desk, signature: Signature) -> str:
    rollout = desk.store.rollouts.resume(signature, ring_at=read_database_time(desk))
    return _("The rollout of {name} continues at ring 1.").format(name=rollout.bundle)
