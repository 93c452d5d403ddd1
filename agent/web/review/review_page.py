"""Build the review pages, and record what a reviewer decides.

Everything works by plain links and forms; the script only presses the same buttons by key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.nightly import build_card
from agent.nightly.facts.reviewer_agreement import still_needed
from agent.orders import SpecificationError
from agent.orders.facts.scale_tracing import describe_state
from agent.orders.facts.specimen_facts import IMAGE_DEFECTS, PREPARATION_DEFECTS
from agent.orders.specifications.class_texts import (
    build_class_texts,
    describe_codes,
    name_criterion,
)
from agent.site_time import local
from agent.store import Decision as StoredDecision
from agent.store import LabelView, MicrographView
from agent.web import cookies
from agent.web.authentication import may_decide, may_lead
from agent.web.context import ID, WebContext, find, order_rules
from agent.web.forms import read_form
from agent.web.models import learning_page
from agent.web.models.learning_page import SUGGESTED, is_suggested, list_suggestion_queue
from agent.web.orders import order_fields
from agent.web.orders.order_board import Board
from agent.web.orders.order_fields import (
    confirm_href,
    done_href,
    find_next_order,
    is_blind,
    is_done_by,
    list_order_queue,
)
from agent.web.pages import render_page, request_name
from agent.web.review import decisions
from agent.web.review.decisions import (
    DecidedMeanwhileError,
    find_uncorrected,
    list_reasons,
    list_subtypes,
    request_reason,
)
from agent.web.review.images import (
    SHOWN_WINDOW_PX,
    Linked,
    compute_window_um,
    format_length,
    iter_layers,
    ruler_of,
    window_href,
)
from agent.web.review.scale_by_reviewer import needs_scale
from agent.web.review.viewer import build_viewer, find_scaled_reference
from reports import Card, Choice, Picture, Tone, marked, ngettext, number_keys
from reports import gettext as _

QUEUE_SHOWN = 200
STRIP_SHOWN = 40
AROUND_SHOWN = 60
"""How much of the queue is read to find the neighbours; reading all of it takes longer."""
FILTERS = ("reason", "source", "order", "then", SUGGESTED)
OPEN = marked(
    "{who} has this one open. The first decision counts; the second reviewer is notified."
)
SPOKEN = marked("You have judged it. Another rater judges it too, without seeing your answer.")
TAKEN_BACK = marked("The decision was taken back; it waits in the queue again.")
ALL_TAKEN_BACK = marked(
    "The decision was taken back for all fields it was given for; they wait again."
)
SIDE_BY_SIDE_PX = 136
TELLING = ("uncertain", "unexpected_subtype", "needles_disagree")
"""Reasons whose sentence reveals the model's answer."""


