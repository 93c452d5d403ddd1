"""Choose the orders that are examined in a round of the outbox, so that none is forgotten.

Recent orders are examined in every round, and so are older ones that an act or a new result
touched. The rest comes in turn, `SWEPT_PER_ROUND` a round: nothing depends on the touched ones
being complete. With n old orders each is examined at the latest after ceil(n / 200) + 1 rounds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from agent.orders.affected_orders import orders_in_doubt
from agent.orders.assessment import is_recent, numbers_named
from agent.orders.control import CONTROL
from agent.orders.instrument_holds import RELEASE
from agent.store import Heads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from agent.orders.assessment import Beside, Lab
    from agent.store import OrderAge, Store

SWEPT_PER_ROUND = 200
"""About 1 s of processor time; 10 000 old orders are through after 50 rounds of 2 min."""
OWN_ACTS = "outbox"
CHECK_ACTS = (f"{CONTROL}.recorded", f"{RELEASE}.recorded")
"""Acts that name no order and change what is held."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the last round ended.

    Args:
        trail, result: Newest row of the audit log and newest result that it had seen.
        swept: Number (row id) of the last order that the sweep examined, 0 before the first.
    """

    trail: int
    result: int
    swept: int = 0

    def to_json(self) -> dict[str, int]:
        """Return it as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: Any) -> Self | None:
        """Parse it; None where it is not one, so that the sweep begins again."""
        try:
            return cls(int(held["trail"]), int(held["result"]), int(held["swept"]))
        except (KeyError, TypeError, ValueError):
            return None


def begin(store: Store) -> Position:
    """Return the position of a lab whose outbox has not been filled before: the sweep does it."""
    heads = store.order_changes.heads()
    return Position(heads.trail, heads.result)


def list_due(
    store: Store, lab: Lab, beside: Beside, *, position: Position | None, now: datetime
) -> tuple[list[str], Position]:
    """Return the orders to examine now, and the position of the next round.

    Args:
        store: Open.
        lab: What is laid down.
        beside: Files that wait or are lost; the orders that their paths name are due.
        position: Where the last round ended, None: every order is due.
        now: Aware UTC.

    Returns:
        Numbers, recent orders first and urgent ones first among them, each once.
    """
    heads = store.order_changes.heads()  # first: what comes during this round is of the next one
    ages = store.order_changes.ages()
    if position is None:
        return [one.number for one in ages], Position(heads.trail, heads.result)
    if heads.trail < position.trail:  # an older backup was restored
        position = Position(heads.trail, heads.result)
    touched = _touched(store, lab, beside, position, now)
    old = sorted((one for one in ages if not is_recent(one.first_seen_at, now)), key=_by_id)
    swept, end = _next_of(old, position.swept)
    due = [one.number for one in ages if is_recent(one.first_seen_at, now)]
    due += [one.number for one in old if one.number in touched]
    due += swept
    return list(dict.fromkeys(due)), Position(heads.trail, heads.result, end)


def _touched(store: Store, lab: Lab, beside: Beside, position: Position, now: datetime) -> set[str]:
    changes = store.order_changes.since(Heads(position.trail, position.result), without=OWN_ACTS)
    times = [at for act, at in changes.acts.items() if act in CHECK_ACTS]
    held = orders_in_doubt(store, since=min(times), now=now) if times else ()
    return {*changes.numbers, *numbers_named(beside, lab), *held}


def _next_of(old: Sequence[OrderAge], after: int) -> tuple[Iterable[str], int]:
    """Return the next orders of the sweep and the last one's row id, 0 where it is through."""
    some = [one for one in old if one.id > after][:SWEPT_PER_ROUND]
    end = some[-1].id if len(some) == SWEPT_PER_ROUND else 0
    return [one.number for one in some], end


def _by_id(one: OrderAge) -> int:
    return one.id
