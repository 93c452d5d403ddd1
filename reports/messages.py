"""Messages that are stored: the id and the parameters are kept, words are made when shown.

The id is the English text with its `{places}`, as in the catalogue. So one stored result is read in
every language, and none is recognised by its words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Union

from reports.i18n import decimal, gettext, marked, speaking

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


# --- how unusual a micrograph is, and where: the out-of-distribution result as a message ----------


PARTS: Mapping[str, str] = {
    "whole": marked("the whole field"),
    "window": marked("a part of the field"),
    "fine": marked("unusual texture"),
    "broad": marked("unusual texture"),
    "patch": marked("unusual texture"),
    "tone": marked("unusual brightness or colour"),
    "shade": marked("unusual brightness or colour"),
}
"""The look that found it → what is unusual."""

_NOT_COMPARABLE = marked("Unusual: {rare}; {what}.")
_LARGER = marked("{rest} Larger than any reference field ({ratio} times the usual area).")
_SMALLER = marked("{rest} Smaller than any reference field ({ratio} times the usual area).")
_TWO_DIGITS_BELOW = 10


def compose_ood_message(
    p_value: float,
    references: int,
    *,
    look: str = "",
    area_um2: float | None = None,
    size_ratio: float | None = None,
    is_resolvable: bool = True,
) -> Message:
    """Compose the reason for the reviewer: what is unusual, how rare that is, the field's size.

    Args:
        p_value: Share of the reference images that score at least as high, in (0, 1].
        references: Number of reference images that were compared.
        look: Where the field is flagged, the one of `PARTS` that is most unusual; "" if it is not.
        area_um2: Area of the marked place in µm², None without one or without a scale.
        size_ratio: Area divided by the usual one, where no reference field is as large or as
            small; else None.
        is_resolvable: There are enough reference images for the alarm rate.
    """
    message = _compose(p_value, references, look, area_um2, is_resolvable=is_resolvable)
    if size_ratio is None:
        return message
    ratio = float(f"{size_ratio:.2g}") if size_ratio < _TWO_DIGITS_BELOW else round(size_ratio)
    return Message(_LARGER if size_ratio > 1 else _SMALLER, {"rest": message, "ratio": ratio})


def _compose(
    p_value: float, references: int, look: str, area_um2: float | None, *, is_resolvable: bool
) -> Message:
    if not is_resolvable:
        return Message(
            marked("{rare}; too few reference images to raise an alarm."),
            {"rare": describe_rarity(p_value, references)},
        )
    if not look:
        return Message(marked("{rare}."), {"rare": describe_rarity(p_value, references)})
    part: Message = Message(PARTS[look])
    if area_um2 is not None and look != "whole":
        part = Message(
            marked("{what}, {area} µm² marked"), {"what": part, "area": _round(area_um2)}
        )
    return Message(
        _NOT_COMPARABLE,
        {"rare": describe_rarity(p_value, references, inside=True), "what": part},
    )


def shorten_ood_message(message: Message) -> Message:
    """Return the message without the words that a title above it has already."""
    if message.id == _NOT_COMPARABLE:
        return Message(marked("{rare}; {what}."), message.parameters)
    rest = message.parameters.get("rest")
    if isinstance(rest, Message):
        return Message(message.id, {**message.parameters, "rest": shorten_ood_message(rest)})
    return message


def describe_rarity(p_value: float, references: int, *, inside: bool = False) -> Message:
    """Describe a p-value as a frequency among the reference images.

    Args:
        p_value: In (0, 1].
        references: Number of reference images that were compared.
        inside: It stands within a sentence, so it begins with a small letter.
    """
    at_least = round(p_value * (references + 1)) - 1
    if at_least <= 0:
        unlike = (
            marked("unlike all {n} reference images")
            if inside
            else marked("Unlike all {n} reference images")
        )
        return Message(unlike, {"n": references})
    if at_least >= references / 2:
        return Message(
            marked("like the reference images") if inside else marked("Like the reference images")
        )
    return Message(
        marked("1 in {n} reference images scores as high"), {"n": round(references / at_least)}
    )


def _round(area_um2: float) -> int | float:
    """Return an area with two digits."""
    rounded = float(f"{area_um2:.2g}")
    return int(rounded) if rounded.is_integer() else rounded
