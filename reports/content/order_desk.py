"""Content of the order desk, and of the page where the fields of one order are confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Picture, Tone
    from reports.content.orders import LooseField
    from reports.content.review import Choice, Filter, SubtypeChoice
    from reports.content.viewer import Ruler


@dataclass(frozen=True, slots=True)
class DeskCard:
    """One order of the desk.

    Args:
        number: Of the order.
        href: Where its fields are confirmed, or its page where there is nothing to confirm.
        facts: What is known of it, in words.
        urgent: It goes first.
        age: Since it was first heard of, such as "3 d"; "" where not known.
        lack: What is missing, in about five words.
        fields: How many fields have come.
        confirm: How many fields need a reviewer's answer.
        held_by: Who has it open at present, "" for no one.
    """

    number: str
    href: str
    facts: str
    urgent: bool
    age: str
    lack: str
    fields: int
    confirm: int
    held_by: str = ""


@dataclass(frozen=True, slots=True)
class DeskColumn:
    """Orders of one state.

    Args:
        word: The stable word of the state.
        title: As it is read.
        tone: How much it needs action.
        cards: Those shown.
        count: How many there are in all.
        all_href: Where all of them are shown, "" where these are all.
    """

    word: str
    title: str
    tone: Tone
    cards: tuple[DeskCard, ...]
    count: int
    all_href: str = ""


@dataclass(frozen=True, slots=True)
class DeskHold:
    """A source whose results a failed check holds, and how many orders have such results."""

    source: str
    orders: int


@dataclass(frozen=True, slots=True)
class Done:
    """What was done last, and where it is taken back.

    Args:
        text: Such as "Order 4711 done: conforms".
        undo_action: Where its undo is sent, "" where there is nothing to take back.
    """

    text: str
    undo_action: str = ""


@dataclass(frozen=True, slots=True)
class OrderDeskPage:
    """The orders of recent days in columns by what they need next.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        columns: Those of the desk, the most pressing first.
        find: What is searched for.
        sort: The stable word of the sorting. sorts: (word, text) of those there are.
        filters: Ways to narrow the desk. hidden: what they keep beside the search.
        done: What was done last, or None.
        start: Where a reviewer begins, "" where nothing is to be confirmed.
        confirm: How many fields need a reviewer's answer.
        unread: How many orders are still to be read.
        may_act: The reader may let orders go first, and release holds.
        holds: Sources whose results are held.
        loose: Fields that belong to no specimen.
        may_assign: The reader may assign a field.
        is_empty: No order is known.
    """

    site: str
    reviewer: str
    columns: tuple[DeskColumn, ...]
    find: str
    sort: str
    sorts: tuple[tuple[str, str], ...]
    filters: tuple[Filter, ...]
    hidden: tuple[Fact, ...]
    done: Done | None
    start: str
    confirm: int
    unread: int
    may_act: bool
    holds: tuple[DeskHold, ...]
    loose: tuple[LooseField, ...]
    may_assign: bool
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """Why a field was sent to review, as its plate shows it.

    Args:
        reasons: In words.
        p: Such as "p = 0.004", "" where no model has answered.
        title: Name of the map, "" for none.
        map: Layer over the picture of the crop, None where no model has answered.
    """

    reasons: tuple[str, ...]
    p: str = ""
    title: str = ""
    map: Picture | None = None


@dataclass(frozen=True, slots=True)
class Plate:
    """One field of an order, drawn at the scale of all others.

    Args:
        id: Public id.
        name: Such as "field 4".
        code: The code that counts, "" where it is hidden or there is none.
        state: Whose code it is, or what it waits for.
        keeps: The code keeps the limit; None where that is not known or not shown.
        scaled: Its scale is known.
        picture: Of its crop, None where its pixels are deleted.
        ruler: Its scale bar, None without a scale.
        href: Where it is decided alone.
        answers: Choices of the form; () where it cannot be answered here.
        alone: Why it is decided alone, "" where it is not.
        flag: Why it was sent to review; None where it was not, or it is not answered here.
    """

    id: str
    name: str
    code: str
    state: str
    keeps: bool | None
    scaled: bool
    picture: Picture | None
    ruler: Ruler | None
    href: str
    answers: tuple[Choice, ...] = ()
    alone: str = ""
    flag: Flag | None = None


@dataclass(frozen=True, slots=True)
class PlateRow:
    """One specimen: its name, its conformity in words, and its fields."""

    name: str
    word: str
    tone: Tone
    plates: tuple[Plate, ...]


@dataclass(frozen=True, slots=True)
class OrderConfirmPage:
    """The fields of one order side by side, to be confirmed together once each was seen.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        may_decide: The reader may decide.
        number: Of the order. urgent: it goes first.
        word: Its conformity in words. tone: of it.
        limit: What is demanded, in words, "" where nothing is.
        facts: What is known of the order.
        rows: Its specimens.
        state: What the form lists, signed.
        confirm: How many fields are confirmed together.
        subtypes: The taxonomy.
        criteria: By which a size is decided. criterion: their name, "" for no sizes.
        order_href: Its own page. next: the next order or the desk.
        alone: The first field that is decided alone, or None.
        done: What was done last, or None.
        conflicts: What other reviewers decided during this time, a sentence each.
        scale: Such as "1 px = 0.34 µm", "" where no scale is known.
        place: Such as "2 of 7 orders to confirm".
        prefetch: Pictures of the next order.
        reasons: Reasons for correcting the model's answer; () where none is required.
        reason: The reason that was typed already.
        look_s: How long (s) a field is in view until it counts as seen.
    """

    site: str
    reviewer: str
    may_decide: bool
    number: str
    urgent: bool
    word: str
    tone: Tone
    limit: str
    facts: tuple[Fact, ...]
    rows: tuple[PlateRow, ...]
    state: str
    confirm: int
    subtypes: tuple[SubtypeChoice, ...]
    criteria: tuple[Choice, ...]
    criterion: str
    order_href: str
    next: Link
    alone: Link | None
    done: Done | None
    conflicts: tuple[str, ...]
    scale: str
    place: str
    prefetch: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    reason: str = ""
    look_s: float = 1.0
