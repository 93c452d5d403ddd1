"""Messages that are stored: the id and the parameters are kept, words are made when shown.

The id is the English text with its `{places}`, as in the catalogue. So one stored result is read in
every language, and none is recognised by its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Union

from reports.i18n import decimal, gettext, speaking

Parameter = Union[str, int, float, "Message"]

GROUPED_FROM = 10_000
"""Whole numbers from here on are shown in groups of three digits."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the catalogue with its parameters.

    Args:
        id: The English text, its `{places}` not filled; one that the catalogue lacks stays English.
        parameters: Place → what is put there: text as it is, numbers and messages in the language
            of the page.
    """

    id: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether it says anything."""
        return bool(self.id)

    def __str__(self) -> str:
        """Return the words in the language of the page."""
        filled = {place: _format(value) for place, value in self.parameters.items()}
        try:
            return gettext(self.id).format(**filled)
        except (ValueError, LookupError, AttributeError):  # of a damaged row, or a later version
            return self.id

    def in_english(self) -> str:
        """Return the English words, as values for programs have them."""
        with speaking("en"):
            return str(self)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; the inverse of `from_json`."""
        return {
            "id": self.id,
            "parameters": {
                place: value.to_json() if isinstance(value, Message) else value
                for place, value in self.parameters.items()
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Message:
        """Build a message from what `to_json` returned.

        Raises:
            KeyError, TypeError, AttributeError: It is none.
        """
        if not isinstance(document["id"], str):
            raise TypeError(f"id of a message: {document['id']!r}")
        parameters = document.get("parameters", {})
        return cls(
            document["id"],
            {
                place: cls.from_json(value) if isinstance(value, Mapping) else value
                for place, value in parameters.items()
            },
        )


def join_messages(messages: Iterable[Message]) -> Message:
    """Return sentences one after the other as one message; an empty one for none."""
    joined = Message("")
    for message in messages:
        joined = (
            Message("{first} {more}", {"first": joined, "more": message}) if joined else message
        )
    return joined


def read_message(document: Mapping[str, Any] | None, text: str) -> Message:
    """Return a stored message; of rows that have none the English text.

    Args:
        document: From `Message.to_json`; None where the text alone was stored.
        text: The stored English text.
    """
    with suppress(KeyError, TypeError, AttributeError):
        if document:
            return Message.from_json(document)
    return Message(text.replace("{", "{{").replace("}", "}}"))


def _format(value: Parameter) -> str:
    if isinstance(value, int) and value >= GROUPED_FROM:
        return f"{value:,}".replace(",", "\u00a0")
    if isinstance(value, (int, float)):
        return decimal(value, "g")
    return str(value)
