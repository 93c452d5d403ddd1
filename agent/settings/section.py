"""The base of every section, and types that several sections use."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
)

from agent.settings.toml_faults import IN_SINGLE_QUOTES

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
