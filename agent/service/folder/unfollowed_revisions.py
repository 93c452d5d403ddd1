"""Report orders of which more was given out than a restored database knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.lims.resumption import read_floors
from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.store import Store

NAMED = 5
"""Orders that a sentence names."""


def describe_unfollowed(store: Store) -> str:
    """Return of which orders what was lost was not followed yet, "" for none."""
    if not read_floors(store):
        return ""
    from agent.orders.lims.lost_conformity import list_unfollowed  # noqa: PLC0415 - after a restore

    numbers = list_unfollowed(store)
    if not numbers:
        return ""
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    orders = format_count(len(numbers), "order")
    return (
        f"a restored back-up lost revisions or statements of {orders} "
        f"({', '.join(numbers[:NAMED])}{more}): enter again what was lost, or let a lead "
        "acknowledge it (agent orders resume NUMBER); until then nothing better is stated or sent."
    )
