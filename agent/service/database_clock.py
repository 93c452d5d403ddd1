"""Time by the clock of the database, so that PCs with different clocks agree on leases."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.store import StoreFault

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.store import Store

MEASURE_EVERY_S = 60.0


class DatabaseClock:
    """Clock of the database, measured once a minute; with SQLite it is that of this PC.

    Args:
        store: Open.
        now: Returns the time of this PC, aware UTC.
        steady: A clock that cannot be set, in seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], datetime],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._now, self._steady = store, now, steady
        self._due_s: float | None = None
        self.ahead_s = 0.0
        """How far (s) this PC's clock is ahead, as last measured."""

    def __call__(self) -> datetime:
        """Return the time, aware UTC."""
        self.measure()
        return self._now() - timedelta(seconds=self.ahead_s)

    def measure(self) -> float:
        """Return how far (s) this PC's clock is ahead, measured at most once a minute."""
        if self._due_s is None or self._steady() >= self._due_s:
            with suppress(StoreFault):  # the last value is better than none
                self.ahead_s = self._store.agents.measure_clock_ahead_s(now=self._now)
                self._due_s = self._steady() + MEASURE_EVERY_S
        return self.ahead_s
