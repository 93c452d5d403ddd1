"""Content of the archive and of the history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link, Picture
    from reports.content.review import Filter


@dataclass(frozen=True, slots=True)
class ArchiveItem:
    """A micrograph of the grid.

    Args:
        id: Its public id.
        name: Name of the file.
        code: Structure code, "" where it is hidden or there is none.
        outcome: What became of it, in words.
        about: Order, specimen and heat in one line.
        at: When it was recorded, at the site.
        thumbnail: To be loaded when it comes on screen.
        href: Its page.
    """

    id: str
    name: str
    code: str
    outcome: str
    about: str
    at: str
    thumbnail: Picture
    href: str


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value that the hits may be narrowed to, or that they are narrowed to.

    Args:
        text: The value as it is read.
        count: How many hits have it, in words.
        href: The search with it, or without it where it is on.
        on: The search is narrowed to it.
    """

    text: str
    count: str
    href: str
    on: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """What the hits have in common.

    Args:
        name: The stable word of the column.
        title: As it is read.
        values: The most frequent values with their counts; those that are chosen are on.
    """

    name: str
    title: str
    values: tuple[FacetValue, ...]


@dataclass(frozen=True, slots=True)
class ArchivePage:
    """Micrographs that match a search, and what can be done with them.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        query: As typed.
        items: Those of this page.
        count: How many there are in words, such as "10,000+ micrographs".
        counted_note: What the counts of the facets are of where they are cut; "" for all hits.
        facets: Counts that narrow the search.
        chips: What the search is narrowed to; each one's address leaves it out.
        hidden: What the search box and the acts send with them besides `query`.
        next_href: The next page, "" for the last one.
        first_href: The first page, "" on it.
        views: Saved searches of the reader. view_query: the search, as one would be saved.
        notice: What was done last, "" for nothing.
        problem: Why nothing was done, "" for nothing.
        may_save: The reader may save views.
        may_act: The reader may request reviews and plan a round robin.
        most_images: How many micrographs an export with images may have.
    """

    site: str
    reviewer: str
    query: str
    items: tuple[ArchiveItem, ...]
    count: str
    counted_note: str
    facets: tuple[Facet, ...]
    chips: tuple[Filter, ...]
    hidden: tuple[Fact, ...]
    next_href: str
    first_href: str
    views: tuple[Link, ...]
    view_query: str
    notice: str
    problem: str
    may_save: bool
    may_act: bool
    most_images: int
