"""What many pages have: a tone, pictures, facts, links, tables."""

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
