"""The sequence in which a reviewer reviews the fields of an order, and the orders."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from agent.orders.judge.assessment import assess
from agent.orders.judge.next_step import list_to_confirm
from agent.web.context import Desk, order_rules
from agent.web.orders.order_board import map_views
from agent.web.orders.specimen_fields import is_done_by

if TYPE_CHECKING:
    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.store import MicrographView

ORDERS_TRIED = 50
"""Orders that are read to find the next one; other reviewers may have settled those before it."""


def list_order_queue(desk: Desk, number: str, who: str) -> list[MicrographView]:
    """Return the fields of an order that need this reviewer's answer, in the order of its page."""
    policy = order_rules(desk)
    assessed = assess(desk.store, number, policy)
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


def find_next_order(desk: Desk, after: str, who: str) -> str | None:
    """Return the next order of the desk with fields that need this reviewer's answer, or None.

    Args:
        desk: What the pages work on.
        after: The order that was settled last.
        who: The reviewer; orders whose fields another reviewer has open are skipped.
    """
    board = desk.board.look(desk.store, lambda: order_rules(desk), now=desk.now())
    numbers = [entry.number for entry in board.following if entry.number != after]
    held = desk.leases.others(who, at=desk.now())
    for number in _begin_after(numbers, after, [order.number for order in board.orders])[
        :ORDERS_TRIED
    ]:
        queue = list_order_queue(desk, number, who)
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


def review_href(public_id: str, number: str, *, goes_on: bool = False) -> str:
    """Return the address where a field of an order is decided alone.

    Args:
        public_id: Id of the field.
        number: Order number.
        goes_on: After its last field the next order follows; else the desk does.
    """
    query = {"order": number} | ({"then": "next"} if goes_on else {})
    return f"/review/{public_id}?{urlencode(query)}"
