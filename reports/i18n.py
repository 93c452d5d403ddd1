"""Translate messages and format numbers and dates in the language of the page.

The English text is the key of the catalogue, `languages/de.po`. A message that a catalogue lacks
stays English; a test names it, so that no half translation is released.

The language is a context variable: a page is rendered within `with speaking("de"):`, and values for
programs, such as the JSON of an order, are built outside of one and stay English.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import NullTranslations
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")
DAY_AND_TIME = {"en": "d MMM HH:mm", "de": "d. MMM HH:mm"}
WITH_SECONDS = {"en": "d MMM yyyy HH:mm:ss", "de": "d. MMM yyyy HH:mm:ss"}
DAY = {"en": "d MMM", "de": "d. MMM"}
DATE = {"en": "d MMMM yyyy", "de": "d. MMMM yyyy"}
DATE_AND_MINUTE = {"en": "d MMM yyyy HH:mm", "de": "d. MMM yyyy HH:mm"}
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
    return _format_time(at, DAY_AND_TIME[language()])


def with_seconds(at: datetime) -> str:
    """Format an instant with its year and seconds."""
    return _format_time(at, WITH_SECONDS[language()])


def statement_time(at: datetime) -> str:
    """Format an instant with its year, to the minute, such as "24 Nov 2026 02:14"."""
    return _format_time(at, DATE_AND_MINUTE[language()])


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


def _format_time(at: datetime, pattern: str) -> str:
    from babel.dates import format_datetime  # noqa: PLC0415 - short commands need no Babel

    return format_datetime(at, pattern, locale=language())


def _format_day(day: date, pattern: str) -> str:
    from babel.dates import format_date  # noqa: PLC0415 - short commands need no Babel

    return format_date(day, pattern, locale=language())


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
