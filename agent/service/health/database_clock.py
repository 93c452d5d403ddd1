"""Time by the clock of the database, so that PCs with different clocks agree on leases."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from agent.store import Store, StoreFaultError

MEASURE_EVERY_S = 60.0
JUMP_S = 2.0
"""A clock that moved so far from the steady one was set, or the PC slept: it is measured again."""


class DatabaseClock:
    """Clock of the database, measured once a minute; with SQLite it is that of this PC.

    It is measured at once where this PC's clock was set: by the old difference a lease or a ring of
    a rollout would end at once, or PCs would seem to be off.

    Args:
        store: Open.
        now: Returns the time of this PC, aware UTC.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._due_s: float | None = None
        self._measured: tuple[datetime, float] | None = None
        self.ahead_s = 0.0
        """How far (s) this PC's clock is ahead, as last measured."""

    def __call__(self) -> datetime:
        """Return the time, aware UTC."""
        self.measure()
        return self._now() - timedelta(seconds=self.ahead_s)

    def measure(self) -> float:
        """Return how far (s) this PC's clock is ahead; measured once a minute and after a jump."""
        if self._due_s is None or time.monotonic() >= self._due_s or self._has_jumped():
            with suppress(StoreFaultError):  # the last value is better than none
                self.ahead_s = self._store.agents.measure_clock_ahead_s(now=self._now)
                self._due_s = time.monotonic() + MEASURE_EVERY_S
                self._measured = self._now(), time.monotonic()
        return self.ahead_s

    def _has_jumped(self) -> bool:
        if self._measured is None:
            return False
        at, steady_s = self._measured
        return abs((self._now() - at).total_seconds() - (time.monotonic() - steady_s)) > JUMP_S