def router(web: WebContext) -> APIRouter:
    """Build the routes of the review."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/review")
    def queue(request: Request) -> Response:
        narrowed = _narrowed(request)
        items = _queue(web, narrowed, cookies.name_of(request))
        if (order := request.query_params.get("order")) and not items:
            return RedirectResponse(done_href(order), 303)
        if is_suggested(narrowed) and not items:
            end = "/models/training" if may_lead(request) else "/review"
            return RedirectResponse(end, 303)
        return _render_queue(web, request, items)

    @routes.get("/review/{public_id}")
    def review(request: Request, public_id: str) -> Response:
        view = find(web, public_id)
        other = web.leases.take(public_id, cookies.name_of(request), at=web.now())
        return _render(web, request, view, held_by=other)

    @routes.post("/review/blind")
    async def hide_answers(request: Request) -> Response:
        sent = await request.form()
        public_id = str(sent.get("id", ""))
        answer = RedirectResponse(
            f"/review/{public_id}" if ID.fullmatch(public_id) else "/review", 303
        )
        cookies.keep(answer, cookies.BLIND, "0" if cookies.is_blind_first(request) else "1")
        return answer

    @routes.post("/review/{public_id}/decide")
    async def decide(request: Request, public_id: str) -> Response:
        form = await read_form(request)
        return await run_in_threadpool(_decide, web, request, public_id, form)

    @routes.post("/review/{public_id}/undo")
    def undo(request: Request, public_id: str) -> Response:
        who = cookies.name_of(request)
        if not who:
            return RedirectResponse(f"/review/name?then=/review/{public_id}", 303)
        view = find(web, public_id)
        count = decisions.undo_together(web, view, by=who, any_ones=may_lead(request))
        answer = RedirectResponse(f"/review/{public_id}?undone={count}", 303)
        answer.delete_cookie(cookies.LAST)
        left = max(0, cookies.count_of(request) - count)
        cookies.keep(answer, cookies.COUNT, str(left), for_good=False)
        return answer

    return routes


# --- deciding -----------------------------------------------------------------------------------


def _decide(web: WebContext, request: Request, public_id: str, form: Mapping[str, str]) -> Response:
    view = find(web, public_id)
    said, who = form.get("decision", ""), cookies.decides(request, form)
    fields = [(key, value) for key, value in form.items() if key != "by"]
    if page := request_name(web, request, who, f"/review/{public_id}/decide", fields):
        return page
    if (deciding := form.get("reviewer", "")) not in ("", who.strip()):
        raise decisions.NotYoursError(
            _("{name} gave this decision, and {who} uses this browser now").format(
                name=deciding, who=who.strip()
            )
        )
    narrowed = {key: form[key] for key in FILTERS if form.get(key)}
    together = form.get("together") == "1"  # no page offers it for a hidden answer
    decision = decisions.read_decision(
        said,
        taxonomy=web.taxonomy,
        by=who,
        criterion=form.get("criterion") or cookies.criterion_of(request),
        unsure=form.get("unsure") == "1",
        comment=form.get("comment", ""),
        viewing_s=seconds_of(form.get("viewing_s", "")),
        blind=form.get("blind") == "1" and not together and not web.shown.has(who, view.result.id),
        result_seen=cookies.number(form.get("result_id", "")),
        decision_id=form.get("decision_id", ""),
    )
    if missing := _request_reason(web, view, decision, together=together):
        sent = {key: value for key, value in form.items() if key not in ("comment", "decision_id")}
        return _render(web, request, view, 422, missing=missing, sent=sent)
    # Read before the decision is written: the next micrograph follows this order.
    queue = _queue(web, narrowed, who, limit=AROUND_SHOWN)
    try:
        said_of_all = _write(web, view, decision, form)
    except DecidedMeanwhileError as meanwhile:
        shown: dict[str, Any] = {
            "notice": None,
            "theirs": _describe_theirs(web, meanwhile),
            "yours": _in_words(said),
            "yours_sent": said,
            "comment": form.get("comment", ""),
        }
        refused = _render(web, request, find(web, public_id), 409, **shown)
        cookies.keep(refused, cookies.NAME, who.strip())  # the second attempt needs no name
        return refused
    left = [entry for entry in queue if entry.id not in said_of_all or entry.id == public_id]
    onward = _open_next(web, left, public_id, who, narrowed)
    answer = RedirectResponse(
        _href(onward.id, narrowed) if onward else _find_end(web, narrowed, who), 303
    )
    cookies.keep(answer, cookies.NAME, who.strip())
    cookies.keep(answer, cookies.CRITERION, decision.criterion)
    cookies.keep(answer, cookies.LAST, view.id, for_good=False)
    cookies.keep(
        answer, cookies.COUNT, str(cookies.count_of(request) + len(said_of_all)), for_good=False
    )
    return answer


def _write(
    web: WebContext, view: MicrographView, decision: StoredDecision, form: Mapping[str, str]
) -> set[str]:
    """Record a decision; return the ids of the micrographs it was recorded for."""
    seen = cookies.number(form.get("label_id", ""))
    if form.get("together") == "1":
        return decisions.decide_together(web, view, decision, label_seen=seen)
    decisions.decide(web, view.id, decision, label_seen=seen)
    return {view.id}


def _request_reason(
    web: WebContext, view: MicrographView, decision: StoredDecision, *, together: bool
) -> str:
    """Return a request for the reason where a decision corrects the model without one, or ""."""
    others = order_fields.waiting(order_fields.fields_of(web, view), view)
    covered = [view, *others] if together else [view]
    texts = (
        request_reason(web, one, decision, hides=decision.blind or is_blind(one)) for one in covered
    )
    return next(filter(None, texts), "")


def _describe_theirs(web: WebContext, meanwhile: DecidedMeanwhileError) -> tuple[str, str, str]:
    """Return what was decided during this time, by whom and when."""
    if meanwhile.answer:
        code = meanwhile.view.result.structure_code or _("no code")
        return code, _("Another bundle"), _("just now")
    if (label := meanwhile.view.label) is None:
        return _("taken back"), _("another reviewer"), _("just now")
    return reports.describe_decision(label), label.by, local(label.at, web.zone)


def _in_words(said: str) -> str:
    kind, _colon, what = said.partition(":")
    if kind == "code":
        return what
    if kind == "strange":
        return _("unusual: {kind}").format(kind=reports.strange_kind(what))
    if kind == "unusable":
        return _("unusable: {why}").format(why=reports.unusable_why(what))
    return _("cannot tell")


def seconds_of(text: str) -> float | None:
    """Parse a viewing time in seconds; None where it is not plausible."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds < 86_400 else None  # noqa: PLR2004


