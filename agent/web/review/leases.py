"""Leases: which reviewer has which micrograph open, so that two do not review the same one.

A lease is no lock: it never refuses a decision, and `decisions.decide` detects a conflict. It is
in this server's memory and expires.
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
    """Open micrographs by reviewer: one, or the fields of one order. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[frozenset[str], datetime]] = {}

    def take(self, public_id: str, who: str, *, at: datetime) -> str:
        """Open a micrograph; what the reviewer had open before is released.

        Args:
            public_id: Id of the micrograph.
            who: The reviewer.
            at: When, aware UTC.

        Returns:
            Who else has it open, "" for no one; then they keep it.
        """
        with self._lock:
            self._open.pop(who, None)
            other = self._others(who, at).get(public_id, "")
            if who and not other:
                self._open[who] = frozenset({public_id}), at + LEASE
            return other

    def take_all(self, public_ids: Collection[str], who: str, *, at: datetime) -> dict[str, str]:
        """Open the fields of an order; what the reviewer had open before is released.

        Args:
            public_ids: Ids of the fields.
            who: The reviewer.
            at: When, aware UTC.

        Returns:
            Public id → who else has it open; they keep it.
        """
        with self._lock:
            self._open.pop(who, None)
            theirs = self._others(who, at)
            free = frozenset(public_ids) - theirs.keys()
            if who and free:
                self._open[who] = free, at + LEASE
            return {public_id: theirs[public_id] for public_id in public_ids if public_id in theirs}

    def leave(self, who: str) -> None:
        """Release what a reviewer has open."""
        with self._lock:
            self._open.pop(who, None)

    def others(self, who: str, *, at: datetime) -> dict[str, str]:
        """Return what other reviewers have open: public id → name."""
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
