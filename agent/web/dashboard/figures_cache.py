"""Cache what the dashboard shows, so that many open pages cost the database as much as one."""

from __future__ import annotations

import threading
from datetime import timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime

FAST = timedelta(seconds=3)
SLOW = timedelta(seconds=30)


class Timed:
    """A value that is read again once it is older than its interval. Thread-safe.

    Args:
        interval: How old it may be.
    """

    def __init__(self, interval: timedelta) -> None:
        self._lock, self._interval = threading.Lock(), interval
        self._value: Any = None
        self._read_at: datetime | None = None
        self._process, self._changes = token_hex(4), 0

    @property
    def version(self) -> str:
        """A word that is another one after each change of the value, and in each process."""
        return f"{self._process}-{self._changes}"

    def is_due(self, now: datetime) -> bool:
        """Return whether the value is older than its interval, or of a later time."""
        return self._read_at is None or not timedelta(0) <= now - self._read_at < self._interval

    def get(self, read: Callable[[], Any], *, now: datetime) -> tuple[Any, str]:
        """Return the value and its version, read again where it is due."""
        with self._lock:
            return self._get(read, now), self.version

    def refresh(self, read: Callable[[], Any], *, now: datetime) -> None:
        """Read the value where it is due; return at once where another thread reads it."""
        if self._lock.acquire(blocking=False):
            try:
                self._get(read, now)
            finally:
                self._lock.release()

    def _get(self, read: Callable[[], Any], now: datetime) -> Any:
        if self.is_due(now):
            value = read()
            if value != self._value:
                self._changes += 1
            self._value, self._read_at = value, now
        return self._value


class Days:
    """Counts of days that are over: each day is counted once."""

    def __init__(self) -> None:
        self._counts: dict[date, dict[str, int]] = {}

    def get(
        self, days: Sequence[date], count: Callable[[date], dict[str, int]]
    ) -> list[dict[str, int]]:
        """Return the counts of days; only those that are not known are counted, others dropped."""
        known = self._counts
        self._counts = {day: known[day] if day in known else count(day) for day in days}
        return list(self._counts.values())


class FiguresCache(Timed):
    """The figures of the dashboard as they were last read.

    Attributes:
        slow: Those that take longer to read.
        days: Codes per day.
    """

    def __init__(self) -> None:
        super().__init__(FAST)
        self.slow = Timed(SLOW)
        self.days = Days()
