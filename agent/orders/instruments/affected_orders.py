"""Find the orders with results that a failed instrument check holds, and release them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import WrongUse
from agent.orders.instruments.instrument_checks import CONTROL
from agent.orders.instruments.instrument_holds import RELEASE, Holds, has_code, load_releases
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.orders.instruments.instrument_failures import Failure
    from agent.store import Store


@dataclass(frozen=True, slots=True)
class Affected:
    """Orders with results that a failure holds.

    Args:
        failure: The failure.
        orders: Their numbers.
    """

    failure: Failure
    orders: tuple[str, ...]


def list_affected_orders(store: Store, holds: Holds, *, now: datetime) -> list[Affected]:
    """Return the failures that hold results of orders, and those orders.

    Args:
        store: Open.
        holds: What holds results.
        now: Aware UTC.
    """
    groups = []
    for source in holds.sources:
        for failure in holds.failures(source):
            fields = store.order_changes.judged_between(source, failure.after, failure.until or now)
            orders = {
                field.order
                for field in fields
                if field.order not in holds.control
                and holds.is_held(failure, field.done_at)
                and not (failure.is_about_the_model and _is_coded(store, field.id))
            }
            if orders:
                groups.append(Affected(failure, tuple(sorted(orders))))
    return groups


def list_orders_in_doubt(store: Store, *, since: datetime, now: datetime) -> set[str]:
    """Return the orders of failed checks with reference images that a new act may hold or release.

    Args:
        store: Open.
        since: Failures with a check, and releases, from this time on.
        now: Aware UTC.
    """
    releases = load_releases(store)
    holds = Holds(store.records.all(CONTROL), {}, releases)
    released = {earlier.source for earlier in releases if earlier.at >= since}
    return {
        field.order
        for source in holds.sources
        for failure in holds.failures(source)
        if failure.last_at >= since or source in released
        for field in store.order_changes.judged_between(source, failure.after, failure.until or now)
    }


def _is_coded(store: Store, public_id: str) -> bool:
    view = store.results.find(public_id)
    return view is not None and has_code(view)


def release_results(
    store: Store,
    affected: Sequence[Affected],
    source: str,
    *,
    by: str,
    reason: str,
    at: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[str]:
    """Release held results of a source, so that they count again; a lead's act.

    Args:
        store: Open.
        affected: What is held now.
        source: Name of the source.
        by: The lead.
        reason: Why the results are sound.
        at: Now, aware UTC.
        start: Results from this time on are released, aware UTC; None: from the first held one.
        end: Up to this time; None: until now.

    Returns:
        Numbers of the orders with such results.

    Raises:
        WrongUse: No result of the source is held, the end is later than now, or no reason is given.
    """
    from agent.orders.facts.specimen_facts import LONG_AGO  # noqa: PLC0415 - a status judges nothing
    from agent.orders.judge.permissions import require_reason  # noqa: PLC0415

    reason = require_reason(reason)
    mine = [group for group in affected if group.failure.source == source]
    if not mine:
        raise WrongUse(_("No results of {source} are held.").format(source=source))
    held_since = [group.failure.after for group in mine]
    start = start or min(since or LONG_AGO for since in held_since)
    end = end or at
    if end > at or end < start:
        raise WrongUse("--to: a time after --from and not after now; later results are not known.")
    facts = {"from": start.isoformat(), "to": end.isoformat(), "reason": reason}
    store.records.add(RELEASE, source, by=by, at=at, facts=facts)
    return sorted({number for group in mine for number in group.orders})
