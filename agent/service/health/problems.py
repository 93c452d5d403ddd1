"""Current problems in one sentence each, and those of the PC itself.

A problem is removed when it is over, and `agent status` shows the others.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from reports import Message, read_message


class Problems:
    """Sentences by subject; thread-safe.

    Args:
        on_begun: Called with the subject of a problem that begins.
    """

    def __init__(self, on_begun: Callable[[str], None] = lambda _: None) -> None:
        self._on_begun = on_begun
        self._lock = threading.Lock()
        self._messages: dict[str, Message] = {}

    def say(self, subject: str, problem: Message | str) -> bool:
        """Record a problem, "" when it is over; return whether that is new."""
        message = problem if isinstance(problem, Message) else read_message(None, problem)
        with self._lock:
            before = self._messages.pop(subject, Message(""))
            if message:
                self._messages[subject] = message
        if message and not before:
            self._on_begun(subject)
        return before != message

    def all(self) -> list[str]:
        """Every sentence that holds now, in English."""
        return list(self.messages())

    def messages(self) -> dict[str, Message]:
        """Every problem that holds now: English sentence → message."""
        with self._lock:
            return {message.in_english(): message for message in self._messages.values()}


log = structlog.get_logger()

LOW_DISK_BYTES = 1_000_000_000
ROOMY_DISK_BYTES = 1_500_000_000
"""Free bytes that end the problem; without a gap one at the limit would be logged repeatedly."""

START_BYTES = 4_000_000
"""Room that a start needs: lock, log, and what the database writes in its first minute."""
_NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

JUMP_S = 60.0
"""The wall clock set by more than this; the clock that cannot be set tells. Sleep is no jump."""


def describe_full(folder: Path) -> str:
    """Return that the disk of a data folder has no room for a start, "" where it has.

    It is tried: free bytes that a disk reports may be beyond the account's quota.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(START_BYTES))
            file.flush()
    except OSError as error:
        if error.errno in _NO_ROOM:
            return (
                f"{folder}: the disk is full. The agent starts by itself once "
                f"{START_BYTES / 1e6:.0f} MB are free."
            )
    return ""  # what else is wrong with the folder is named by whoever uses it


class HostMonitor:
    """State of the PC: its clocks and its disk.

    Args:
        folder: The data folder.
        now: Returns the time, aware UTC.
        steady: Returns seconds on a clock that cannot be set, and that counts sleep too.
        free: Returns how many bytes are free on a folder's disk.
        before: Time and seconds when the agent that ran before read both clocks last, or None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime],
        steady: Callable[[], float] | None = None,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
        before: tuple[datetime, float] | None = None,
    ) -> None:
        self._folder, self._now, self._free = folder, now, free
        self._steady = steady or _steady
        self._before, self.clocks = before, before
        self._is_low = False

    def look(self) -> timedelta:
        """Compare with the previous call.

        Returns:
            How far the clock was set since, negative where it was set back; 0 where it was not.
        """
        self._look_at_disk()
        return self._look_at_clock()

    def _look_at_clock(self) -> timedelta:
        now, steady_s = self._now(), self._steady()
        before, self._before = self._before, (now, steady_s)
        self.clocks = self._before
        if before is None or steady_s < before[1]:  # the PC was started since
            return timedelta(0)
        jump_s = (now - before[0]).total_seconds() - (steady_s - before[1])
        # As long as the PC had run before, and it was perhaps off meanwhile: then nothing is known.
        if abs(jump_s) <= JUMP_S or jump_s >= before[1]:
            return timedelta(0)
        log.warning("clock.jumped", by_s=round(jump_s), to=now.isoformat())
        return timedelta(seconds=jump_s)

    def _look_at_disk(self) -> None:
        try:
            free = self._free(self._folder)
        except OSError:
            return  # the store or the work says that the folder is away
        if not self._is_low and free < LOW_DISK_BYTES:
            self._is_low = True
            log.error("disk.low", folder=str(self._folder), free_bytes=free)
        elif self._is_low and free >= ROOMY_DISK_BYTES:
            self._is_low = False
            log.info("disk.roomy", folder=str(self._folder), free_bytes=free)


CLOCKS = "clocks"
"""Key of a heartbeat's facts: time and seconds of both clocks of the PC."""


def load_clocks(facts: Mapping[str, Any]) -> tuple[datetime, float] | None:
    """Return time and seconds of both clocks from a heartbeat, None where it has none."""
    known = facts.get(CLOCKS)
    return (datetime.fromisoformat(known[0]), float(known[1])) if known else None


def dump_clocks(clocks: tuple[datetime, float] | None) -> dict[str, Any]:
    """Return time and seconds of both clocks as a heartbeat stores them."""
    return {CLOCKS: [clocks[0].isoformat(), clocks[1]]} if clocks else {}


def _steady() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux: goes on while the PC sleeps
    return time.monotonic() if clock is None else time.clock_gettime(clock)
