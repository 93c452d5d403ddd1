"""The settings that are paths or network addresses, found in the settings model itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from agent.settings.root import Settings
from agent.settings.section import AddressMark, PathMark, Right

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from agent.settings.root import Source


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


# --- the settings that are addresses of the network, found in the settings model itself -----------


THIS_PC = frozenset({"127.0.0.1", "localhost", "::1"})
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class NamedAddress:
    """An address in the settings that is in use.

    Attributes:
        section: Name of the section.
        key: Key in the section.
        host: Name or number of the PC, "" where the address does not hold it.
        port: Its port, 0 where the address does not hold it.
        is_served: The service listens there.
    """

    section: str
    key: str
    host: str
    port: int
    is_served: bool = False

    @property
    def label(self) -> str:
        """Name of the setting for a sentence: "[report] mail_server"."""
        return f"[{self.section}] {self.key}"

    @property
    def is_here(self) -> bool:
        """Whether no other PC is concerned."""
        return self.host in THIS_PC or self.host.startswith("/")


def iter_addresses(settings: Settings) -> Iterator[NamedAddress]:
    """Yield each address that the service connects to, or serves, with these settings."""
    for section in Settings.model_fields:
        if section == SOURCES:
            continue
        values = getattr(settings, section)
        for key, field in type(values).model_fields.items():
            mark = find_address_mark(field)
            if mark is None or (mark.used_with and not getattr(values, mark.used_with)):
                continue
            given = getattr(values, key)
            for text in given if isinstance(given, tuple) else (given or mark.default,):
                if text and (parsed := _parse(text, mark)):
                    yield NamedAddress(section, key, *parsed, is_served=mark.is_served)


def needs_network(settings: Settings) -> bool:
    """Return whether the settings need a connection to another PC, or from one."""
    return not all(address.is_here for address in iter_addresses(settings))


def find_address_mark(field: FieldInfo) -> AddressMark | None:
    """Return how a setting is marked as an address, None where it is none."""
    return next((mark for mark in field.metadata if isinstance(mark, AddressMark)), None)


def _parse(text: str, mark: AddressMark) -> tuple[str, int] | None:
    """Return host and port of an address, None where it is a file."""
    if mark.is_opaque:
        return "", 0
    if mark.is_served:
        return text, 0
    if "://" not in text:
        host, _, port = text.partition(":")
        return host, int(port or mark.port)
    parts = urlsplit(text)
    if parts.scheme == "sqlite":
        return None
    named = parse_qs(parts.query).get("host", [""])[0]  # how PostgreSQL names a socket's folder
    host = parts.hostname or named.partition(":")[0] or "localhost"
    return host, parts.port or PORTS.get(parts.scheme, mark.port)
