"""Say what a page says: frozen, already counted, already sorted.

In:  nothing. Out: the nouns that `agent.night` and `agent.web` fill. Next: `render`.
A template decides nothing: no sum, no order, no wording that depends on a threshold. So a page
is the same for the same facts, and a test of the facts is a test of the page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tone(StrEnum):
    """How much something wants a person; always drawn as a shape and a word beside its colour."""

    CALM = "calm"
    ATTENTION = "attention"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and what stands for it where it cannot be seen.

    Args:
        src: A data URI in a report, a path below the site's root on a review page.
        alt: What it shows, in words.
        width: In pixels.
        height: In pixels.
    """

    src: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its title and what to look for.

    Args:
        title: A few words.
        caption: What to look for, in one sentence.
        picture: None where there is none; then `note` says why.
        note: Said beside the picture, such as "no positive evidence"; "" for nothing.
    """

    title: str
    caption: str
    picture: Picture | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value, both as they are read."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Link:
    """Somewhere to go."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a person should look, and what to do about it.

    Args:
        word: The stable word, such as "strange".
        title: What a person reads. sentence: what was found. action: what to do.
    """

    word: str
    title: str
    sentence: str
    action: str


@dataclass(frozen=True, slots=True)
class Share:
    """One bar of a list of probabilities.

    Args:
        label: A subtype, size or structure code. words: what it means, "" where known.
        percent: 0 to 100, for the bar's length. text: as it is read, such as "91 %".
        chosen: The model's answer. possible: in the prediction set.
    """

    label: str
    words: str
    percent: float
    text: str
    chosen: bool = False
    possible: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of a micrograph.

    Args:
        code: The structure code, "" without a bundle. words: it in words.
        probability: Such as "91 %". provisional: said instead of a footnote, "" where it is firm.
        possible: The prediction set, such as "G8 or G9-10"; "" if it is the code alone.
        subtypes: Bars of the first stage. sizes: bars of the second. size_title: "Size in G".
        strangeness: One sentence; strange: whether it is flagged.
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
class Decision:
    """What a person said: "G8" or "strange: possible inclusion", by whom and when."""

    text: str
    by: str
    at: str
    comment: str = ""
    criterion: str = ""
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """One micrograph that needs a person.

    Args:
        id: The public id. name: the file's name. path: its path below the source.
        source: Where it came from. at: when it was done, local time.
        causes: Why it is here, the weightiest first.
        answer: What the model says.
        field: The whole field, with what was cut away. crop: what the model saw.
        maps: Saliency of both stages and the strangeness map.
        nearest: Known micrographs it resembles most, per candidate code.
        facts: Scale, process data and the like.
        warnings: Sentences. decision: the newest one in force, or None. review: link or None.
    """

    id: str
    name: str
    path: str
    source: str
    at: str
    causes: tuple[Cause, ...]
    answer: Answer
    field: Figure
    crop: Figure
    maps: tuple[Figure, ...]
    nearest: tuple[Figure, ...]
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    decision: Decision | None
    review: Link | None


@dataclass(frozen=True, slots=True)
class Row:
    """One micrograph in one line.

    Args:
        href: Where its card is, "" if it has none.
    """

    id: str
    name: str
    source: str
    at: str
    code: str
    probability: str
    handling: str
    why: str
    thumbnail: Picture | None
    href: str


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
    """What one source brought."""

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
class Unusable:
    """A file that could not be used.

    Args:
        code: The stable word. title: it in words. sentence: what was found. action: what to do.
        next: "" if it was set aside, else when it is tried again.
    """

    path: str
    source: str
    at: str
    code: str
    title: str
    sentence: str
    action: str
    next: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A file whose content was known already."""

    path: str
    source: str
    at: str
    known_as: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a verdict.

    Args:
        count: Such as "7"; text: what of. href: where on the page it is shown, "" for nowhere.
    """

    tone: Tone
    count: str
    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What needs a person, before anything else."""

    tone: Tone
    headline: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """How many micrographs were done in one hour of the night."""

    label: str
    automatic: int
    review: int


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One night of a trend: `bad` of `n`; more than `limit` is an alarm."""

    label: str
    n: int
    bad: int
    limit: int


@dataclass(frozen=True, slots=True)
class Trend:
    """A share over the nights.

    Args:
        title: Of what. text: what it says of tonight, and what is usual. tone: of that.
        points: The newest last; empty as long as nobody knows what is usual.
        usual: The usual share.
    """

    title: str
    text: str
    tone: Tone
    points: tuple[TrendPoint, ...]
    usual: float


@dataclass(frozen=True, slots=True)
class Said:
    """A few words, and how much they want a person."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that does not conform, or is undecided.

    Args:
        word: Such as "undecided". said: why, the first few sentences; more: "and 2 more", or "".
        age: How long it has been known. waits: how long a field of it waits, "" for none.
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
    """How the checks of one source stand: reference images, control specimen, scale."""

    source: str
    check: Said
    control: Said
    scale: Said


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How many micrographs one microscope or order brought."""

    name: str
    href: str
    taken: int
    review: int


@dataclass(frozen=True, slots=True)
class ControlValue:
    """What a control specimen measured in one night."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class ControlTrend:
    """A measure of a control specimen over the nights.

    Args:
        text: What it says of tonight, and what is usual.
        points: The newest last; empty as long as nobody knows what is usual.
        usual: The mean. low, high: the limits.
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
        date: ISO, the night's name. title: such as "Tuesday 24 November 2026".
        period: From when to when, local time, with the zone.
        running: The night is not over; its facts are not frozen.
        revision: 1 for the first writing; more were asked for with `--refresh`.
        verdict: First of all.
        expected: How many are flagged by chance alone, one sentence; "" with nothing judged.
        codes: Per structure code, subtype by subtype, coarse to fine.
        cards: What needs a person, the weightiest first; `more` links to the rest of them.
        left_out: Says what is not on this page; "" for nothing.
        rows: The micrographs nobody needs to look at, in order of arrival.
        trends: Shares over the nights, one a material and kind.
        agreement: How often people said what the model said; empty as long as nobody decided.
        p_values: Of every judged micrograph, in [0, 1]. alpha: the alarm rate.
        provenance: What wrote this, from what.
        generated: When this page was written, local time. It alone differs between two writings.
        beside: Files beside the page. older: link to the index.
        shadow: What a candidate would have answered otherwise, or None where none was asked.
        orders: Those that are not settled; orders_left_out says what is not shown.
        instruments: How the checks of each source stand.
        changes: What is another thing than in the report before, a sentence each.
        groups: Title → how many micrographs each microscope, each order brought.
        control: The control specimens over the nights. drifts: of the mix of codes, a line each.
        inside: The same night for programs; the page carries it as JSON, unseen.
    """

    site: str
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
    rows: tuple[Row, ...]
    unusable: tuple[Unusable, ...]
    duplicates: tuple[Duplicate, ...]
    trends: tuple[Trend, ...]
    agreement: tuple[Fact, ...]
    p_values: tuple[float, ...]
    alpha: float
    evidence_scale: Picture
    alarm_scale: Picture
    provenance: tuple[Fact, ...]
    generated: str
    beside: tuple[Link, ...]
    older: Link
    orders: tuple[OpenOrder, ...] = ()
    orders_left_out: str = ""
    instruments: tuple[InstrumentRow, ...] = ()
    changes: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[GroupCount, ...]], ...] = ()
    control: tuple[ControlTrend, ...] = ()
    drifts: tuple[Fact, ...] = ()
    shadow: Shadow | None = None
    inside: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a candidate would have answered otherwise: one sentence or two, and the gallery."""

    text: str
    flips: tuple[FlipCard, ...]
    left_out: str


@dataclass(frozen=True, slots=True)
class MorePage:
    """The overflow of a night: more cards, or more rows, on a page of their own."""

    site: str
    date: str
    title: str
    heading: str
    cards: tuple[Card, ...]
    rows: tuple[Row, ...]
    evidence_scale: Picture
    alarm_scale: Picture
    back: Link
    previous: Link | None
    next: Link | None
    generated: str


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


@dataclass(frozen=True, slots=True)
class SiteLine:
    """One of several sites that share a database.

    Args:
        tone: How much it wants a person. headline: of its newest report, or why there is none.
        night: Such as "24 Nov", "" for none. href: its report, "" where no page answers.
        waiting: Such as "7, the oldest since 21 Nov". review: its review page, "" for none.
        orders: Such as "1 does not conform". sources: Those not reachable. agent: when last heard.
    """

    name: str
    tone: Tone
    headline: str
    night: str
    href: str
    waiting: str
    review: str
    orders: str
    sources: str
    agent: str


@dataclass(frozen=True, slots=True)
class SitesPage:
    """Every site on one page, those that need a person first."""

    site: str
    lines: tuple[SiteLine, ...]
    generated: str
    back: Link


# ------------------------------------------------------------------------------- experiments


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read.

    Args:
        title: What it is about.
        columns: What stands above each column; the first one names the row.
        rows: One tuple of cells per row.
        chart: The same as SVG of our own making, or "".
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chart: str = ""


@dataclass(frozen=True, slots=True)
class FlipCard:
    """One micrograph that two bundles answer differently.

    Args:
        id: The public id. name: the file's name. place: order and specimen, "" where unknown.
        picture: A thumbnail, or None where there is none any more.
        before, after: What the bundle at work says, and the other one: "G8".
        before_more, after_more: What goes with each where they differ, such as "could be G7".
        decided: What a person said of it, "" where nobody did.
    """

    id: str
    name: str
    place: str
    picture: Picture | None
    before: str
    after: str
    before_more: str
    after_more: str
    decided: str = ""


@dataclass(frozen=True, slots=True)
class ImpactOrder:
    """One order whose conformity would change, and the fields that would change it."""

    number: str
    before: str
    after: str
    before_tone: Tone
    after_tone: Tone
    why: tuple[str, ...]
    flips: tuple[FlipCard, ...]


@dataclass(frozen=True, slots=True)
class ImpactPage:
    """What would change, were another bundle at work.

    Args:
        site: The lab's name. title: of the page.
        headline: The finding in one sentence. tone: how much it wants a person.
        sentences: What it rests on, and what is not known.
        orders: Whose conformity would change.
        flips: Fields of other orders. left_out: of these that are not shown, in words, or "".
        mark: The hash a signature keeps of what is shown here.
        generated: When it was written, as it is read.
    """

    site: str
    title: str
    headline: str
    tone: Tone
    sentences: tuple[str, ...]
    orders: tuple[ImpactOrder, ...]
    flips: tuple[FlipCard, ...]
    left_out: str
    mark: str
    generated: str


@dataclass(frozen=True, slots=True)
class CardSection:
    """One part of a model card: sentences, then facts, then tables."""

    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a bundle is, what it is good for, and what it is not.

    Args:
        site: The lab's name. title: of the page. state: whether it is at work, in words.
        tone: Calm where it is or was at work by somebody's signature.
        sections: In their order.
        generated: When it was written, as it is read.
    """

    site: str
    title: str
    state: str
    tone: Tone
    sections: tuple[CardSection, ...]
    generated: str


