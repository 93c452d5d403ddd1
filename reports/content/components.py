"""Parts of many pages: tones, pictures, facts, links, tables, the form of a signature."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """How urgently something needs action; always drawn as a shape and a word next to a colour."""

    CALM = "calm"
    ATTENTION = "attention"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and its alt text.

    Args:
        src: A data URI in a report, a path below the site's root on a review page.
        alt: Its content in words.
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
        picture: None where there is none; then `note` states why.
        note: Next to the picture, such as "no positive evidence"; "" for none.
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
    """A text and its address."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read.

    Args:
        title: Its subject.
        columns: Heads of the columns; the first one names the row.
        rows: One tuple of cells per row.
        chart: The same as SVG from `figures`, or "".
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chart: str = ""


@dataclass(frozen=True, slots=True)
class StatementPicture:
    """A picture of a field.

    Attributes:
        jpeg: Its bytes.
        width, height: In pixels.
        title: Such as "Specimen 01, field 4: G8".
        caption: Who decided, and the id.
        gone: It does not count.
    """

    jpeg: bytes
    width: int
    height: int
    title: str
    caption: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class DocumentSection:
    """One part of a statement or a model card; what is empty is not shown."""

    title: str
    lines: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[StatementPicture, ...] = ()

    @property
    def is_filled(self) -> bool:
        """Whether there is anything to show below the title."""
        tables = any(table.rows for table in self.tables)
        return bool(self.lines or self.facts or self.pictures or tables)


@dataclass(frozen=True, slots=True)
class SignForm:
    """The form with which a lead signs.

    Args:
        action: Where it is sent.
        title: What is signed, such as "Promote 20261124-1f2e3d4c".
        note: What follows from it.
        needs_password: The lab has accounts.
        blocked: Why it cannot be signed yet, "" where it can.
        sure: What the lead has to confirm, "" for nothing.
    """

    action: str
    title: str
    note: str
    needs_password: bool
    blocked: str = ""
    sure: str = ""
