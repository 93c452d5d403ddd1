"""Content of the page on which a reviewer proposes a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Picture


@dataclass(frozen=True, slots=True)
class ProposalPage:
    """A micrograph that shows a class which the taxonomy lacks.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" before a name was entered.
        may_decide: Whether the reader may also propose.
        id: Public id.
        name: The file's name.
        picture: Its thumbnail.
        proposed: The name as typed. text: the description as typed.
        own: Names that this reviewer has proposed for it.
        wrong: Why nothing was recorded, "" where nothing is wrong.
    """

    site: str
    reviewer: str
    may_decide: bool
    id: str
    name: str
    picture: Picture
    proposed: str
    text: str
    own: tuple[str, ...]
    wrong: str


@dataclass(frozen=True, slots=True)
class ShownProposal:
    """A proposal as the administrator reads it.

    Args:
        thumbnail: Of the micrograph that shows it. href: its page.
        text: What it looks like.
        by: Who proposes it. at: when, at the site.
    """

    thumbnail: str
    href: str
    text: str
    by: str
    at: str


@dataclass(frozen=True, slots=True)
class ShownProposedClass:
    """A class that reviewers propose.

    Args:
        name: As proposed.
        proposals: Oldest first.
    """

    name: str
    proposals: tuple[ShownProposal, ...]
