"""Tell files still being written from files at rest.

In:  what a look at the folder shows, and the time. Out: the files at rest. Next: `watched`.
Time is a monotonic clock's reading; a file's own times are compared with nothing but themselves,
so a clock that is wrong, here or on the server, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.watch.arrival import Arrival


class Settling:
    """Tell files still being written from files at rest.

    Args:
        quiet_s: How long (seconds) a file must stay unchanged to count as at rest.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._unchanged_since: dict[Arrival, float] = {}

    def at_rest(self, listing: Iterable[Arrival], now_s: float) -> list[Arrival]:
        """Take one listing; say which of its files are at rest, each time it is asked.

        Args:
            listing: Every file that is not yet taken, as it is now; others are forgotten.
            now_s: A monotonic clock's reading, in seconds.

        Returns:
            The files seen unchanged for `quiet_s` or longer, oldest first. Never an empty one:
            a placeholder is not a micrograph.
        """
        since_s = {file: self._unchanged_since.get(file, now_s) for file in listing}
        self._unchanged_since = since_s
        quiet = [f for f, s in since_s.items() if f.size_bytes and now_s - s >= self._quiet_s]
        return sorted(quiet, key=lambda file: (file.mtime_ns, file.relative))

    def unchanged_s(self, file: Arrival, now_s: float) -> float:
        """Say for how long (seconds) a file has been seen unchanged; 0 for a stranger."""
        return now_s - self._unchanged_since.get(file, now_s)

    def next_at_s(self) -> float | None:
        """Say when the next file may come to rest, on the same clock; None if none waits."""
        waiting = [since_s for file, since_s in self._unchanged_since.items() if file.size_bytes]
        return min(waiting) + self._quiet_s if waiting else None
