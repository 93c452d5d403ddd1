"""Page of two micrographs of one place, drawn in one frame, for a lead's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from agent.files import pictures
from agent.orders.lead_acts import decide_places
from agent.store.results.places import BELONGS, DIFFERENT
from agent.web.context import Unknown, find, order_rules
from agent.web.cookies import decides
from agent.web.forms import read_stripped_form
from agent.web.pages import render_page
from agent.web.review.images import crop_of, jpeg
from reports import gettext as _
from reports import marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.orders.facts.specimen_facts import SpecimenFacts
    from agent.store import MicrographView, PlacePair
    from agent.store.results.places import PlaceSide
    from agent.web.context import Desk

SHOWN_PX = 1000
NOT_KNOWN = marked("these two micrographs are not known to share a place")


def router(desk: Desk) -> APIRouter:
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
