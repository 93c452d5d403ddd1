"""Content of the pages that use kept features: similar micrographs, and the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.archive import ArchiveItem


@dataclass(frozen=True, slots=True)
class SimilarItem:
    """A micrograph that looks like another one.

    Args:
        item: As in the archive's grid.
        cosine: How alike, such as "0.97".
        scale: µm per pixel, in words.
    """

    item: ArchiveItem
    cosine: str
    scale: str


@dataclass(frozen=True, slots=True)
class SimilarPage:
    """Micrographs that look most like one.

    Args:
        site: Name of the site.
        reviewer: Who reads, "" for nobody.
        subject: The one.
        scale: Its scale, in words.
        same_scale: Those of its scale, the most similar first.
        other_scale: The others likewise.
        why_none: Why nothing can be shown, "" where something is.
        note: What is left out of what is shown, "" for nothing.
    """

    site: str
    reviewer: str
    subject: ArchiveItem
    scale: str
    same_scale: tuple[SimilarItem, ...]
    other_scale: tuple[SimilarItem, ...]
    why_none: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class MapGroup:
    """Micrographs of the map with one value.

    Args:
        text: The value as it is read.
        count: How many there are.
        href: The archive narrowed to it, "" where it cannot be.
    """

    text: str
    count: int
    href: str


@dataclass(frozen=True, slots=True)
class MapColour:
    """What the points of the map may be coloured by.

    Args:
        name: The stable word.
        title: As it is read.
        groups: Its values, in the order of the points' indices.
    """

    name: str
    title: str
    groups: tuple[MapGroup, ...]


@dataclass(frozen=True, slots=True)
class MapPage:
    """The map of all micrographs.

    Args:
        site: Name of the site.
        reviewer: Who reads, "" for nobody.
        count: How many points there are.
        explained: Per cent of the variance that the two directions have, "" where there is no map.
        most_selected: How many micrographs a selection may have.
        colours: What the points may be coloured by.
    """

    site: str
    reviewer: str
    count: int
    explained: str
    most_selected: int
    colours: tuple[MapColour, ...]
