"""Gather the facts of a night once, and freeze them.

A report that is written again shows the night as it was first reported, whatever was decided,
promoted or renamed since. So everything on a page that could change is stored here.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from agent.nightly.order_status import (
    Instrument,
    OpenOrder,
    OrderStatus,
    StatedOrder,
    collect_order_status,
    collect_stated,
    get_order_status,
    instruments,
    iter_control_values,
)
from agent.nightly.outages import Outage, is_free, outages, rewind_outages, rewind_sources
from agent.nightly.reviewer_agreement import ReviewerAgreement, agreement
from agent.nightly.shadow_results import Shadowed, collect_shadow
from agent.nightly.spc.batch_chart import BatchChart, BatchSize, average_batches, chart_batches
from agent.nightly.spc.individuals_chart import Individuals, average_by_night, chart, is_ready
from agent.nightly.spc.p_chart import (
    CONTROL,
    Drift,
    Tally,
    Trend,
    Unit,
    compute_alarm_level,
    count_ready_charts,
    drifts,
    tally,
    trends,
)
from agent.orders import list_valid_limits
from agent.orders.class_texts import ClassTexts
from agent.orders.judgement_rules import MAX_FALSE_CONFORM
from agent.orders.next_step import NextStep
from agent.orders.specimen_facts import Conformity
from agent.site_time import compute_night_period, local, night_of
from agent.store import OUTAGE, REFUSED, ROUND_ROBIN, SCHEMA
from reports import Language, ngettext
from reports import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.orders.assessed import OrderPolicy
    from agent.store import FileFate, LabelView, MicrographView, SourceHealth, Store

FACTS_VERSION = 1
UNUSABLE_STATES = ("set_aside", "failed")
LATE = timedelta(hours=1)
"""A report that is written later after its night's end no longer knows the troubles of sources."""
SCALE_DOUBTS = {"scale_unknown", "scale_conflict"}


@dataclass(frozen=True, slots=True)
class NightSettings:
    """What a report needs to know of the lab.

    Args:
        site: Its name.
        zone: Its time zone.
        at: When a night ends, wall clock.
        alpha: False-alarm rate: share of good images that may be flagged as unusual.
        min_probability: Below it a code is uncertain.
        review_url: Address of the review page, such as "http://127.0.0.1:8787"; "" for none.
        software: Name and version of this program.
        words: Structure code → what it means, in the taxonomy's order.
        texts: What the lab's taxonomy says of its classes beyond that.
        config: Fingerprint of the settings, "" if unknown.
        free_days: Days on which no files are expected: weekdays by name, or ISO dates.
        language: Of the report.
        lab: What is laid down for orders; None leaves the orders out.
        lab_fault: Why the orders are left out, "" where they are not.
        control: Numbers of the control orders.
        control_every: How often one is due; zero: never.
        host: Name of the PC that writes.
        rules_at: Return `lab` and `lab_fault` as of an instant, from a store as of it; None: the
            same at any time.
    """

    site: str
    zone: str
    at: time
    alpha: float = 0.02
    min_probability: float = 0.6
    review_url: str = ""
    software: str = "Martensight"
    words: Mapping[str, str] = field(default_factory=dict)
    texts: ClassTexts = field(default_factory=ClassTexts)
    config: str = ""
    free_days: tuple[str, ...] = ()
    language: Language = "en"
    lab: OrderPolicy | None = None
    lab_fault: str = ""
    control: tuple[str, ...] = ()
    control_every: timedelta = timedelta(0)
    host: str = ""
    rules_at: Callable[[Store, datetime], tuple[OrderPolicy | None, str]] | None = None


