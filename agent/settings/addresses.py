"""The settings that are addresses of the network, found in the settings model itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from agent.settings.paths import SOURCES
from agent.settings.root import Settings
from agent.settings.section import AddressMark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

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
