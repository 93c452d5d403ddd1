"""Pages of a round robin: each rater rates the micrographs blind, in a separate order.

The rater is part of every address, so that two raters on one tablet are not mixed up. An image is
shown without any answer of the model or of others. A rating is stored before the next page is sent,
so that a server failure loses no rating that was accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import UsageError
from agent.files import pictures
from agent.orders.specifications.class_texts import choose_title, label_of
from agent.roundrobin.campaign import NAME as CAMPAIGN_NAME
from agent.roundrobin.campaign import image_at, may_show, next_place
from agent.roundrobin.msa_study import REPORT as ANALYSIS
from agent.roundrobin.report import FOLDER
from agent.store import MicrographView, Opinion, Seat
from agent.store.people import auth
from agent.web import cookies
from agent.web.authentication import says_from_where, who_is
from agent.web.context import UnknownMicrographError, WebContext, find
from agent.web.forms import read_form
from agent.web.pages import render_page
from agent.web.review.decisions import LONGEST_COMMENT, shown
from agent.web.review.images import CROP_PX, crop_of, jpeg, ruler_of
from agent.web.review.review_page import seconds_of
from model import Taxonomy, TaxonomyError, taxonomy_from
from reports import Choice, SubtypeChoice, Tone, number_keys
from reports import gettext as _

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
TWICE = reports.marked("You have already rated this micrograph. Your first rating was kept.")
CRITERIA = ("mean", "max")
UNSURE = "?"
"""What a form sends for a size that the rater cannot tell."""


def router(web: WebContext) -> APIRouter:
    """Build the routes of the round robins."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/roundrobin")
    def campaigns(request: Request) -> Response:
        return _render_campaigns(web, request)

    @routes.get("/rate/{key}")
    def begin(request: Request, key: str, again: str = "") -> Response:
        seat = _seat(web, request, key)
        campaign = seat.campaign
        if not campaign.row.is_open or len(seat.ratings) >= len(campaign.images):
            return render_page(web, request, "rated", seat=seat, key=key)
        return RedirectResponse(f"/rate/{key}/{next_place(seat)}{'?again=1' if again else ''}", 303)

    @routes.get("/rate/{key}/{place}")
    def show(request: Request, key: str, place: int, again: str = "") -> Response:
        seat = _seat(web, request, key)
        if not may_show(seat, place):
            return RedirectResponse(f"/rate/{key}", 303)
        notice = {"tone": Tone.ATTENTION, "text": _(TWICE)} if again else None
        return _render(web, request, seat, key, place, notice=notice)

    @routes.post("/rate/{key}/{place}")
    async def rate(request: Request, key: str, place: int) -> Response:
        if not says_from_where(request):
            raise HTTPException(403, "a browser says where a request comes from")
        form = await read_form(request)
        return await run_in_threadpool(_rate, web, request, key, place, form)

    @routes.get("/rate/{key}/{place}/picture.jpg")
    def picture(request: Request, key: str, place: int) -> Response:
        view = _view(web, _seat(web, request, key), place)
        fitted = pictures.fit_within(crop_of(web, view), CROP_PX)
        return jpeg(pictures.encode_jpeg(fitted, quality=90))

    return routes


# --- who rates ----------------------------------------------------------------------------------


def _seat(web: WebContext, request: Request, key: str) -> Seat:
    """Find the rater of a request.

    Args:
        web: What the pages work on.
        request: The request.
        key: Token of a link, or name of a campaign.

    Raises:
        UnknownMicrographError: No rater was invited under this key.
        HTTPException: 303, to the log-in, where an account is needed.
    """
    if TOKEN.fullmatch(key):
        seat = web.store.campaigns.seat(hashed=auth.hash_token(key))
    else:
        who = who_is(request)
        if who is None and CAMPAIGN_NAME.fullmatch(key) and web.store.accounts.are_there():
            raise HTTPException(303, headers={"Location": f"/login?then=/rate/{key}"})
        seat = web.store.campaigns.seat(name=key, account=who.name) if who else None
    if seat is None:
        raise UnknownMicrographError(key)
    return seat


# --- which micrograph ---------------------------------------------------------------------------


def _view(web: WebContext, seat: Seat, place: int) -> MicrographView:
    number = _number(seat, place)
    return find(web, seat.campaign.images[number - 1].micrograph)


def _number(seat: Seat, place: int) -> int:
    number = image_at(seat, place)
    if number is None:
        raise UnknownMicrographError(str(place))
    return number


# --- rating -------------------------------------------------------------------------------------


def _rate(
    web: WebContext, request: Request, key: str, place: int, form: Mapping[str, str]
) -> Response:
    seat = _seat(web, request, key)
    number = _number(seat, place)
    try:
        opinion = _opinion(form, taxonomy_from(seat.campaign.row.taxonomy))
    except UsageError as wrong:
        return _render(web, request, seat, key, place, code=422, form=form, wrong=str(wrong))
    revision = cookies.number(form.get("revision", "")) or 1
    try:
        kept = web.store.campaigns.rate(seat, number, opinion, at=web.now(), revision=revision)
    except UsageError:  # closed, or rated in another tab, since the page was opened
        kept = False
    return RedirectResponse(f"/rate/{key}" if kept else f"/rate/{key}?again=1", 303)