@dataclass(frozen=True, slots=True)
class ReportedDecision:
    """A reviewer's decision, as it was when the facts were frozen."""

    kind: str
    code: str | None
    strange_kind: str | None
    why: str | None
    criterion: str
    comment: str
    by: str
    at: datetime
    undone: bool = False
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class ReportedMicrograph:
    """One micrograph of the night; the fields mean what they mean in `agent.store`."""

    id: str
    sha256: str
    page: int
    path: str
    source: str
    done_at: datetime
    width: int
    height: int
    um_per_px: float | None
    um_per_px_source: str | None
    crop: tuple[int, int, int, int] | None
    polygon: tuple[tuple[int, int], ...]
    marks: tuple[tuple[int, int, int, int], ...]
    scales: tuple[tuple[str, float], ...]
    recipe: str
    warnings: tuple[str, ...]
    process_data: dict[str, str]
    process_extra: dict[str, str]
    subtype: str | None
    subtype_probabilities: dict[str, float]
    size: str | None
    size_min: int | None
    size_max: int | None
    size_probabilities: dict[str, float]
    structure_code: str | None
    probability: float | None
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    p_value: float | None
    strange: bool
    where: tuple[int, int, int, int] | None
    strangeness: str
    nearest: dict[str, tuple[str, ...]]
    handling: str
    reasons: tuple[str, ...]
    thresholds: dict[str, Any]
    bundle: str
    engine: str
    precision: str
    decision: ReportedDecision | None
    ordered: tuple[str, ...] = ()
    outside: str = ""

    @property
    def name(self) -> str:
        """The file's name alone."""
        return self.path.replace("\\", "/").rsplit("/", 1)[-1]

    @property
    def needs_a_person(self) -> bool:
        """Whether it was flagged; it may be decided since."""
        return self.handling == "review"

    @property
    def waits(self) -> bool:
        """Whether it was flagged and is not decided yet."""
        return self.needs_a_person and self.decision is None


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that could not be used."""

    path: str
    source: str
    at: datetime
    state: str
    code: str
    sentence: str
    attempts: int
    next_try_at: datetime | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Twin:
    """A file whose content was already stored."""

    path: str
    source: str
    at: datetime
    known_as: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A source in its last known state."""

    name: str
    folder: str
    mode: str
    online: bool
    offline_since: datetime | None
    last_scan_at: datetime | None
    last_file_at: datetime | None
    problem: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A night in one line; the index reads nothing else.

    Args:
        night: Its date.
        tone: "problem", "attention" or "calm".
        headline: One sentence.
        taken: Micrographs of the night.
        review: Of those, flagged.
        unusable: Files that could not be used.
        planned: It was empty, as planned; then it has no page.
        broken: Orders that do not conform.
        undecided: Orders that are undecided.
    """

    night: date
    tone: str
    headline: str
    taken: int
    review: int
    unusable: int
    planned: bool = False
    broken: int = 0
    undecided: int = 0


@dataclass(frozen=True, slots=True)
class Before:
    """The last reported night before this one, for the list of changes.

    Args:
        night: Its date.
        taken, review, unusable: Its numbers.
        bundle, software: In use then.
        broken: Orders that do not conform now, and conformed or were undecided in its report.
        settled: Open in its report, and no longer.
    """

    night: date
    taken: int
    review: int
    unusable: int
    bundle: str
    software: str
    broken: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrailEnd:
    """Where the audit log ended when the facts were gathered.

    Args:
        number: Of the newest act.
        count: How many acts there were.
        sha256: Of the newest act.
    """

    number: int
    count: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NightFacts:
    """Everything in one report; what a list of nights reads comes first in the text."""

    version: int
    newest_result: int | None = None
    """Number of the newest result that this report could know, None in earlier versions."""
    summary: Summary
    tallies: tuple[Tally, ...] = ()
    batch_sizes: tuple[BatchSize, ...] = ()
    trends: tuple[Trend, ...] = ()
    control_charts: tuple[Individuals, ...] = ()
    drifts: tuple[Drift, ...] = ()
    batch_charts: tuple[BatchChart, ...] = ()
    orders: tuple[OpenOrder, ...] = ()
    conforming: int = 0
    """Orders of recent days that conform; 0 in nights of earlier versions."""
    site: str
    zone: str
    night: date
    after: datetime
    until: datetime
    gathered_at: datetime
    alpha: float
    min_probability: float
    review_url: str
    software: str
    database: str
    config: str
    bundle: str
    words: dict[str, str]
    last_file_at: datetime | None
    micrographs: tuple[ReportedMicrograph, ...]
    unusable: tuple[Failed, ...]
    duplicates: tuple[Twin, ...]
    sources: tuple[Folder, ...]
    agreement: ReviewerAgreement | None = None
    outages: tuple[Outage, ...] = ()
    language: Language = "en"
    refused: tuple[str, ...] = ()
    """Sentences about promoted bundles that could not be loaded."""
    shadow: Shadowed | None = None
    instruments: tuple[Instrument, ...] = ()
    unassigned: int = 0
    waits_before: int = 0
    waits_since: datetime | None = None
    before: Before | None = None
    host: str = ""
    schema: str = ""
    lab_fault: str = ""
    trail: TrailEnd | None = None
    stated: tuple[StatedOrder, ...] | None = None
    """Statements that were made in the night, None in nights of earlier versions."""
    texts: ClassTexts = field(default_factory=ClassTexts)

    @property
    def running(self) -> bool:
        """Whether the night was not over when these were gathered."""
        return self.gathered_at < self.until


_ADAPTER = TypeAdapter(NightFacts)
_SUMMARY = TypeAdapter(Summary)
_BATCHES = TypeAdapter(tuple[BatchSize, ...])
_TALLIES = TypeAdapter(tuple[Tally, ...])


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
    _, until = compute_night_period(night, settings.at, settings.zone)
    if refresh or now <= until:
        return _gather(store, store, night, settings, at=now)
    with store.as_of(until) as past:
        if settings.rules_at and settings.lab:
            lab, fault = settings.rules_at(past, until)
            settings = replace(settings, lab=lab, lab_fault=fault)
        return _gather(past, store, night, settings, at=until, is_late=now - until > LATE)


def _gather(
    store: Store,
    present: Store,
    night: date,
    settings: NightSettings,
    *,
    at: datetime,
    is_late: bool = False,
) -> NightFacts:
    """Gather the facts of one night from the store as of an instant.

    Args:
        store: As of the instant.
        present: As it is now; it alone knows outages that ended later.
        night: Its date.
        settings: Of the lab.
        at: The instant.
        is_late: The troubles of sources are of another time.
    """
    after, until = compute_night_period(night, settings.at, settings.zone)
    newest_result, views = _results(store, night, after, until)
    reported = tuple(build_reported_micrograph(view) for view in views)
    fates = tuple(store.files.iter_status((*UNUSABLE_STATES, "duplicate")))
    unusable = tuple(
        _build_failed(fate, until) for fate in fates if _is_reported(fate, after, until)
    )
    twins = tuple(_twin(fate) for fate in fates if _is_twin(fate, after, until))
    last = _last_files(store, until, reported)
    named = (
        {entry.source for entry in reported}
        | {entry.source for entry in unusable}
        | {entry.source for entry in twins}
    )
    past_outages = present.records.all(OUTAGE)
    watched = [
        health
        for health in rewind_sources(present.sources.list_all(), past_outages, at, is_late=is_late)
        if health.name in named or _is_watched(health)
    ]
    sources = tuple(_folder(health, last) for health in watched)
    away = outages(rewind_outages(past_outages, at), watched, after, until)
    newest = max(last.values(), default=None)
    refused = tuple(
        str(record.facts.get("said", ""))
        for record in store.records.all(REFUSED)
        if _is_within(record.at, after, until)
    )
    status = collect_order_status(store, settings.lab, now=at) if settings.lab else OrderStatus()
    orders = status.orders
    waits_before, waits_since = store.review_queue.count_until(after)
    end = store.audit_log.get_head()
    batch_sizes = average_batches(reported)
    batch_charts = chart_batches(_list_batches(store, night), night, batch_sizes)
    summary = _summary(
        night,
        settings.zone,
        orders=orders,
        waits_before=waits_before,
        reported=reported,
        unusable=unusable,
        sources=sources,
        newest=newest,
        away=away,
        # A file that came again is something to be read, so such a night is not empty by plan.
        free=is_free(night, settings.free_days) and not twins,
        has_calendar=bool(settings.free_days),
        refused=refused,
        is_drifting=any(chart.alarm for chart in batch_charts),
    )
    tallies, earlier = tally(_units(reported)), _list_earlier(store, night)
    charts = average_by_night(
        iter_control_values(store, settings.control),
        lambda at: night_of(at, settings.at, settings.zone),
        night,
    )
    level = compute_alarm_level(
        count_ready_charts(earlier, night, tallies)
        + sum(is_ready(series) for series in charts.values())
    )
    return NightFacts(
        version=FACTS_VERSION,
        newest_result=newest_result,
        summary=summary,
        tallies=tallies,
        trends=trends(earlier, night, tallies, level),
        control_charts=tuple(chart(*key, series, night, level) for key, series in charts.items()),
        drifts=drifts(earlier, night, tallies),
        batch_sizes=batch_sizes,
        batch_charts=batch_charts,
        orders=orders,
        conforming=status.conforming,
        instruments=instruments(
            store,
            [health.name for health in watched],
            Counter(
                micrograph.source
                for micrograph in reported
                if SCALE_DOUBTS & set(micrograph.reasons)
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
        host=settings.host,
        schema=SCHEMA,
        lab_fault=settings.lab_fault,
        trail=TrailEnd(end.number, end.count, end.sha256),
        site=settings.site,
        zone=settings.zone,
        night=night,
        after=after,
        until=until,
        gathered_at=at.astimezone(UTC),
        alpha=settings.alpha,
        min_probability=settings.min_probability,
        review_url=settings.review_url.rstrip("/"),
        software=settings.software,
        database=store.kind,
        config=settings.config,
        bundle=store.promotions.find_current() or "",
        words=dict(settings.words),
        texts=settings.texts,
        last_file_at=newest,
        micrographs=reported,
        unusable=unusable,
        duplicates=twins,
        sources=sources,
        agreement=agreement(
            store.labelled_micrographs.list_all(origin="watch"),
            store.labels.list_blind_pairs(),
            store.records.all(ROUND_ROBIN),
            until=until,
            taxonomy=settings.lab.taxonomy if settings.lab else None,
            limits=_limits(settings.lab, night) if settings.lab else {},
            max_false_conform=settings.lab.max_false_conform if settings.lab else MAX_FALSE_CONFORM,
        ),
        outages=away,
        refused=refused,
        shadow=collect_shadow(store, until),
        stated=collect_stated(store, after, min(at, until)),
        language=settings.language,
        before=_before(store, night, orders),
    )


def _limits(lab: OrderPolicy, night: date) -> dict[str, Callable[[str], bool]]:
    return list_valid_limits(lab.specifications, lab.taxonomy, on=night)


def _results(
    store: Store, night: date, after: datetime, until: datetime
) -> tuple[int, list[MicrographView]]:
    """Return the newest result that this report can include, and its micrographs.

    A result that was written after the last report, with a time that this one already covered, is
    reported now: a file whose end fell together with the night's, or a clock that was set back.
    """
    numbers = {row.date: _parse_newest_result(row.head) for row in store.nightly_reports.list_all()}
    is_new = night not in numbers
    before = [n for day, n in numbers.items() if n is not None and (is_new or day < night)]
    newest = store.order_changes.heads().result
    late = store.results.list_late(after, after_id=max(before)) if before else []
    views = [*late, *store.results.list_between(after, until)]
    return newest, [view for view in views if view.result_id <= newest]


def _parse_newest_result(head: str) -> int | None:
    try:
        number = _part(head, "newest_result")
    except ValueError:  # of a version before there was any
        return None
    return number if isinstance(number, int) else None


def to_text(facts: NightFacts) -> str:
    """Return facts as JSON text: one line per micrograph or file, so that two can be compared."""
    document = _ADAPTER.dump_python(facts, mode="json")
    parts = [f" {json.dumps(key)}: {_lines(value)}" for key, value in document.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(value: object) -> str:
    if isinstance(value, list) and value:
        return "[\n  " + ",\n  ".join(json.dumps(v, ensure_ascii=False) for v in value) + "\n ]"
    return json.dumps(value, ensure_ascii=False)


def from_text(text: str) -> NightFacts:
    """Parse facts; the inverse of `to_text`."""
    return _ADAPTER.validate_json(text)


def parse_summary(text: str) -> Summary:
    """Parse the summary alone: it comes first in the text, so a year of nights is listed fast."""
    return _SUMMARY.validate_python(_part(text, "summary"))


def parse_tallies(text: str) -> tuple[Tally, ...]:
    """Parse the tallies alone; () where they are not in this much of the text."""
    try:
        return _TALLIES.validate_python(_part(text, "tallies"))
    except ValueError:  # of a version before there were any
        return ()


def parse_batches(text: str) -> tuple[BatchSize, ...]:
    """Parse the sizes of the batches alone; () where they are not in this much of the text."""
    try:
        return _BATCHES.validate_python(_part(text, "batch_sizes"))
    except ValueError:  # of a version before there were any
        return ()


def _part(text: str, key: str) -> object:
    start = text.index(f'"{key}": ') + len(key) + 4
    document, _ = json.JSONDecoder().raw_decode(text, start)
    return document


def _before(store: Store, night: date, orders: Sequence[OpenOrder]) -> Before | None:
    earlier = [row.date for row in store.nightly_reports.list_all() if row.date < night]
    row = store.nightly_reports.find(max(earlier)) if earlier else None
    if row is None:
        return None
    facts = from_text(row.facts_json)
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


def _list_earlier(store: Store, night: date) -> list[tuple[date, tuple[Tally, ...]]]:
    return [
        (row.date, parse_tallies(row.head))
        for row in store.nightly_reports.list_all()
        if row.date < night
    ]


def _list_batches(store: Store, night: date) -> list[tuple[date, tuple[BatchSize, ...]]]:
    return [
        (row.date, parse_batches(row.head))
        for row in store.nightly_reports.list_all()
        if row.date < night
    ]


def _units(reported: Iterable[ReportedMicrograph]) -> Iterator[Unit]:
    for micrograph in reported:
        process_data, by_lot = micrograph.process_data, micrograph.reasons == CONTROL
        doubtful = micrograph.needs_a_person and not micrograph.strange and not by_lot
        specimen = (
            f"{process_data.get('order', '')}\n{process_data['specimen']}"
            if process_data.get("specimen")
            else micrograph.id
        )
        code = micrograph.structure_code or ""
        yield Unit(
            specimen,
            process_data.get("material", ""),
            micrograph.bundle,
            micrograph.strange,
            doubtful,
            code,
        )


def build_reported_micrograph(view: MicrographView) -> ReportedMicrograph:
    """Return the reported facts of a micrograph, from the store's view of it."""
    facts, strange = view.crop_facts, view.strangeness
    area = facts.get("specimen_area") or {}
    bar, where = facts.get("micron_bar"), strange.get("where")
    return ReportedMicrograph(
        id=view.id,
        sha256=view.sha256,
        page=view.page,
        path=view.path,
        source=view.source,
        done_at=view.done_at,
        width=view.width,
        height=view.height,
        um_per_px=view.um_per_px,
        um_per_px_source=view.um_per_px_source,
        crop=view.crop,
        polygon=() if area.get("whole_frame", True) else _corners(area.get("polygon")),
        marks=(_box(bar["bbox"]),) if bar else (),
        scales=tuple((s["source"], float(s["um_per_px"])) for s in facts.get("scales") or ()),
        recipe=view.recipe,
        warnings=(
            *view.warnings,
            *(f"input_defect:{defect}" for defect in strange.get("defects", ())),
        ),
        process_data=dict(view.process_data),
        process_extra={str(key): str(value) for key, value in view.process_extra.items()},
        subtype=view.subtype,
        subtype_probabilities=dict(view.subtype_probabilities),
        size=view.size,
        size_min=view.size_min,
        size_max=view.size_max,
        size_probabilities=dict(view.size_probabilities),
        structure_code=view.structure_code,
        probability=view.probability,
        probabilities=dict(view.probabilities),
        prediction_set=view.prediction_set,
        p_value=strange.get("p_value"),
        strange=bool(strange.get("flagged", False)),
        where=_box(where) if where else None,
        strangeness=str(strange.get("sentence", "")),
        nearest={code: tuple(keys) for code, keys in (strange.get("nearest") or {}).items()},
        handling=view.handling,
        reasons=view.reasons,
        thresholds=dict(view.thresholds),
        bundle=view.bundle,
        engine=view.engine,
        precision=view.precision,
        decision=build_reported_decision(view.label) if view.label else None,
        ordered=tuple(view.expected.get("subtypes") or ()),
        outside=str(view.expected.get("outside") or ""),
    )


