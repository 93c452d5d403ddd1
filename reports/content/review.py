"""What the review pages say: the queue, and a micrograph before a reviewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.card import Card, Decision
    from reports.content.parts import Fact, Link, Picture, Tone


@dataclass(frozen=True, slots=True)
class Choice:
    """Something a reviewer can say with one press.

    Args:
        value: What is sent, such as "code:G8".
        text: On the button.
        words: What it means.
        key: The digit that presses it.
        taught: The bundle knows it.
        suggested: Its answer.
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
        why: The weightiest reason in words.
        href: Where it is decided.
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
        undo_id: What can be taken back; "" for nothing.
        about: Link to what it was, or None.
    """

    tone: Tone
    text: str
    undo_id: str = ""
    about: Link | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture that lies over the crop when asked for.

    Args:
        word: "subtype", "size" or "strangeness".
        title: Such as "Why size 8".
        caption: What to look for.
        note: Said beside it, "" for nothing.
        picture: As large as the crop, see-through.
        scale: What its colours mean, in words.
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
        label: Such as "20 µm".
        length: In pixels of the crop.
        width, height: Of the crop.
    """

    label: str
    length: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sibling:
    """One field of the specimen before the reviewer.

    Args:
        code: What holds of it, "" for nothing or where it is hidden.
        state: Who said it.
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
        theirs: What holds now.
        yours: What was about to be said, in words.
        value: As sent.
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
        layers: What can be laid over the crop.
        ruler: None where the scale is unknown.
        confirm: The model's answer as a choice, or None.
        subtypes: The taxonomy.
        strange_kinds, unusable_whys: The lists behind S and U.
        criteria: The needle-length criteria, the reviewer's last one suggested.
        comment: What was typed already.
        result_id: The result on show; it travels with the decision.
        label_id: Likewise.
        siblings: The fields of its specimen, itself included; () where it stands alone.
        together: How many others of them wait, so that one decision can hold for all.
        history: Every decision ever made on it, the newest first.
        queue: The queue around it.
        previous, next: Hrefs or "".
        prefetch: Pictures of the next micrograph.
        filters: What narrows the queue; it travels with the decision.
        all_href: The whole queue.
        window: A part of it, as wide as the known micrographs beside it; None without a scale.
        window_width: How wide, such as "80 µm".
        corrects: Why one decides otherwise than is decided, to choose from; () where nothing is.
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
    corrects: tuple[str, ...] = ()


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
