"""Facts of a night as they are frozen, and as JSON text.

A report that is written again shows the night as it was first reported, whatever was decided,
promoted or renamed since. So everything on a page that could change is stored here. A report of an
empty night has to distinguish an unavailable source, no export, and a planned free day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from pydantic import TypeAdapter

from agent.nightly.facts.change_alarm import Group
from agent.nightly.facts.control_charts import BatchChart, BatchSize, Individuals
from agent.nightly.facts.order_status import Instrument, OpenOrder, StatedOrder
from agent.nightly.facts.reviewer_agreement import ReviewerAgreement
from agent.orders.instruments.prediction_flips import Flip, find_flip
from agent.orders.judge.assessed import OrderPolicy
from agent.orders.specifications.class_texts import ClassTexts
from agent.settings import WEEKDAYS
from agent.site_time import local
from agent.store import FileFate, MicrographView, Record, SourceHealth, Store
from reports import Language, Message
from reports import gettext as _


@dataclass(frozen=True, slots=True)
class Outage:
    """A period in which one source could not be reached.

    Args:
        source: Its name.
        since: Aware UTC.
        until: Aware UTC; None while it lasts.
    """

    source: str
    since: datetime
    until: datetime | None

    def said(self, zone: str) -> str:
        """Return the outage in words, in the site's time zone."""
        if self.until is None:
            return _("not reachable since {at}").format(at=local(self.since, zone))
        return _("not reachable from {since} to {until}").format(
            since=local(self.since, zone), until=local(self.until, zone)
        )


def rewind_outages(past: Iterable[Record], at: datetime) -> tuple[Outage, ...]:
    """Return the recorded outages that had begun by an instant, as they were known at it.

    Args:
        past: Records of outages that are over now.
        at: Aware.
    """
    known = (
        Outage(
            record.subject,
            datetime.fromisoformat(record.facts["since"]),
            datetime.fromisoformat(record.facts["until"]),
        )
        for record in past
    )
    return tuple(
        replace(outage, until=None) if outage.until is None or outage.until > at else outage
        for outage in known
        if outage.since <= at
    )


def rewind_sources(
    sources: Iterable[SourceHealth], past: Iterable[Record], at: datetime, *, is_late: bool
) -> list[SourceHealth]:
    """Return the sources as they were at an instant.

    Args:
        sources: Their present state.
        past: Records of outages that are over now.
        at: Aware.
        is_late: Their present troubles are not those of the instant.
    """
    lasting = {
        outage.source: outage.since for outage in rewind_outages(past, at) if outage.until is None
    }
    return [_rewind_source(source, lasting.get(source.name), at, is_late) for source in sources]


def _rewind_source(
    source: SourceHealth, since: datetime | None, at: datetime, is_late: bool
) -> SourceHealth:
    scanned = source.last_scan_at and min(source.last_scan_at, at)
    then = replace(source, last_scan_at=scanned, problem="" if is_late else source.problem)
    if since is not None:
        return replace(then, online=False, offline_since=since, last_scan_at=min(since, at))
    if not source.online and source.offline_since is not None and source.offline_since > at:
        return replace(then, online=True, offline_since=None)
    return then


def outages(
    past: Iterable[Outage], sources: Iterable[SourceHealth], after: datetime, until: datetime
) -> tuple[Outage, ...]:
    """Return the outages that reached into (after, until], the first one first.

    Args:
        past: Recorded ones; one that lasted then is that of its source.
        sources: Their state; one that is unavailable has an outage that lasts.
        after: Begin, not included, aware.
        until: End, included, aware.
    """
    known = [outage for outage in past if outage.until is not None]
    known += [
        Outage(source.name, source.offline_since, None)
        for source in sources
        if not source.online and source.offline_since is not None
    ]
    inside = [
        outage for outage in known if outage.since <= until and (outage.until or until) > after
    ]
    return tuple(sorted(inside, key=lambda outage: (outage.since, outage.source)))


def is_free(night: date, free_days: Iterable[str]) -> bool:
    """Return whether no files are expected: a weekday by its name, or an ISO date."""
    return not {WEEKDAYS[night.weekday()], night.isoformat()}.isdisjoint(free_days)


