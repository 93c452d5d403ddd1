"""Page where the fields of one order are confirmed, and the recording of its answers.

A signed form field lists what the page showed. The form names which of these micrographs were on
screen, and no other is decided. What is decided alone (control samples, double reviews) is neither
shown nor answered here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import WrongUse
from agent.web import cookies, signed_form
from agent.web.authentication import may_undo_any
from agent.web.context import find
from agent.web.orders.order_board import map_views
from agent.web.orders.order_confirm_page import build_confirm_page, is_together
from agent.web.orders.order_queue import (
    confirm_href,
    done_href,
    find_next_order,
    list_order_queue,
    review_href,
)
from agent.web.orders.orders import assessed_of
from agent.web.orders.specimen_fields import is_blind, is_done_by, stands_alone
from agent.web.pages import request_name
from agent.web.review import decisions
from agent.web.review.corrections import request_reason
from agent.web.review.decisions import Meanwhile
from agent.web.review.review_page import seconds_of
from reports import Done, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.store import Decision, MicrographView
    from agent.web.context import Desk
    from agent.web.signed_form import ListedField

ANSWER = "answer-"
"""Prefix of the form field with the answer for a micrograph; its public id follows."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A form as it was sent.

    Attributes:
        pairs: Every name and value, in their sequence.
    """

    pairs: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """Return the last value of a name, "" for none."""
        return next((value for key, value in reversed(self.pairs) if key == name), "")

    @property
    def seen(self) -> list[str]:
        """Public ids of the fields that were on screen."""
        return list(dict.fromkeys(value for key, value in self.pairs if key == "seen"))

    @property
    def answers(self) -> dict[str, str]:
        """Public id → answer, where one is given."""
        return {
            key.removeprefix(ANSWER): value
            for key, value in self.pairs
            if key.startswith(ANSWER) and value
        }

    @property
    def reason(self) -> str:
        """Why the model's answers are corrected: as chosen, else as typed."""
        return self.get("reason") or self.get("own_reason").strip()


