"""Content of the page on which a reviewer proposes a class."""

from __future__ import annotations

from dataclasses import dataclass


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