JOB = "shadow"
KEPT, SHOWN = 300, 60
"""Flips that are frozen with a night, and those that its page shows."""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Answers of a candidate next to those of the active bundle.

    Args:
        bundle: The candidate.
        current: The active bundle.
        days: How far back the candidate was evaluated.
        judged: Micrographs that both answered.
        flipped: Of those, answered differently.
        flips: The newest of these.
    """

    bundle: str
    current: str
    days: int
    judged: int
    flipped: int
    flips: tuple[Flip, ...]


def collect_shadow(store: Store, until: datetime) -> Shadowed | None:
    """Return the answers of the last candidate.

    Args:
        store: Open.
        until: End of the night, aware UTC.

    Returns:
        None where no candidate was evaluated since the last promotion.
    """
    asked = [job for job in store.jobs.list_ended(JOB) if job.facts.get("bundle")]
    promotions = store.promotions.list_all()
    if not asked or not promotions:
        return None
    last, current = asked[-1], promotions[0]
    bundle, days = str(last.facts["bundle"]), int(last.facts.get("days") or 0)
    if bundle == current.bundle or not days:
        return None
    if last.started_at is None or last.started_at < current.promoted_at:
        return None
    since = until - timedelta(days=days)
    answers = {view.id: view for view in store.results.iter_by_bundle(bundle, since=since)}
    both = [view for view in store.results.list_between(since, until) if view.id in answers]
    flips = [flip for view in reversed(both) if (flip := find_flip(view, answers[view.id]))]
    return Shadowed(bundle, current.bundle, days, len(both), len(flips), tuple(flips[:KEPT]))


FACTS_VERSION = 1


@dataclass(frozen=True, slots=True)
class ReportedSettings:
    """What a report states of the lab and its settings.

    Args:
        site: Its name.
        zone: Its time zone.
        alpha: False-alarm rate: share of good images that may be flagged as unusual.
        min_probability: Below it a code is uncertain.
        review_url: Address of the review page, such as "http://127.0.0.1:8787"; "" for none.
        software: Name and version of this program.
        words: Structure code → what it means, in the taxonomy's order.
        texts: What the lab's taxonomy says of its classes beyond that.
        config: Fingerprint of the settings, "" if unknown.
        language: Of the report.
        lab_fault: Why the orders are left out, "" where they are not.
        host: Name of the PC that writes.
    """

    site: str
    zone: str
    alpha: float = 0.02
    min_probability: float = 0.6
    review_url: str = ""
    software: str = "Martensight"
    words: Mapping[str, str] = field(default_factory=dict)
    texts: ClassTexts = field(default_factory=ClassTexts)
    config: str = ""
    language: Language = "en"
    lab_fault: str = ""
    host: str = ""

    def get_reported(self) -> dict[str, Any]:
        """Return these values by name, as the facts of a night take them."""
        return {each.name: getattr(self, each.name) for each in fields(ReportedSettings)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NightSettings(ReportedSettings):
    """What a report needs to know of the lab.

    Args:
        at: When a night ends, wall clock.
        free_days: Days on which no files are expected: weekdays by name, or ISO dates.
        lab: What is laid down for orders; None leaves the orders out.
        control: Numbers of the control orders.
        control_every: How often one is due; zero: never.
        rules_at: Return `lab` and `lab_fault` as of an instant, from a store as of it; None: the
            same at any time.
    """

    at: time
    free_days: tuple[str, ...] = ()
    lab: OrderPolicy | None = None
    control: tuple[str, ...] = ()
    control_every: timedelta = timedelta(0)
    rules_at: Callable[[Store, datetime], tuple[OrderPolicy | None, str]] | None = None


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
        lost: What restores of back-ups lost and no lead accepted: the last act that is there, the
            highest number known to be lost, and when.
    """

    number: int
    count: int
    sha256: str
    lost: tuple[tuple[int, int, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class NightCharts:
    """Alarms and control charts of a night; what a list of nights reads comes first."""

    batch_sizes: tuple[BatchSize, ...] = ()
    control_charts: tuple[Individuals, ...] = ()
    batch_charts: tuple[BatchChart, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NightFacts(ReportedSettings):
    """Everything in one report, with the settings that it states."""

    version: int
    newest_result: int = 0
    """Number of the newest result that this report could know, 0 where there was none."""
    summary: Summary
    charts: NightCharts = field(default_factory=NightCharts)
    orders: tuple[OpenOrder, ...] = ()
    conforming: int = 0
    """Orders of recent days that conform."""
    night: date
    after: datetime
    until: datetime
    gathered_at: datetime
    database: str
    bundle: str
    last_file_at: datetime | None
    micrographs: tuple[MicrographView, ...]
    needle_limits: dict[str, float] = field(default_factory=dict)
    """Public id → the limit of L90, µm, that the order of the micrograph has to keep."""
    unusable: tuple[FileFate, ...]
    duplicates: tuple[FileFate, ...]
    sources: tuple[SourceHealth, ...]
    last_files: dict[str, datetime] = field(default_factory=dict)
    """Source → when its newest micrograph was done."""
    agreement: ReviewerAgreement | None = None
    outages: tuple[Outage, ...] = ()
    refusals: tuple[Message, ...] = ()
    """Why promoted bundles could not be loaded."""
    shadow: Shadowed | None = None
    instruments: tuple[Instrument, ...] = ()
    unassigned: int = 0
    waits_before: int = 0
    waits_since: datetime | None = None
    before: Before | None = None
    schema: str = ""
    trail: TrailEnd | None = None
    dated_ahead: tuple[int, datetime] | None = None
    """Micrographs since the report before that a wrong clock dated in the future, and until when:
    no night before has them."""
    stated: tuple[StatedOrder, ...] = ()
    """Statements that were made in the night."""

    @property
    def running(self) -> bool:
        """Whether the night was not over when these were gathered."""
        return self.gathered_at < self.until


_FIRST = ("version", "newest_result", "summary", "charts")
"""Keys that a list of nights reads: it loads the beginning of each text."""
_ADAPTER = TypeAdapter(NightFacts)
_SUMMARY = TypeAdapter(Summary)
_BATCHES = TypeAdapter(tuple[BatchSize, ...])
_GROUPS = TypeAdapter(tuple[Group, ...])


def to_text(facts: NightFacts) -> str:
    """Return facts as JSON text: one line per micrograph or file, so that two can be compared."""
    document = _ADAPTER.dump_python(facts, mode="json")
    document = {key: document[key] for key in _FIRST} | document
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
    return _SUMMARY.validate_python(parse_part(text, "summary"))


def parse_groups(text: str) -> tuple[Group, ...]:
    """Parse the groups that are watched over the nights alone."""
    return _GROUPS.validate_python(parse_part(text, "groups"))


def parse_batches(text: str) -> tuple[BatchSize, ...]:
    """Parse the sizes of the batches alone; () where they are not in this much of the text."""
    try:
        return _BATCHES.validate_python(parse_part(text, "batch_sizes"))
    except ValueError:
        return ()


def parse_part(text: str, key: str) -> object:
    """Parse the value of one key alone; ValueError where it is not in this much of the text."""
    start = text.index(f'"{key}": ') + len(key) + 4
    document, _ = json.JSONDecoder().raw_decode(text, start)
    return document
