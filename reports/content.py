"""Say what a page says: frozen, already counted, already sorted.

In:  nothing. Out: the nouns that `agent.night` and `agent.web` fill. Next: `render`.
A template decides nothing: no sum, no order, no wording that depends on a threshold. So a page
is the same for the same facts, and a test of the facts is a test of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
        p_values: Of every judged micrograph, in [0, 1]. alpha: the alarm rate.
        provenance: What wrote this, from what.
        generated: When this page was written, local time. It alone differs between two writings.
        beside: Files beside the page. older: link to the index.
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
    p_values: tuple[float, ...]
    alpha: float
    evidence_scale: Picture
    alarm_scale: Picture
    provenance: tuple[Fact, ...]
    generated: str
    beside: tuple[Link, ...]
    older: Link


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
    """One night in the index."""

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


# ------------------------------------------------------------------------------- the review page


@dataclass(frozen=True, slots=True)
class Choice:
    """Something a reviewer can say with one press."""

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
    """One micrograph of the queue."""

    id: str
    name: str
    code: str
    why: str
    source: str
    at: str
    thumbnail: Picture | None
    href: str
    current: bool = False
    strange: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the queue is: `decided` of `total` since the reviewer's day began."""

    decided: int
    waiting: int

    @property
    def percent(self) -> int:
        """Share decided, 0 to 100; 100 for an empty queue."""
        total = self.decided + self.waiting
        return 100 if total == 0 else self.decided * 100 // total


@dataclass(frozen=True, slots=True)
class Notice:
    """What just happened, and the one thing that may follow from it."""

    tone: Tone
    text: str
    undo_id: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that lies over the crop when asked for.

    Args:
        key: The letter that shows it. see_through: laid over the crop instead of replacing it.
    """

    name: str
    title: str
    key: str
    figure: Figure
    see_through: bool
    scale: Picture | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else decided meanwhile; nothing was overwritten."""

    theirs: Decision
    yours: str


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """One micrograph before a reviewer, with everything needed to decide.

    Args:
        card: As in the report, its pictures as links.
        layers: The first is shown first.
        choices: The taxonomy. strange_kinds, unusable_whys: the lists behind S and U.
        criterion: The reviewer's last: "mean", "max" or "unrecorded".
        result_id: The result on show; it travels with the decision. label_id: likewise.
        history: Every decision ever made on it, the newest first.
        queue: Some neighbours. previous, next: hrefs or "".
        prefetch: Pictures of the next micrograph.
        undo_id: What Z takes back, "" for nothing.
    """

    site: str
    reviewer: str
    card: Card
    layers: tuple[Layer, ...]
    choices: tuple[SubtypeChoice, ...]
    strange_kinds: tuple[Choice, ...]
    unusable_whys: tuple[Choice, ...]
    criterion: str
    result_id: str
    label_id: str
    history: tuple[Decision, ...]
    queue: tuple[QueueItem, ...]
    progress: Progress
    previous: str
    next: str
    prefetch: tuple[str, ...]
    notice: Notice | None
    conflict: Conflict | None
    undo_id: str


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Everything that waits for a person, the weightiest first."""

    site: str
    reviewer: str
    items: tuple[QueueItem, ...]
    left_out: str
    progress: Progress
    filters: tuple[Link, ...]
    filtered: str
    notice: Notice | None
    undo_id: str


@dataclass(frozen=True, slots=True)
class NamePage:
    """The one question before a first decision: who are you?"""

    site: str
    reviewer: str
    then: str
    known: tuple[str, ...]
    wrong: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A plain page that says one thing and where to go on."""

    site: str
    reviewer: str
    title: str
    sentence: str
    onward: Link
