"""What the pages of orders say: all of them, one, and what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.parts import Fact, Link, Picture, Tone


@dataclass(frozen=True, slots=True)
class OrderField:
    """One field of a specimen.

    Args:
        name: Such as "field 4".
        code: What holds of it, "" for nothing.
        state: Who said it, or what it waits for.
        gone: It no longer counts.
    """

    name: str
    code: str
    state: str
    tone: Tone
    href: str
    thumbnail: Picture
    gone: bool = False


@dataclass(frozen=True, slots=True)
class PlaceLink:
    """A pair of micrographs that show one place, and where both are shown next to each other."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class PlaceSidePicture:
    """One side of a pair: its name, where it belongs, its picture."""

    name: str
    href: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class PlacesPage:
    """Two micrographs that show one place, drawn in one frame.

    Attributes:
        site: Name of the site.
        reviewer: Who looks at it, "" where not known.
        title: Names of both.
        share: What they share, in words.
        sides: Both, the second drawn as the first one shows its place.
        verdict: What a lead decided, "" where nobody has.
        action: Where a decision is sent.
        choices: (value, words) of the decisions.
        may_decide: The reader is a lead.
    """

    site: str
    reviewer: str
    title: str
    share: str
    sides: tuple[PlaceSidePicture, ...]
    verdict: str
    action: str
    choices: tuple[tuple[str, str], ...]
    may_decide: bool


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
    places: tuple[PlaceLink, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderPage:
    """One order, as it stands at this moment.

    Args:
        word: Such as "undecided".
        demand: What is demanded, in words.
        sentences: What is said of the order itself; a specimen's own stand with it.
        unusable: Files that could not be used.
        loose: Fields that belong to no specimen.
        queue_href: Where its waiting fields are decided, "" if none waits.
        waiting: How many do.
        generated: When this page was written, local time.
        notes: What holds of its fields and a reader should know.
        statement: To the newest frozen statement, or None before the first.
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
    notes: tuple[str, ...] = ()
    statement: Link | None = None


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
        more: How many orders are not shown.
        may_assign: The reader may give a field its place.
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
        id: Public id.
        name: Such as "field 4".
        place: Specimen and preparation, in words.
        code: What holds of it, and who said so.
        gone: Why it no longer counts, "" where it does.
        again: What judging its archived crop once more gave.
        picture: Of the crop, or None.
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
        title: "First statement" or "Amendment 2".
        word: Such as "conforms".
        said: When and by whom.
        reason: Why it was amended.
        changed: What it says otherwise than the one before it.
        sentences: What it said beside the word.
        file: Where all of it stands.
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
        word: Such as "conforms".
        demand: What is demanded, in words.
        sentences: What is said of it.
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
        title: What was asked about.
        zone: Of every time on it.
        loose: Fields that belong to no order.
        generated: When and by whom it was written.
    """

    site: str
    title: str
    zone: str
    orders: tuple[TraceOrder, ...]
    loose: tuple[TraceField, ...]
    generated: str
