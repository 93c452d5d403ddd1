"""Page of two micrographs of one place, drawn in one frame, for a lead's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.files import pictures
from agent.orders.lead_acts import decide_places
from agent.store.results.places import BELONGS, DIFFERENT
from agent.web.context import Unknown, find, order_rules
from agent.web.cookies import decides, name_of
from agent.web.forms import read_stripped_form
from agent.web.review.images import crop_of, jpeg
from reports import Picture, PlaceLink, PlaceSidePicture, PlacesPage, marked
from reports import gettext as _

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
        return HTMLResponse(
            reports.render("places", page=_page(desk, request, find_pair(desk, one, other)))
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


def list_links(facts: SpecimenFacts) -> Iterator[PlaceLink]:
    """Yield the links to the pages of a specimen's pairs."""
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
        yield PlaceLink(text, f"/places/{own}/{pair.other_id}")


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


def _page(desk: Desk, request: Request, pair: PlacePair) -> PlacesPage:
    sides = {pair.one.id: pair.one, pair.other.id: pair.other}
    first, second = sides[pair.measured], sides[_other(pair)]
    shape = _shape(find(desk, first.id))
    names = [_name(first), _name(second)]
    title = _("{one} and {other}").format(one=names[0], other=names[1])
    who = decides(request, {})
    lab = order_rules(desk)
    keeps = _("The place belongs to {name}; the other one is the copy")
    return PlacesPage(
        site=desk.site,
        reviewer=name_of(request),
        title=f"{title[:1].upper()}{title[1:]}",
        share=_("They share {share} of the smaller one.").format(share=f"{pair.share:.0%}"),
        sides=(
            _side(first, f"/pictures/{first.id}/crop.jpg", shape),
            _side(second, f"/pictures/{first.id}/over/{second.id}.jpg", shape),
        ),
        verdict=_verdict(pair, sides),
        action=f"/places/{first.id}/{second.id}",
        choices=(
            (DIFFERENT, _("They show different places")),
            *(
                (side.id, keeps.format(name=name))
                for side, name in zip((first, second), names, strict=True)
            ),
        ),
        may_decide=bool(who) and lab.may_lead(who),
    )


def _side(side: PlaceSide, src: str, shape: tuple[int, int]) -> PlaceSidePicture:
    height, width = shape
    name = _name(side)
    return PlaceSidePicture(
        name=name,
        href=f"/review/{side.id}",
        picture=Picture(src, _("Micrograph of {name}").format(name=name), width, height),
    )


def _shape(view: MicrographView) -> tuple[int, int]:
    if view.crop is None:
        return view.height, view.width
    x0, y0, x1, y1 = view.crop
    return y1 - y0, x1 - x0


def _name(side: PlaceSide) -> str:
    if not side.order:
        return side.id
    return _("field {name} of order {order}, specimen {specimen}").format(
        name=side.field or side.id, order=side.order, specimen=side.specimen
    )


def _verdict(pair: PlacePair, sides: Mapping[str, PlaceSide]) -> str:
    if pair.verdict == DIFFERENT:
        says = _("Different places, decided by {who}: {reason}")
        return says.format(who=pair.by, reason=pair.reason)
    if pair.verdict == BELONGS:
        says = _("The place belongs to {name}, decided by {who}: {reason}")
        return says.format(name=_name(sides[pair.belongs]), who=pair.by, reason=pair.reason)
    return ""


def _decide(desk: Desk, request: Request, pair: PlacePair, form: Mapping[str, str]) -> Response:
    verdict, reason = form.get("verdict", ""), form.get("reason", "")
    decide_pair(desk, pair, verdict, by=decides(request, form), reason=reason)
    return RedirectResponse(f"/places/{pair.one.id}/{pair.other.id}", 303)


def decide_pair(desk: Desk, pair: PlacePair, verdict: str, *, by: str, reason: str) -> None:
    """Record a lead's decision about a pair; for parameters and errors see `decide_places`."""
    ids = (pair.one.id, pair.other.id)
    policy = order_rules(desk)
    decide_places(desk.store, policy, ids, verdict, by=by, reason=reason, at=desk.now())
