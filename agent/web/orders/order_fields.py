"""Fields of an order, grouped by specimen, and the sequence in which they are reviewed.

A metallographer assesses a specimen, not a file: its fields are shown at one scale, and one
decision can cover every field that still waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import assess
from agent.orders.judge.next_step import list_to_confirm
from agent.orders.judge.permissions import is_hidden
from agent.store import MicrographView
from agent.web.context import WebContext, order_rules
from agent.web.orders.order_board import map_views

MOST_FIELDS = 1000
OF_ONE = ("order", "specimen", "preparation")


def fields_of(web: WebContext, view: MicrographView) -> list[MicrographView]:
    """Return every field of a micrograph's specimen and preparation, sorted by field number.

    The micrograph itself is included; one that names no specimen is returned alone.
    """
    told = view.process_data
    if not told.get("order") or not told.get("specimen"):
        return [view]
    others = web.store.results.search(
        order=told["order"], specimen=told["specimen"], limit=MOST_FIELDS
    )
    own = [other for other in others if _key(other) == _key(view)]
    return sorted(own, key=lambda one: (_number(one.process_data.get("field", "")), one.path))


def _key(view: MicrographView) -> tuple[str, ...]:
    return tuple(view.process_data.get(name, "") for name in OF_ONE)


def _number(field: str) -> tuple[int, str]:
    return (int(field), "") if field.isdecimal() else (0, field)


def waiting(fields: Sequence[MicrographView], view: MicrographView) -> list[MicrographView]:
    """Return the other fields of the specimen that wait, except those that are decided alone."""
    return [
        field_view
        for field_view in fields
        if field_view.id != view.id
        and field_view.awaits
        and field_view.label is None
        and not stands_alone(field_view)
    ]


def stands_alone(view: MicrographView) -> bool:
    """Return whether a field is never decided together with others: blind, or reviewed twice."""
    return view.asks_two or is_blind(view)


def is_blind(view: MicrographView, *, asked: bool = False) -> bool:
    """Return whether the model's answer and other reviewers' decisions are hidden.

    Control samples are blind, flagged or not; double reviews are until both reviewers have decided.
    So are suspect labels: only a reviewer who has not seen the label can confirm it.

    Args:
        view: The micrograph.
        asked: The reviewer requested micrographs without the answer.
    """
    return is_hidden(view) or (asked and view.label is None and not view.disagreed)


def remember_shown(web: WebContext, micrographs: Iterable[MicrographView], who: str) -> None:
    """Record that a page has shown a reviewer the answers that are not hidden."""
    for view in micrographs:
        if view.result.structure_code and not is_blind(view):
            web.shown.add(who, view.result.id)


def remember_read(web: WebContext, micrographs: Iterable[MicrographView], who: str) -> None:
    """Record that a named reader got the answers, hidden ones too, from the API or a file."""
    for view in micrographs if who else ():
        if (view.awaits or view.label is None) and view.result.structure_code:
            web.shown.add(who, view.result.id)


def is_done_by(view: MicrographView, who: str) -> bool:
    """Return whether a reviewer has answered a field without a label; another one has to."""
    return view.label is None and any(vote.by == who for vote in view.votes)


def given_together(fields: Sequence[MicrographView], view: MicrographView) -> list[MicrographView]:
    """Return the fields that were decided in the same act as a field, itself included."""
    act = _bulk_act(view)
    return [
        view,
        *(
            field_view
            for field_view in fields
            if act and field_view.id != view.id and _bulk_act(field_view) == act
        ),
    ]


def _bulk_act(view: MicrographView) -> tuple[str, datetime] | None:
    label = view.label
    return (label.by, label.at) if label is not None and label.bulk else None


ORDERS_TRIED = 50
"""Orders that are read to find the next one; other reviewers may have settled those before it."""


def list_order_queue(web: WebContext, number: str, who: str) -> list[MicrographView]:
    """Return the fields of an order that need this reviewer's answer, in the order of its page."""
    policy = order_rules(web)
    assessed = assess(web.store, number, policy)
    if assessed is None:
        return []
    return list_own(assessed, policy, who)


def list_own(assessed: Assessed, policy: OrderPolicy, who: str) -> list[MicrographView]:
    """Return the fields of an assessed order that need this reviewer's answer."""
    views = map_views(assessed)
    fields = list_to_confirm(assessed, policy, by=who)
    return [
        views[field_view.id] for field_view in fields if not is_done_by(views[field_view.id], who)
    ]


def find_next_order(web: WebContext, after: str, who: str) -> str | None:
    """Return the next order of the desk with fields that need this reviewer's answer, or None.

    Args:
        web: What the pages work on.
        after: The order that was settled last.
        who: The reviewer; orders whose fields another reviewer has open are skipped.
    """
    board = web.board.look(web.store, lambda: order_rules(web), now=web.now())
    numbers = [entry.number for entry in board.following if entry.number != after]
    held = web.leases.others(who, at=web.now())
    for number in _begin_after(numbers, after, [order.number for order in board.orders])[
        :ORDERS_TRIED
    ]:
        queue = list_order_queue(web, number, who)
        if queue and all(view.id not in held for view in queue):
            return number
    return None


def _begin_after(numbers: list[str], after: str, every: list[str]) -> list[str]:
    """Return the numbers in the desk's sequence, starting behind an order."""
    place = every.index(after) if after in every else -1
    later = set(every[place + 1 :])
    return [
        *(number for number in numbers if number in later),
        *(number for number in numbers if number not in later),
    ]


def order_href(number: str) -> str:
    """Return the address of an order's page."""
    return f"/order/{quote(number, safe='')}"


def confirm_href(number: str) -> str:
    """Return the address where the fields of an order are confirmed."""
    return f"/confirm/{quote(number, safe='')}"


def done_href(number: str) -> str:
    """Return the address of the desk after an order was settled."""
    return f"/orders?{urlencode({'done': number})}"


def review_href(public_id: str, number: str) -> str:
    """Return the address where a field is decided; after its last one the next order follows."""
    return f"/review/{public_id}?{urlencode({'order': number, 'then': 'next'})}"
