"""Separate files that are still being written from files that are complete.

Time is the reading of a monotonic clock; a file's own times are compared only with themselves, so
a wrong clock, here or on the server, has no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.watch.listed_file import ListedFile


class StabilityTracker:
    """Detects files unchanged for the quiet time.

    Args:
        quiet_s: Time without a change, in seconds, after which a file counts as complete.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._unchanged_since: dict[ListedFile, float] = {}

    def find_stable(self, listing: Iterable[ListedFile], now_s: float) -> list[ListedFile]:
        """Return the files unchanged for `quiet_s`.

        Args:
            listing: Every file not yet recorded, as it is now; others are forgotten.
            now_s: Reading of a monotonic clock, in seconds.

        Returns:
            The files unchanged for `quiet_s` or longer, oldest first. Never an empty file: a
            placeholder is not a micrograph.
        """
        since_s = {file: self._unchanged_since.get(file, now_s) for file in listing}
        self._unchanged_since = since_s
        quiet = [f for f, s in since_s.items() if f.size_bytes and now_s - s >= self._quiet_s]
        return sorted(quiet, key=lambda file: (file.mtime_ns, file.relative))

    def unchanged_s(self, file: ListedFile, now_s: float) -> float:
        """Return for how long a file has been unchanged, in seconds; 0 for an unknown file."""
        return now_s - self._unchanged_since.get(file, now_s)

    def next_at_s(self) -> float | None:
        """Return when the next file may become complete, on the same clock; None without any."""
        waiting = [since_s for file, since_s in self._unchanged_since.items() if file.size_bytes]
        return min(waiting) + self._quiet_s if waiting else None
