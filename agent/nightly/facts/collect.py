"""Gather the facts of a night once, as they were known at its end."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

import reports
from agent.evidence.anchors import list_losses
from agent.nightly.facts.order_status import (
    OpenOrder,
    collect_order_status,
    collect_stated,
    instruments,
)
from agent.nightly.facts.reviewer_agreement import agreement
from agent.nightly.facts.snapshot import (
    FACTS_VERSION,
    Before,
    NightFacts,
    NightSettings,
    Outage,
    TrailEnd,
    collect_shadow,
    from_text,
    is_free,
    outages,
    parse_part,
    rewind_outages,
    rewind_sources,
)
from agent.nightly.page.headline import build_summary
from agent.nightly.page.micrograph_rows import add_needles
from agent.nightly.page.night_charts import gather_charts
from agent.nightly.page.verdict import raise_tone
from agent.orders import SpecificationError, list_valid_limits
from agent.orders.facts.order_policy import (
    load_policy,
    read_taxonomy,
    review_url,
    software,
    taxonomy_in_force,
)
from agent.orders.facts.specimen_facts import Conformity
from agent.orders.instruments.instrument_holds import load_holds
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.judge.judgement_rules import MAX_FALSE_CONFORM
from agent.orders.specifications.class_texts import build_class_texts, describe_codes
from agent.settings import Settings
from agent.site_time import CLOCKS_DIFFER, compute_night_period
from agent.store import (
    OUTAGE,
    REFUSED,
    ROUND_ROBIN,
    FileFate,
    MicrographView,
    SourceHealth,
    Store,
    schema,
)
from model import Taxonomy
from reports import read_message

UNUSABLE_STATES = ("set_aside", "failed")


def gather_files(
    store: Store, after: datetime, until: datetime
) -> tuple[tuple[FileFate, ...], tuple[FileFate, ...]]:
    """Return the files that failed or were set aside in a night, and those that came again."""
    fates = (
        *store.files.iter_status("set_aside", done_after=after),
        *store.files.iter_status("failed"),  # named each night until they are read
        *store.files.iter_status("duplicate", done_after=after),
    )
    done = [fate for fate in fates if is_within(fate.done_at, after, until)]
    return (
        tuple(fate for fate in fates if is_reported(fate, after, until)),
        tuple(fate for fate in done if fate.state == "duplicate"),
    )


def is_reported(fate: FileFate, after: datetime, until: datetime) -> bool:
    """Return whether a file that could not be used is named in this night."""
    # A file that is still tried again has no end yet: it is named every night until it has.
    if fate.state == "failed":
        return fate.first_seen_at <= until
    return fate.state in UNUSABLE_STATES and is_within(fate.done_at, after, until)


def is_within(instant: datetime | None, after: datetime, until: datetime) -> bool:
    """Return whether an instant is in (after, until]."""
    return instant is not None and after < instant <= until


@dataclass(frozen=True, slots=True)
class NightSources:
    """Sources that are watched or named in the night, and when they were away."""

    sources: tuple[SourceHealth, ...]
    outages: tuple[Outage, ...]
    last_files: Mapping[str, datetime]


def gather_sources(
    store: Store,
    present: Store,
    named_by: tuple[Sequence[MicrographView], Sequence[FileFate]],
    period: tuple[datetime, datetime],
    *,
    at: datetime,
    is_late: bool,
) -> NightSources:
    """Gather the sources of a night.

    Args:
        store: As of the night's end.
        present: As it is now; it alone knows outages that ended later.
        named_by: The micrographs and the files of the night.
        period: Begin and end of the night.
        at: The instant that the facts are of.
        is_late: The troubles of sources are of another time.
    """
    (reported, files), (after, until) = named_by, period
    last = list_last_files(store, until, reported)
    named = {micrograph.source for micrograph in reported} | {file.source for file in files}
    past_outages = present.records.all(OUTAGE)
    watched = [
        health
        for health in rewind_sources(present.sources.list_all(), past_outages, at, is_late=is_late)
        if health.name in named or is_watched(health)
    ]
    return NightSources(
        tuple(watched),
        outages(rewind_outages(past_outages, at), watched, after, until),
        last,
    )


def is_watched(health: SourceHealth) -> bool:
    """Return whether a source is a watched folder."""
    # A folder that was imported once is a source too, but no night's.
    return health.last_scan_at is not None or not health.online or bool(health.mode)


def list_last_files(
    store: Store, until: datetime, reported: Iterable[MicrographView]
) -> dict[str, datetime]:
    """Return when each source's newest micrograph was done, up to the night's end."""
    last: dict[str, datetime] = {}
    for micrograph in reported:
        last[micrograph.source] = max(
            micrograph.result.done_at, last.get(micrograph.source, micrograph.result.done_at)
        )
    # The report of an empty night names the last file: only then are all files queried.
    return last or store.files.find_last_done(until)


def night_settings(settings: Settings, store: Store, *, now: datetime) -> NightSettings:
    """Return the settings of a night's report.

    Limits that cannot be used leave the orders out, and the report states it.

    Args:
        settings: Of the lab.
        store: Open.
        now: Aware UTC; a limit that is new is recorded with it.

    Raises:
        UnusableBundleError: The current bundle has no readable taxonomy.
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
    except SpecificationError as error:
        return None, str(error)


