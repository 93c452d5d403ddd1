"""Load the policy of a lab for its orders: specifications, permissions, leads, priorities.

Service, commands and web pages share it, so that a code has one meaning everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent.errors import UnusableBundleError
from agent.orders.facts.scale_tracing import LATE_SCALE, ScaleTracing, load_measurements
from agent.orders.instruments.instrument_holds import Holds
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.decision_rule import iter_double_reviews
from agent.orders.judge.method_validation import load_allowances
from agent.orders.specifications.specification import Specifications, read_specifications
from agent.orders.specifications.specification_history import (
    DEMANDS,
    UNREADABLE,
    load_history,
    load_taxonomies,
    note_bundles,
    note_state,
    note_taxonomy,
    read_bundle_taxonomy,
)
from agent.settings import Settings, Source
from agent.store import MicrographView, RingRules, State, Store
from agent.watch import Calibration, Provenance
from model import Taxonomy

LEADING = ("lead", "admin")
"""Roles of accounts that may do what only a lead may."""
DEMANDED = ("max_false_conform", "scale_valid_months", "second_look_at_limit")
"""Settings in `[orders]` that an order has to keep as they were when it was released."""
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
        SpecificationError: The file cannot be used.
    """
    measurements, late = load_measurements(store), store.records.newest(LATE_SCALE)

    @cache
    def trace_scales(months: int) -> dict[str, Any]:
        scales = ScaleTracing(measurements, months, late)
        return {
            "held": lambda view: held(view) or scales.hold(view),
            "remarks": partial(_iter_remarks, held, scales),
            "traced": scales.find,
        }

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
        **trace_scales(settings.orders.scale_valid_months),
        # Asked for each label of each field of an order.
        is_lead=cache(partial(is_lead, settings, store, kinds=("person",))),
        is_leading_program=partial(is_lead, settings, store, kinds=("program",)),
        leads=partial(list_leads, settings, store),
        has_leads=lambda: bool(settings.orders.leads) or store.accounts.are_there(),
        second_look=settings.orders.second_look_at_limit,
        double_reviews=cache(lambda: tuple(iter_double_reviews(store))),
        history=load_history(store),
        taxonomies=load_taxonomies(store, bundles),
        has_needles=settings.needles.enabled,
        demands=tuple(store.records.all(DEMANDS)),
        scales=trace_scales,
    )


def _iter_remarks(
    held: Callable[[MicrographView], str], scales: ScaleTracing, view: MicrographView
) -> Iterator[str]:
    if isinstance(held, Holds):
        yield from held.notes(view)
    yield from scales.notes(view)


def note_specifications(settings: Settings, store: Store, *, now: datetime) -> Specifications:
    """Read the specifications, and record from when on they and the lab's demands are valid.

    An order is judged by what was recorded when it was released, so call this before an order is
    imported.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC.

    Raises:
        SpecificationError: The file cannot be used.
    """
    specifications = read_specifications(settings.orders.specifications)
    note_state(store, specifications, zone=settings.site.time_zone, at=now)
    demands = {name: getattr(settings.orders, name) for name in DEMANDED}
    store.records.add_state(DEMANDS, by="agent", at=now, facts=demands)
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


def list_leads(settings: Settings, store: Store) -> frozenset[str]:
    """Return the names of the people who are leads."""
    names = {*settings.orders.leads, *(known.name for known in store.accounts.every())}
    return frozenset(name for name in names if is_lead(settings, store, name, kinds=("person",)))


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
        UnusableBundleError: The current bundle's manifest cannot be read.
        model.TaxonomyError: A taxonomy is inconsistent.
    """
    taxonomy = taxonomy_in_force(settings, store)
    note_taxonomy(store, taxonomy, now=now)
    return taxonomy


def taxonomy_in_force(settings: Settings, store: Store) -> Taxonomy:
    """Return the active taxonomy: the lab's own, or else the bundle's, or else the default.

    Raises:
        UnusableBundleError: The current bundle's manifest cannot be read.
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
        raise UnusableBundleError(
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