@dataclass(frozen=True, slots=True)
class JobLine:
    """A long piece of work that goes on: what, how far, by whom, and whether it can be ended."""

    title: str
    stage: str
    how_far: str
    percent: str
    note: str
    said: str
    cancellable: bool


@dataclass(frozen=True, slots=True)
class BundleLine:
    """A bundle: whether it is at work, who said so, what it is, and where to read more."""

    name: str
    state: str
    tone: Tone | None
    said: str
    facts: tuple[Fact, ...]
    card: Link | None
    impact: Link | None


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """Every bundle, the newest first, and what is being done with them.

    Args:
        site: The lab's name. reviewer: who looks, "" where unknown.
        jobs: What goes on. may_cancel: whoever looks may end it.
        last: How the last teaching ended, "" where there was none.
        bundles: Of the lab.
    """

    site: str
    reviewer: str
    jobs: tuple[JobLine, ...]
    may_cancel: bool
    last: str
    bundles: tuple[BundleLine, ...]


@dataclass(frozen=True, slots=True)
class Experiments:
    """What repeating the paper's experiments found.

    Args:
        site: The lab's name.
        title: Of the page.
        sentences: What has to be known before the numbers are read.
        tables: In their order.
        generated: When it was written, as it is read.
    """

    site: str
    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    generated: str


