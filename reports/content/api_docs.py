"""Content of the description of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.content.components import Fact


@dataclass(frozen=True, slots=True)
class ApiField:
    """One field of a body, or one parameter of an address.

    Args:
        name: Of it.
        kind: Its type in words; of a parameter also where it is sent.
        text: What it means, "" for nothing more than its name.
        is_required: It may not be left out.
    """

    name: str
    kind: str
    text: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One route.

    Args:
        method: Such as "POST".
        path: Such as "/api/v1/search".
        text: What it does.
        fields: Its parameters.
        body: Media types of what is sent, "" for none.
        body_schema: Schema of what is sent, "" where it is no JSON.
        answers: Status → media types.
        answer_schema: Schema of the answer, "" where it is no JSON.
    """

    method: str
    path: str
    text: str
    fields: tuple[ApiField, ...]
    body: str
    body_schema: str
    answers: tuple[Fact, ...]
    answer_schema: str

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        letters = f"{self.method}-{self.path.removeprefix('/api/v1/')}".lower()
        return "".join(letter if letter.isalnum() else "-" for letter in letters)


@dataclass(frozen=True, slots=True)
class ApiGroup:
    """Routes that belong together."""

    title: str
    routes: tuple[ApiRoute, ...]


@dataclass(frozen=True, slots=True)
class ApiSchema:
    """A JSON object that is sent or answered."""

    name: str
    text: str
    fields: tuple[ApiField, ...]


@dataclass(frozen=True, slots=True)
class ApiDocsPage:
    """The description of the API.

    Args:
        site: The lab's name.
        reviewer: Who reads the page.
        groups: The routes.
        schemas: What is sent and answered.
    """

    site: str
    reviewer: str
    groups: tuple[ApiGroup, ...]
    schemas: tuple[ApiSchema, ...]