# --- the queue ----------------------------------------------------------------------------------


def _is_blind_first(request: Request, narrowed: Mapping[str, str]) -> bool:
    return cookies.is_blind_first(request) or is_suggested(narrowed)


def _narrowed(request: Request) -> dict[str, str]:
    return {key: value for key in FILTERS if (value := request.query_params.get(key, ""))}


def _queue(
    web: WebContext, narrowed: Mapping[str, str], who: str, *, limit: int = QUEUE_SHOWN
) -> list[MicrographView]:
    """Return what waits for this reviewer, without what now waits for another one.

    For an order, these are all fields that need this reviewer's answer, flagged or not; for the
    suggestions, these alone.
    """
    if is_suggested(narrowed):
        return list_suggestion_queue(web, who)[:limit]
    of_order = list_order_queue(web, narrowed["order"], who) if narrowed.get("order") else []
    waiting = web.store.review_queue.list_micrographs(
        reason=narrowed.get("reason"),
        source=narrowed.get("source"),
        order=narrowed.get("order"),
        limit=limit,
    )
    known = {view.id for view in of_order}
    others = [view for view in waiting if view.id not in known and not is_done_by(view, who)]
    return [*of_order, *others][:limit]


def _query(narrowed: Mapping[str, str]) -> str:
    return f"?{urlencode(narrowed)}" if narrowed else ""


def _href(public_id: str, narrowed: Mapping[str, str]) -> str:
    return f"/review/{public_id}{_query(narrowed)}" if public_id else f"/review{_query(narrowed)}"


def _held(web: WebContext, who: str) -> dict[str, str]:
    return web.leases.others(who, at=web.now())


def _after(
    queue: Sequence[MicrographView], public_id: str, held: Mapping[str, str]
) -> MicrographView | None:
    others = _others(queue, public_id)
    return next((view for view in others if view.id not in held), None)


def _others(queue: Sequence[MicrographView], public_id: str) -> list[MicrographView]:
    ids = [view.id for view in queue]
    at = ids.index(public_id) if public_id in ids else -1
    return [*queue[at + 1 :], *queue[: max(at, 0)]]


def _open_next(
    web: WebContext,
    queue: Sequence[MicrographView],
    public_id: str,
    who: str,
    narrowed: Mapping[str, str],
) -> MicrographView | None:
    """Open the next micrograph for a reviewer and release the last one; None: nothing is left."""
    order = narrowed.get("order", "")
    asked = {entry.id for entry in list_order_queue(web, order, who)} if order else set()
    for view in _others(queue, public_id):
        if web.leases.take(view.id, who, at=web.now()):
            continue
        # The reviewer who had it open may have decided it since; check once the lease is ours.
        now = find(web, view.id)
        if (now.awaits or now.id in asked) and not is_done_by(now, who):
            return now
    web.leases.leave(who)
    return None


