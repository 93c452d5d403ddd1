"""Content of the pages before a login, and of messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact, Link


@dataclass(frozen=True, slots=True)
class NamePage:
    """The page before a first decision, which asks for the reviewer's name.

    Args:
        site: The lab's name.
        reviewer: The name so far, "" for none.
        then: Address after it.
        action: Where the form is sent.
        fields: The form that was about to be sent, so that nothing is lost.
        wrong: What was wrong with the name, "" for nothing.
    """

    site: str
    reviewer: str
    then: str
    action: str
    fields: tuple[Fact, ...]
    wrong: str


@dataclass(frozen=True, slots=True)
class LoginPage:
    """The login page; a reader who is logged in may switch to another account.

    Args:
        site: The lab's name.
        reviewer: Who is logged in, or "".
        name: What to offer as the name.
        then: Address after it.
        wrong: Why the login was refused, "" where it was not.
    """

    site: str
    reviewer: str
    name: str
    then: str
    wrong: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A plain page with one message and a link; `back` is the page before, "" for none."""

    site: str
    reviewer: str
    title: str
    sentence: str
    onward: Link
    back: str = ""