def build_reported_decision(label: LabelView) -> ReportedDecision:
    """Return a reviewer's decision as reports and pages state it."""
    return ReportedDecision(
        kind=label.kind,
        code=label.code,
        strange_kind=label.strange_kind,
        why=label.why,
        criterion=label.criterion,
        unsure=label.unsure,
        comment=label.comment,
        by=label.by,
        at=label.at,
        undone=label.undone,
    )


def _corners(polygon: Iterable[Iterable[int]] | None) -> tuple[tuple[int, int], ...]:
    return tuple((int(x), int(y)) for x, y in polygon or ())


def _box(edges: Iterable[int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (int(edge) for edge in edges)
    return x0, y0, x1, y1


def _is_reported(fate: FileFate, after: datetime, until: datetime) -> bool:
    # A file that is still tried again has no end yet: it is named every night until it has.
    if fate.state == "failed":
        return fate.first_seen_at <= until
    return fate.state in UNUSABLE_STATES and _is_within(fate.done_at, after, until)


def _is_twin(fate: FileFate, after: datetime, until: datetime) -> bool:
    return fate.state == "duplicate" and _is_within(fate.done_at, after, until)


def _is_within(instant: datetime | None, after: datetime, until: datetime) -> bool:
    return instant is not None and after < instant <= until


def _build_failed(fate: FileFate, until: datetime) -> Failed:
    return Failed(
        path=fate.path,
        source=fate.source,
        at=fate.done_at or min(fate.first_seen_at, until),
        state=fate.state,
        code=fate.code or "crashed",
        sentence=fate.reason or "",
        attempts=fate.attempts,
        next_try_at=fate.next_try_at,
        sha256=fate.sha256,
    )


def _twin(fate: FileFate) -> Twin:
    return Twin(
        path=fate.path,
        source=fate.source,
        at=fate.done_at or fate.first_seen_at,
        known_as=fate.duplicate_of or "",
    )


def _is_watched(health: SourceHealth) -> bool:
    # A folder that was imported once is a source too, but no night's.
    return health.last_scan_at is not None or not health.online or bool(health.mode)


def _folder(health: SourceHealth, last: Mapping[str, datetime]) -> Folder:
    return Folder(
        name=health.name,
        folder=health.folder,
        mode=health.mode,
        online=health.online,
        offline_since=health.offline_since,
        last_scan_at=health.last_scan_at,
        last_file_at=last.get(health.name),
        problem=health.problem,
    )


def _last_files(
    store: Store, until: datetime, reported: Iterable[ReportedMicrograph]
) -> dict[str, datetime]:
    """Return when each source's newest micrograph was done, up to the night's end."""
    last: dict[str, datetime] = {}
    for micrograph in reported:
        last[micrograph.source] = max(
            micrograph.done_at, last.get(micrograph.source, micrograph.done_at)
        )
    if last:
        return last
    # The report of an empty night names the last file: only then is the whole store read.
    for fate in store.files.iter_status("done"):
        at = fate.done_at
        if at is not None and at <= until:
            last[fate.source] = max(at, last.get(fate.source, at))
    return last


def _summary(
    night: date,
    zone: str,
    *,
    orders: tuple[OpenOrder, ...],
    waits_before: int,
    reported: tuple[ReportedMicrograph, ...],
    unusable: tuple[Failed, ...],
    sources: tuple[Folder, ...],
    newest: datetime | None,
    away: tuple[Outage, ...],
    free: bool,
    has_calendar: bool,
    refused: tuple[str, ...],
    is_drifting: bool,
) -> Summary:
    empty = not reported and not unusable
    waiting = [micrograph for micrograph in reported if micrograph.waits]
    offline = [source for source in sources if not source.online]
    needing = [order for order in orders if order.needs_a_person]
    broken = Conformity.DOES_NOT_CONFORM
    tone = (
        "problem"
        if offline
        or refused
        or any("strange" in micrograph.reasons for micrograph in waiting)
        or any(order.conformity == broken for order in needing)
        else "attention"
        if waiting
        or waits_before
        or needing
        or unusable
        or away
        or is_drifting
        or any(source.problem for source in sources)
        # With a calendar of free days, an empty night on any other day needs attention.
        or (empty and has_calendar and not free)
        else "calm"
    )
    return Summary(
        night=night,
        tone=tone,
        headline=_empty(zone, newest, away, free=free)
        if empty and not needing
        else _headline(reported, waiting, unusable, needing, waits_before),
        taken=len(reported),
        review=sum(micrograph.needs_a_person for micrograph in reported),
        unusable=len(unusable),
        planned=empty and free and not (away or refused or needing or waits_before),
        broken=sum(order.conformity == broken for order in orders),
        undecided=sum(order.conformity != broken for order in orders),
    )


def _empty(zone: str, newest: datetime | None, away: tuple[Outage, ...], *, free: bool) -> str:
    if away:
        causes = "; ".join(
            _("{source} was {how}").format(source=outage.source, how=outage.said(zone))
            for outage in away
        )
        return _("Nothing came in this night: {why}").format(why=causes)
    if free:
        return _("Nothing came, as planned")
    if newest is None:
        return _("Nothing came in this night, and no file has come yet")
    return _("Nothing came in this night; the last file was done {at}").format(
        at=local(newest, zone)
    )


def _headline(
    reported: tuple[ReportedMicrograph, ...],
    waiting: list[ReportedMicrograph],
    unusable: tuple[Failed, ...],
    orders: Sequence[OpenOrder],
    waits_before: int,
) -> str:
    parts = []
    if orders:
        text = ngettext("{n} order open", "{n} orders open", len(orders)).format(n=len(orders))
        parts.append(text + _why_pressing(orders))
    if waiting:
        text = ngettext("{n} micrograph to review", "{n} micrographs to review", len(waiting))
        parts.append(text.format(n=len(waiting)))
    if unusable:
        text = ngettext("{n} file failed", "{n} files failed", len(unusable))
        parts.append(text.format(n=len(unusable)))
    if parts:
        return " · ".join(parts)
    if waits_before:
        return ngettext(
            "Nothing new to review; {n} micrograph of an earlier night waits",
            "Nothing new to review; {n} micrographs of earlier nights wait",
            waits_before,
        ).format(n=waits_before)
    return _("Nothing to review: {micrographs}, all settled").format(
        micrographs=micrographs(len(reported))
    )


def _why_pressing(orders: Sequence[OpenOrder]) -> str:
    """Return " (3 urgent, 1 probably out of specification)", "" where no order presses."""
    urgent = sum(order.urgent for order in orders)
    statuses = Counter(map(get_order_status, orders))
    parts = [_("{n} urgent").format(n=urgent)] if urgent else []
    if n := statuses[Conformity.DOES_NOT_CONFORM]:
        text = ngettext("{n} does not conform", "{n} do not conform", n)
        parts.append(text.format(n=n))
    if n := statuses[NextStep.PROBABLY_OUT]:
        parts.append(f"{n} {NextStep.PROBABLY_OUT.words}")
    return f" ({', '.join(parts)})" if parts else ""


def micrographs(n: int) -> str:
    """Format a number of micrographs: "1 micrograph", "2 micrographs"."""
    return ngettext("{n} micrograph", "{n} micrographs", n).format(n=n)