def _fingerprint(settings: Settings) -> str:
    # Addresses may hold passwords, and even a hash of one does not belong into a report.
    document = settings.model_dump_json(exclude={"notify": True, "store": {"url"}})
    return hashlib.sha256(document.encode()).hexdigest()[:12]


LATE = timedelta(hours=1)
"""A report that is written later after its night's end no longer knows the troubles of sources."""
SCALE_DOUBTS = {"scale_unknown", "scale_conflict"}


def gather(
    store: Store, night: date, settings: NightSettings, *, now: datetime, refresh: bool = False
) -> NightFacts:
    """Gather the facts of one night as they were known at its end, whenever that was.

    Args:
        store: Open.
        night: Its date.
        settings: Of the lab.
        now: An aware instant; if the night is not over, its facts are those until now.
        refresh: Gather what is known of the night now instead.
    """
    after, until = _find_period(store, night, settings)
    if refresh or now <= until:
        facts = _gather(store, store, night, settings, period=(after, until), at=now)
        return raise_tone(replace(facts, dated_ahead=_find_dated_ahead(store, night, now)))
    with store.as_of(until) as past:
        if settings.rules_at and settings.lab:
            lab, fault = settings.rules_at(past, until)
            settings = replace(settings, lab=lab, lab_fault=fault)
        is_late = now - until > LATE
        facts = _gather(
            past, store, night, settings, period=(after, until), at=until, is_late=is_late
        )
    return raise_tone(replace(facts, dated_ahead=_find_dated_ahead(store, night, now)))


def _find_dated_ahead(store: Store, night: date, now: datetime) -> tuple[int, datetime] | None:
    """Return what was written since the report before with a date of the future."""
    after_id = max(_list_newest_results(store, night), default=0)
    return store.results.count_dated_after(now + CLOCKS_DIFFER, after_id=after_id)


def _find_period(store: Store, night: date, settings: NightSettings) -> tuple[datetime, datetime]:
    """Return a night's period (after, until].

    Frozen nights keep their ends where [night] at is moved: the next one begins where the one
    before ended, so that each instant is in exactly one night.
    """
    after, until = compute_night_period(night, settings.at, settings.zone)
    before = store.nightly_reports.find(night - timedelta(days=1))
    own = store.nightly_reports.find(night)
    return (
        from_text(before.facts).until if before else after,
        from_text(own.facts).until if own else until,
    )


def _gather(
    store: Store,
    present: Store,
    night: date,
    settings: NightSettings,
    *,
    period: tuple[datetime, datetime],
    at: datetime,
    is_late: bool = False,
) -> NightFacts:
    """Gather the facts of one night from the store as of an instant.

    Args:
        store: As of the instant.
        present: As it is now; it alone knows outages that ended later.
        night: Its date.
        settings: Of the lab.
        period: After and until.
        at: The instant.
        is_late: The troubles of sources are of another time.
    """
    after, until = period
    newest_result, views = _results(store, night, after, until)
    reported = tuple(add_needles(store, views))
    unusable, duplicates = gather_files(store, after, until)
    sources = gather_sources(
        store, present, (reported, (*unusable, *duplicates)), (after, until), at=at, is_late=is_late
    )
    last_file_at = max(sources.last_files.values(), default=None)
    refusals = tuple(
        read_message(record.facts.get("message"), str(record.facts.get("said", "")))
        for record in store.records.all(REFUSED)
        if is_within(record.at, after, until)
    )
    orders, conforming = (
        collect_order_status(store, settings.lab, now=at) if settings.lab else ((), 0)
    )
    waits_before, waits_since = store.review_queue.count_until(after)
    end = store.audit_log.get_head()
    charts = gather_charts(store, night, settings, reported, period)
    summary = build_summary(
        night,
        settings.zone,
        orders=orders,
        waits_before=waits_before,
        reported=reported,
        unusable=unusable,
        sources=sources.sources,
        newest=last_file_at,
        away=sources.outages,
        # A file that came again is something to be read, so such a night is not empty by plan.
        free=is_free(night, settings.free_days) and not duplicates,
        has_calendar=bool(settings.free_days),
        has_refusals=bool(refusals),
        is_drifting=any(chart.alarm for chart in charts.batch_charts),
    )
    return NightFacts(
        **settings.get_reported(),
        version=FACTS_VERSION,
        newest_result=newest_result,
        summary=summary,
        charts=charts,
        orders=orders,
        conforming=conforming,
        instruments=instruments(
            store,
            [source.name for source in sources.sources],
            Counter(
                micrograph.source
                for micrograph in reported
                if SCALE_DOUBTS & set(micrograph.result.reasons)
            ),
            control=settings.control,
            every=settings.control_every,
            now=min(at, until),
        )
        if settings.lab
        else (),
        unassigned=len(store.orders.unassigned()) if settings.lab else 0,
        waits_before=waits_before,
        waits_since=waits_since,
        schema=schema.HEAD,
        trail=TrailEnd(
            end.number,
            end.count,
            end.sha256,
            tuple((loss.kept, loss.until, loss.at) for loss in list_losses(store)),
        ),
        night=night,
        after=after,
        until=until,
        gathered_at=at.astimezone(UTC),
        database=store.kind,
        bundle=store.promotions.find_current() or "",
        last_file_at=last_file_at,
        last_files=dict(sources.last_files),
        micrographs=reported,
        needle_limits=_find_needle_limits(settings.lab, reported, on=night),
        unusable=unusable,
        duplicates=duplicates,
        sources=sources.sources,
        agreement=agreement(
            store.labelled_micrographs.list_all(origin="watch"),
            store.labels.list_double_reviews(),
            store.records.all(ROUND_ROBIN),
            until=until,
            taxonomy=settings.lab.taxonomy if settings.lab else None,
            limits=_limits(settings.lab, night) if settings.lab else {},
            max_false_conform=settings.lab.max_false_conform if settings.lab else MAX_FALSE_CONFORM,
        ),
        outages=sources.outages,
        refusals=refusals,
        shadow=collect_shadow(store, until),
        stated=collect_stated(store, after, min(at, until)),
        before=_before(store, night, orders),
    )


