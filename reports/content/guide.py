"""Content of the pages of the user guide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from reports.i18n import Language


@dataclass(frozen=True, slots=True)
class GuideHeading:
    """A heading; `level` is 1 for the page's title."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class GuidePage:
    """One page of the guide, rendered; `language` is that of its text."""

    name: str
    title: str
    html: Markup
    headings: tuple[GuideHeading, ...]
    language: Language


@dataclass(frozen=True, slots=True)
class GuideTitle:
    """A page in the table of contents; `lead` is its first sentence."""

    name: str
    title: str
    lead: str
    language: Language


@dataclass(frozen=True, slots=True)
class GuidePiece:
    """A piece of an excerpt, marked where it is what was searched for."""

    text: str
    is_hit: bool = False


@dataclass(frozen=True, slots=True)
class GuideHit:
    """A section that a search found."""

    page: str
    title: str
    heading: str
    anchor: str
    excerpt: tuple[GuidePiece, ...]
    language: Language