# ------------------------------------------------------------------------------- the review page


@dataclass(frozen=True, slots=True)
class Choice:
    """Something a reviewer can say with one press.

    Args:
        value: What is sent, such as "code:G8". text: on the button. words: what it means.
        key: The digit that presses it. taught: the bundle knows it. suggested: its answer.
    """

    value: str
    text: str
    words: str = ""
    key: str = ""
    taught: bool = True
    suggested: bool = False


@dataclass(frozen=True, slots=True)
class SubtypeChoice:
    """A subtype, and the sizes inside it, coarse to fine."""

    name: str
    title: str
    key: str
    sizes: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One micrograph of the queue.

    Args:
        code: The model's answer, "" where it is hidden or there is none.
        why: The weightiest reason in words. href: where it is decided.
        held_by: Who else has it open just now, "" for nobody.
    """

    id: str
    name: str
    code: str
    why: str
    more: int
    source: str
    at: str
    thumbnail: Picture
    href: str
    current: bool = False
    strange: bool = False
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the queue is: decided in this sitting, and still waiting."""

    decided: int
    waiting: int

    @property
    def percent(self) -> int:
        """Share decided, 0 to 100; 100 for an empty queue."""
        total = self.decided + self.waiting
        return 100 if total == 0 else self.decided * 100 // total


