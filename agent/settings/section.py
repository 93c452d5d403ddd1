"""The base of every section, and types that several sections use."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

# --- describe a fault of a TOML file by its line, and what to write instead -----------------------
# The parser names a line and no remedy; most faults are a date or a time in everyday notation, or
# a text without quotes.


LONGEST = 60
IN_SINGLE_QUOTES = (
    r"Write Windows paths in single quotes, '\\server\share\folder': in double ones a backslash "
    "begins an escape."
)
_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_PAIR = re.compile(r"\s*([\w.\"'-]+)\s*=\s*(.*?)\s*$")
_GERMAN_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})\b")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)")
_NUMBER = re.compile(r"[-+]?(0[xob]\w*|\d[\d_]*[.,]?\d*)", re.IGNORECASE)
_TIME = re.compile(r"\d{1,2}:\d{2}$")
_QUOTES = ("'", '"')


def describe_toml_fault(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return what is wrong with a TOML text and what to write, a sentence or two.

    Args:
        text: Of the file.
        error: What the parser raised.
    """
    place = _PLACE.search(str(error))
    lines = text.splitlines()
    if place is None or int(place[1]) > len(lines):
        return f"not valid TOML: {_with_hint(str(error))}"
    number = int(place[1])
    line = lines[number - 1]
    if found := _find_no_date(line[int(place[2]) - 1 :]):
        return f"line {number}: {line.partition('=')[0].strip()}: {_describe_no_date(found)}"
    pair = _PAIR.match(line.partition(" #")[0])
    remedy = _remedy(pair[1], pair[2]) if pair else ""
    if not remedy:
        return f"not valid TOML: {_with_hint(str(error))}"
    return f"line {number}: {remedy}"


def _find_no_date(value: str) -> str:
    """Return the date that a value begins with where no calendar has it, else ""."""
    match = _DATE.match(value)
    if match is None or _is_date(*(int(part) for part in match.groups())):
        return ""
    return match[0]


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _describe_no_date(value: str) -> str:
    return f"the date {value} does not exist."


def _with_hint(sentence: str) -> str:
    is_path = "\\" in sentence.replace("'\\n'", "") or "hex value" in sentence
    return f"{sentence}. {IN_SINGLE_QUOTES}" if is_path else f"{sentence}."


def _remedy(key: str, value: str) -> str:
    """Return what to write in place of a value, "" where that is not known."""
    if match := _GERMAN_DATE.fullmatch(value):
        day, month, year = (int(part) for part in match.groups())
        return _remedy_of_date(key, value, year, month, day)
    if _TIME.fullmatch(value):
        return f'{key} = {value}: write the time in quotes, {key} = "{value}".'
    if match := _DATE.fullmatch(value):
        return _remedy_of_date(key, value, *(int(part) for part in match.groups()))
    if _NUMBER.fullmatch(value):
        return (
            f"{key} = {value}: not a number. Write digits alone, without a zero in front, and a "
            "point for decimals."
        )
    return _remedy_of_text(key, value)


def _remedy_of_date(key: str, value: str, year: int, month: int, day: int) -> str:
    if not _is_date(year, month, day):
        return f"{key}: {_describe_no_date(value)}"
    return f"{key} = {value}: write the date as {year:04d}-{month:02d}-{day:02d}."


def _remedy_of_text(key: str, value: str) -> str:
    if value.startswith(_QUOTES):
        is_open = value.count(value[0]) == 1
        return f"{key}: the quote that begins the value is not closed." if is_open else ""
    if not value:
        return f"{key}: nothing is written after the equals sign."
    if value[0] in "[{" or re.fullmatch(r"[-+\d.eE_]+|true|false", value):
        return ""
    if "://" in value or len(value) > LONGEST:  # an address may hold a password
        return f"{key}: write text in quotes."
    quote = "'" if "\\" in value else '"'
    return f"{key} = {value}: write text in quotes, {key} = {quote}{value}{quote}."


# --- the base of every section, and types that several sections use -------------------------------


_NOT_SHOWN = ("Cc", "Cs", "Cn", "Zl", "Zp")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _require_folder_name(given: object) -> object:
    if isinstance(given, str) and not given.strip():
        raise ValueError("must not be empty")
    if isinstance(given, str) and any(character < " " for character in given):
        raise ValueError(f"not a folder name. {IN_SINGLE_QUOTES}".rstrip("."))
    return given


def keep_shown(name: str) -> str:
    """Return a name without the letters that a page cannot show in one line."""
    return "".join(letter for letter in name if unicodedata.category(letter) not in _NOT_SHOWN)


def require_shown(name: str) -> str:
    """Return a name. Raises `ValueError` where a page cannot show it in one line."""
    if name != keep_shown(name):
        raise ValueError("has letters that cannot be shown, such as a line break; type it again")
    return name


class Right(StrEnum):
    """What the service does with a path of the settings, and so has to be permitted."""

    READ = "read"
    WRITE = "write"
    """It makes files in this folder, changes and deletes them."""
    APPEND = "append"
    """It makes this file, and appends to it."""


@dataclass(frozen=True, slots=True)
class PathMark:
    """Marks a setting as the path of a file or folder, which may be relative to the file."""

    right: Right = Right.READ


@dataclass(frozen=True, slots=True)
class AddressMark:
    """Marks a setting as an address that the service connects to, or that it serves.

    Attributes:
        port: Where the address names none, 0 for that of its scheme.
        used_with: Key of the same section without which the address is not used, "" for none.
        default: Address in place of an empty one.
        is_served: The service listens there.
        is_opaque: Its host is not in it, so that it is not tried.
    """

    port: int = 0
    used_with: str = ""
    default: str = ""
    is_served: bool = False
    is_opaque: bool = False


Folder = Annotated[Path, BeforeValidator(_require_folder_name)]
WrittenFolder = Annotated[Folder, PathMark(Right.WRITE)]

Shown = Annotated[str, AfterValidator(require_shown)]
"""A name or word that pages show in one line."""

SomePath = Annotated[str, PathMark()]
"""Path of a file or folder as text, which is read; "" for none."""
SomeWrittenFolder = Annotated[str, PathMark(Right.WRITE)]
"""Path of a folder as text; "" for none."""
SomeAppendedFile = Annotated[str, PathMark(Right.APPEND)]
"""Path of a file as text; "" for none."""


class Section(BaseModel):
    """A section of the settings: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where a number belongs: Python counts them as 1 and 0."""
        kinds = {*_iter_kinds(cls.model_fields[info.field_name or ""].annotation)}
        parts = value if isinstance(value, list | tuple) else (value,)
        if bool not in kinds and any(isinstance(part, bool) for part in parts):
            if float in kinds:
                raise PydanticCustomError("float_type", "must be a number")
            if int in kinds:
                raise PydanticCustomError("int_type", "must be a whole number")
        return value


def _iter_kinds(annotation: object) -> Iterator[object]:
    yield annotation
    for part in get_args(annotation):
        yield from _iter_kinds(part)
