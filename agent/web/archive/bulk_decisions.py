"""Label or assign several micrographs of the archive by one act, which one undo takes back.

A bulk label is a reviewer's label like each other one. So each picture has to be on screen before
it, what is decided alone is refused, and an act is written whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import SetupError, UsageError
from agent.orders.judge.permissions import (
    list_left,
    require_may_assign,
    require_may_leave,
    require_reason,
)
from agent.orders.specifications.class_texts import name_criterion
from agent.store import Decision, MicrographView, SearchQuery, is_imported
from agent.web import cookies, forms
from agent.web.archive.archive import (
    OUTCOMES,
    build_href,
    find_outcome,
    go_back,
    keep_known,
    read_query,
    refuse,
)
from agent.web.archive.archive_acts import MOST_DECIDED, find_chosen
from agent.web.authentication import may_lead
from agent.web.context import WebContext, find, order_rules
from agent.web.forms import ListedField
from agent.web.orders.order_confirm import Sent, build_flag, draw_field, find_scale, get_width_um
from agent.web.orders.order_fields import remember_shown, stands_alone
from agent.web.pages import render_page, request_name
from agent.web.review import decisions
from agent.web.review.decisions import LONGEST_WORD, DecidedMeanwhileError
from agent.web.review.images import ruler_of
from agent.web.review.review_page import seconds_of
from reports import Choice
from reports import gettext as _

RELABEL, ASSIGN = "archive:relabel", "archive:assign"
"""What a signed form of these pages lists."""


def router(web: WebContext) -> APIRouter:
    """Build the routes that label and assign several micrographs."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/archive/relabel")
    async def relabel(request: Request) -> Response:
        return await run_in_threadpool(_act, web, request, await _read_sent(request), _relabel)

    @routes.post("/archive/assign")
    async def assign(request: Request) -> Response:
        return await run_in_threadpool(_act, web, request, await _read_sent(request), _assign)

    @routes.post("/archive/undo")
    async def undo(request: Request) -> Response:
        return await run_in_threadpool(_act, web, request, await _read_sent(request), _undo)

    return routes


async def _read_sent(request: Request) -> Sent:
    form = await request.form()
    return Sent(tuple((key, text) for key, text in form.multi_items() if isinstance(text, str)))


def _act(
    web: WebContext,
    request: Request,
    sent: Sent,
    act: Callable[[WebContext, Request, Sent, str], Response],
) -> Response:
    """Carry out an act under a name; where it is refused, show the search with the reason."""
    who = cookies.decides(request, {"by": sent.get("by")}).strip()
    fields = [(key, value) for key, value in sent.pairs if key != "by"]
    if refused := request_name(web, request, who, request.scope["path"], fields, then="/archive"):
        return refused
    try:
        return act(web, request, sent, who)
    except forms.NotOursError:
        old = _("The agent was restarted after this page was opened. Inspect the fields once more.")
        return refuse(web, request, sent.get("back"), UsageError(old))
    except SetupError as error:
        return refuse(web, request, sent.get("back"), error)


def _relabel(web: WebContext, request: Request, sent: Sent, who: str) -> Response:
    """Show what a bulk label changes; with a signed list of what was shown, write it."""
    decisions.read_decision(f"code:{sent.get('code')}", taxonomy=web.taxonomy, by=who)
    if not sent.get("state"):
        return _render_relabel(web, request, sent, who, _find_affected(web, sent))
    listed = forms.read(web.form_key, RELABEL, sent.get("state"))
    if any(field.code != sent.get("code") for field in listed.values()):
        raise forms.NotOursError  # another code than the page showed
    chosen = [
        listed[public_id]
        for public_id, answer in sent.answers.items()
        if public_id in listed and answer == f"code:{sent.get('code')}"
    ]
    views = web.store.search.list_micrographs([field.id for field in listed.values()])
    changing = {field.id for field in chosen}
    conflicts = [
        _("{name}: not yet on screen.").format(name=view.name)
        for view in views
        if view.id in changing - set(sent.seen)
    ]
    conflicts += [
        f"{view.name}: {why}"
        for view in views
        if view.id in changing
        and not _is_sent_again(view, listed[view.id], who)
        and (why := _refuse_label(web, view, sent.get("code"), by=who))
    ]
    given = _read_given(web, request, sent, who, chosen)
    if not given:
        raise UsageError(_("No micrograph is selected. Select some first."))
    at = web.now()
    try:
        if not conflicts:
            decisions.decide_all(web, given, at=at)
    except DecidedMeanwhileError as meanwhile:
        conflicts = [_("{name} has changed since.").format(name=meanwhile.view.name)]
    if conflicts:
        conflicts.append(_("Nothing was written."))
        return _render_relabel(web, request, sent, who, views, conflicts=conflicts)
    label = find(web, chosen[0].id).label  # an earlier one where the form came twice
    at = label.at if label else at
    return go_back(sent.get("back"), who, labelled=str(len(given)), of=who, act=at.isoformat())


