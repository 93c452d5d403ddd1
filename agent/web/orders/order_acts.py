"""Routes of what a lead does with an order as a whole, and with two micrographs of one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from agent.files import pictures
from agent.orders.judge.assessment import assess
from agent.orders.lead_acts import (
    LeadAct,
    PossibleAct,
    carry_out,
    decide_places,
    list_possible_acts,
    needs_lead,
)
from agent.orders.statements.order_json import order_to_json
from agent.store.results.places import BELONGS, DIFFERENT, PlaceSide
from agent.web import cookies
from agent.web.authentication import ROLE, signing_name, who_is
from agent.web.context import LONGEST_NAME, UNKNOWN_ORDER, Desk, Unknown, find, order_rules
from agent.web.cookies import decides
from agent.web.forms import read_stripped_form
from agent.web.orders.order_fields import order_href
from agent.web.pages import render_page, request_name
from agent.web.review.decisions import LONGEST_COMMENT
from agent.web.review.images import crop_of, jpeg
from agent.web.schemas import FAULTS, Order
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.orders.facts.specimen_facts import SpecimenFacts
    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.store import MicrographView, PlacePair


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


def router(desk: Desk) -> APIRouter:
    """Build the routes; of the acts `needs_lead` states which a reviewer may do."""
    routes = APIRouter()

    @routes.post("/order/{number:path}", include_in_schema=False)
    async def act(request: Request, number: str) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_act, desk, request, number, form)

    @routes.post(
        "/api/v1/orders/{number:path}/acts", response_model=Order, responses=FAULTS, tags=["orders"]
    )
    def act_by_program(request: Request, number: str, body: ActIn) -> dict[str, Any]:
        """Mark an order as urgent, protect, reopen it, or settle what waits for a lead."""
        _require_known(desk, number)
        by = signing_name(request, body.by)
        number = _carry_out(
            desk, request, number, body.act, by=by, reason=body.reason, about=body.about
        )
        assessed = assess(desk.store, number, order_rules(desk))
        if assessed is None:
            raise HTTPException(404, UNKNOWN_ORDER)
        return order_to_json(assessed)

    return routes


def list_acts(desk: Desk, request: Request, assessed: Assessed) -> list[PossibleAct]:
    """Return the acts that the sender of a request may do with an order."""
    acts = list_possible_acts(desk.store, assessed, order_rules(desk), at=desk.now())
    may_do = find_may_do(desk, request)
    return [entry for entry in acts if may_do(entry.act)]


def find_may_do(desk: Desk, request: Request) -> Callable[[LeadAct], bool]:
    """Return what tells whether the sender of a request may do an act with an order."""
    who, policy = who_is(request), order_rules(desk)
    if who is not None and not who.may("reviewer"):
        return lambda _act: False
    name = cookies.name_of(request)
    is_lead = (
        _is_sent_by_lead(request, policy) if who is not None else not name or policy.may_lead(name)
    )
    return lambda act: is_lead or not needs_lead(act, has_accounts=who is not None)


def _act(desk: Desk, request: Request, number: str, form: Mapping[str, str]) -> Response:
    """Carry out an act; where no reviewer is known, request a name first."""
    _require_known(desk, number)
    who = cookies.decides(request, form)
    fields = [(key, form[key]) for key in ("act", "reason", "about", "then") if key in form]
    here = "/orders" if form.get("then") == "/orders" else order_href(number)
    if page := request_name(desk, request, who, here, fields, then=here):
        return page
    try:
        act = LeadAct(form.get("act", ""))
    except ValueError:
        raise HTTPException(422, "act: one of " + ", ".join(LeadAct)) from None
    by, reason, about = who.strip(), form.get("reason", ""), form.get("about")
    number = _carry_out(desk, request, number, act, by=by, reason=reason, about=about)
    answer = RedirectResponse("/orders" if here == "/orders" else order_href(number), 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    return answer


def _require_known(desk: Desk, number: str) -> None:
    if desk.store.orders.order(number) is None:
        raise HTTPException(404, UNKNOWN_ORDER)


def _carry_out(
    desk: Desk,
    request: Request,
    number: str,
    act: LeadAct,
    *,
    by: str,
    reason: str,
    about: str | None,
) -> str:
    who, policy = who_is(request), order_rules(desk)
    is_lead = _is_sent_by_lead(request, policy)
    if who is not None and not is_lead and needs_lead(act, has_accounts=True):
        raise HTTPException(403, _(ROLE).format(needed="lead", role=who.role))
    number, _effect = carry_out(
        desk.store,
        policy,
        number,
        act,
        by=by,
        reason=reason,
        about=about,
        at=desk.now(),
        is_lead=is_lead,
    )
    if act is LeadAct.URGENT and desk.hasten:
        desk.hasten()
    return number


def _is_sent_by_lead(request: Request, policy: OrderPolicy) -> bool:
    """Return whether a lead's account sends a request; False without accounts."""
    who = who_is(request)
    return who is not None and (who.may("lead") or policy.is_lead(who.name))


