"""Names and folders of the agent that need no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.settings import find_pc_name

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings
    from model import FeatureCache


def clock() -> datetime:
    """Return the time, aware UTC."""
    return datetime.now(UTC)


def agent_name() -> str:
    """Return this agent's name: the PC's."""
    return find_pc_name()


def bundles_folder(settings: Settings) -> Path:
    """Return the folder of the bundles."""
    return settings.store.folder / "bundles"


def get_feature_cache(settings: Settings) -> FeatureCache:
    """Return the features of crops that earlier trainings kept; the backup leaves them out."""
    from model import FeatureCache  # noqa: PLC0415 - brings PyTorch; most commands need none

    limit_bytes = settings.retrain.feature_cache_mb * 1_000_000
    return FeatureCache(settings.store.folder / "features", limit_bytes)