def _is_sent_again(view: MicrographView, field: ListedField, who: str) -> bool:
    """Return whether a label is the one that this form itself gave."""
    label = view.label
    return label is not None and label.id != field.label_id and label.by == who


def _read_given(
    web: WebContext, request: Request, sent: Sent, who: str, chosen: Sequence[ListedField]
) -> list[tuple[str, Decision, int | None]]:
    """Return one decision for each micrograph that the form changes."""
    viewing_s = seconds_of(sent.get("viewing_s"))
    decision = decisions.read_decision(
        f"code:{sent.get('code')}",
        taxonomy=web.taxonomy,
        by=who,
        comment=require_reason(sent.get("why")),
        criterion=sent.get("criterion") or cookies.criterion_of(request),
        viewing_s=viewing_s and round(viewing_s / max(1, len(chosen)), 1),
        decision_id=sent.get("decision_id"),
    )
    decision = replace(decision, bulk=len(chosen) > 1)
    return [
        (field.id, replace(decision, result_seen=field.result_id), field.label_id)
        for field in chosen
    ]


def _find_affected(web: WebContext, sent: Sent) -> list[MicrographView]:
    chosen = [value for key, value in sent.pairs if key == "micrograph"]
    query = read_query(web, keep_known(sent.get("back")))
    return _find_hits(web, chosen, query, takes_all=bool(sent.get("all")))


def _render_relabel(
    web: WebContext,
    request: Request,
    sent: Sent,
    who: str,
    views: Sequence[MicrographView],
    *,
    conflicts: Sequence[str] = (),
) -> Response:
    require_reason(sent.get("why"))
    code = sent.get("code")
    refused = {view.id: _refuse_label(web, view, code, by=who) for view in views}
    changing = [view for view in views if not refused[view.id]]
    remember_shown(web, changing, who)
    um_per_px = find_scale(changing)
    listed = [
        ListedField(view.id, view.result.id, view.label.id if view.label else None, code)
        for view in changing
    ]
    return render_page(
        web,
        request,
        "archive_act",
        409 if conflicts else 200,
        title=_("Label {code}").format(code=code),
        plates=[_build_plate(web, view, code, um_per_px) for view in changing],
        left=[(view, refused[view.id]) for view in views if refused[view.id]],
        state=forms.sign(web.form_key, RELABEL, listed),
        kept=[(key, sent.get(key)) for key in ("code", "why", "back")],
        action="/archive/relabel",
        facts=[(_("Reason"), sent.get("why"))],
        conflicts=conflicts,
        back_href=build_href(keep_known(sent.get("back"))),
        criteria=[(word, reports.criterion(word)) for word in reports.CRITERIA],
        last_criterion=cookies.criterion_of(request),
        criterion_title=name_criterion(web.taxonomy()),
        look_s=web.look_s,
    )


def _build_plate(
    web: WebContext, view: MicrographView, code: str, um_per_px: float | None
) -> dict[str, Any]:
    """Return a micrograph with its present code and the choice between it and the new one."""
    now = (view.label.code if view.label else view.result.structure_code) or ""
    answers = [Choice(f"code:{code}", _("Label {code}").format(code=code), suggested=True)]
    if now != code:
        answers.append(Choice(f"code:{now}", _("Leave as it is")))
    state = _("{code} now").format(code=now or _("no code"))
    return {
        "id": view.id,
        "name": view.name,
        "code": code,
        "state": f"{state} · {_(OUTCOMES[find_outcome(view)])}",
        "keeps": None,
        "scaled": get_width_um(view) is not None,
        "picture": draw_field(view, view.name, um_per_px),
        "ruler": ruler_of(view),
        "href": f"/review/{view.id}",
        "answers": answers,
        "alone": "",
        "flag": build_flag(web, view) if _is_flagged(view) else None,
    }


