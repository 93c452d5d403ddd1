"""Build the page where the fields of one order are confirmed, all drawn at one physical scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import reports
from agent.orders.specifications.class_texts import build_class_texts, name_criterion
from agent.orders.statements.trace_page import TONES
from agent.web import cookies, signed_form
from agent.web.authentication import may_decide
from agent.web.context import order_rules
from agent.web.orders.order_board import map_views
from agent.web.orders.order_queue import confirm_href, list_own, order_href, review_href
from agent.web.orders.orders import describe_field
from agent.web.orders.specimen_fields import is_blind, is_done_by, remember_shown, stands_alone
from agent.web.review.code_choices import list_subtypes
from agent.web.review.corrections import list_reasons
from agent.web.review.picture_links import iter_layers, ruler_of
from agent.web.signed_form import ListedField
from reports import (
    Choice,
    Done,
    Fact,
    Flag,
    Link,
    OrderConfirmPage,
    Picture,
    Plate,
    PlateRow,
    SubtypeChoice,
    decimal,
    ngettext,
)
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from fastapi import Request

    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.judge.assessed import Assessed, AssessedSpecimen
    from agent.orders.judge.judgement_rules import Rules
    from agent.store import MicrographView
    from agent.web.context import Desk

WIDEST_PX = 352
"""CSS pixels of the widest field: it fits a phone, and three fit side by side at 1280."""
PREFETCHED = 6


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
    flags: Mapping[str, Flag | None]


def build_confirm_page(
    desk: Desk,
    request: Request,
    assessed: Assessed,
    *,
    done: Done | None,
    conflicts: tuple[str, ...],
    answers: Mapping[str, str] | None = None,
    reason: str = "",
) -> OrderConfirmPage:
    """Build the page; this reviewer holds the leases of its fields from now on.

    Args:
        desk: What the page works on.
        request: Who reads it.
        assessed: The order.
        done: What was done last, or None.
        conflicts: Why an answer was not recorded, a sentence each.
        answers: Public id → answer, where one is chosen already.
        reason: The reason of a correction that was typed already.
    """
    policy, who, number = order_rules(desk), cookies.name_of(request), assessed.view.number
    confirming = may_decide(request)
    queue = list_own(assessed, policy, who) if confirming else []
    held = desk.leases.take_all([view.id for view in queue], who, at=desk.now())
    views = map_views(assessed)
    remember_shown(desk, views.values(), who)
    shown = _Page(
        number=number,
        rules=assessed.rules(policy) if assessed.specification else None,
        um_per_px=_find_scale(views.values()),
        asked=frozenset(view.id for view in queue),
        held=held,
        who=who,
        subtypes=tuple(list_subtypes(desk.taxonomy(), None)),
        answers=answers or {},
        flags={view.id: _build_flag(desk, view) for view in queue if view.result.reasons},
    )
    rows = tuple(_build_row(specimen, views, shown) for specimen in assessed.specimens)
    listed = [plate for row in rows for plate in row.plates if plate.answers]
    alone = [view for view in queue if not is_together(desk, view)]
    wanted = assessed.specification
    return OrderConfirmPage(
        site=desk.site,
        reviewer=who,
        may_decide=confirming,
        number=number,
        urgent=assessed.view.urgent,
        word=assessed.statement.conformity.words,
        tone=TONES[assessed.statement.conformity],
        limit=wanted.demand if wanted else "",
        facts=tuple(_list_facts(assessed)),
        rows=rows,
        state=signed_form.sign(
            desk.form_key, number, [_list_field(field_view, views) for field_view in listed]
        ),
        confirm=len(listed),
        subtypes=shown.subtypes,
        criteria=tuple(
            Choice(word, reports.criterion(word), suggested=word == cookies.criterion_of(request))
            for word in reports.CRITERIA
        ),
        criterion=name_criterion(desk.taxonomy()),
        order_href=order_href(number),
        next=_find_next(desk, number),
        alone=_link_alone(alone, len(queue), number),
        done=done,
        conflicts=conflicts,
        scale=_format_scale(shown.um_per_px),
        place=_describe_place(desk, number),
        prefetch=tuple(_list_prefetch(desk, number)),
        reasons=list_reasons(desk),
        reason=reason,
        look_s=desk.look_s,
    )


def is_together(desk: Desk, view: MicrographView) -> bool:
    """Return whether a field is confirmed together with others, and not alone."""
    return not stands_alone(view) and not (view.result.reasons and _build_flag(desk, view) is None)


def _find_scale(views: Iterable[MicrographView]) -> float | None:
    widths = [um for view in views if (um := _width_um(view))]
    return max(widths) / WIDEST_PX if widths else None


def _width_um(view: MicrographView) -> float | None:
    if view.um_per_px is None or view.crop is None:
        return None
    return (view.crop[2] - view.crop[0]) * view.um_per_px


def _build_row(one: AssessedSpecimen, views: Mapping[str, MicrographView], page: _Page) -> PlateRow:
    fields = [field for field in one.facts.fields if not field.superseded]
    return PlateRow(
        name=one.view.name,
        word=one.statement.conformity.words,
        tone=TONES[one.statement.conformity],
        plates=tuple(_build_plate(field, views[field.id], page) for field in fields),
    )


def _build_plate(field: FieldFacts, view: MicrographView, page: _Page) -> Plate:
    hidden, asked = is_blind(view), field.id in page.asked
    code = "" if hidden else _get_code(field)
    alone = _describe_alone(view, page) if asked else ""
    is_answered = asked and not alone
    return Plate(
        id=field.id,
        name=field.called,
        code=code,
        state=_("hidden until you decide") if hidden else _describe_state(field),
        keeps=_keeps_limit(page.rules, code) if page.rules and code else None,
        scaled=_width_um(view) is not None,
        picture=_draw(view, field.called, page.um_per_px),
        ruler=ruler_of(view),
        href=review_href(field.id, page.number, goes_on=True),
        answers=tuple(_list_answers(code, view, page)) if is_answered else (),
        alone=alone,
        flag=page.flags.get(field.id) if is_answered else None,
    )


def _build_flag(desk: Desk, view: MicrographView) -> Flag | None:
    """Return why a field was sent to review; None where it cannot be shown whole.

    Where no model has answered there is neither p nor map: nothing is preselected then.
    """
    result = view.result
    reasons = tuple(reports.reason(word)[0] for word in result.reasons)
    if not result.structure_code:
        return Flag(reasons)
    layers = list(iter_layers(desk, view, build_class_texts(desk.taxonomy())))
    if "strange" in result.reasons:
        layers = [layer for layer in layers if layer.word == "strangeness"]
    layer, p_value = next(iter(layers), None), result.strangeness.p_value
    if layer is None or p_value is None or view.pruned_at is not None:
        return None
    return Flag(reasons, f"p = {decimal(p_value, '.2g')}", layer.title, layer.picture)


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


def _draw(view: MicrographView, name: str, um_per_css_px: float | None) -> Picture | None:
    if view.crop is None or view.pruned_at is not None:
        return None
    x0, y0, x1, y1 = view.crop
    um = _width_um(view)
    width = WIDEST_PX if um is None or um_per_css_px is None else round(um / um_per_css_px)
    height = max(1, round(width * (y1 - y0) / (x1 - x0)))
    alt = _("Crop of {name}").format(name=name)
    return Picture(f"/pictures/{view.id}/crop.jpg", alt, max(1, width), height)


def _list_field(plate: Plate, views: Mapping[str, MicrographView]) -> ListedField:
    view = views[plate.id]
    return ListedField(view.id, view.result.id, view.label.id if view.label else None, plate.code)


def _list_facts(assessed: Assessed) -> Iterator[Fact]:
    view = assessed.view
    named = {
        _("Material"): assessed.material,
        _("Customer"): view.customer,
        _("Product"): view.product,
    }
    yield from (Fact(name, value) for name, value in named.items() if value)


def _format_scale(um_per_px: float | None) -> str:
    if um_per_px is None:
        return ""
    return _("1 pixel = {um} µm in every field").format(um=decimal(um_per_px, ".2g"))


def _find_next(desk: Desk, number: str) -> Link:
    """Return the next order of the desk with something to confirm, as it was last read."""
    numbers = [entry.number for entry in desk.board.last.following]
    if number in numbers:
        numbers = [*numbers[numbers.index(number) + 1 :], *numbers[: numbers.index(number)]]
    if not numbers:
        return Link(_("To the order board"), "/orders")
    return Link(_("Next order {number}").format(number=numbers[0]), confirm_href(numbers[0]))


def _list_prefetch(desk: Desk, number: str) -> Iterator[str]:
    orders = {entry.number: entry for entry in desk.board.last.following}
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
    return Link(text, review_href(alone[0].id, number, goes_on=True))


def _describe_place(desk: Desk, number: str) -> str:
    numbers = [entry.number for entry in desk.board.last.following]
    if number not in numbers:
        return ""
    return _("Order {n} of {of}").format(n=numbers.index(number) + 1, of=len(numbers))
