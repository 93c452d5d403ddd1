"""Content of a night's report, its overflow, the list of nights and the page of all sites."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reports.content.components import Fact, Link, Picture, Tone
    from reports.content.micrograph import Card, ContactPrint, MicrographLine


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How many micrographs came with one structure code."""

    code: str
    words: str
    automatic: int
    review: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.automatic + self.review


@dataclass(frozen=True, slots=True)
class SourceCount:
    """Micrographs and state of one source."""

    name: str
    folder: str
    taken: int
    review: int
    unusable: int
    duplicates: int
    last_file: str
    state: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """One line of a verdict.

    Args:
        tone: How urgently it needs action.
        count: Such as "7".
        text: What is counted.
        href: Where on the page it is shown, "" for nowhere.
    """

    tone: Tone
    count: str
    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What needs action, at the top of the page."""

    tone: Tone
    headline: str
    lines: tuple[VerdictLine, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """How many micrographs were done in one hour of the night."""

    label: str
    automatic: int
    review: int


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One night of a trend: `bad` of `n`; more than `limit` is an alarm.

    Args:
        label: The night.
        n, bad: Specimens of the night, and those that are counted.
        limit: None while the baseline is gathered; then the interval is drawn.
        low, high: 95 % interval of the share.
    """

    label: str
    n: int
    bad: int
    limit: int | None
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True)
class ShareTrend:
    """A share over the nights.

    Args:
        title: What is counted.
        text: Tonight's result, and what is usual.
        tone: Of the result.
        points: The newest last; without a limit while the baseline is gathered.
        usual: The usual share; 0.0 while the baseline is gathered.
    """

    title: str
    text: str
    tone: Tone
    points: tuple[TrendPoint, ...]
    usual: float