@dataclass(frozen=True, slots=True)
class Notice:
    """What just happened, and the one thing that may follow from it.

    Args:
        undo_id: What can be taken back; "" for nothing. about: link to what it was, or None.
    """

    tone: Tone
    text: str
    undo_id: str = ""
    about: Link | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that lies over the crop when asked for.

    Args:
        word: "subtype", "size" or "strangeness". title: such as "Why size 8".
        caption: What to look for. note: said beside it, "" for nothing.
        picture: As large as the crop, see-through. scale: what its colours mean, in words.
    """

    word: str
    title: str
    caption: str
    note: str
    picture: Picture
    scale: str


@dataclass(frozen=True, slots=True)
class Ruler:
    """A scale bar over the crop.

    Args:
        label: Such as "20 µm". length: in pixels of the crop. width, height: of the crop.
    """

    label: str
    length: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sibling:
    """One field of the specimen before the reviewer.

    Args:
        code: What holds of it, "" for nothing or where it is hidden. state: who said it.
        scaled: Its scale is known, so its picture is as large as it should be beside the others.
    """

    name: str
    code: str
    state: str
    scaled: bool
    picture: Picture
    href: str
    current: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else decided meanwhile; nothing was overwritten.

    Args:
        theirs: What holds now. yours: what was about to be said, in words; value: as sent.
    """

    theirs: Decision
    yours: str
    value: str


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """One micrograph before a reviewer, with everything needed to decide.

    Args:
        may_decide: Whether who looks may also decide.
        card: As in the report, its pictures as links.
        blind: The model's answer is hidden until the decision.
        layers: What can be laid over the crop. ruler: None where the scale is unknown.
        confirm: The model's answer as a choice, or None. subtypes: the taxonomy.
        strange_kinds, unusable_whys: The lists behind S and U.
        criteria: The needle-length criteria, the reviewer's last one suggested.
        comment: What was typed already.
        result_id: The result on show; it travels with the decision. label_id: likewise.
        siblings: The fields of its specimen, itself included; () where it stands alone.
        together: How many others of them wait, so that one decision can hold for all.
        history: Every decision ever made on it, the newest first.
        queue: The queue around it. previous, next: hrefs or "".
        prefetch: Pictures of the next micrograph.
        filters: What narrows the queue; it travels with the decision.
        all_href: The whole queue.
        window: A part of it, as wide as the known micrographs beside it; None without a scale.
        window_width: How wide, such as "80 µm".
    """

    site: str
    reviewer: str
    may_decide: bool
    card: Card
    blind: bool
    layers: tuple[Layer, ...]
    ruler: Ruler | None
    confirm: Choice | None
    subtypes: tuple[SubtypeChoice, ...]
    strange_kinds: tuple[Choice, ...]
    unusable_whys: tuple[Choice, ...]
    criteria: tuple[Choice, ...]
    comment: str
    result_id: str
    label_id: str
    siblings: tuple[Sibling, ...]
    together: int
    history: tuple[Decision, ...]
    queue: tuple[QueueItem, ...]
    progress: Progress
    previous: str
    next: str
    prefetch: tuple[str, ...]
    filters: tuple[Fact, ...]
    all_href: str
    notice: Notice | None
    conflict: Conflict | None
    window: Picture | None = None
    window_width: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """One way to narrow the queue."""

    text: str
    href: str
    on: bool


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Everything that waits for a person, the weightiest first.

    Args:
        control: How well the true agreement is known, in a sentence, "" for not at all yet.
    """

    site: str
    reviewer: str
    items: tuple[QueueItem, ...]
    left_out: str
    progress: Progress
    filters: tuple[Filter, ...]
    notice: Notice | None
    control: str = ""

    @property
    def start(self) -> str:
        """Where a reviewer begins: the first that nobody else has open."""
        free = [item for item in self.items if not item.held_by] or self.items
        return free[0].href if free else ""


@dataclass(frozen=True, slots=True)
class OrderField:
    """One field of a specimen.

    Args:
        name: Such as "field 4". code: what holds of it, "" for nothing.
        state: Who said it, or what it waits for. gone: it no longer counts.
    """

    name: str
    code: str
    state: str
    tone: Tone
    href: str
    thumbnail: Picture
    gone: bool = False


@dataclass(frozen=True, slots=True)
class OrderSpecimen:
    """One specimen of an order: what is said of it, what is missing, and its fields."""

    name: str
    word: str
    tone: Tone
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    facts: tuple[Fact, ...]
    fields: tuple[OrderField, ...]


@dataclass(frozen=True, slots=True)
class OrderPage:
    """One order, as it stands at this moment.

    Args:
        word: Such as "undecided". demand: what is demanded, in words.
        sentences: What is said of the order itself; a specimen's own stand with it.
        unusable: Files that could not be used. loose: fields that belong to no specimen.
        queue_href: Where its waiting fields are decided, "" if none waits. waiting: how many do.
        generated: When this page was written, local time.
    """

    site: str
    reviewer: str
    number: str
    word: str
    tone: Tone
    demand: str
    sentences: tuple[str, ...]
    facts: tuple[Fact, ...]
    specimens: tuple[OrderSpecimen, ...]
    unusable: tuple[str, ...]
    loose: tuple[str, ...]
    queue_href: str
    waiting: int
    generated: str


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order in the list of all: its number, what is known of it, how many fields wait."""

    number: str
    href: str
    urgent: bool
    said: str
    specimens: int
    fields: int
    waiting: int


