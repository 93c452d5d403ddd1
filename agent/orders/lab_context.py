"""Collect what reports and review pages need to know of a lab, from its settings and its bundle.

Service, commands and web pages share it, so that a code has one meaning everywhere.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import BadBundle
from agent.orders.facts.order_policy import BUNDLES
from agent.orders.specifications.taxonomy_history import (
    UNREADABLE,
    note_taxonomy,
    read_bundle_taxonomy,
)
from agent.store import RingRules

if TYPE_CHECKING:
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Store
    from model import Taxonomy


def software() -> str:
    """Return this program's name and version, as printed on reports."""
    return f"Martensight {version('martensight')}"


def review_url(settings: Settings) -> str:
    """Return the address of the review page, "" if any free port is used."""
    host = settings.web.host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104 - compared, not bound
    return f"http://{shown}:{settings.web.port}" if settings.web.port else ""


def read_taxonomy(settings: Settings, store: Store, *, now: datetime) -> Taxonomy:
    """Return the active taxonomy, and record since when it is active, before it is used.

    An order keeps the taxonomy of its release, and a label that of its decision.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.

    Raises:
        BadBundle: The current bundle's manifest cannot be read.
        model.TaxonomyError: A taxonomy is inconsistent.
    """
    taxonomy = taxonomy_in_force(settings, store)
    note_taxonomy(store, taxonomy, now=now)
    return taxonomy


def taxonomy_in_force(settings: Settings, store: Store) -> Taxonomy:
    """Return the active taxonomy: the lab's own, or else the bundle's, or else the default.

    Raises:
        BadBundle: The current bundle's manifest cannot be read.
        model.TaxonomyError: A taxonomy is inconsistent.
    """
    from model import default_taxonomy, load_taxonomy  # noqa: PLC0415 - brings torch

    if settings.model.taxonomy:
        return load_taxonomy(Path(settings.model.taxonomy))
    name = store.promotions.find_current()
    if name is None:
        return default_taxonomy()
    bundles = settings.store.folder / BUNDLES
    try:
        return read_bundle_taxonomy(bundles, name)
    except UNREADABLE as error:
        for earlier in dict.fromkeys(promotion.bundle for promotion in store.promotions.list_all()):
            with suppress(*UNREADABLE):  # the one that serves instead knows what its codes mean
                return read_bundle_taxonomy(bundles, earlier)
        raise BadBundle(
            f"bundle {name}: its taxonomy cannot be read ({error}); "
            "put the bundle back or promote another one: agent models list."
        ) from error


def get_ring_rules(settings: Settings) -> RingRules:
    """Return the rings in which the PCs of a site take a bundle."""
    rollout = settings.rollout
    return RingRules(
        first=rollout.first,
        share=rollout.share,
        wait_minutes=rollout.wait_minutes,
        absent_minutes=rollout.absent_minutes,
        tolerance=rollout.tolerance,
    )
