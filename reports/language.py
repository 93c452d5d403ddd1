"""Say messages, numbers and dates in the language of the page that is being made.

In:  a message in English, a number, an instant. Out: the same in the language spoken. Next:
`words`, `charts`, the templates, and whoever fills `content`.
The English text stands in the program and is the key of the catalogue, `languages/de.po`. What a
catalogue lacks is said in English; a test names it, so that nobody ships half a translation.

The language is a context variable: a page is made within `with speaking("de"):`, and what is meant
for programs, such as the JSON of an order, is made outside of one and stays English.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import NullTranslations
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

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


def language() -> Language:
    """Say which language is spoken."""
    return _spoken.get()


@contextmanager
def speaking(wanted: Language) -> Iterator[None]:
    """Speak a language within the block."""
    token = _spoken.set(wanted)
    try:
        yield
    finally:
        _spoken.reset(token)


def gettext(message: str) -> str:
    """Say a message; its `{places}` are still to be filled."""
    return _catalogue(language()).gettext(message) if message else ""  # "" is its header


def ngettext(one: str, many: str, n: int) -> str:
    """Say a message for a number of things; its `{places}` are still to be filled."""
    return _catalogue(language()).ngettext(one, many, n)


def marked(message: str) -> str:
    """Mark a message for the catalogue where it stands as data; `gettext` says it later."""
    return message


def decimal(value: float, form: str) -> str:
    """Say a number.

    Args:
        value: Any.
        form: As `format` takes it, such as ".4g".
    """
    return format(value, form).replace(".", Locale(language()).number_symbols["latn"]["decimal"])


def day_and_time(at: datetime) -> str:
    """Say an instant, such as "24 Nov 02:14"."""
    return format_datetime(at, DAY_AND_TIME[language()], locale=language())


def with_seconds(at: datetime) -> str:
    """Say an instant with its year and seconds."""
    return format_datetime(at, WITH_SECONDS[language()], locale=language())


def statement_time(at: datetime) -> str:
    """Return an instant with its year, to the minute, such as "24 Nov 2026 02:14"."""
    return format_datetime(at, DATE_AND_MINUTE[language()], locale=language())


def statement_date(day: date) -> str:
    """Return a day with its year, such as "24 November 2026"."""
    return format_date(day, DATE[language()], locale=language())


def short_day(day: date) -> str:
    """Say a day, such as "24 Nov"."""
    return format_date(day, DAY[language()], locale=language())


def whole_date(day: date) -> str:
    """Say a day with its weekday and year, such as "Tuesday 24 November 2026"."""
    return format_date(day, WHOLE_DATE[language()], locale=language())


@cache
def _catalogue(wanted: Language) -> NullTranslations:
    if wanted == "en":
        return NullTranslations()
    held = files("reports").joinpath("languages", f"{wanted}.po").read_bytes()
    compiled = io.BytesIO()
    write_mo(compiled, read_po(io.BytesIO(held), locale=wanted))
    compiled.seek(0)
    return Translations(compiled)
