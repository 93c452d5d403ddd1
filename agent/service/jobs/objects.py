"""Send what is new in the data folder to the lab's object storage, every few minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.backup.maintenance import compute_statements_start
from agent.objects import ObjectsUnavailable, PruneRecords, open_mirror

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

OBJECTS_EVERY_S = 60.0
GB = 10**9


class ObjectKeeper:
    """Periodic job: sends, fetches and deletes what is due, and keeps the cache to its size.

    Args:
        settings: Of the lab.
        store: Names what other PCs pruned.
        now: Clock, aware UTC.
        should_stop: True ends a round after the current file.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        should_stop: Callable[[], bool],
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._cache_bytes = round(settings.store.objects_cache_gb * GB)
        self._should_stop = should_stop
        self._mirror = open_mirror(settings.store)
        self._is_first = True

    def tend(self) -> str:
        """Do one round; return a problem for the operator, "" for none."""
        if self._mirror is None:
            return ""
        try:
            if self._is_first:  # clocks of shares may hide a change: compare all once per start
                self._mirror.index.forget_scans()
                self._is_first = False
            done = self._mirror.run_round(
                cache_bytes=self._cache_bytes,
                is_enough=self._should_stop,
                records=build_records(self._settings, self._store, now=self._now()),
            )
        except ObjectsUnavailable as error:
            return (
                f"object storage: {error}. New files stay on this disk and are sent when it "
                "answers again."
            )
        if done.sent or done.fetched or done.removed or done.pruned:
            log.info(
                "objects.sent",
                files=done.sent,
                size_bytes=done.size_bytes,
                fetched=done.fetched,
                removed=done.removed,
                pruned=done.pruned,
            )
        return ""


def build_records(settings: Settings, store: Store, *, now: datetime) -> PruneRecords:
    """Return what the database knows of pruned pixels.

    Args:
        settings: Of the lab.
        store: Its database.
        now: Aware UTC.
    """
    since = compute_statements_start(settings.retention.statements_years, now=now)
    return PruneRecords(store.retention, since)
