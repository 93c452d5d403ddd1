"""Say where and as whom the agent works: names that cost nothing to ask for."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings


def clock() -> datetime:
    """Say the time, aware UTC."""
    return datetime.now(UTC)


def agent_name() -> str:
    """Say this agent's name: the PC's."""
    return platform.node() or "agent"


def bundles_folder(settings: Settings) -> Path:
    """Say where the bundles are."""
    return settings.store.folder / "bundles"