def _assign(web: WebContext, request: Request, sent: Sent, who: str) -> Response:
    """Show what a bulk assignment changes; with a signed list of what was shown, write it."""
    keys = {key: sent.get(key).strip() for key in ("order", "specimen", "preparation")}
    if not (keys["order"] and keys["specimen"]):
        raise UsageError(_("Enter an order number and a specimen."))
    reason = require_reason(sent.get("assign_why"))
    if sent.get("state"):
        listed = forms.read(web.form_key, ASSIGN, sent.get("state"))
        at = _write_assignment(web, list(listed), keys, reason=reason, by=who)
        return go_back(sent.get("back"), who, assigned=str(len(listed)), of=who, act=at.isoformat())
    views = _find_affected(web, sent)
    refused = {view.id: _refuse_assignment(web, view, keys, by=who) for view in views}
    moving = [view for view in views if not refused[view.id]]
    listed_fields = [ListedField(view.id, None, None, "") for view in moving]
    named = [(_("Order"), keys["order"]), (_("Specimen"), keys["specimen"])]
    named += [(_("Preparation"), keys["preparation"])] if keys["preparation"] else []
    kept = ("order", "specimen", "preparation", "assign_why", "back")
    um_per_px = find_scale(moving)
    return render_page(
        web,
        request,
        "archive_act",
        title=_("Assign to order {order}, specimen {specimen}").format(**keys),
        plates=[_build_place(view, um_per_px) for view in moving],
        left=[(view, refused[view.id]) for view in views if refused[view.id]],
        state=forms.sign(web.form_key, ASSIGN, listed_fields),
        kept=[(key, sent.get(key)) for key in kept],
        action="/archive/assign",
        facts=[*named, (_("Reason"), reason)],
        conflicts=(),
        criteria=(),
        back_href=build_href(keep_known(sent.get("back"))),
    )


def _build_place(view: MicrographView, um_per_px: float | None) -> dict[str, Any]:
    """Return a micrograph with the order and specimen that its process data name now."""
    order, specimen = (view.process_data.get(key, "") for key in ("order", "specimen"))
    return {
        "id": view.id,
        "name": view.name,
        "code": "",
        "state": _("order {order}, specimen {specimen} now").format(
            order=order or "–", specimen=specimen or "–"
        ),
        "keeps": None,
        "scaled": get_width_um(view) is not None,
        "picture": draw_field(view, view.name, um_per_px),
        "ruler": ruler_of(view),
        "href": f"/review/{view.id}",
        "answers": (),
        "alone": "",
        "flag": None,
    }


def _undo(web: WebContext, request: Request, sent: Sent, who: str) -> Response:
    """Undo one act of labels or assignments."""
    try:
        at = datetime.fromisoformat(sent.get("act"))
    except ValueError:
        raise UsageError(_("There is nothing to take back here.")) from None
    if sent.get("what") == "assigned":
        n = _undo_assigned(web, sent.get("of"), at, by=who)
    else:
        n = _undo_labels(web, sent.get("of"), at, by=who, any_ones=may_lead(request))
    return go_back(sent.get("back"), who, undone=str(n))


# --- rules and acts ---


def _find_hits(
    web: WebContext, public_ids: Sequence[str], query: SearchQuery, *, takes_all: bool
) -> list[MicrographView]:
    """Return the micrographs that are to be labelled or assigned.

    Args:
        web: What the pages work on.
        public_ids: The chosen ones.
        query: The search.
        takes_all: All hits of the search, in place of the chosen ones.

    Raises:
        UsageError: None, or more than `MOST_DECIDED`.
    """
    if not takes_all:
        return find_chosen(web, public_ids, most=MOST_DECIDED)
    hits = web.store.search.list_hits(query, most=MOST_DECIDED)
    if hits is None:
        raise UsageError(
            _("More than {n} micrographs match. Narrow the search, or select some.").format(
                n=MOST_DECIDED
            )
        )
    if not hits:
        raise UsageError(_("No micrograph is selected. Select some first."))
    return web.store.search.list_micrographs(hits)


