"""Content of the page on which an administrator sets up the lab's classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Link
    from reports.content.proposal import ShownProposedClass


@dataclass(frozen=True, slots=True)
class ClassPicture:
    """A class with an example: its code, a thumbnail or "", and how many labels it has."""

    code: str
    thumbnail: str
    micrograph: str
    labels: str


@dataclass(frozen=True, slots=True)
class SubtypeEntry:
    """One subtype of the form.

    Args:
        name, title, title_de: As typed.
        sizes: One a line, coarse to fine.
        classes: Its codes with examples; empty for a new row.
    """

    name: str = ""
    title: str = ""
    title_de: str = ""
    sizes: str = ""
    classes: tuple[ClassPicture, ...] = ()


@dataclass(frozen=True, slots=True)
class SizeEntry:
    """One size of the form with its titles."""

    name: str
    title: str = ""
    title_de: str = ""


@dataclass(frozen=True, slots=True)
class TaxonomyPreview:
    """What a form would write.

    Args:
        codes: Every structure code.
        effects: What it would change, a sentence each.
        text: The file.
        seen: Hash of what is shown; writing needs it.
        copy: Whether a copy of a file that is there is kept, in a sentence.
    """

    codes: tuple[str, ...]
    effects: tuple[str, ...]
    text: str
    seen: str
    copy: str


@dataclass(frozen=True, slots=True)
class TaxonomyPage:
    """The page of the lab's classes.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" where unknown.
        file: The taxonomy.toml.
        written: What was written, in a sentence, or "".
        wrong: What is wrong with the form, or "".
        restart: What is left to do before the file counts, or "".
        sets: Imported sets, as links that fill the form.
        names: Names as typed.
        name: The lab's name for the taxonomy.
        several: A specimen may have several subtypes.
        subtypes: Rows of the form, with empty ones at the end.
        sizes: Every size.
        preview: What would be written, or None before a check.
        proposed: Classes that reviewers propose.
    """

    site: str
    reviewer: str
    file: str
    written: str
    wrong: str
    restart: str
    sets: tuple[Link, ...]
    names: str
    name: str
    several: bool
    subtypes: tuple[SubtypeEntry, ...]
    sizes: tuple[SizeEntry, ...]
    preview: TaxonomyPreview | None
    proposed: tuple[ShownProposedClass, ...] = ()
