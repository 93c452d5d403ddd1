"""Content of the pages of orders: the list, one order, its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Picture, Tone


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
