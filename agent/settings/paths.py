"""The settings that are paths of files or folders, found in the settings model itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.settings.root import Settings
from agent.settings.section import PathMark, Right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from agent.settings.sources import Source

SOURCES = "sources"


@dataclass(frozen=True, slots=True)
class NamedPath:
    """A path in the settings.

    Attributes:
        section: Name of the section, "sources" for each source.
        key: Key in the section.
        value: The path as it is set.
        source: Name of the source, "" outside sources.
        default: Its default, None where it has none.
        right: What the service does with it.
    """

    section: str
    key: str
    value: Path | str
    source: str = ""
    default: Path | str | None = None
    right: Right = Right.READ

    @property
    def label(self) -> str:
        """Name of the setting for a sentence: "[web] key", or "source LOM-07"."""
        return f"source {self.source}" if self.source else f"[{self.section}] {self.key}"

    @property
    def path(self) -> Path:
        """The path itself."""
        return Path(self.value)

    @property
    def folder(self) -> Path:
        """The folder that the service writes into, for a path that it writes."""
        return self.path.parent if self.right is Right.APPEND else self.path

    def is_default(self, base: Path) -> bool:
        """Return whether an absolute path is the default of its setting.

        Args:
            base: Folder that a relative path starts from.
        """
        return self.default is not None and self.path == base / self.default

    def make_absolute(self, base: Path) -> Path | str:
        """Return the absolute path, of the type that the setting has.

        Args:
            base: Folder that a relative path starts from.
        """
        path = Path(os.path.normpath(base / self.path.expanduser()))
        return path if isinstance(self.value, Path) else str(path)


def iter_paths(settings: Settings) -> Iterator[NamedPath]:
    """Yield each path that is set or has a default, sources last."""
    for section in Settings.model_fields:
        if section != SOURCES:
            yield from _iter_set(section, getattr(settings, section))
    for source in settings.sources:
        yield from iter_source_paths(source)


def iter_source_paths(source: Source) -> Iterator[NamedPath]:
    """Yield each path of one source."""
    yield from _iter_set(SOURCES, source, source=source.name)


def is_path(field: FieldInfo) -> bool:
    """Return whether a setting is the path of a file or folder."""
    return field.annotation is Path or _find_mark(field) is not None


def _find_mark(field: FieldInfo) -> PathMark | None:
    return next((mark for mark in field.metadata if isinstance(mark, PathMark)), None)


def _iter_set(section: str, values: BaseModel, *, source: str = "") -> Iterator[NamedPath]:
    for key, field in type(values).model_fields.items():
        if is_path(field) and (value := getattr(values, key)):
            default = None if field.is_required() else field.default or None
            mark = _find_mark(field) or PathMark()
            yield NamedPath(section, key, value, source=source, default=default, right=mark.right)
