"""Choose the orders that are examined for a new statement, so that none is forgotten.

Between rounds the orders that an act, a new result or a new file touched are examined at once. A
round also examines recent orders, and `SWEPT_PER_ROUND` of the others in turn: nothing depends on
the touched ones being complete. With n old orders each is examined at the latest after
ceil(n / 200) + 1 rounds. An act of `EVERY_ORDER` names no order and may change any: all are
examined.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from agent.orders.facts.open_items import OpenItems, iter_named_orders
from agent.orders.facts.possible_fields import list_reached
from agent.orders.instruments.affected_orders import list_orders_in_doubt
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import RELEASE
from agent.orders.judge.assessment import is_recent
from agent.store import Heads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from agent.orders.judge.assessed import OrderPolicy
    from agent.store import OrderAge, Store

SWEPT_PER_ROUND = 200
"""About 1 s of processor time; 10 000 old orders are through after 50 rounds of 2 min."""
OWN_ACTS = (
    "outbox.", "outbox_files.", "outbox_written.", "statement.", "login.", "night.", "notice",
    "report_", "order.urgent", "rollout.",
)  # fmt: skip
"""Acts that change no order, those of examining among them."""
EVERY_ORDER = (
    "automatic.recorded",
    "specifications.recorded",
    "scale_check.recorded",
    "settings.changed",
    "model.promoted",
    "account.added",
    "account.role_changed",
    "account.disabled",
    "account.enabled",
)
"""Acts that name no order and may change any of them."""
CHECK_ACTS = (f"{CONTROL}.recorded", f"{RELEASE}.recorded")
"""Acts that name no order and change what is held."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the last round ended.

    Args:
        trail, result: Newest row of the audit log and newest result that it had seen.
        swept: Number (row id) of the last order that the sweep examined, 0 before the first.
        content: Newest content of a file that it had seen.
    """

    trail: int
    result: int
    swept: int = 0
    content: int = 0

    def to_json(self) -> dict[str, int]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Any) -> Self | None:
        """Parse it; None where it is not one, so that the sweep begins again."""
        try:
            return cls(
                trail=int(document["trail"]),
                result=int(document["result"]),
                swept=int(document["swept"]),
                content=int(document.get("content", 0)),
            )
        except (KeyError, TypeError, ValueError):
            return None


def begin(store: Store) -> Position:
    """Return the position of a lab whose outbox has not been filled before: the sweep does it."""
    heads = store.order_changes.heads()
    return Position(heads.trail, heads.result, content=store.order_changes.newest_content())


def list_touched(
    store: Store, policy: Callable[[], OrderPolicy], *, position: Position, now: datetime
) -> tuple[list[str], Position]:
    """Return the orders that something touched since a position, and the position after it.

    Args:
        store: Open.
        policy: Returns what is laid down; only called where something was touched.
        position: Where the last call ended.
        now: Aware UTC.
    """
    heads, content = store.order_changes.heads(), store.order_changes.newest_content()
    after = Position(heads.trail, heads.result, position.swept, content)
    if after == position:
        return [], position
    if heads.trail < position.trail:  # an older backup was restored
        return [age.number for age in store.order_changes.ages()], after
    numbers = _list_changed(store, position, now)
    if heads.result != position.result:
        numbers |= list_reached(store, after=position.result)
    if content != position.content:
        numbers |= set(
            iter_named_orders(OpenItems.of_new_files(store, after=position.content), policy())
        )
    known = [age.number for age in store.order_changes.ages()] if numbers else []
    return [number for number in known if number in numbers], after


def list_due(
    store: Store,
    policy: OrderPolicy,
    open_items: OpenItems,
    *,
    position: Position | None,
    now: datetime,
) -> tuple[list[str], Position]:
    """Return the orders to examine now, and the position of the next round.

    Args:
        store: Open.
        policy: The policy of the lab.
        open_items: Files that wait or are lost; the orders that their paths name are due.
        position: Where the last round ended, None: every order is due.
        now: Aware UTC.

    Returns:
        Numbers, recent orders first and urgent ones first among them, each once.
    """
    begun = begin(store)  # first: what comes during this round is of the next one
    ages = store.order_changes.ages()
    if position is None:
        return [age.number for age in ages], begun
    if begun.trail < position.trail:  # an older backup was restored
        position = begun
    touched = _list_changed(store, position, now) | set(iter_named_orders(open_items, policy))
    old = sorted((age for age in ages if not is_recent(age.first_seen_at, now)), key=_by_id)
    swept, end = _select_next(old, position.swept)
    due = [age.number for age in ages if is_recent(age.first_seen_at, now)]
    due += [number.number for number in old if number.number in touched]
    due += swept
    return list(dict.fromkeys(due)), replace(begun, swept=end)


def _list_changed(store: Store, position: Position, now: datetime) -> set[str]:
    """Return the orders that acts and results since a position may have changed."""
    changes = store.order_changes.since(Heads(position.trail, position.result), without=OWN_ACTS)
    if not changes.acts.keys().isdisjoint(EVERY_ORDER):
        return {age.number for age in store.order_changes.ages()}
    times = [at for act, at in changes.acts.items() if act in CHECK_ACTS]
    doubtful = list_orders_in_doubt(store, since=min(times), now=now) if times else ()
    return {*changes.numbers, *doubtful}


def _select_next(old: Sequence[OrderAge], after: int) -> tuple[Iterable[str], int]:
    """Return the next orders of the sweep and the last one's row id, 0 where it is through."""
    swept = [number for number in old if number.id > after][:SWEPT_PER_ROUND]
    end = swept[-1].id if len(swept) == SWEPT_PER_ROUND else 0
    return [number.number for number in swept], end


def _by_id(order: OrderAge) -> int:
    return order.id