def router(desk: Desk) -> APIRouter:
    """Build the routes where orders are confirmed."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/confirm/{number:path}")
    def show(request: Request, number: str) -> Response:
        return HTMLResponse(_render(desk, request, number, done=find_last(request)))

    @routes.post("/confirm/{number:path}")
    async def confirm(request: Request, number: str) -> Response:
        form = await request.form()
        pairs = [(key, value) for key, value in form.multi_items() if isinstance(value, str)]
        return await run_in_threadpool(_act, desk, request, number, Sent(tuple(pairs)))

    return routes


def _render(
    desk: Desk,
    request: Request,
    number: str,
    *,
    done: Done | None = None,
    conflicts: Sequence[str] = (),
    sent: Sent | None = None,
) -> str:
    page = build_confirm_page(
        desk,
        request,
        assessed_of(desk, number),
        done=done,
        conflicts=tuple(conflicts),
        answers=sent.answers if sent else None,
        reason=sent.reason if sent else "",
    )
    return reports.render("order_confirm", page=page)


def find_last(request: Request) -> Done | None:
    """Return what the previous page confirmed or undid, from the query string; or None."""
    number, count = request.query_params.get("last", ""), request.query_params.get("n", "")
    if not number or not count.isdecimal():
        return None
    n = int(count[:4])
    if request.query_params.get("undone"):
        text = ngettext(
            "Order {number}: the answer to {n} field was taken back.",
            "Order {number}: the answers to {n} fields were taken back.",
            n,
        )
        return Done(text.format(number=number, n=n))
    text = ngettext(
        "Order {number}: {n} field answered.", "Order {number}: {n} fields answered.", n
    )
    return Done(text.format(number=number, n=n), confirm_href(number))


def _act(desk: Desk, request: Request, number: str, sent: Sent) -> Response:
    """Record what a form decides for an order's fields, or undo the last answers."""
    order = assessed_of(desk, number).view.number
    who = cookies.decides(request, {"by": sent.get("by")})
    fields = [(key, value) for key, value in sent.pairs if key != "by"]
    if page := request_name(desk, request, who, confirm_href(order), fields):
        return page
    if sent.get("undo") == "1":
        count = _undo(desk, request, order, who.strip())
        return RedirectResponse(_here(order, order, count, undone=True), 303)
    try:
        listed = signed_form.read(desk.form_key, order, sent.get("state"))
    except signed_form.NotOursError:
        old = _("The agent was restarted after this page was opened. Inspect the fields once more.")
        return HTMLResponse(_render(desk, request, order, conflicts=(old,)), 409)
    _refuse_unlisted(listed, sent)
    given = _read_given(desk, request, listed, sent, who.strip())
    if missing := tuple(_request_reasons(desk, given)):
        return HTMLResponse(_render(desk, request, order, conflicts=missing, sent=sent), 422)
    written, conflicts = _write(desk, given)
    if conflicts:
        answer: Response = HTMLResponse(_render(desk, request, order, conflicts=conflicts), 409)
    else:
        answer = RedirectResponse(_find_onward(desk, order, who.strip(), written), 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    cookies.keep(answer, cookies.CRITERION, _criterion(request, sent))
    count = cookies.count_of(request) + written
    cookies.keep(answer, cookies.COUNT, str(count), for_good=False)
    return answer


def _refuse_unlisted(listed: dict[str, ListedField], sent: Sent) -> None:
    """Refuse a form that names a field which its page did not offer.

    Raises:
        WrongUse: A field is not in the signed list.
    """
    for public_id in (*sent.seen, *sent.answers):
        if public_id not in listed:
            raise WrongUse(
                _("{id}: the page did not offer this field, so nothing was written.").format(
                    id=public_id
                )
            )


def _criterion(request: Request, sent: Sent) -> str:
    return sent.get("criterion") or cookies.criterion_of(request)


def _read_given(
    desk: Desk, request: Request, listed: dict[str, ListedField], sent: Sent, who: str
) -> list[tuple[ListedField, MicrographView, Decision]]:
    """Return one decision for every field that was on screen and answered.

    Raises:
        WrongUse: A field is decided alone by now, or an answer is malformed.
    """
    answers = sent.answers
    chosen = [
        (listed[public_id], answers[public_id]) for public_id in sent.seen if public_id in answers
    ]
    views = {field.id: find(desk, field.id) for field, _answer in chosen}
    for view in views.values():
        if stands_alone(view) and not is_done_by(view, who):
            raise WrongUse(_("{id}: this field is decided alone.").format(id=view.id))
    viewing_s = seconds_of(sent.get("viewing_s"))
    return [
        (
            field,
            views[field.id],
            decisions.read_decision(
                answer,
                taxonomy=desk.taxonomy,
                by=who,
                comment=sent.reason if _is_correction(views[field.id], answer) else "",
                criterion=_criterion_for(views[field.id], _criterion(request, sent)),
                viewing_s=viewing_s and round(viewing_s / len(chosen), 1),
                result_seen=field.result_id,
                decision_id=sent.get("decision_id"),
            ),
        )
        for field, answer in chosen
    ]


def _is_correction(view: MicrographView, answer: str) -> bool:
    code = view.result.structure_code
    return code is not None and answer != f"code:{code}"


def _request_reasons(
    desk: Desk, given: Sequence[tuple[ListedField, MicrographView, Decision]]
) -> Iterator[str]:
    """Yield a sentence for each field whose correction lacks a reason."""
    for _field, view, decision in given:
        if text := request_reason(desk, view, decision, hides=is_blind(view)):
            name = view.process_data.get("field") or view.id
            yield _("Field {name}: {text}").format(name=name, text=text)


def _write(
    desk: Desk, given: Sequence[tuple[ListedField, MicrographView, Decision]]
) -> tuple[int, list[str]]:
    """Record the decisions.

    Returns:
        How many were recorded, and a sentence for each that another reviewer has decided since.
    """
    outcomes = decisions.decide_each(
        desk,
        [
            (field.id, replace(decision, bulk=len(given) > 1), field.label_id)
            for field, _view, decision in given
        ],
        at=desk.now(),
    )
    conflicts = [
        _describe_conflict(outcome, decision)
        if isinstance(outcome, Meanwhile)
        else str(outcome)  # another reviewer's answer needs a reason to be changed
        for outcome, (_field, _view, decision) in zip(outcomes, given, strict=True)
        if not isinstance(outcome, int)
    ]
    return len(given) - len(conflicts), conflicts


def _criterion_for(view: MicrographView, chosen: str) -> str:
    """Return the criterion of an answer: the confirmed label's, where the reviewer chose none."""
    return view.label.criterion if view.label and chosen == "unrecorded" else chosen


def _describe_conflict(meanwhile: Meanwhile, decision: Decision) -> str:
    view, label = meanwhile.view, meanwhile.view.label
    name = view.process_data.get("field") or view.id
    yours = decision.code or decision.kind
    if meanwhile.answer or label is None:
        text = _("Field {name} has changed since: inspect it again. Your answer was {yours}.")
        return text.format(name=name, yours=yours)
    text = _(
        "Field {name}: {who} has decided {code} since; your answer was {yours}. "
        "Nothing was changed."
    )
    return text.format(name=name, who=label.by, code=label.code or label.kind, yours=yours)


def _find_onward(desk: Desk, number: str, who: str, written: int) -> str:
    """Return where a reviewer goes next: this order, the next one, or the desk at the end."""
    left = list_order_queue(desk, number, who)
    together = [view for view in left if is_together(desk, view)]
    if together:
        return _here(number, number, written)
    if left:
        return review_href(left[0].id, number, goes_on=True)
    following = find_next_order(desk, number, who)
    if following is None:
        desk.leases.leave(who)
        return f"{done_href(number)}&together=1"
    return _here(following, number, written)


def _here(number: str, last: str, count: int, *, undone: bool = False) -> str:
    query = {"last": last, "n": str(count)} | ({"undone": "1"} if undone else {})
    return f"{confirm_href(number)}?{urlencode(query)}"


def _undo(desk: Desk, request: Request, number: str, who: str) -> int:
    """Undo this reviewer's last act on an order; return how many fields it covered.

    Raises:
        WrongUse: There is nothing to undo.
    """
    own = [(view.id, view.label.at) for view in _list_own(desk, number, who) if view.label]
    last = max((at for _id, at in own), default=None)
    latest = [public_id for public_id, at in own if at == last]
    if not latest:
        raise WrongUse(_("There is nothing to take back here."))
    decisions.undo_each(desk, latest, by=who, any_ones=may_undo_any(request))
    return len(latest)


def _list_own(desk: Desk, number: str, who: str) -> list[MicrographView]:
    views = map_views(assessed_of(desk, number)).values()
    return [view for view in views if view.label is not None and view.label.by == who]
