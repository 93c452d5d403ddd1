"""Content of the pages on which a lab trains its bundles: labels, a bundle, its signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

    from reports.content.components import Picture


@dataclass(frozen=True, slots=True)
class CodeLabels:
    """Labels of one structure code: trained on, tested on, not used, new; and its specimens."""

    code: str
    trained: int
    tested: int
    unused: int
    new: int
    specimens: int = 0


@dataclass(frozen=True, slots=True)
class UnusedWhy:
    """A reason why labels are not used, and how many."""

    why: str
    n: int


@dataclass(frozen=True, slots=True)
class Suggested:
    """A micrograph that is suggested for labelling.

    Args:
        id: Public id.
        name: Of its file.
        href: Where it is decided.
        picture: A thumbnail.
        is_done: It has a decision.
    """

    id: str
    name: str
    href: str
    picture: Picture
    is_done: bool


@dataclass(frozen=True, slots=True)
class LearningPage:
    """What a retraining would use, and what to label next.

    Args:
        site: The lab's name.
        reviewer: Who reads the page, "" where unknown.
        headline: How many labels count, in one sentence.
        enough: How many are enough, and of which code more are needed, a sentence each.
        codes: Labels per code.
        unused: Why labels are not used.
        is_first: There is no bundle yet, so the training makes the first one.
        wanted: What waits for the agent, in words; "" for nothing.
        suggested: What to label next, the most useful first.
        suggested_note: When it was chosen, or that it was not.
        suggested_href: Where it is labelled one after another, "" where nothing is left.
        curve: The learning curve as inline SVG.
        curve_note: What more labels would bring.
        message: What was just done or refused, "" for nothing.
    """

    site: str
    reviewer: str
    headline: str
    enough: tuple[str, ...]
    codes: tuple[CodeLabels, ...]
    unused: tuple[UnusedWhy, ...]
    is_first: bool
    wanted: str
    suggested: tuple[Suggested, ...]
    suggested_note: str
    curve: Markup
    curve_note: str
    message: str = ""
    suggested_href: str = ""


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
