"""Read the lab's rules for orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.app import now_utc

if TYPE_CHECKING:
    from agent.orders.assessment import Lab
    from agent.settings import Settings
    from agent.store import Store


def read_order_policy(settings: Settings, store: Store, *, is_noted: bool = True) -> Lab:
    """Read what the lab has laid down.

    Args:
        settings: Of the lab.
        store: Open.
        is_noted: Whether a changed specification or taxonomy is written down; else nothing is.

    Raises:
        BadSpecification: The file cannot be used.
    """
    from agent.lab_context import taxonomy_in_force
    from agent.orders.instrument_holds import holds_of
    from agent.orders.order_policy import lab_of

    taxonomy = taxonomy_in_force(settings, store)
    held = holds_of(settings, store)
    return lab_of(settings, store, taxonomy, now=now_utc(), held=held, is_noted=is_noted)
