"""Names and folders of the agent that need no database."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings


def clock() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def agent_name() -> str:
    """Return this agent's name: the PC's."""
    return platform.node() or "agent"


def bundles_folder(settings: Settings) -> Path:
    """Return the folder of the bundles."""
    return settings.store.folder / "bundles"
