"""Queue the files of urgent orders first, also those queued before the order became urgent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.orders.facts.order_policy import build_provenance
from agent.store import State

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from agent.settings import Settings
    from agent.store import Store
    from agent.watch import Provenance


def is_urgent(relative: str, source: Provenance | None, numbers: Collection[str]) -> bool:
    """Return whether a file's path names an urgent order."""
    if source is None or not numbers:
        return False
    return any(keys.get("order") in numbers for keys in source.named_places(relative))


def prioritise_urgent(store: Store, settings: Settings) -> int:
    """Move every queued file of an urgent order into the urgent lane and return their number."""
    numbers = store.orders.urgent_numbers()
    if not numbers:
        return 0
    sources: Mapping[str, Provenance] = {
        source.name: build_provenance(source) for source in settings.sources
    }
    waiting = [
        fate.id
        for fate in store.files.iter_status((State.QUEUED, State.SETTLING, State.FAILED))
        if any(
            is_urgent(relative, sources.get(source), numbers) for source, relative in fate.seen_as
        )
    ]
    store.orders.put_first(waiting)
    return len(waiting)