def _opinion(form: Mapping[str, str], taxonomy: Taxonomy) -> Opinion:
    """Parse a rating from a form.

    Raises:
        UsageError: It is incomplete; the message names what is missing.
    """
    comment, viewing_s = shown(form.get("comment", "")), seconds_of(form.get("viewing_s", ""))
    if len(comment) > LONGEST_COMMENT:
        raise UsageError(_("The comment is too long."))
    if form.get("answer") == "cannot_tell":
        return Opinion(None, None, "unrecorded", comment, viewing_s)
    try:
        subtype = taxonomy.subtype(form.get("subtype", ""))
    except TaxonomyError:
        said = _("Choose the subtype first, or say that you cannot tell.")
        raise UsageError(said) from None
    if not subtype.has_sizes:
        return Opinion(subtype.name, subtype.sizes[0].name, "unrecorded", comment, viewing_s)
    size = form.get(f"size-{subtype.name}", "")
    if size == UNSURE:
        return Opinion(subtype.name, None, "unrecorded", comment, viewing_s)
    if size not in [entry.name for entry in subtype.sizes]:
        raise UsageError(_("Choose the size too, or say that you cannot tell it."))
    criterion = form.get("criterion", "")
    if criterion not in CRITERIA:
        said = _("Say what decided the size: the overall impression, or coarse regions.")
        raise UsageError(said)
    return Opinion(subtype.name, size, criterion, comment, viewing_s)


# --- the page -----------------------------------------------------------------------------------


def _render(
    web: WebContext,
    request: Request,
    seat: Seat,
    key: str,
    place: int,
    *,
    code: int = 200,
    form: Mapping[str, str] | None = None,
    notice: dict[str, str] | None = None,
    wrong: str = "",
) -> Response:
    view, campaign = _view(web, seat, place), seat.campaign
    said = seat.ratings.get(_number(seat, place))
    before = _before(seat, place) if form is None else form
    taxonomy = taxonomy_from(campaign.row.taxonomy)
    has_sizes = any(subtype.has_sizes for subtype in taxonomy.subtypes)
    return render_page(
        web,
        request,
        "rate",
        code,
        seat=seat,
        key=key,
        place=place,
        micrograph=view,
        ruler=ruler_of(view),
        subtypes=list(_subtypes(taxonomy, before)),
        before={"subtype": "", "criterion": "", "comment": ""} | dict(before),
        criteria=[(word, reports.criterion(word)) for word in CRITERIA] if has_sizes else (),
        revision=said.revision + 1 if said else 1,
        notice=notice,
        wrong=wrong,
    )


def _before(seat: Seat, place: int) -> dict[str, str]:
    """Return a rater's earlier rating of a place as its form would send it."""
    rating = seat.ratings.get(_number(seat, place))
    if rating is None or rating.said.subtype is None:
        return {"comment": rating.said.comment} if rating else {}
    said = rating.said
    size = UNSURE if said.size is None else said.size
    return {
        "subtype": said.subtype or "",
        f"size-{said.subtype}": size,
        "criterion": said.criterion,
        "comment": said.comment,
    }


def _subtypes(taxonomy: Taxonomy, before: Mapping[str, str]) -> Iterator[SubtypeChoice]:
    """Yield every subtype of the taxonomy with all its sizes, trained or not."""
    known = taxonomy.subtypes
    for row, subtype in zip(number_keys(len(known)), known, strict=True):
        chosen = before.get(f"size-{subtype.name}")
        untold, *keys = number_keys(len(subtype.sizes), first=0)
        sizes = tuple(
            Choice(
                size.name, label_of(size), choose_title(size), key, suggested=size.name == chosen
            )
            for key, size in zip(keys, subtype.sizes, strict=True)
        )
        unsure = Choice(UNSURE, _("cannot tell the size"), key=untold, suggested=chosen == UNSURE)
        choices = (*sizes, unsure) if subtype.has_sizes else ()
        title = choose_title(subtype)
        yield SubtypeChoice(subtype.name, "" if title == subtype.name else title, row, choices)


# --- all campaigns ------------------------------------------------------------------------------


def _render_campaigns(web: WebContext, request: Request) -> Response:
    who, store = who_is(request), web.store
    campaigns = [
        {
            "campaign": campaign,
            "rated": store.campaigns.progress(campaign.row.name),
            "may_rate": campaign.row.is_open
            and who is not None
            and any(rater.account == who.name for rater in campaign.raters),
            "has_report": (web.reports / FOLDER / f"{campaign.row.name}.html").is_file(),
        }
        for campaign in store.campaigns.all()
    ]
    names = dict.fromkeys(entry.subject for entry in store.records.all(ANALYSIS)[::-1])
    analyses = [name for name in names if (web.reports / ANALYSIS / f"{name}.html").is_file()]
    return render_page(web, request, "campaigns", campaigns=campaigns, analyses=analyses)