@dataclass(frozen=True, slots=True)
class LooseField:
    """A field that belongs to no specimen, why, and what is known already of its place."""

    id: str
    name: str
    why: str
    href: str
    thumbnail: Picture
    action: str
    order: str
    specimen: str
    field: str


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """Every order, urgent ones first, and the fields that belong to none.

    Args:
        more: How many orders are not shown. may_assign: the reader may give a field its place.
    """

    site: str
    reviewer: str
    orders: tuple[OrderRow, ...]
    more: int
    loose: tuple[LooseField, ...]
    may_assign: bool


@dataclass(frozen=True, slots=True)
class TraceList:
    """A few lines under one title, such as the decisions on a field."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraceField:
    """One field and what stands behind its result.

    Args:
        id: Public id. name: such as "field 4". place: specimen and preparation, in words.
        code: What holds of it, and who said so. gone: why it no longer counts, "" where it does.
        again: What judging its archived crop once more gave. picture: of the crop, or None.
    """

    id: str
    name: str
    place: str
    code: str
    gone: str
    again: str
    again_tone: Tone
    picture: Picture | None
    facts: tuple[Fact, ...]
    lists: tuple[TraceList, ...]


@dataclass(frozen=True, slots=True)
class TraceStatement:
    """One statement as it was made.

    Args:
        title: "First statement" or "Amendment 2". word: such as "conforms". said: when and by whom.
        reason: Why it was amended. changed: what it says otherwise than the one before it.
        sentences: What it said beside the word. file: where all of it stands.
    """

    title: str
    word: str
    tone: Tone
    said: str
    reason: str
    changed: tuple[str, ...]
    sentences: tuple[str, ...]
    file: str


@dataclass(frozen=True, slots=True)
class TraceOrder:
    """One order as it stands, every statement made of it, and its fields.

    Args:
        word: Such as "conforms". demand: what is demanded, in words. sentences: what is said of it.
        acts: What people did to it, a line each.
    """

    number: str
    word: str
    tone: Tone
    demand: str
    sentences: tuple[str, ...]
    facts: tuple[Fact, ...]
    statements: tuple[TraceStatement, ...]
    acts: tuple[str, ...]
    fields: tuple[TraceField, ...]


@dataclass(frozen=True, slots=True)
class TracePage:
    """Everything that stands behind what was said of an order, a heat or one micrograph.

    Args:
        title: What was asked about. zone: of every time on it.
        loose: Fields that belong to no order. generated: when and by whom it was written.
    """

    site: str
    title: str
    zone: str
    orders: tuple[TraceOrder, ...]
    loose: tuple[TraceField, ...]
    generated: str


@dataclass(frozen=True, slots=True)
class NamePage:
    """The one question before a first decision: who are you?

    Args:
        then: Where to go on. fields: what was about to be sent, so that nothing is lost.
        action: Where the form goes. wrong: what was wrong with the name, "" for nothing.
    """

    site: str
    reviewer: str
    then: str
    action: str
    fields: tuple[Fact, ...]
    wrong: str


@dataclass(frozen=True, slots=True)
class LoginPage:
    """The door: a name and a password; who is in already may leave it to somebody else.

    Args:
        reviewer: Who is logged in, or "". name: what to offer as the name.
        then: Where to go on. wrong: why it was refused, "" for not at all.
    """

    site: str
    reviewer: str
    name: str
    then: str
    wrong: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A plain page that says one thing and where to go on."""

    site: str
    reviewer: str
    title: str
    sentence: str
    onward: Link