def _refuse_label(web: WebContext, view: MicrographView, code: str, *, by: str) -> str:
    """Return why a micrograph does not get a label together with others, "" where it does."""
    held = web.leases.others(by, at=web.now())
    if stands_alone(view):
        return _("decide it alone, without the model's answer")
    if view.id in held:
        return _("open at {who}").format(who=held[view.id])
    if view.crop is None or view.pruned_at is not None:
        return _("its pixels are not in the archive any more")
    if _is_flagged(view) and build_flag(web, view) is None:
        return _("flagged, and its map is not kept: decide it alone")
    label = view.label
    if label and label.code == code and not (is_imported(label) or view.doubt):
        return _("has this label already, by {who}").format(who=label.by)
    return ""


def _is_flagged(view: MicrographView) -> bool:
    """Return whether a micrograph waits for a reviewer, with a reason to be shown."""
    return view.label is None and bool(view.result.reasons)


def _refuse_assignment(
    web: WebContext, view: MicrographView, keys: Mapping[str, str], *, by: str
) -> str:
    """Return why a micrograph is not assigned, "" where it may be; the rules are the single act's.

    Args:
        web: What the pages work on.
        view: The micrograph.
        keys: `order`, `specimen`; `preparation` where one is named.
        by: Who assigns it.
    """
    named = {key: value for key, value in keys.items() if value}
    belongs = web.store.orders.of_micrograph(view.id) is not None
    if belongs and all(view.process_data.get(key) == named[key] for key in named):
        return _("belongs there already")
    try:
        require_may_assign(web.store, order_rules(web), view.id, keys, by=by)
    except UsageError as refused:
        return str(refused)
    return ""


def _write_assignment(
    web: WebContext, public_ids: Sequence[str], keys: Mapping[str, str], *, reason: str, by: str
) -> datetime:
    """Assign micrographs to one specimen, all or none; return when, which names the act.

    A form that came twice wrote one act.

    Raises:
        UsageError: One may not be assigned, or a value is missing or too long.
    """
    if not all(len(value) <= LONGEST_WORD and value.isprintable() for value in keys.values()):
        raise UsageError(
            _("A number, a name or a reason has at most {n} plain letters.").format(n=LONGEST_WORD)
        )
    reason = require_reason(reason)
    corrections = web.store.order_corrections
    for view in find_chosen(web, public_ids, most=MOST_DECIDED):
        if why := _refuse_assignment(web, view, keys, by=by):
            if at := corrections.find_assigned(public_ids, keys, by=by, reason=reason):
                return at
            raise UsageError(f"{view.name}: {why}")
    at, lead = web.now(), order_rules(web).may_lead(by)
    left = list_left(web.store, public_ids, keys)
    corrections.assign_all(public_ids, keys, by=by, reason=reason, at=at, lead=lead, left=left)
    return at


def _undo_labels(web: WebContext, of: str, given_at: datetime, *, by: str, any_ones: bool) -> int:
    """Undo the labels of one act that still count, all or none; return how many.

    Raises:
        decisions.NotYoursError: They are another reviewer's, and `by` may not undo them.
        UsageError: None of them counts any more.
    """
    given = web.store.labels.list_given(by=of, at=given_at)
    valid = [
        view.id
        for view in web.store.search.list_micrographs(given)
        if view.label is not None and (view.label.by, view.label.at) == (of, given_at)
    ]
    if not valid:
        raise UsageError(_("There is nothing to take back here."))
    decisions.undo_each(web, valid, by=by, any_ones=any_ones)
    return len(valid)


def _undo_assigned(web: WebContext, of: str, assigned_at: datetime, *, by: str) -> int:
    """Return what one act assigned to where it was, all or none; return how many.

    Raises:
        decisions.NotYoursError: Another reviewer assigned it, and `by` is no lead.
        UsageError: One was moved since or may not leave its order, or there is nothing to take
            back.
    """
    lead = order_rules(web).may_lead(by)
    if by != of and not lead:
        raise decisions.NotYoursError(
            _("{who} assigned that; a lead may take it back").format(who=of)
        )
    for public_id in web.store.order_corrections.list_assigned(by=of, at=assigned_at):
        require_may_leave(web.store, order_rules(web), public_id, {}, by=by)
    n = web.store.order_corrections.undo_assigned(of, assigned_at, by=by, at=web.now(), lead=lead)
    if not n:
        raise UsageError(_("There is nothing to take back here."))
    return n
