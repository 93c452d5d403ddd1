"""Install and run the agent as a service of systemd or Windows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.settings import Settings


class ServiceManager(Protocol):
    """Service manager of a platform; each act yields lines for the operator."""

    def install(
        self, config: Path | None, settings: Settings, *, account: str = ""
    ) -> Iterator[str]:
        """Install the agent as a service that starts with this PC, running as `account`."""

    def uninstall(self) -> Iterator[str]:
        """Remove it."""

    def start(self) -> Iterator[str]:
        """Start it."""

    def stop(self) -> Iterator[str]:
        """Stop it."""

    def status(self) -> Iterator[str]:
        """Yield the state of the service."""


def get_manager() -> ServiceManager:
    """Return the service manager of this PC."""
    if sys.platform == "win32":
        from agent.host.windows import WindowsServices  # noqa: PLC0415

        return WindowsServices()
    from agent.host.systemd import Systemd  # noqa: PLC0415

    return Systemd()
