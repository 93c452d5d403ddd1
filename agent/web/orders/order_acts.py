"""Routes of what a lead does with an order as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.lead_acts import LeadAct, PossibleAct, carry_out, list_possible_acts, needs_lead
from agent.orders.statements.order_json import order_to_json
from agent.web import cookies
from agent.web.authentication import ROLE, signing_name, who_is
from agent.web.context import LONGEST_NAME, UNKNOWN_ORDER, WebContext, order_rules
from agent.web.forms import read_stripped_form
from agent.web.orders.order_fields import order_href
from agent.web.pages import request_name
from agent.web.review.decisions import LONGEST_COMMENT
from agent.web.schemas import FAULTS, Order
from reports import gettext as _


class ActIn(BaseModel):
    """What a lead does with an order."""

    model_config = ConfigDict(extra="forbid")

    act: LeadAct
    by: str = Field(
        min_length=1, max_length=LONGEST_NAME, pattern=r"\S", description="Who does it."
    )
    reason: str = Field("", max_length=LONGEST_COMMENT, description="Not needed for a priority.")
    about: str | None = Field(
        None,
        max_length=10_000,
        description="What the act concerns, as the page's form names it; refused if that changed.",
    )


def router(web: WebContext) -> APIRouter:
    """Build the routes; of the acts `needs_lead` states which a reviewer may do."""
    routes = APIRouter()

    @routes.post("/order/{number:path}", include_in_schema=False)
    async def act(request: Request, number: str) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_act, web, request, number, form)

    @routes.post(
        "/api/v1/orders/{number:path}/acts", response_model=Order, responses=FAULTS, tags=["orders"]
    )
    def act_by_program(request: Request, number: str, body: ActIn) -> dict[str, Any]:
        """Mark an order as urgent, protect, reopen it, or settle what waits for a lead."""
        _require_known(web, number)
        by = signing_name(request, body.by)
        number = _carry_out(
            web, request, number, body.act, by=by, reason=body.reason, about=body.about
        )
        assessed = assess(web.store, number, order_rules(web))
        if assessed is None:
            raise HTTPException(404, UNKNOWN_ORDER)
        return order_to_json(assessed)

    return routes


def list_acts(web: WebContext, request: Request, assessed: Assessed) -> list[PossibleAct]:
    """Return the acts that the sender of a request may do with an order."""
    acts = list_possible_acts(web.store, assessed, order_rules(web), at=web.now())
    may_do = find_may_do(web, request)
    return [entry for entry in acts if may_do(entry.act)]


def find_may_do(web: WebContext, request: Request) -> Callable[[LeadAct], bool]:
    """Return what tells whether the sender of a request may do an act with an order."""
    who, policy = who_is(request), order_rules(web)
    if who is not None and not who.may("reviewer"):
        return lambda _act: False
    name = cookies.name_of(request)
    is_lead = (
        is_sent_by_lead(request, policy) if who is not None else not name or policy.may_lead(name)
    )
    return lambda act: is_lead or not needs_lead(act, has_accounts=who is not None)


def _act(web: WebContext, request: Request, number: str, form: Mapping[str, str]) -> Response:
    """Carry out an act; where no reviewer is known, request a name first."""
    _require_known(web, number)
    who = cookies.decides(request, form)
    fields = [(key, form[key]) for key in ("act", "reason", "about", "then") if key in form]
    here = "/orders" if form.get("then") == "/orders" else order_href(number)
    if page := request_name(web, request, who, here, fields, then=here):
        return page
    try:
        act = LeadAct(form.get("act", ""))
    except ValueError:
        raise HTTPException(422, "act: one of " + ", ".join(LeadAct)) from None
    by, reason, about = who.strip(), form.get("reason", ""), form.get("about")
    number = _carry_out(web, request, number, act, by=by, reason=reason, about=about)
    answer = RedirectResponse("/orders" if here == "/orders" else order_href(number), 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _require_known(web: WebContext, number: str) -> None:
    if web.store.orders.order(number) is None:
        raise HTTPException(404, UNKNOWN_ORDER)


def _carry_out(
    web: WebContext,
    request: Request,
    number: str,
    act: LeadAct,
    *,
    by: str,
    reason: str,
    about: str | None,
) -> str:
    who, policy = who_is(request), order_rules(web)
    is_lead = is_sent_by_lead(request, policy)
    if who is not None and not is_lead and needs_lead(act, has_accounts=True):
        raise HTTPException(403, _(ROLE).format(needed="lead", role=who.role))
    number, _effect = carry_out(
        web.store,
        policy,
        number,
        act,
        by=by,
        reason=reason,
        about=about,
        at=web.now(),
        is_lead=is_lead,
    )
    if act is LeadAct.URGENT and web.hasten:
        web.hasten()
    return number


def is_sent_by_lead(request: Request, policy: OrderPolicy) -> bool:
    """Return whether a lead's account sends a request; False without accounts."""
    who = who_is(request)
    return who is not None and (who.may("lead") or policy.is_lead(who.name))
