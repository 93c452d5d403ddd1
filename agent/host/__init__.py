"""Hand the agent to whoever keeps services on this PC: systemd, or Windows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.settings import Settings


class ServiceManager(Protocol):
    """What every service manager can do; each act yields the lines a person reads."""

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
        """Say what is known of it."""


def manager() -> ServiceManager:
    """Say who keeps services on this PC."""
    if sys.platform == "win32":
        from agent.host.windows import WindowsServices  # noqa: PLC0415

        return WindowsServices()
    from agent.host.systemd import Systemd  # noqa: PLC0415

    return Systemd()
