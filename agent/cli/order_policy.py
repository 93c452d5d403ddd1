"""Read the lab's rules for orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.app import now_utc

if TYPE_CHECKING:
    from agent.orders.assessed import OrderPolicy
    from agent.settings import Settings
    from agent.store import Store


def read_order_policy(settings: Settings, store: Store, *, is_noted: bool = True) -> OrderPolicy:
    """Return the lab's specifications, taxonomy, permissions and instrument holds.

    Args:
        settings: Settings of the lab.
        store: Open store.
        is_noted: Whether to record a changed specification or taxonomy.

    Raises:
        BadSpecification: specifications.toml cannot be used.
    """
    from agent.lab_context import taxonomy_in_force
    from agent.orders.instrument_holds import load_holds
    from agent.orders.order_policy import load_policy

    taxonomy = taxonomy_in_force(settings, store)
    holds = load_holds(settings, store)
    return load_policy(settings, store, taxonomy, now=now_utc(), held=holds, is_noted=is_noted)