def _find_needle_limits(
    lab: OrderPolicy | None, micrographs: Sequence[MicrographView], *, on: date
) -> dict[str, float]:
    """Return the limits of L90 by public id, of the micrographs with needles that have one.

    Args:
        lab: The policy of the lab; None: it has no specifications.
        micrographs: Of the night.
        on: The day whose specifications are valid.
    """
    found = {
        micrograph.id: _find_needle_limit(lab, micrograph, on)
        for micrograph in micrographs
        if micrograph.needles
    }
    return {key: limit for key, limit in found.items() if limit is not None}


def _find_needle_limit(lab: OrderPolicy | None, view: MicrographView, on: date) -> float | None:
    """Return the limit of L90 that the order of a micrograph has to keep, µm, or None."""
    if lab is None or not view.process_data.get("order"):
        return None
    wanted = lab.specifications.for_order(view.process_data, on=on).specification
    limit = wanted.needle_bound if wanted else None
    return limit.most_um if limit and limit.quantile == "L90" else None


def _limits(lab: OrderPolicy, night: date) -> dict[str, Callable[[str], bool]]:
    return list_valid_limits(lab.specifications, lab.taxonomy, on=night)


def _results(
    store: Store, night: date, after: datetime, until: datetime
) -> tuple[int, list[MicrographView]]:
    """Return the newest result that this report can include, and its micrographs.

    A result that was written after the last report, with a time that this one already covered, is
    reported now: a file whose end fell together with the night's, or a clock that was set back.
    """
    before = _list_newest_results(store, night)
    newest = store.order_changes.heads().result
    late = store.results.list_late(after, after_id=max(before)) if before else []
    views = [*late, *store.results.list_between(after, until)]
    return newest, [view for view in views if view.result.id <= newest]


def _list_newest_results(store: Store, night: date) -> list[int]:
    """Return the newest result of each report that was written before a night's."""
    numbers = {row.date: _parse_newest_result(row.head) for row in store.nightly_reports.list_all()}
    is_new = night not in numbers
    return [n for day, n in numbers.items() if n is not None and (is_new or day < night)]


def _parse_newest_result(head: str) -> int | None:
    try:
        number = parse_part(head, "newest_result")
    except ValueError:
        return None
    return number if isinstance(number, int) else None


def _before(store: Store, night: date, orders: Sequence[OpenOrder]) -> Before | None:
    earlier = [row.date for row in store.nightly_reports.list_all() if row.date < night]
    row = store.nightly_reports.find(max(earlier)) if earlier else None
    if row is None:
        return None
    facts = from_text(row.facts)
    then = {order.number: order.conformity for order in facts.orders}
    now = {order.number: order.conformity for order in orders}
    broken = Conformity.DOES_NOT_CONFORM.value
    return Before(
        night=facts.night,
        taken=facts.summary.taken,
        review=facts.summary.review,
        unusable=facts.summary.unusable,
        bundle=facts.bundle,
        software=facts.software,
        broken=tuple(n for n, word in now.items() if word == broken and then.get(n) != broken),
        settled=tuple(n for n in then if n not in now),
    )
