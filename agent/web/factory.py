"""Build the web application of one lab from its settings."""

from __future__ import annotations

import platform
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.features import FeatureFolder, SimilarIndex
from agent.nightly.facts.order_status import instruments as list_instruments
from agent.orders.facts.order_policy import (
    build_provenance,
    get_ring_rules,
    load_policy,
    prioritise_urgent,
    read_taxonomy,
)
from agent.orders.instruments.instrument_holds import load_holds
from agent.orders.specifications.taxonomy_changes import TAXONOMY_FILE, load_taxonomy_use
from agent.store.sites.site_folders import get_features_folder, get_own_file, reports_folder
from agent.web.access import refuse_strangers
from agent.web.app import create_app
from agent.web.context import Desk, LearningSetup, TaxonomySetup
from agent.web.metrics import MEASURES
from agent.web.review.chart_plates import Chart, open_chart

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from agent.archive import Archive
    from agent.settings import Settings
    from agent.store import Store
    from agent.web.archive.uploads import Inbox


def app_of(
    settings: Settings,
    *,
    store: Store,
    archive: Archive,
    now: Callable[[], datetime],
    status: Callable[[], dict[str, Any]],
    inbox: Inbox | None = None,
    restart: Callable[[], None] | None = None,
) -> FastAPI:
    """Build the application that `[web]` describes.

    Args:
        settings: The lab's settings.
        store: Open; it stays open as long as the application runs.
        archive: The pixels.
        now: Returns the time, aware UTC.
        status: Returns what `agent status --json` prints.
        inbox: Receives files that programs send; None where this process receives none.
        restart: Requests a restart of the agent; None where none runs with this application.

    Raises:
        BadSettings: `[web] host` can be reached from other PCs, and there are no accounts; or the
            folder of `[review] chart` is missing.
    """
    refuse_strangers(settings.web, store.accounts)
    desk = Desk(
        store=store,
        archive=archive,
        reports=reports_folder(settings.store.folder, store),
        site=settings.site.name,
        zone=settings.site.time_zone,
        taxonomy=lambda: read_taxonomy(settings, store, now=now()),
        now=now,
        status=status,
        inbox=inbox,
        measures=get_own_file(settings.store.folder, MEASURES, url=settings.store.url),
        similar=_open_similar(settings, store),
        taxonomy_setup=_taxonomy_setup(settings, store),
        settings_file=settings.file,
        is_outdated=lambda written: written != settings,
        restart=restart,
        holds=lambda: load_holds(settings, store),
        instruments=lambda: list_instruments(
            store,
            [source.name for source in settings.sources],
            {},
            control=settings.orders.control,
            every=timedelta(hours=settings.orders.control_every_h),
            now=now(),
        ),
        hasten=lambda: prioritise_urgent(store, settings),
        measures_needles=settings.needles.enabled or not settings.model.taxonomy,
        learns_from=settings.retrain.learns_from,
        learning=LearningSetup(
            promoters=settings.retrain.promoters,
            min_new_labels=settings.retrain.min_new_labels,
            language=settings.report.language,
            names_leads=bool(settings.orders.leads),
            rings=get_ring_rules(settings),
            names_taxonomy=bool(settings.model.taxonomy),
        ),
        objectives={
            source.name: build_provenance(source).objectives for source in settings.sources
        },
        customer_templates=Path(settings.report.customer_templates)
        if settings.report.customer_templates
        else None,
        um_per_px_range=settings.imaging.um_per_px_range,
        chart=_open_chart(settings),
        look_s=settings.review.look_s,
        correction_reasons=settings.review.correction_reasons
        if settings.review.reason_on_correction
        else None,
        lab=lambda: load_policy(
            settings,
            store,
            read_taxonomy(settings, store, now=now()),
            now=now(),
            held=load_holds(settings, store),
        ),
    )
    hosts = (settings.web.host, platform.node(), *settings.web.names)
    return create_app(
        desk,
        hosts=hosts,
        idle=timedelta(minutes=settings.web.lock_after_min),
        requests=settings.web.requests,
        language=settings.report.language,
    )


def _open_similar(settings: Settings, store: Store) -> SimilarIndex | None:
    if not settings.features.keep:
        return None
    folder = FeatureFolder(get_features_folder(settings.store.folder, store), platform.node())
    return SimilarIndex(folder, most_rows=settings.features.search_rows)


def _open_chart(settings: Settings) -> Chart | None:
    """Return the chart plates of `[review] chart`, None where it is not set."""
    if not settings.review.chart:
        return None
    return open_chart(
        Path(settings.review.chart),
        um_per_px_range=settings.imaging.um_per_px_range,
        max_megapixels=settings.imaging.max_megapixels,
    )


def _taxonomy_setup(settings: Settings, store: Store) -> TaxonomySetup:
    """Return where the classes are written: the file that the settings name, or next to them."""
    named = settings.model.taxonomy
    beside = settings.file.parent if settings.file else settings.store.folder
    return TaxonomySetup(
        file=Path(named) if named else beside / TAXONOMY_FILE,
        is_named=bool(named),
        load_use=lambda: load_taxonomy_use(
            store, data=settings.store.folder, specifications=settings.orders.specifications
        ),
    )