SHOWN_PX = 1000
NOT_KNOWN = marked("these two micrographs are not known to share a place")


def place_router(desk: Desk) -> APIRouter:
    """Build the routes of pairs."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/places/{one}/{other}")
    def show(request: Request, one: str, other: str) -> Response:
        pair = find_pair(desk, one, other)
        sides = {side.id: side for side in (pair.one, pair.other)}
        first, second = sides[pair.measured], sides[_other(pair)]
        who = decides(request, {})
        return render_page(
            desk,
            request,
            "places",
            pair=pair,
            first=first,
            second=second,
            names={side.id: _name(side) for side in (first, second)},
            size=_measure(find(desk, first.id)),
            different=DIFFERENT,
            belongs=BELONGS,
            may_decide=bool(who) and order_rules(desk).may_lead(who),
        )

    @routes.post("/places/{one}/{other}")
    async def decide(request: Request, one: str, other: str) -> Response:
        form = await read_stripped_form(request)
        return await run_in_threadpool(_decide, desk, request, find_pair(desk, one, other), form)

    @routes.get("/pictures/{one}/over/{other}.jpg")
    def aligned(one: str, other: str) -> Response:
        pair = find_pair(desk, one, other)
        first, second = find(desk, pair.measured), find(desk, _other(pair))
        own, theirs = (crop_of(desk, view) for view in (first, second))
        if pair.transform is None:
            raise Unknown(one)
        transform = np.array(pair.transform, np.float32)
        drawn = pictures.warp_to(theirs, transform, own.shape[:2])
        return jpeg(pictures.encode_jpeg(pictures.fit_within(drawn, SHOWN_PX), quality=88))

    return routes


def list_links(facts: SpecimenFacts) -> Iterator[tuple[str, str]]:
    """Yield text and address of the links to the pages of a specimen's pairs."""
    pairs = [pair for pair in facts.same_places if pair.is_same]
    pairs += [
        pair
        for field in facts.fields
        for pair in field.elsewhere
        if "/" not in pair.other_id  # of another site, whose pictures are not shown
    ]
    for pair in pairs:
        (own,) = pair.ids - {pair.other_id}
        text = _("Compare {field} and {other}").format(field=pair.field, other=pair.other)
        yield text, f"/places/{own}/{pair.other_id}"


def find_pair(desk: Desk, one: str, other: str) -> PlacePair:
    """Return what is known of two micrographs that may show one place.

    Raises:
        HTTPException: 404, they are not known to.
    """
    pair = desk.store.places.find_pair(one, other)
    if pair is None:
        raise HTTPException(404, NOT_KNOWN)
    return pair


def _other(pair: PlacePair) -> str:
    return pair.other.id if pair.measured == pair.one.id else pair.one.id


def _measure(view: MicrographView) -> tuple[int, int]:
    """Return width and height of what is shown of a micrograph."""
    x0, y0, x1, y1 = view.crop or (0, 0, view.width, view.height)
    return x1 - x0, y1 - y0


def _name(side: PlaceSide) -> str:
    if not side.order:
        return side.id
    return _("field {name} of order {order}, specimen {specimen}").format(
        name=side.field or side.id, order=side.order, specimen=side.specimen
    )


def _decide(desk: Desk, request: Request, pair: PlacePair, form: Mapping[str, str]) -> Response:
    verdict, reason = form.get("verdict", ""), form.get("reason", "")
    decide_pair(desk, pair, verdict, by=decides(request, form), reason=reason)
    return RedirectResponse(f"/places/{pair.one.id}/{pair.other.id}", 303)


def decide_pair(desk: Desk, pair: PlacePair, verdict: str, *, by: str, reason: str) -> None:
    """Record a lead's decision about a pair; for parameters and errors see `decide_places`."""
    ids = (pair.one.id, pair.other.id)
    policy = order_rules(desk)
    decide_places(desk.store, policy, ids, verdict, by=by, reason=reason, at=desk.now())
