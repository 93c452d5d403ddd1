"""Load the policy of a lab for its orders: specifications, permissions, leads."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from agent.orders.facts.scale_tracing import ScaleTracing, load_measurements
from agent.orders.instruments.instrument_holds import Holds
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.method_validation import load_allowances
from agent.orders.judge.reviewer_errors import iter_double_reviews
from agent.orders.specifications.specification import read_specifications
from agent.orders.specifications.specification_history import load_history
from agent.orders.specifications.taxonomy_history import (
    load_taxonomies,
    note_bundles,
    note_taxonomy,
)
from agent.watch import Calibration, Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from agent.orders.specifications.specification import Specifications
    from agent.settings import Settings, Source
    from agent.store import MicrographView, Store
    from model import Taxonomy

LEADING = ("lead", "admin")
"""Roles of accounts that may do what only a lead may."""
BUNDLES = "bundles"
"""Folder of the bundles below the data folder."""


def load_policy(
    settings: Settings,
    store: Store,
    taxonomy: Taxonomy,
    *,
    now: datetime,
    held: Callable[[MicrographView], str] = lambda _: "",
    is_noted: bool = True,
) -> OrderPolicy:
    """Load the policy of the lab, and record a changed specification or taxonomy.

    Args:
        settings: Of the lab.
        store: Open.
        taxonomy: What a micrograph can be called.
        now: Aware UTC.
        held: Returns why a field's result is held, "" where it is not.
        is_noted: Whether a changed specification is recorded; False writes nothing.

    Raises:
        BadSpecification: The file cannot be used.
    """
    scales = ScaleTracing(load_measurements(store), settings.orders.scale_valid_months)
    bundles = settings.store.folder / BUNDLES
    if is_noted:
        note_taxonomy(store, taxonomy, now=now)
        note_bundles(store, bundles, now=now)
    specifications = (
        note_specifications(settings, store, now=now)
        if is_noted
        else read_specifications(settings.orders.specifications)
    )
    return OrderPolicy(
        specifications=specifications,
        taxonomy=taxonomy,
        sources={source.name: build_provenance(source) for source in settings.sources},
        allowances=load_allowances(store),
        zone=settings.site.time_zone,
        max_false_conform=settings.orders.max_false_conform,
        held=lambda view: held(view) or scales.hold(view),
        remarks=partial(_iter_remarks, held, scales),
        traced=scales.find,
        is_lead=partial(is_lead, settings, store, kinds=("person",)),
        is_leading_program=partial(is_lead, settings, store, kinds=("program",)),
        has_leads=lambda: bool(settings.orders.leads) or store.accounts.are_there(),
        second_look=settings.orders.second_look_at_limit,
        double_reviews=cache(lambda: tuple(iter_double_reviews(store))),
        history=load_history(store),
        taxonomies=load_taxonomies(store, bundles),
        has_needles=settings.needles.enabled,
    )


def _iter_remarks(
    held: Callable[[MicrographView], str], scales: ScaleTracing, view: MicrographView
) -> Iterator[str]:
    if isinstance(held, Holds):
        yield from held.notes(view)
    yield from scales.notes(view)


def note_specifications(settings: Settings, store: Store, *, now: datetime) -> Specifications:
    """Read the specifications, and record from when on they are valid.

    An order is judged by what was recorded when it was released, so call this before an order is
    imported.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.

    Raises:
        BadSpecification: The file cannot be used.
    """
    specifications = read_specifications(settings.orders.specifications)
    entries = [
        (entry.name, entry.valid_from, entry.approved_by, entry.sha256, entry.entry)
        for entry in specifications.entries
    ]
    store.specifications.note(entries, at=now)
    return specifications


def build_provenance(source: Source) -> Provenance:
    """Return what a source's settings say of its files."""
    return Provenance(
        fixed=source.fixed_process_data(),
        pattern=source.pattern,
        objectives=tuple(
            Calibration(o.name, o.um_per_px, o.width, o.height, o.valid_from)
            for o in source.objectives
        ),
    )


def is_lead(
    settings: Settings, store: Store, name: str, *, kinds: Collection[str] = ("person", "program")
) -> bool:
    """Return whether a name is that of a lead, by its account or by `[orders] leads`.

    Args:
        settings: Of the lab.
        store: Open.
        name: Whose.
        kinds: An account of another kind is none.
    """
    name = name.strip()
    account = next((known for known in store.accounts.every() if known.name == name), None)
    if account is not None and account.kind not in kinds:
        return False
    if name in settings.orders.leads:
        return True
    return account is not None and account.role in LEADING and account.disabled_at is None
