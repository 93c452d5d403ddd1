"""Decide whether this PC is idle enough for work that can wait."""

from __future__ import annotations

import os
import time
from datetime import time as time_of_day
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import psutil

from agent.store import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.settings import Settings
    from agent.store import Store

LOOK_EVERY_S = 5.0
BUSY_STATES = (State.QUEUED, State.PROCESSING, State.SETTLING)


class IdleCheck:
    """Check whether this PC may do work that can wait: no queue, outside the hours, low load.

    Args:
        settings: Of the lab; `[work]` counts.
        store: Open.
        now: Returns the time, aware UTC.
        steady: A clock that cannot be set, in seconds.
        load: Returns the share of the processors that other processes use, 0 to 1.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        now: Callable[[], datetime],
        steady: Callable[[], float] = time.monotonic,
        load: Callable[[], float] | None = None,
    ) -> None:
        self._settings, self._store, self._now = settings, store, now
        self._steady, self._load = steady, load or OtherLoad()
        self._due_s, self._reason = 0.0, ""

    def __call__(self) -> bool:
        """Return whether it is idle; asked often, it looks every few seconds."""
        if self._steady() >= self._due_s:
            self._reason = self.find_reason()
            self._due_s = self._steady() + LOOK_EVERY_S
        return not self._reason

    def find_reason(self) -> str:
        """Return why it is not idle, "" where it is."""
        work = self._settings.work
        local = self._now().astimezone(ZoneInfo(self._settings.site.time_zone))
        if is_within(work.hours, local.time()):
            return f"within the hours {work.hours}"
        counts = self._store.files.count_by_state()
        if waiting := sum(counts.get(state, 0) for state in BUSY_STATES):
            return f"{waiting} files wait"
        load = self._load()
        if load > work.max_load:
            return f"other programs use {load:.0%} of the processors"
        return ""


def is_within(hours: str, at: time_of_day) -> bool:
    """Return whether a time of day is within hours such as "07:00-18:00" or "22:00-06:00".

    Args:
        hours: As in the settings; "" is never.
        at: In the lab's own zone.
    """
    if not hours:
        return False
    begin, _, end = hours.partition("-")
    first, last = time_of_day.fromisoformat(begin), time_of_day.fromisoformat(end)
    at = at.replace(tzinfo=None)
    return first <= at < last if first <= last else at >= first or at < last


class OtherLoad:
    """Share of the processors that other processes used since the last call, 0 to 1."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._own.cpu_percent()
        psutil.cpu_percent()

    def __call__(self) -> float:
        """Return the share since the last call."""
        own = float(self._own.cpu_percent()) / (os.cpu_count() or 1)
        return max(float(psutil.cpu_percent()) - own, 0.0) / 100
