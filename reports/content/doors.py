"""What the pages say that let people in or tell them why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.parts import Fact, Link


@dataclass(frozen=True, slots=True)
class NamePage:
    """The one question before a first decision: who are you?

    Args:
        then: Where to go on.
        fields: What was about to be sent, so that nothing is lost.
        action: Where the form goes.
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
    """The door: a name and a password; who is in already may leave it to somebody else.

    Args:
        reviewer: Who is logged in, or "".
        name: What to offer as the name.
        then: Where to go on.
        wrong: Why it was refused, "" for not at all.
    """

    site: str
    reviewer: str
    name: str
    then: str
    wrong: str


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A plain page that says one thing and where to go on."""

    site: str
    reviewer: str
    title: str
    sentence: str
    onward: Link
