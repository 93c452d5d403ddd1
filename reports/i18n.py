"""Translate messages, also stored ones, and format numbers and dates in the page's language.

The English text is the key of the catalogue, `languages/de.po`. A message that a catalogue lacks
stays English; a test names it, so that no half translation is released.

The language is a context variable: a page is rendered within `with speaking("de"):`, and values for
programs, such as the JSON of an order, are built outside of one and stay English.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, lru_cache
from gettext import NullTranslations
from importlib.resources import files
from typing import Any, Literal, Union

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")
DAY = {"en": "d MMM", "de": "d. MMM"}
DATE = {"en": "d MMMM yyyy", "de": "d. MMMM yyyy"}
DAY_OF_YEAR = {"en": "d MMM yyyy", "de": "d. MMM yyyy"}
WHOLE_DATE = {"en": "EEEE d MMMM yyyy", "de": "EEEE, d. MMMM yyyy"}

_spoken: ContextVar[Language] = ContextVar("spoken", default="en")
_account: ContextVar[str] = ContextVar("account", default="")


def language() -> Language:
    """Return the language of the page."""
    return _spoken.get()


def account() -> str:
    """Return the account that the page is for, "" where nobody is logged in."""
    return _account.get()


@contextmanager
def addressing(name: str) -> Iterator[None]:
    """Set the account that pages are for within the block."""
    token = _account.set(name)
    try:
        yield
    finally:
        _account.reset(token)


@contextmanager
def speaking(wanted: Language) -> Iterator[None]:
    """Set the language within the block."""
    token = _spoken.set(wanted)
    try:
        yield
    finally:
        _spoken.reset(token)


def gettext(message: str) -> str:
    """Return a message in the page's language, its `{places}` not filled yet."""
    return _catalogue(language()).gettext(message) if message else ""  # "" is its header


def ngettext(one: str, many: str, n: int) -> str:
    """Return a message for a number of things, its `{places}` not filled yet."""
    return _catalogue(language()).ngettext(one, many, n)


def marked(message: str) -> str:
    """Mark a message for the catalogue where it is data; `gettext` translates it later."""
    return message


def decimal(value: float, form: str) -> str:
    """Format a number with the language's decimal sign.

    Args:
        value: Any.
        form: A format specification of `format`, such as ".4g".
    """
    return format(value, form).replace(".", _decimal_sign(language()))


def percent(share: float) -> str:
    """Format a share; never as 100 % or 0 % unless it is exactly that."""
    if 0 < share < 0.005:  # noqa: PLR2004 - rounds to 0
        return "< 1 %"
    if 0.995 <= share < 1:  # noqa: PLR2004 - rounds to 100
        return "> 99 %"
    return f"{share * 100:.0f} %"


def integer(n: int) -> str:
    """Format a whole number with the language's groups of three digits."""
    from babel.numbers import format_decimal  # noqa: PLC0415 - short commands need no Babel

    return str(format_decimal(n, locale=language()))


def day_and_time(at: datetime) -> str:
    """Format an instant, such as "24 Nov 02:14"."""
    return f"{_format_day(at, DAY[language()])} {at:%H:%M}"


def with_seconds(at: datetime) -> str:
    """Format an instant with its year and seconds."""
    return f"{_format_day(at, DAY_OF_YEAR[language()])} {at:%H:%M:%S}"


def statement_time(at: datetime) -> str:
    """Format an instant with its year, to the minute, such as "24 Nov 2026 02:14"."""
    return f"{_format_day(at, DAY_OF_YEAR[language()])} {at:%H:%M}"


def statement_date(day: date) -> str:
    """Format a day with its year, such as "24 November 2026"."""
    return _format_day(day, DATE[language()])


def short_day(day: date) -> str:
    """Format a day, such as "24 Nov"."""
    return _format_day(day, DAY[language()])


def month_and_year(day: date) -> str:
    """Format the month of a day, such as "November 2026"."""
    return _format_day(day, "LLLL yyyy")


def whole_date(day: date) -> str:
    """Format a day with its weekday and year, such as "Tuesday 24 November 2026"."""
    return _format_day(day, WHOLE_DATE[language()])


def _format_day(day: date, pattern: str) -> str:
    return _format_date(day.year, day.month, day.day, pattern, language())


@lru_cache(maxsize=4096)
def _format_date(year: int, month: int, day: int, pattern: str, wanted: Language) -> str:
    """Format a day; Babel costs a tenth of a table of thousands, most of which are of few days."""
    from babel.dates import format_date  # noqa: PLC0415 - short commands need no Babel

    return format_date(date(year, month, day), pattern, locale=wanted)


@cache
def _decimal_sign(wanted: Language) -> str:
    from babel import Locale  # noqa: PLC0415 - short commands need no Babel

    return str(Locale(wanted).number_symbols["latn"]["decimal"])


@cache
def _catalogue(wanted: Language) -> NullTranslations:
    if wanted == "en":
        return NullTranslations()
    from babel.messages.mofile import write_mo  # noqa: PLC0415 - short commands need no Babel
    from babel.messages.pofile import read_po  # noqa: PLC0415
    from babel.support import Translations  # noqa: PLC0415

    content = files("reports").joinpath("languages", f"{wanted}.po").read_bytes()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(content), locale=wanted))
    compiled.seek(0)
    return Translations(compiled)


# --- messages that are stored: the id and the parameters are kept, words are made when shown ------
# The id is the English text with its `{places}`, as in the catalogue. So one stored result is read
# in every language, and none is recognised by its words.


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
