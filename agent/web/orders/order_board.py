"""The orders of the order desk, cached; only orders that have changed are read again.

Assessing an order takes some milliseconds, and a lab has hundreds of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from agent.orders.facts.open_items import OpenItems
from agent.orders.facts.specimen_facts import LONG_AGO, Conformity
from agent.orders.judge.assessed import Assessed, OrderPolicy
from agent.orders.judge.assessment import Position, assess, begin, is_recent, list_touched
from agent.orders.judge.next_step import Lack, find_lack, find_next_step, list_to_confirm
from agent.orders.judge.permissions import is_hidden
from agent.orders.lead_acts import list_possible_names
from agent.store import MicrographView, OrderAge, Store

MOST_READ, MOST_READ_S = 150, 0.7
"""Orders that one request assesses at most, and the processor time (s) after which it stops."""
SWEPT = 10
"""Orders that the desk reads again at each refresh although no change of them is known."""


@dataclass(frozen=True, slots=True)
class BoardOrder:
    """One order as the desk shows it.

    Attributes:
        number: Order number.
        state: A word of `NextStep`, or "conforms", "does_not_conform", "not_assessed".
        lack: What it lacks.
        to_confirm: Public ids of the fields that need a reviewer's answer.
        fields: How many fields have been received.
        heard_at: When the order was first recorded, aware UTC, or None.
        urgent: It goes first.
        facts: Customer, product, material and heats, where known; the search uses them.
        sources: Sources of its fields.
        waits: The order where it waits for an act apart from answers on its fields, else None.
    """

    number: str
    state: str
    lack: Lack
    to_confirm: tuple[str, ...]
    fields: int
    heard_at: datetime | None
    urgent: bool
    facts: tuple[str, ...]
    sources: tuple[str, ...]
    waits: Assessed | None = None

    @property
    def has_limit(self) -> bool:
        """A specification applies, so that the order may follow another one by itself."""
        return self.lack.kind != "specification"


@dataclass(frozen=True, slots=True)
class Board:
    """The orders of recent days: urgent ones first, then those that have waited longest.

    Attributes:
        orders: Those that were read.
        unread: How many are still to be read; each refresh reads some more.
    """

    orders: tuple[BoardOrder, ...] = ()
    unread: int = 0

    @property
    def to_confirm(self) -> tuple[BoardOrder, ...]:
        """Orders with fields that need a reviewer's answer."""
        return tuple(order for order in self.orders if order.to_confirm)

    @property
    def following(self) -> tuple[BoardOrder, ...]:
        """Orders that follow one another by Enter: to confirm, and with a limit."""
        return tuple(order for order in self.to_confirm if order.has_limit)

    @property
    def fields_to_confirm(self) -> int:
        """Fields of orders that need a reviewer's answer, flagged ones too."""
        return sum(len(order.to_confirm) for order in self.orders)


class OrderBoard:
    """The orders as they were last read. Thread-safe.

    Args:
        most_read_s: Processor time (s) after which a request leaves further orders to the next one.
    """

    def __init__(self, most_read_s: float = MOST_READ_S) -> None:
        self._lock, self._most_read_s = threading.Lock(), most_read_s
        self._position: Position | None = None
        self._known: dict[str, BoardOrder] = {}
        self._last = Board()

    @property
    def last(self) -> Board:
        """The board of the last refresh, empty before the first; nothing is read for it."""
        return self._last

    def look(
        self, store: Store, policy: Callable[[], OrderPolicy], *, now: datetime, swept: int = 0
    ) -> Board:
        """Read the orders that have changed since the last refresh, and return the board.

        Args:
            store: Open.
            policy: Returns the order policy; only called where an order is to be read.
            now: Aware UTC.
            swept: How many orders are read again although no change of them is known.

        Raises:
            SpecificationError: The file of specifications cannot be used; the last board remains.
        """
        with self._lock:
            ages = [age for age in store.order_changes.ages() if is_recent(age.first_seen_at, now)]
            numbers = [age.number for age in ages]
            due = self._list_due(store, policy, numbers, now=now, swept=swept)
            if due:
                self._read(store, policy(), due)
            self._last = self._build(ages)
            return self._last

    def _list_due(
        self,
        store: Store,
        policy: Callable[[], OrderPolicy],
        numbers: list[str],
        *,
        now: datetime,
        swept: int,
    ) -> list[str]:
        """Return which orders to read: changed and unknown ones first, then the longest unread."""
        if self._position is None:
            touched, self._position = list[str](), begin(store)
        else:
            touched, self._position = list_touched(store, policy, position=self._position, now=now)
        for number in touched:
            self._known.pop(number, None)
        recent = set(numbers)
        changed = [entry for entry in touched if entry in recent]
        known = {*self._known, *changed}
        unknown = [*changed, *[entry for entry in numbers if entry not in known]][:MOST_READ]
        if len(unknown) == MOST_READ:
            return unknown
        return [*unknown, *[entry for entry in self._known if entry in recent][:swept]]

    def _read(self, store: Store, policy: OrderPolicy, numbers: list[str]) -> None:
        began_s, open_items = time.thread_time(), OpenItems.of(store)
        for count, number in enumerate(numbers):
            if count and time.thread_time() - began_s > self._most_read_s:
                return
            self._known.pop(number, None)  # to the end: what was read last is swept last
            if assessed := assess(store, number, policy, open_items=open_items):
                self._known[number] = build_board_order(assessed, policy)

    def _build(self, ages: list[OrderAge]) -> Board:
        found = [
            replace(self._known[age.number], urgent=age.urgent)
            for age in ages
            if age.number in self._known
        ]
        found.sort(key=lambda one: (not one.urgent, one.heard_at or LONG_AGO, one.number))
        return Board(tuple(found), len(ages) - len(found))


def build_board_order(assessed: Assessed, policy: OrderPolicy) -> BoardOrder:
    """Build the desk's entry of an assessed order; hidden answers do not influence it."""
    views = map_views(assessed)
    hidden = {view.id for view in views.values() if is_hidden(view)}
    fields = list_to_confirm(assessed, policy)
    return BoardOrder(
        number=assessed.view.number,
        state=find_state(assessed, policy, hidden),
        lack=find_lack(assessed, policy, n_to_confirm=len(fields), hidden=hidden),
        to_confirm=tuple(field_view.id for field_view in fields),
        fields=sum(len(specimen.facts.fields) for specimen in assessed.specimens),
        heard_at=assessed.view.first_seen_at,
        urgent=assessed.view.urgent,
        facts=tuple(_list_facts(assessed)),
        sources=tuple(sorted({view.source for view in views.values()})),
        waits=assessed if assessed.needs_lead or list_possible_names(assessed) else None,
    )


def map_views(assessed: Assessed) -> Mapping[str, MicrographView]:
    """Return public id → micrograph of every field of an order."""
    return {
        field.view.id: field.view
        for specimen in assessed.view.specimens
        for prepared in specimen.preparations
        for field in prepared.fields
    }


def find_state(assessed: Assessed, policy: OrderPolicy, hidden: set[str]) -> str:
    """Return the column of an order: its next step, or its conformity where it has none."""
    if assessed.statement.conformity is Conformity.UNDECIDED:
        return str(find_next_step(assessed, policy, hidden=hidden))
    return str(assessed.statement.conformity)


def _list_facts(assessed: Assessed) -> Iterator[str]:
    view = assessed.view
    named = [assessed.material, view.customer, view.product]
    heats = sorted({specimen.heat for specimen in view.specimens if specimen.heat})
    yield from (entry for entry in (*named, *heats) if entry)
