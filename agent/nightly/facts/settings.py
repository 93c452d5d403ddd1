"""Settings of a night's report, from the lab's settings and its bundle."""

from __future__ import annotations

import hashlib
import platform
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import reports
from agent.nightly.facts.snapshot import NightSettings
from agent.orders import BadSpecification
from agent.orders.facts.order_policy import (
    load_policy,
    read_taxonomy,
    review_url,
    software,
    taxonomy_in_force,
)
from agent.orders.instruments.instrument_holds import load_holds
from agent.orders.specifications.class_texts import build_class_texts, describe_codes

if TYPE_CHECKING:
    from agent.orders.judge.assessed import OrderPolicy
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
        review_url=review_url(settings).rstrip("/"),
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
        rules_at=partial(_rules_at, settings),
    )


def _rules_at(settings: Settings, store: Store, at: datetime) -> tuple[OrderPolicy | None, str]:
    """Return what was laid down for orders at an instant, from the store as of it."""
    with reports.speaking(settings.report.language):
        return _lab(settings, store, taxonomy_in_force(settings, store), at, is_noted=False)


def _lab(
    settings: Settings, store: Store, taxonomy: Taxonomy, now: datetime, *, is_noted: bool = True
) -> tuple[OrderPolicy | None, str]:
    holds = load_holds(settings, store)
    try:
        return load_policy(settings, store, taxonomy, now=now, held=holds, is_noted=is_noted), ""
    except BadSpecification as error:
        return None, str(error)


def _fingerprint(settings: Settings) -> str:
    # Addresses may hold passwords, and even a hash of one does not belong into a report.
    document = settings.model_dump_json(exclude={"notify": True, "store": {"url"}})
    return hashlib.sha256(document.encode()).hexdigest()[:12]
