"""Page where the fields of one order are confirmed, and the recording of its answers.

A signed form field lists what the page showed. The form names which of these micrographs were on
screen, and no other is decided. What is decided alone (control samples, double reviews) is neither
shown nor answered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

import reports
from agent.errors import UsageError
from agent.orders.facts.specimen_facts import FieldFacts
from agent.orders.judge.assessed import AssessedSpecimen
from agent.orders.judge.judgement_rules import Rules
from agent.orders.specifications.class_texts import build_class_texts, name_criterion
from agent.store import Decision, MicrographView
from agent.web import cookies, forms
from agent.web.authentication import may_decide, may_lead
from agent.web.context import WebContext, find, order_rules
from agent.web.forms import ListedField
from agent.web.orders.order_board import map_views
from agent.web.orders.order_fields import (
    confirm_href,
    done_href,
    find_next_order,
    is_blind,
    is_done_by,
    list_order_queue,
    list_own,
    remember_shown,
    review_href,
    stands_alone,
)
from agent.web.orders.orders import assessed_of, describe_field
from agent.web.pages import render_page, request_name
from agent.web.review import decisions
from agent.web.review.decisions import (
    DecidedMeanwhileError,
    list_reasons,
    list_subtypes,
    request_reason,
)
from agent.web.review.images import iter_layers, ruler_of
from agent.web.review.review_page import seconds_of
from reports import Choice, Link, Picture, SubtypeChoice, ngettext
from reports import gettext as _

WIDEST_PX = 352
"""CSS pixels of the widest field: it fits a phone, and three fit side by side at 1280."""
PREFETCHED = 6
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


def router(web: WebContext) -> APIRouter:
    """Build the routes where orders are confirmed."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/confirm/{number:path}")
    def show(request: Request, number: str) -> Response:
        return _render(web, request, number, done=find_last(request))

    @routes.post("/confirm/{number:path}")
    async def confirm(request: Request, number: str) -> Response:
        form = await request.form()
        pairs = [(key, value) for key, value in form.multi_items() if isinstance(value, str)]
        return await run_in_threadpool(_act, web, request, number, Sent(tuple(pairs)))

    return routes


def find_last(request: Request) -> tuple[str, str] | None:
    """Return what the page before confirmed or undid, by the address, and where it is undone."""
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
        return text.format(number=number, n=n), ""
    text = ngettext(
        "Order {number}: {n} field answered.", "Order {number}: {n} fields answered.", n
    )
    return text.format(number=number, n=n), confirm_href(number)


def _act(web: WebContext, request: Request, number: str, sent: Sent) -> Response:
    """Record what a form decides for an order's fields, or undo the last answers."""
    order = assessed_of(web, number).view.number
    who = cookies.decides(request, {"by": sent.get("by")})
    fields = [(key, value) for key, value in sent.pairs if key != "by"]
    if page := request_name(web, request, who, confirm_href(order), fields):
        return page
    if sent.get("undo") == "1":
        count = _undo(web, request, order, who.strip())
        return RedirectResponse(_here(order, order, count, undone=True), 303)
    try:
        listed = forms.read(web.form_key, order, sent.get("state"))
    except forms.NotOursError:
        old = _("The agent was restarted after this page was opened. Inspect the fields once more.")
        return _render(web, request, order, 409, conflicts=(old,))
    _refuse_unlisted(listed, sent)
    given = _read_given(web, request, listed, sent, who.strip())
    if missing := tuple(_request_reasons(web, given)):
        return _render(web, request, order, 422, conflicts=missing, sent=sent)
    written, conflicts = _write(web, given)
    if conflicts:
        answer = _render(web, request, order, 409, conflicts=conflicts)
    else:
        answer = RedirectResponse(_find_onward(web, order, who.strip(), written), 303)
    cookies.keep(answer, cookies.NAME, who.strip())
    cookies.keep(answer, cookies.CRITERION, _criterion(request, sent))
    count = cookies.count_of(request) + written
    cookies.keep(answer, cookies.COUNT, str(count), for_good=False)
    return answer


def _refuse_unlisted(listed: dict[str, ListedField], sent: Sent) -> None:
    """Refuse a form that names a field which its page did not offer.

    Raises:
        UsageError: A field is not in the signed list.
    """
    for public_id in (*sent.seen, *sent.answers):
        if public_id not in listed:
            raise UsageError(
                _("{id}: the page did not offer this field, so nothing was written.").format(
                    id=public_id
                )
            )


def _criterion(request: Request, sent: Sent) -> str:
    return sent.get("criterion") or cookies.criterion_of(request)


