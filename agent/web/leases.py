"""Remember who has which micrograph open, so that two reviewers do not look at the same one.

In:  a name and a public id. Out: who else has it open. Next: `pages` leads the second past it.
It is a courtesy, not a lock: a decision is never refused for it, and `desk.decide` tells whoever
comes second. So it lives in this server's memory and ends by itself.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

LEASE = timedelta(minutes=5)


class Leases:
    """Who has what open: one micrograph, or the fields of one order, a person. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[frozenset[str], datetime]] = {}

    def take(self, public_id: str, who: str, *, at: datetime) -> str:
        """Open a micrograph; what the person had open before is free again.

        Returns:
            Who else has it open already, "" for nobody; then it stays theirs.
        """
        with self._lock:
            self._open.pop(who, None)
            other = self._others(who, at).get(public_id, "")
            if who and not other:
                self._open[who] = frozenset({public_id}), at + LEASE
            return other

    def take_all(self, public_ids: Collection[str], who: str, *, at: datetime) -> dict[str, str]:
        """Open the fields of an order; what the person had open before is free again.

        Returns:
            Public id → who else has it open already; these stay theirs.
        """
        with self._lock:
            self._open.pop(who, None)
            theirs = self._others(who, at)
            free = frozenset(public_ids) - theirs.keys()
            if who and free:
                self._open[who] = free, at + LEASE
            return {one: theirs[one] for one in public_ids if one in theirs}

    def leave(self, who: str) -> None:
        """Close what a person has open."""
        with self._lock:
            self._open.pop(who, None)

    def others(self, who: str, *, at: datetime) -> dict[str, str]:
        """Say what everybody else has open: public id → name."""
        with self._lock:
            return self._others(who, at)

    def _others(self, who: str, at: datetime) -> dict[str, str]:
        self._open = {name: held for name, held in self._open.items() if held[1] > at}
        return {
            public_id: name
            for name, (held, _) in self._open.items()
            if name != who
            for public_id in held
        }
