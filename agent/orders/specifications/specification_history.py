"""Choose the specification that was valid when an order was released.

The file is recorded whenever the agent reads it; a change is a new state. An order is judged by the
first state, from its release on, in which a specification without a fault applies to it. An edit
therefore never changes an order that was released before, unless a lead reopens it. The sequence is
that of the record numbers, as a clock may be set back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.orders.specifications.specification import (
    Specification,
    SpecificationChoice,
    Specifications,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date, datetime

    from agent.store import Store

STATE, REOPENED = "specifications", "reopened"
"""Kinds of records: the file as it was read, and a lead's act that judges an order again."""


@dataclass(frozen=True, slots=True)
class SpecificationState:
    """The specifications of the file from a moment on.

    Attributes:
        id: Number of its record; a later state has a larger one.
        at: When the agent first read it so, aware UTC.
        specifications: As read.
    """

    id: int
    at: datetime
    specifications: Specifications


@dataclass(frozen=True, slots=True)
class SpecificationHistory:
    """Every state of the file, oldest first."""

    states: tuple[SpecificationState, ...] = ()

    def choose(
        self,
        keys: Mapping[str, str],
        *,
        on: date,
        since: datetime | None,
        current: Specifications,
        last: int | None = None,
        can_judge: Callable[[Specification], bool] = lambda _wanted: True,
    ) -> SpecificationChoice:
        """Return the specification that applies to an order.

        Args:
            keys: Its material, product, customer and named specification.
            on: Day of its release.
            since: When it was released or reopened, None where that is not known.
            current: The file as it is now.
            last: Number of the newest record of its release or reopening, None where none was
                kept: then `since` decides.
            can_judge: Returns whether a specification can be judged; a version with a fault, or two
                that clash, apply to no order once they are mended.
        """
        if since is None or not self.states:
            return current.for_order(keys, on=on)
        before = [
            n
            for n, state in enumerate(self.states)
            if (state.at <= since if last is None else state.id <= last)
        ]
        for state in self.states[before[-1] if before else 0 :]:
            choice = state.specifications.for_order(keys, on=on)
            if choice.specification and can_judge(choice.specification):
                return choice
        return current.for_order(keys, on=on)


def load_history(store: Store) -> SpecificationHistory:
    """Load every state of the file that the agent noted."""
    states = store.records.all(STATE)
    if not states:
        return SpecificationHistory()
    known = {
        sha256: Specification.model_validate(entry)
        for sha256, entry in store.specifications.entries().items()
    }
    return SpecificationHistory(
        tuple(
            SpecificationState(
                state.id,
                state.at,
                Specifications(tuple(known[sha] for sha in state.facts["entries"] if sha in known)),
            )
            for state in states
        )
    )


def reopen(store: Store, number: str, *, by: str, reason: str, at: datetime) -> None:
    """Judge an order by the specifications that are valid now; a lead's act.

    Raises:
        WrongUse: The order is unknown, or no reason is given.
    """
    if not reason.strip():
        raise WrongUse("Give a reason with --reason TEXT: the statement shows it.")
    view = store.orders.order(number)
    if view is None:
        raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
    store.records.add(REOPENED, view.number, by=by, at=at, facts={"reason": reason})
