"""Collect what reports and review pages need to know of a lab, from its settings and its bundle.

Service, commands and web pages ask here, so that a code has one meaning everywhere.
"""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import reports
from agent.errors import BadBundle
from agent.night.facts import NightSettings
from agent.orders import BadSpecification
from agent.orders.class_texts import build_class_texts, describe_codes, fill_texts
from agent.orders.instrument_holds import holds_of
from agent.orders.lab import BUNDLES, lab_of
from agent.orders.taxonomy_history import UNREADABLE, note_taxonomy, read_bundle_taxonomy

if TYPE_CHECKING:
    from datetime import datetime

    from agent.orders.assessment import Lab
    from agent.settings import Settings
    from agent.store import Store
    from model import Taxonomy


def night_settings(settings: Settings, store: Store, *, now: datetime) -> NightSettings:
    """Return the settings of a night's report.

    Limits that cannot be used leave the orders out, and the report states it.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC; a limit that is new is recorded with it.

    Raises:
        BadBundle: The current bundle has no readable taxonomy.
        model.TaxonomyError: The lab's own taxonomy cannot be used.
    """
    taxonomy = read_taxonomy(settings, store, now=now)
    with reports.speaking(settings.report.language):
        words, texts = describe_codes(taxonomy), build_class_texts(taxonomy)
        lab, fault = _lab(settings, store, taxonomy, now)
    return NightSettings(
        site=settings.site.name,
        zone=settings.site.time_zone,
        at=settings.night.at,
        alpha=settings.strangeness.alpha,
        min_probability=settings.triage.min_probability,
        review_url=review_url(settings),
        software=software(),
        words=words,
        texts=texts,
        language=settings.report.language,
        lab=lab,
        lab_fault=fault,
        control=settings.orders.control,
        control_every=timedelta(hours=settings.orders.control_every_h),
        host=platform.node(),
        config=_fingerprint(settings),
        free_days=settings.night.free_days,
    )


def _lab(
    settings: Settings, store: Store, taxonomy: Taxonomy, now: datetime
) -> tuple[Lab | None, str]:
    holds = holds_of(settings, store)
    try:
        return lab_of(settings, store, taxonomy, now=now, held=holds), ""
    except BadSpecification as error:
        return None, str(error)


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
    name = store.current_bundle()
    if name is None:
        return default_taxonomy()
    bundles = settings.store.folder / BUNDLES
    try:
        return fill_texts(read_bundle_taxonomy(bundles, name))
    except UNREADABLE as error:
        for earlier in dict.fromkeys(promotion.bundle for promotion in store.promotions()):
            with suppress(*UNREADABLE):  # the one that serves instead knows what its codes mean
                return fill_texts(read_bundle_taxonomy(bundles, earlier))
        raise BadBundle(
            f"bundle {name}: its taxonomy cannot be read ({error}); "
            "put the bundle back or promote another one: agent models list."
        ) from error


def _fingerprint(settings: Settings) -> str:
    # Addresses may hold passwords, and even a hash of one does not belong into a report.
    document = settings.model_dump_json(exclude={"notify": True, "store": {"url"}})
    return hashlib.sha256(document.encode()).hexdigest()[:12]