def _read_given(
    web: WebContext, request: Request, listed: dict[str, ListedField], sent: Sent, who: str
) -> list[tuple[ListedField, MicrographView, Decision]]:
    """Return one decision for every field that was on screen and answered.

    Raises:
        UsageError: A field is decided alone by now, or an answer is malformed.
    """
    answers = sent.answers
    chosen = [
        (listed[public_id], answers[public_id]) for public_id in sent.seen if public_id in answers
    ]
    views = {field.id: find(web, field.id) for field, _answer in chosen}
    for view in views.values():
        if stands_alone(view) and not is_done_by(view, who):
            raise UsageError(_("{id}: this field is decided alone.").format(id=view.id))
    viewing_s = seconds_of(sent.get("viewing_s"))
    return [
        (
            field,
            views[field.id],
            decisions.read_decision(
                answer,
                taxonomy=web.taxonomy,
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
    web: WebContext, given: Sequence[tuple[ListedField, MicrographView, Decision]]
) -> Iterator[str]:
    """Yield a sentence for each field whose correction lacks a reason."""
    for _field, view, decision in given:
        if text := request_reason(web, view, decision, hides=is_blind(view)):
            name = view.process_data.get("field") or view.id
            yield _("Field {name}: {text}").format(name=name, text=text)


def _write(
    web: WebContext, given: Sequence[tuple[ListedField, MicrographView, Decision]]
) -> tuple[int, list[str]]:
    """Record the decisions.

    Returns:
        How many were recorded, and a sentence for each that another reviewer has decided since.
    """
    outcomes = decisions.decide_each(
        web,
        [
            (field.id, replace(decision, bulk=len(given) > 1), field.label_id)
            for field, _view, decision in given
        ],
        at=web.now(),
    )
    conflicts = [
        _describe_conflict(outcome, decision)
        if isinstance(outcome, DecidedMeanwhileError)
        else str(outcome)  # another reviewer's answer needs a reason to be changed
        for outcome, (_field, _view, decision) in zip(outcomes, given, strict=True)
        if not isinstance(outcome, int)
    ]
    return len(given) - len(conflicts), conflicts


def _criterion_for(view: MicrographView, chosen: str) -> str:
    """Return the criterion of an answer: the confirmed label's, where the reviewer chose none."""
    return view.label.criterion if view.label and chosen == "unrecorded" else chosen


def _describe_conflict(meanwhile: DecidedMeanwhileError, decision: Decision) -> str:
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


def _find_onward(web: WebContext, number: str, who: str, written: int) -> str:
    """Return where a reviewer goes next: this order, the next one, or the desk at the end."""
    left = list_order_queue(web, number, who)
    together = [view for view in left if is_together(web, view)]
    if together:
        return _here(number, number, written)
    if left:
        return review_href(left[0].id, number)
    following = find_next_order(web, number, who)
    if following is None:
        web.leases.leave(who)
        return f"{done_href(number)}&together=1"
    return _here(following, number, written)


def _here(number: str, last: str, count: int, *, undone: bool = False) -> str:
    query = {"last": last, "n": str(count)} | ({"undone": "1"} if undone else {})
    return f"{confirm_href(number)}?{urlencode(query)}"


def _undo(web: WebContext, request: Request, number: str, who: str) -> int:
    """Undo this reviewer's last act on an order; return how many fields it covered.

    Raises:
        UsageError: There is nothing to undo.
    """
    own = [(view.id, view.label.at) for view in _list_own(web, number, who) if view.label]
    last = max((at for _id, at in own), default=None)
    latest = [public_id for public_id, at in own if at == last]
    if not latest:
        raise UsageError(_("There is nothing to take back here."))
    decisions.undo_each(web, latest, by=who, any_ones=may_lead(request))
    return len(latest)


def _list_own(web: WebContext, number: str, who: str) -> list[MicrographView]:
    views = map_views(assessed_of(web, number)).values()
    return [view for view in views if view.label is not None and view.label.by == who]


# --- the page: all fields drawn at one physical scale ---------------------------------------------


@dataclass(frozen=True, slots=True)
class _Page:
    """What the plates of one page share.

    Attributes:
        number: Order number.
        rules: The rules that apply, None where there is no specification.
        um_per_px: Micrometres of one CSS pixel, None where no scale is known.
        asked: Public ids of the fields that need this reviewer's answer.
        held: Public id → who else has it open.
        who: The reviewer.
        subtypes: The taxonomy.
        answers: Public id → answer, where one is chosen already.
        flags: Public id → why a field was sent to review; None where that cannot be shown whole.
    """

    number: str
    rules: Rules | None
    um_per_px: float | None
    asked: frozenset[str]
    held: Mapping[str, str]
    who: str
    subtypes: tuple[SubtypeChoice, ...]
    answers: Mapping[str, str]
    flags: Mapping[str, dict[str, Any] | None]


def _render(
    web: WebContext,
    request: Request,
    number: str,
    code: int = 200,
    *,
    done: tuple[str, str] | None = None,
    conflicts: Sequence[str] = (),
    sent: Sent | None = None,
) -> Response:
    """Render the page; this reviewer holds the leases of its fields from now on.

    Args:
        web: What the page works on.
        request: Who reads it.
        number: Of the order.
        code: HTTP status.
        done: What was done last, and where it is undone; or None.
        conflicts: Why an answer was not recorded, a sentence each.
        sent: The form, where it was sent already.
    """
    assessed = assessed_of(web, number)
    policy, who, number = order_rules(web), cookies.name_of(request), assessed.view.number
    confirming = may_decide(request)
    queue = list_own(assessed, policy, who) if confirming else []
    held = web.leases.take_all([view.id for view in queue], who, at=web.now())
    views = map_views(assessed)
    remember_shown(web, views.values(), who)
    shown = _Page(
        number=number,
        rules=assessed.rules(policy) if assessed.specification else None,
        um_per_px=find_scale(views.values()),
        asked=frozenset(view.id for view in queue),
        held=held,
        who=who,
        subtypes=tuple(list_subtypes(web.taxonomy(), None)),
        answers=sent.answers if sent else {},
        flags={view.id: build_flag(web, view) for view in queue if view.result.reasons},
    )
    rows = tuple(_build_row(specimen, views, shown) for specimen in assessed.specimens)
    listed = [plate for row in rows for plate in row["plates"] if plate["answers"]]
    alone = [view for view in queue if not is_together(web, view)]
    wanted = assessed.specification
    return render_page(
        web,
        request,
        "order_confirm",
        code,
        may_decide=confirming,
        number=number,
        order=assessed.view,
        limit=wanted.demand if wanted else "",
        known=[assessed.material, assessed.view.customer, assessed.view.product],
        rows=rows,
        state=forms.sign(
            web.form_key, number, [_list_field(field_view, views) for field_view in listed]
        ),
        confirm=len(listed),
        subtypes=shown.subtypes,
        criteria=[(word, reports.criterion(word)) for word in reports.CRITERIA],
        last_criterion=cookies.criterion_of(request),
        criterion_title=name_criterion(web.taxonomy()),
        next=_find_next(web, number),
        alone=_link_alone(alone, len(queue), number),
        done=done,
        conflicts=conflicts,
        um_per_px=shown.um_per_px,
        place=_describe_place(web, number),
        prefetch=list(_list_prefetch(web, number)),
        reasons=list_reasons(web),
        reason=sent.reason if sent else "",
        look_s=web.look_s,
    )


def is_together(web: WebContext, view: MicrographView) -> bool:
    """Return whether a field is confirmed together with others, and not alone."""
    return not stands_alone(view) and not (view.result.reasons and build_flag(web, view) is None)


def find_scale(views: Iterable[MicrographView]) -> float | None:
    """Return the micrometres of a CSS pixel at which the widest field fits, None without scale."""
    widths = [um for view in views if (um := get_width_um(view))]
    return max(widths) / WIDEST_PX if widths else None


def get_width_um(view: MicrographView) -> float | None:
    """Return the width of a field in micrometres, None without scale."""
    if view.um_per_px is None or view.crop is None:
        return None
    return (view.crop[2] - view.crop[0]) * view.um_per_px


def _build_row(
    one: AssessedSpecimen, views: Mapping[str, MicrographView], page: _Page
) -> dict[str, Any]:
    fields = [field for field in one.facts.fields if not field.superseded]
    return {
        "specimen": one,
        "plates": [_build_plate(field, views[field.id], page) for field in fields],
    }


def _build_plate(field: FieldFacts, view: MicrographView, page: _Page) -> dict[str, Any]:
    hidden, asked = is_blind(view), field.id in page.asked
    code = "" if hidden else _get_code(field)
    alone = _describe_alone(view, page) if asked else ""
    is_answered = asked and not alone
    return {
        "id": field.id,
        "name": field.called,
        "code": code,
        "state": _("hidden until you decide") if hidden else _describe_state(field),
        "keeps": _keeps_limit(page.rules, code) if page.rules and code else None,
        "scaled": get_width_um(view) is not None,
        "picture": draw_field(view, field.called, page.um_per_px),
        "ruler": ruler_of(view),
        "href": review_href(field.id, page.number),
        "answers": list(_list_answers(code, view, page)) if is_answered else (),
        "alone": alone,
        "flag": page.flags.get(field.id) if is_answered else None,
    }


def build_flag(web: WebContext, view: MicrographView) -> dict[str, Any] | None:
    """Return why a field was sent to review; None where it cannot be shown whole.

    Where no model has answered there is neither p nor map: nothing is preselected then.
    """
    result = view.result
    reasons = tuple(reports.reason(word)[0] for word in result.reasons)
    if not result.structure_code:
        return {"reasons": reasons, "p_value": None, "layer": None}
    layers = list(iter_layers(web, view, build_class_texts(web.taxonomy())))
    if "strange" in result.reasons:
        layers = [layer for layer in layers if layer.word == "strangeness"]
    layer, p_value = next(iter(layers), None), result.strangeness.p_value
    if layer is None or p_value is None or view.pruned_at is not None:
        return None
    return {"reasons": reasons, "p_value": p_value, "layer": layer}


def _describe_state(field: FieldFacts) -> str:
    """Return whose code a field has, and by which criterion where that is recorded."""
    held = field.decided
    if held is None or held.kind != "code" or held.criterion == "unrecorded":
        return describe_field(field)
    return f"{describe_field(field)} · {reports.criterion(held.criterion)}"


def _keeps_limit(rules: Rules, code: str) -> bool | None:
    """Return whether a code surely keeps what is demanded, None where no limit is set for it."""
    if rules.is_of(code) and not rules.limit_words(code):
        return None
    return rules.keeps(code)


def _get_code(field: FieldFacts) -> str:
    if field.decided:
        return field.decided.said if field.decided.kind == "code" else ""
    return field.code or ""


def _describe_alone(view: MicrographView, page: _Page) -> str:
    """Return why a field is not decided together with the others, "" where it is."""
    if view.id in page.held:
        return _("open at {who}").format(who=page.held[view.id])
    if is_done_by(view, page.who):
        return _("another reviewer decides")
    if stands_alone(view):
        return _("decide it alone, without the model's answer")
    if view.label is not None and view.label.kind != "code":
        return _("decide it alone")
    if page.flags.get(view.id, True) is None:
        return _("flagged, and its map is not kept: decide it alone")
    return ""


def _list_answers(code: str, view: MicrographView, page: _Page) -> Iterator[Choice]:
    """Yield the possible answers; the code on the page comes first, as the suggestion.

    Replacing another reviewer's code needs a reason, so that is done where one field is decided.
    """
    own = f"code:{code}" if code else ""
    chosen = page.answers.get(view.id, own)
    text = _("Confirm {code}").format(code=code) if code else _("no answer yet")
    yield Choice(own, text, suggested=chosen == own)
    for subtype in page.subtypes if view.label is None else ():
        for size in subtype.sizes:
            if size.value != own:
                text = size.value.removeprefix("code:")
                yield Choice(size.value, text, suggested=chosen == size.value)


def draw_field(view: MicrographView, name: str, um_per_css_px: float | None) -> Picture | None:
    """Return the picture of a field at the page's scale, None where its pixels are gone."""
    if view.crop is None or view.pruned_at is not None:
        return None
    x0, y0, x1, y1 = view.crop
    um = get_width_um(view)
    width = WIDEST_PX if um is None or um_per_css_px is None else round(um / um_per_css_px)
    height = max(1, round(width * (y1 - y0) / (x1 - x0)))
    alt = _("Crop of {name}").format(name=name)
    return Picture(f"/pictures/{view.id}/crop.jpg", alt, max(1, width), height)


def _list_field(plate: dict[str, Any], views: Mapping[str, MicrographView]) -> ListedField:
    view = views[plate["id"]]
    return ListedField(
        view.id, view.result.id, view.label.id if view.label else None, plate["code"]
    )


def _find_next(web: WebContext, number: str) -> Link:
    """Return the next order of the desk with something to confirm, as it was last read."""
    numbers = [entry.number for entry in web.board.last.following]
    if number in numbers:
        numbers = [*numbers[numbers.index(number) + 1 :], *numbers[: numbers.index(number)]]
    if not numbers:
        return Link(_("To the order board"), "/orders")
    return Link(_("Next order {number}").format(number=numbers[0]), confirm_href(numbers[0]))


def _list_prefetch(web: WebContext, number: str) -> Iterator[str]:
    orders = {entry.number: entry for entry in web.board.last.following}
    numbers = list(orders)
    if number in orders:
        numbers = numbers[numbers.index(number) + 1 :]
    for entry in numbers[:1]:
        for public_id in orders[entry].to_confirm[:PREFETCHED]:
            yield f"/pictures/{public_id}/crop.jpg"


def _link_alone(alone: Sequence[MicrographView], of: int, number: str) -> Link | None:
    """Return where the fields are decided that are not confirmed together, or None."""
    if not alone:
        return None
    text = ngettext(
        "{n} of {of} field to confirm is decided alone",
        "{n} of {of} fields to confirm are decided alone",
        len(alone),
    ).format(n=len(alone), of=of)
    return Link(text, review_href(alone[0].id, number))


def _describe_place(web: WebContext, number: str) -> str:
    numbers = [entry.number for entry in web.board.last.following]
    if number not in numbers:
        return ""
    return _("Order {n} of {of}").format(n=numbers.index(number) + 1, of=len(numbers))
