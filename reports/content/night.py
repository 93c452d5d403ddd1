"""Content of a night's report, from which both the page and the PDF are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reports.content.components import Fact, FieldNeedles, Figure, Link, Picture, Tone

Counts = tuple[str, int, int]
"""A name, and how many micrographs of it were handled automatically or are to review."""


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
class ControlTrend:
    """A measure of a control specimen over the nights.

    Args:
        title: What is measured.
        text: Tonight's result, and what is usual.
        tone: Of the result.
        points: Night or batch, and its value; the newest last.
        usual: The mean.
        low, high: The limits; both 0.0 while the baseline is gathered.
    """

    title: str
    text: str
    tone: Tone
    points: tuple[tuple[str, float], ...]
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
        tone, headline, lines: What needs action, at the top of the page.
        expected: How many are flagged by chance alone, one sentence; "" without answers.
        codes: Structure code, micrographs handled automatically and to review, subtype by subtype,
            coarse to fine.
        hours: The same per hour of the night.
        sources: Each watched source; micrographs, those to review, files not used, duplicates;
            when its last file came; its state.
        cards: What needs a reviewer, the weightiest first.
        more: Links to the overflow pages.
        left_out: What is not on this page; "" for nothing.
        rows: The micrographs that need no reviewer, `agent.store.MicrographView`, in order of
            arrival, each with a thumbnail.
        unusable: Files that could not be used, `agent.store.FileFate`.
        duplicates: Files whose content was already stored, likewise.
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
        instruments: Each source with the states of its checks: reference images, control specimen,
            scale.
        changes: Differences from the report before, a sentence each.
        groups: Titles with each microscope or order: name, address, micrographs, those to review.
        control: The control specimens over the nights.
        shadow: Different answers of a candidate, or None where none was evaluated.
        flip_pictures: Pictures of those that are shown.
        inside: The same night for programs; the page carries it as hidden JSON.
        furnaces: Size numbers of the batches per material and furnace.
        prints: The contact sheet: every flagged micrograph with a thumbnail and where its card is,
            the weightiest first.
        links: The agent's pages, where its address is set.
        agent: The agent's address, "" for none.
        words: Structure code → what it means.
        late: What a report that was written late cannot know, "" for one written in time.
    """

    site: str
    zone: str
    date: str
    title: str
    period: str
    running: bool
    revision: int
    tone: Tone
    headline: str
    lines: tuple[VerdictLine, ...]
    expected: str
    codes: tuple[Counts, ...]
    hours: tuple[Counts, ...]
    sources: tuple[tuple[Any, tuple[int, ...], datetime | None, str, Tone], ...]
    cards: tuple[Card, ...]
    more: tuple[Link, ...]
    left_out: str
    rows: tuple[tuple[Any, Picture | None], ...]
    unusable: Sequence[Any]
    duplicates: Sequence[Any]
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
    instruments: tuple[tuple[str, tuple[tuple[str, Tone], ...]], ...] = ()
    changes: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[tuple[str, str, int, int], ...]], ...] = ()
    control: tuple[ControlTrend, ...] = ()
    shadow: Any = None
    flip_pictures: Mapping[str, Picture | None] = field(default_factory=dict)
    inside: Mapping[str, object] = field(default_factory=dict)
    late: str = ""
    furnaces: tuple[ControlTrend, ...] = ()
    prints: tuple[tuple[Any, Picture | None, str], ...] = ()
    links: tuple[Link, ...] = ()
    agent: str = ""
    words: Mapping[str, str] = field(default_factory=dict)


# --- content of the card of one micrograph that needs a reviewer ----------------------------------


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a reviewer should inspect it, and what to do.

    Args:
        word: The stable word, such as "strange".
        title: The same in words.
        sentence: What was detected.
        action: What to do.
    """

    word: str
    title: str
    sentence: str
    action: str


@dataclass(frozen=True, slots=True)
class Share:
    """One bar of a list of probabilities.

    Args:
        label: A subtype, size or structure code.
        words: What it means, "" where known.
        percent: 0 to 100, for the bar's length.
        text: The same in words, such as "91 %".
        chosen: It is the model's answer.
        possible: It is in the prediction set.
    """

    label: str
    words: str
    percent: float
    text: str
    chosen: bool = False
    possible: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer on a micrograph.

    Args:
        code: The structure code, "" without a bundle.
        words: The same in words.
        probability: Such as "91 %".
        provisional: Why the answer is provisional, "" where it is not.
        possible: The prediction set, such as "G8 or G9-10"; "" if it is the code alone.
        subtypes: Bars of the first stage.
        sizes: Bars of the second.
        size_title: Such as "Size in G".
        strangeness: One sentence.
        strange: Whether it is unusual.
    """

    code: str
    words: str
    probability: str
    provisional: str
    possible: str
    subtypes: tuple[Share, ...]
    sizes: tuple[Share, ...]
    size_title: str
    strangeness: str
    strange: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One micrograph that needs a reviewer.

    Args:
        id: The public id.
        name: The file's name.
        path: Its path below the source.
        source: Its source.
        at: When it was done, local time.
        causes: Why it is here, the weightiest first.
        answer: The model's.
        field: The whole field, with the removed part; None on a card with the crop alone.
        crop: The model's input.
        maps: Saliency of both stages and the OOD map.
        nearest: The most similar reference images, per candidate code.
        facts: Scale, process data and the like.
        warnings: Sentences.
        decision: The one that counts, `agent.store.LabelView`, or None.
        review: Where it is decided, or None.
        order: The order that it belongs to, with its page where the agent's address is set.
        needles: Its needle lengths, None where they were not to be measured.
    """

    id: str
    name: str
    path: str
    source: str
    at: str
    causes: tuple[Cause, ...]
    answer: Answer
    field: Figure | None
    crop: Figure
    maps: tuple[Figure, ...]
    nearest: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    decision: Any
    review: Link | None
    order: Link | None = None
    needles: FieldNeedles | None = None
