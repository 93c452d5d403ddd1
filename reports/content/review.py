"""Content of the review pages: the queue, and one micrograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.content.components import Fact, Link, Picture, Tone
    from reports.content.micrograph import Card, DecisionLine
    from reports.content.viewer import Layer, Ruler, Viewer


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer that a reviewer gives with one press.

    Args:
        value: What is sent, such as "code:G8".
        text: On the button.
        words: What it means.
        key: The digits that press it, "" for none.
        taught: The bundle was trained on it.
        suggested: It is the bundle's answer.
    """

    value: str
    text: str
    words: str = ""
    key: str = ""
    taught: bool = True
    suggested: bool = False


def number_keys(count: int, *, first: int = 1) -> tuple[str, ...]:
    """Return keys for `count` choices, equally long so that none begins another.

    Args:
        count: How many choices.
        first: Number of the first; 0 gives one more key, such as "0" or "00".
    """
    width = len(str(count))
    return tuple(f"{number:0{width}}" for number in range(first, count + 1))


MOST_DIGITS = 2


def size_keys(lowest: Sequence[float | None]) -> tuple[str, ...]:
    """Return the digits of sizes as their keys, equally long so that none begins another.

    Args:
        lowest: Lowest number of each size, such as 9 of "9-10", None where it has none.

    Returns:
        Such as "7", "8", "9", or "07" … "12"; counted from 1 where numbers are missing, are no
        whole numbers, are not distinct or have more than `MOST_DIGITS` digits.
    """
    whole = [int(value) for value in lowest if value is not None and value >= 0 and value % 1 == 0]
    width = len(str(max(whole, default=0)))
    if len(whole) < len(lowest) or len(set(whole)) < len(whole) or width > MOST_DIGITS:
        return number_keys(len(lowest))
    return tuple(f"{number:0{width}}" for number in whole)


@dataclass(frozen=True, slots=True)
class SubtypeChoice:
    """A subtype, and its sizes, coarse to fine.

    Args:
        name: Of the subtype. title: what it means, "" for nothing more.
        key: The digits that open it. letter: the letter that does so too, "" for none.
        sizes: Of the subtype.
    """

    name: str
    title: str
    key: str
    sizes: tuple[Choice, ...]
    letter: str = ""


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One micrograph of the queue.

    Args:
        id: Public id.
        name: The file's name.
        code: The model's answer, "" where it is hidden or there is none.
        why: The weightiest reason in words.
        more: How many further reasons there are.
        source: Its source.
        at: When it was done, local time.
        thumbnail: Of it.
        href: Where it is decided.
        current: It is the one on the page.
        strange: It is unusual.
        held_by: Who else has it open at present, "" for no one.
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
class QueueProgress:
    """Progress of the queue: decided in this sitting, and still waiting."""

    decided: int
    waiting: int

    @property
    def percent(self) -> int:
        """Share decided, 0 to 100; 100 for an empty queue."""
        total = self.decided + self.waiting
        return 100 if total == 0 else self.decided * 100 // total


@dataclass(frozen=True, slots=True)
class Notice:
    """The result of the last action, and the one action that may follow.

    Args:
        tone: Of the result.
        text: The result.
        undo_id: What can be undone; "" for nothing.
        about: Link to its subject, or None.
        more: A second sentence, "" for none.
    """

    tone: Tone
    text: str
    undo_id: str = ""
    about: Link | None = None
    more: str = ""


@dataclass(frozen=True, slots=True)
class Sibling:
    """One field of the specimen on the page.

    Args:
        name: Such as "field 4".
        code: The code that counts, "" for none or where it is hidden.
        state: Whose code it is.
        scaled: Its scale is known, so its picture has the right size next to the others.
        picture: Of it.
        href: Where it is decided.
        current: It is the one on the page.
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
    """Another reviewer's decision during this time; nothing was overwritten.

    Args:
        theirs: The decision that counts now.
        yours: The decision that was about to be entered, in words.
        value: The same as sent.
    """

    theirs: DecisionLine
    yours: str
    value: str


@dataclass(frozen=True, slots=True)
class ReasonRequest:
    """A correction of the model's answer that was not recorded, since its reason is missing.

    Args:
        text: The request, in a sentence.
        fields: What was sent without it.
    """

    text: str
    fields: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """One micrograph with everything needed to decide.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        may_decide: Whether the reader may also decide.
        card: As in the report, its pictures as links.
        blind: The model's answer is hidden until the decision.
        blind_first: The reviewer asked for micrographs without the answer.
        is_always_blind: This queue hides the answers, whatever the reviewer asked for.
        was_shown: The answer is hidden, and the reviewer's page has shown it before.
        scale_href: Where a reviewer gives its scale, "" where its file says it.
        learning: Whether the decision is or would be used for training, and why, in a sentence.
        layers: Pictures that can be shown over the crop.
        ruler: None where the scale is unknown.
        confirm: The model's answer as a choice, or None.
        subtypes: The taxonomy.
        strange_kinds, unusable_whys: The lists of the keys S and U.
        criteria: By which a size was decided, the reviewer's last one suggested.
        criterion: Name of the criteria; "" where no subtype has sizes.
        comment: What was typed already.
        result_id: The result on the page; it is sent with the decision.
        label_id: The label on the page; it is sent with the decision.
        siblings: The fields of its specimen, itself included; () where it is the only one.
        together: How many others of them wait, so that one decision can hold for all.
        history: Every decision ever made on it, the newest first.
        queue: The queue around it.
        progress: Of the queue.
        previous, next: Addresses or "".
        prefetch: Pictures of the next micrograph.
        filters: What narrows the queue; it is sent with the decision.
        all_href: The whole queue.
        notice: The result of the last action, or None.
        conflict: Another reviewer's decision, or None.
        window: A part of it, as wide as the reference images next to it; None without a scale.
        window_width: Its width, such as "80 µm".
        viewer: What its viewer shows; None where its pixels are deleted.
        corrects: Reasons for changing a decision, to choose from; () where there is no decision.
        reasons: Reasons for correcting the model's answer; () where none is required.
        request: A correction that lacks its reason, or None.
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
    history: tuple[DecisionLine, ...]
    queue: tuple[QueueItem, ...]
    progress: QueueProgress
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
    reasons: tuple[str, ...] = ()
    request: ReasonRequest | None = None
    is_always_blind: bool = False
    criterion: str = ""
    blind_first: bool = False
    was_shown: bool = False
    scale_href: str = ""
    learning: str = ""
    viewer: Viewer | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """One way to narrow the queue."""

    text: str
    href: str
    on: bool


@dataclass(frozen=True, slots=True)
class QueuePage:
    """Everything that waits for a reviewer, the weightiest first.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        items: The micrographs.
        left_out: How many are not shown, in words; "" for none.
        progress: Of the queue.
        filters: Ways to narrow the queue.
        notice: The result of the last action, or None.
        control: How well the true agreement is known, in a sentence, "" for not at all yet.
        orders: To the orders with fields that need a reviewer and are not among the items; None
            where there are none.
    """

    site: str
    reviewer: str
    items: tuple[QueueItem, ...]
    left_out: str
    progress: QueueProgress
    filters: tuple[Filter, ...]
    notice: Notice | None
    control: str = ""
    orders: Link | None = None

    @property
    def start(self) -> str:
        """Where a reviewer begins: the first that no other reviewer has open."""
        free = [item for item in self.items if not item.held_by] or self.items
        return free[0].href if free else ""
