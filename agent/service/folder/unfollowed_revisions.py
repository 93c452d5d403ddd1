"""Report revisions that the LIMS holds and that a restored database does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store

NAMED = 5
"""Orders that a sentence names."""


def describe_unfollowed(settings: Settings, store: Store) -> str:
    """Return what the LIMS holds that no revision of this database has followed, "" for none."""
    if not settings.orders.outbox:
        return ""
    from agent.orders.lims.lost_conformity import list_unfollowed  # noqa: PLC0415 - only for a LIMS

    numbers = list_unfollowed(store)
    if not numbers:
        return ""
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    orders = format_count(len(numbers), "order")
    return (
        f"the LIMS holds revisions of {orders} ({', '.join(numbers[:NAMED])}{more}) that the "
        "restored back-up does not know: enter again what was lost, or let a lead acknowledge it "
        "(agent orders resume NUMBER); until then nothing better is sent."
    )