def _find_end(web: WebContext, narrowed: Mapping[str, str], who: str) -> str:
    """Return where a reviewer goes after the last micrograph: to the queue, or on from an order."""
    order = narrowed.get("order", "")
    if not order:
        return _href("", narrowed)
    following = find_next_order(web, order, who) if narrowed.get("then") == "next" else None
    return confirm_href(following) if following else done_href(order)


def _render_queue(web: WebContext, request: Request, items: list[MicrographView]) -> Response:
    narrowed, who = _narrowed(request), cookies.name_of(request)
    waiting, board = web.store.review_queue.count(), _look_at_orders(web)
    n, same = web.store.labels.count_blind()
    return render_page(
        web,
        request,
        "queue",
        200,
        (*FILTERS, "undone"),
        items=items,
        codes=_list_codes(items, blind_first=_is_blind_first(request, narrowed)),
        held=_held(web, who),
        query=_query(narrowed),
        most=QUEUE_SHOWN,
        decided=cookies.count_of(request),
        waiting=waiting,
        filters=list(_filters(web, narrowed, _queue(web, {}, who) if narrowed else items, who))
        if waiting
        else (),
        notice=_notice(web, request),
        control={"n": n, "same": same, "more": still_needed(n, same)} if n else None,
        fields_to_confirm=board.fields_to_confirm,
        orders_to_confirm=len(board.to_confirm),
    )


def _list_codes(views: Iterable[MicrographView], *, blind_first: bool) -> dict[str, str]:
    """Return the model's answer of each micrograph, "" where it is hidden or there is none."""
    return {
        view.id: "" if is_blind(view, asked=blind_first) else view.result.structure_code or ""
        for view in views
    }


def _look_at_orders(web: WebContext) -> Board:
    """Return the orders of the desk; the last ones read while the file of limits cannot be used."""
    try:
        return web.board.look(web.store, lambda: order_rules(web), now=web.now())
    except SpecificationError:
        return web.board.last


def _filters(
    web: WebContext, narrowed: Mapping[str, str], waiting: Sequence[MicrographView], who: str
) -> Iterator[tuple[str, str, bool]]:
    """Yield ways to narrow the queue: words, address, whether it is the one on the page."""
    yield _("All"), "/review", not narrowed
    present = {reason for view in waiting for reason in view.result.reasons}
    for word in (word for word in reports.REASONS if word in present):
        title, _remedy = reports.reason(word)
        yield title, _href("", {"reason": word}), narrowed.get("reason") == word
    sources = sorted({view.source for view in waiting})
    for source in sources if len(sources) > 1 else ():
        yield source, _href("", {"source": source}), narrowed.get("source") == source
    if n := len(list_suggestion_queue(web, who)):
        text = ngettext("{n} suggested for labelling", "{n} suggested for labelling", n)
        yield text.format(n=n), _href("", {SUGGESTED: "1"}), is_suggested(narrowed)
    if order := narrowed.get("order"):
        yield _("Order {number}").format(number=order), _href("", narrowed), True


def _about(view: MicrographView, who: str, held_by: str) -> dict[str, object] | None:
    """Return what a reviewer has to know before they inspect a micrograph."""
    if held_by:
        return {"tone": Tone.ATTENTION, "text": _(OPEN).format(who=held_by)}
    if view.doubt:
        return {"tone": Tone.ATTENTION, "text": reports.doubt(view.doubt)}
    if view.label is not None or not view.votes:
        return None
    if is_done_by(view, who):
        return {"tone": Tone.CALM, "text": _(SPOKEN), "undo_id": view.id}
    if not view.disagreed:
        return None
    said = _(" and ").join(
        _("{who} says {what}").format(who=vote.by, what=reports.describe_decision(vote))
        for vote in view.votes
    )
    text = _("Two people disagree: {said}. Your decision settles it.").format(said=said)
    return {"tone": Tone.ATTENTION, "text": text}


def _about_scale(web: WebContext, view: MicrographView) -> dict[str, object] | None:
    """Return a notice of the entered scale, as long as the result does not use it."""
    state = describe_state(web.store, view)
    return {"tone": Tone.CALM, "text": state} if state else None


