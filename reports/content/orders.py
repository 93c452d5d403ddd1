"""Content of the pages of orders: the list, one order, its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Picture, Tone
    from reports.content.needles import NeedleTable


@dataclass(frozen=True, slots=True)
class OrderField:
    """One field of a specimen.

    Args:
        name: Such as "field 4".
        code: The code that counts, "" for none.
        state: Whose code it is, or what the field waits for.
        tone: Of the state.
        href: Where it is decided.
        thumbnail: Of it.
        gone: It no longer counts.
        viewer_href: Where it is viewed enlarged, "" where its pixels are deleted.
    """

    name: str
    code: str
    state: str
    tone: Tone
    href: str
    thumbnail: Picture
    gone: bool = False
    viewer_href: str = ""


@dataclass(frozen=True, slots=True)
class OrderSpecimen:
    """One specimen of an order: its conformity, what is missing, and its fields."""

    name: str
    word: str
    tone: Tone
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    facts: tuple[Fact, ...]
    fields: tuple[OrderField, ...]
    places: tuple[tuple[str, str], ...] = ()
    needles: NeedleTable | None = None


@dataclass(frozen=True, slots=True)
class OrderAct:
    """What a lead may do with an order: name for the form, label, effect, reason needed or not.

    Args:
        about: What it concerns, to be sent back, so that it decides nothing about what came later.
    """

    name: str
    label: str
    effect: str
    needs_reason: bool
    about: str = ""


@dataclass(frozen=True, slots=True)
class OrderPage:
    """One order in its present state.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        number: Of the order.
        word: Such as "undecided".
        tone: Of the word.
        demand: What is demanded, in words.
        sentences: About the order itself; those about a specimen are with it.
        facts: What is known of the order.
        specimens: Of the order.
        unusable: Files that could not be used.
        loose: Fields that belong to no specimen.
        confirm_href: Where its fields are confirmed together, "" if none needs a reviewer.
        queue_href: Where they are decided one by one, "" if none does.
        waiting: How many need a reviewer's answer.
        generated: When this page was written, local time.
        notes: What a reader should know about its fields.
        statement: To the newest frozen statement, or None before the first.
        customer: To the report for the customer, () before the first statement.
        act_href: Where a form for one of its acts is sent.
        acts: What its reader may do with the order.
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
    confirm_href: str
    queue_href: str
    waiting: int
    generated: str
    notes: tuple[str, ...] = ()
    statement: Link | None = None
    customer: tuple[Link, ...] = ()
    act_href: str = ""
    acts: tuple[OrderAct, ...] = ()


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
class TraceList:
    """A few lines under one title, such as the decisions on a field."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraceField:
    """One field and the evidence of its result.

    Args:
        id: Public id.
        name: Such as "field 4".
        place: Specimen and preparation, in words.
        code: The code that counts, and whose it is.
        gone: Why it no longer counts, "" where it does.
        again: Result of classifying its archived crop once more.
        again_tone: Of that result.
        picture: Of the crop, or None.
        facts: Scale, process data and the like.
        lists: Such as its decisions.
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
        tone: Of the word.
        said: When and by whom.
        changed: How it differs from the one before.
        sentences: Reasons next to the word.
        file: The file of the whole statement.
    """

    title: str
    word: str
    tone: Tone
    said: str
    changed: tuple[str, ...]
    sentences: tuple[str, ...]
    file: str


@dataclass(frozen=True, slots=True)
class TraceOrder:
    """One order in its present state, every statement made of it, and its fields.

    Args:
        number: Of the order.
        word: Such as "conforms".
        tone: Of the word.
        demand: What is demanded, in words.
        sentences: Reasons next to the word.
        facts: What is known of the order.
        statements: Every one made of it.
        acts: Entries of the audit log, a line each.
        fields: Of the order.
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
    """The evidence of the results of an order, a heat or one micrograph.

    Args:
        site: The lab's name.
        title: What was requested.
        zone: Of every time on it.
        orders: Those that match.
        loose: Fields that belong to no order.
        generated: When and by whom it was written.
    """

    site: str
    title: str
    zone: str
    orders: tuple[TraceOrder, ...]
    loose: tuple[TraceField, ...]
    generated: str
