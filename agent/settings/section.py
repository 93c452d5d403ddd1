"""The base of every section, and types that several sections use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
)

from agent.toml_faults import IN_SINGLE_QUOTES

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _require_folder_name(given: object) -> object:
    if isinstance(given, str) and not given.strip():
        raise ValueError("must not be empty")
    if isinstance(given, str) and any(character < " " for character in given):
        raise ValueError(f"not a folder name. {IN_SINGLE_QUOTES}".rstrip("."))
    return given


Folder = Annotated[Path, BeforeValidator(_require_folder_name)]


@dataclass(frozen=True, slots=True)
class PathMark:
    """Marks a setting as the path of a file or folder, which may be relative to the file."""


SomePath = Annotated[str, PathMark()]
"""Path of a file or folder as text; "" for none."""


class Section(BaseModel):
    """A section of the settings: frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)