def _notice(web: WebContext, request: Request) -> dict[str, object] | None:
    """Return the result of the last action, and what of it can be undone."""
    if undone := request.query_params.get("undone"):
        text = TAKEN_BACK if undone == "1" else ALL_TAKEN_BACK
        return {"tone": Tone.CALM, "text": _(text)}
    last = request.cookies.get(cookies.LAST, "")
    view = web.store.results.find(last) if ID.fullmatch(last) else None
    label = _last_of(view, cookies.name_of(request)) if view else None
    if view is None or label is None:
        return None
    text = (
        _("{said} for this and the other waiting fields of its specimen:")
        if label.bulk
        else _("{said} for")
    )
    use = learning_page.find_use(web, view)
    return {
        "tone": Tone.CALM,
        "text": text.format(said=reports.describe_decision(label)),
        "undo_id": view.id,
        "about": view.name,
        "more": learning_page.describe(use) if use else "",
    }


def _last_of(view: MicrographView, who: str) -> LabelView | None:
    """Return a reviewer's last decision on a micrograph if they may still undo it."""
    label = view.label or next((vote for vote in view.votes if vote.by == who), None)
    return label if label and label.by == who else None


# --- one micrograph -----------------------------------------------------------------------------


def _render(
    web: WebContext,
    request: Request,
    view: MicrographView,
    code: int = 200,
    /,
    *,
    held_by: str = "",
    **shown: object,
) -> Response:
    """Return the page of a micrograph; `shown` is what a refused decision adds or replaces."""
    result = view.result
    narrowed = _narrowed(request)
    who = cookies.name_of(request)
    queue, held = _queue(web, narrowed, who, limit=AROUND_SHOWN), _held(web, who)
    blind_first = _is_blind_first(request, narrowed)
    blind = is_blind(view, asked=blind_first)
    if not blind and result.structure_code:
        web.shown.add(who, result.id)
    unseen = blind and not web.shown.has(who, result.id)
    use = learning_page.find_use(web, view) if not blind else None
    fields = order_fields.fields_of(web, view)
    taxonomy = web.taxonomy()
    words, texts = describe_codes(taxonomy), build_class_texts(taxonomy)
    window_um = compute_window_um(view)
    gallery = Linked(lambda key: _scaled_id(web, key), window_um)
    card = build_card(view, gallery, zone=web.zone, words=words, review=None, texts=texts)
    before, strip = _find_around(queue, view.id)
    facts: dict[str, object] = {
        "may_decide": may_decide(request),
        "micrograph": view,
        "card": _unsaid(card) if blind else card,
        "blind": blind,
        "blind_first": blind_first,
        "is_always_blind": is_suggested(narrowed),
        "was_shown": blind and not unseen,
        "needs_scale": needs_scale(web, view),
        "learning": learning_page.describe(use)
        if use
        else learning_page.describe_ahead(learning_page.forecast_use(web, view, blind=unseen)),
        "window": Picture(
            window_href(view.id, window_um),
            _("Part of {name}, {width} wide").format(
                name=view.name, width=format_length(window_um)
            ),
            SHOWN_WINDOW_PX,
            SHOWN_WINDOW_PX,
        )
        if window_um
        else None,
        "window_width": format_length(window_um) if window_um else "",
        "viewer": build_viewer(web, view, reviewer=who) if card.crop.picture else None,
        "layers": () if blind else tuple(iter_layers(web, view, texts)),
        "ruler": ruler_of(view),
        "subtypes": list_subtypes(taxonomy, None if blind else result.structure_code),
        "strange_kinds": _choices("strange", reports.STRANGE_KINDS, reports.strange_kind),
        "unusable_whys": _unusable_whys(),
        "criteria": {word: reports.criterion(word) for word in reports.CRITERIA},
        "suggested_criterion": cookies.criterion_of(request),
        "criterion": name_criterion(taxonomy),
        "comment": "",
        "siblings": tuple(_siblings(fields, blind_first=blind_first)),
        "together": 0 if blind else len(order_fields.waiting(fields, view)),
        "history": () if blind else view.labels[::-1],
        "strip": strip,
        "codes": _list_codes(strip, blind_first=blind_first),
        "held": held,
        "decided": cookies.count_of(request),
        "waiting": _count_waiting(web, narrowed, queue),
        "previous": before,
        "next": _after(queue, view.id, held),
        "narrowed": narrowed,
        "query": _query(narrowed),
        "notice": _about_scale(web, view) or _about(view, who, held_by) or _notice(web, request),
        "theirs": None,
        "corrects": tuple(_(why) for why in reports.CORRECTION_WHYS)
        if view.label and not blind
        else (),
        "reasons": list_reasons(web) if find_uncorrected(web, view, hides=blind) else (),
        "missing": "",
        "sent": {},
    }
    return render_page(web, request, "review", code, **facts | shown)