@dataclass(frozen=True, slots=True)
class StatusText:
    """A few words, and how urgently they need action."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class OpenOrderLine:
    """An order that does not conform, or is undecided.

    Args:
        number: Of the order.
        href: Its page.
        word: Such as "to confirm".
        tone: Of the word.
        said: Why, the first few sentences.
        more: "and 2 more", or "".
        age: How long it has been known.
        waits: How long a field of it waits, "" for none.
        urgent: It goes first.
    """

    number: str
    href: str
    word: str
    tone: Tone
    said: tuple[str, ...]
    more: str
    age: str
    waits: str
    urgent: bool


@dataclass(frozen=True, slots=True)
class InstrumentRow:
    """State of the checks of one source: reference images, control specimen, scale."""

    source: str
    check: StatusText
    control: StatusText
    scale: StatusText


@dataclass(frozen=True, slots=True)
class GroupCount:
    """Number of micrographs of one microscope or order."""

    name: str
    href: str
    taken: int
    review: int


@dataclass(frozen=True, slots=True)
class ControlValue:
    """A control specimen's value in one night."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class ControlTrend:
    """A measure of a control specimen over the nights.

    Args:
        title: What is measured.
        text: Tonight's result, and what is usual.
        tone: Of the result.
        points: The newest last.
        usual: The mean.
        low, high: The limits; both 0.0 while the baseline is gathered.
    """

    title: str
    text: str
    tone: Tone
    points: tuple[ControlValue, ...]
    usual: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Night:
    """One night's report.

    Args:
        site: The lab's name.
        zone: Its time zone.
        date: ISO, the night's name.
        title: Such as "Tuesday 24 November 2026".
        period: From when to when, local time, with the zone.
        running: The night is not over; its facts are not frozen.
        revision: 1 for the first writing; more were requested with `--refresh`.
        verdict: At the top.
        expected: How many are flagged by chance alone, one sentence; "" without answers.
        codes: Per structure code, subtype by subtype, coarse to fine.
        hours: Per hour of the night.
        sources: Per watched source.
        cards: What needs a reviewer, the weightiest first.
        more: Links to the overflow pages.
        left_out: What is not on this page; "" for nothing.
        rows: The micrographs that need no reviewer, in order of arrival.
        unusable: Files that could not be used, `agent.store.FileFate`.
        duplicates: Files whose content was already stored, likewise.
        trends: Shares over the nights, one per material and kind.
        agreement: How often reviewers and model agreed; empty before the first decision.
        p_values: Of every classified micrograph, in [0, 1].
        alpha: The false-alarm rate, in (0, 1).
        evidence_scale, alarm_scale: Colour scales of the maps.
        provenance: Software, bundle, thresholds and the like.
        generated: When this page was written, local time. It alone differs between two writings.
        beside: Files next to the page.
        older: Link to the index.
        orders: Those that are not settled.
        orders_left_out: How many are not shown, in words.
        orders_note: What applies to many of them.
        instruments: State of the checks of each source.
        changes: Differences from the report before, a sentence each.
        groups: Title → number of micrographs of each microscope, each order.
        control: The control specimens over the nights.
        drifts: Tests of the mix of codes, a line each.
        shadow: Different answers of a candidate, or None where none was evaluated.
        flip_pictures: Pictures of those that are shown.
        inside: The same night for programs; the page carries it as hidden JSON.
        furnaces: Size numbers of the batches per material and furnace.
        prints: The contact sheet: every flagged micrograph, the weightiest first.
        links: The agent's pages, where its address is set.
        agent: The agent's address, "" for none.
        late: What a report that was written late cannot know, "" for one written in time.
    """

    site: str
    zone: str
    date: str
    title: str
    period: str
    running: bool
    revision: int
    verdict: Verdict
    expected: str
    codes: tuple[CodeCount, ...]
    hours: tuple[Hour, ...]
    sources: tuple[SourceCount, ...]
    cards: tuple[Card, ...]
    more: tuple[Link, ...]
    left_out: str
    rows: tuple[MicrographLine, ...]
    unusable: Sequence[Any]
    duplicates: Sequence[Any]
    trends: tuple[ShareTrend, ...]
    agreement: tuple[Fact, ...]
    p_values: tuple[float, ...]
    alpha: float
    evidence_scale: Picture
    alarm_scale: Picture
    provenance: tuple[Fact, ...]
    generated: str
    beside: tuple[Link, ...]
    older: Link
    orders: tuple[OpenOrderLine, ...] = ()
    orders_left_out: str = ""
    orders_note: str = ""
    instruments: tuple[InstrumentRow, ...] = ()
    changes: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[GroupCount, ...]], ...] = ()
    control: tuple[ControlTrend, ...] = ()
    drifts: tuple[Fact, ...] = ()
    shadow: Any = None
    flip_pictures: Mapping[str, Picture | None] = field(default_factory=dict)
    inside: Mapping[str, object] = field(default_factory=dict)
    late: str = ""
    furnaces: tuple[ControlTrend, ...] = ()
    prints: tuple[ContactPrint, ...] = ()
    links: tuple[Link, ...] = ()
    agent: str = ""


@dataclass(frozen=True, slots=True)
class MorePage:
    """The overflow of a night: more cards, or more rows, on a separate page."""

    site: str
    date: str
    title: str
    heading: str
    cards: tuple[Card, ...]
    rows: tuple[MicrographLine, ...]
    evidence_scale: Picture
    alarm_scale: Picture
    back: Link
    previous: Link | None
    next: Link | None
    generated: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class NightLine:
    """One night in the index; `href` is "" for one that was empty by plan and has no page."""

    date: str
    title: str
    href: str
    tone: Tone
    headline: str
    taken: int
    review: int
    unusable: int
    note: str


@dataclass(frozen=True, slots=True)
class Index:
    """Every night there is, the newest first."""

    site: str
    nights: tuple[NightLine, ...]
    newest_at: str
    newest_epoch_s: int
    generated: str
    sites: Link | None = None
    periods: tuple[Link, ...] = ()