def _count_waiting(
    web: WebContext, narrowed: Mapping[str, str], queue: Sequence[MicrographView]
) -> int:
    """Return how many micrographs wait: of the order or suggestions, else of the lab."""
    if narrowed.get("order") or is_suggested(narrowed):
        return len(queue)
    return web.store.review_queue.count()


def _unsaid(card: Card) -> Card:
    """Remove the answers of the model and of reviewers from a card, for a blind decision."""
    causes = tuple(
        replace(cause, sentence="") if cause.word in TELLING else cause for cause in card.causes
    )
    return replace(card, causes=causes, nearest=(), decision=None)


def _scaled_id(web: WebContext, key: str) -> str | None:
    reference = find_scaled_reference(web, key)
    return reference.id if reference else None


def _find_around(
    queue: Sequence[MicrographView], public_id: str
) -> tuple[MicrographView | None, Sequence[MicrographView]]:
    """Return the micrograph before one in the queue, and the part of the queue around it."""
    ids = [entry.id for entry in queue]
    at = ids.index(public_id) if public_id in ids else 0
    start = max(0, min(at - 3, len(queue) - STRIP_SHOWN))
    return queue[at - 1] if at > 0 else None, queue[start : start + STRIP_SHOWN]


def _siblings(
    fields: Sequence[MicrographView], *, blind_first: bool
) -> Iterator[dict[str, object]]:
    """Yield the fields of one specimen, all drawn at one scale."""
    if len(fields) < 2:  # noqa: PLR2004 - one field needs no comparison
        return
    widths = [_width_um(field_view) for field_view in fields]
    widest = max((um for um in widths if um), default=0.0)
    for one, um in zip(fields, widths, strict=True):
        x0, y0, x1, y1 = one.crop or (0, 0, 4, 3)
        width = round(SIDE_BY_SIDE_PX * (um / widest if um else 1.0))
        height = round(width * (y1 - y0) / (x1 - x0))
        yield {
            "view": one,
            "code": _holds(one, blind_first=blind_first),
            "state": _state(one),
            "is_scaled": um is not None,
            "width": max(1, width),
            "height": max(1, height),
        }


def _width_um(view: MicrographView) -> float | None:
    if view.um_per_px is None or view.crop is None:
        return None
    return (view.crop[2] - view.crop[0]) * view.um_per_px


def _holds(view: MicrographView, *, blind_first: bool) -> str:
    if view.label is not None and not view.doubt:
        return view.label.code or ""
    return "" if is_blind(view, asked=blind_first) else view.result.structure_code or ""


def _state(view: MicrographView) -> str:
    if view.label is not None and not view.doubt:
        return f"{reports.describe_decision(view.label)}, {view.label.by}"
    return _("waits") if view.awaits else _("automatic")


def _choices(kind: str, words: Collection[str], say: Callable[[str], str]) -> Iterator[Choice]:
    for key, word in zip(number_keys(len(words)), words, strict=True):
        yield Choice(f"{kind}:{word}", say(word), key=key)


def _unusable_whys() -> Iterator[Choice]:
    for choice in _choices("unusable", reports.UNUSABLE_WHYS, reports.unusable_why):
        why = choice.value.removeprefix("unusable:")
        if why in PREPARATION_DEFECTS:
            yield replace(choice, words=_("prepare again"))
        elif why in IMAGE_DEFECTS:
            yield replace(choice, words=_("shoot again"))
        else:
            yield choice
