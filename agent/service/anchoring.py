"""Keep where the audit log ends outside the database: in the log, in the file of [trail] anchor.

A file on a share that is unavailable gets the end of the next quarter of an hour: each holds all
that came before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.anchors import Anchor, append

if TYPE_CHECKING:
    from datetime import datetime

    from agent.store import Store

log = structlog.get_logger()

ANCHOR_EVERY_S = 900.0
SEALS_AT_ONCE = 10
"""Each covers up to 2000 results; a lab of an earlier version is covered by and by."""


class Anchoring:
    """Write the end of the audit log wherever it is kept, when there is a new one.

    Args:
        store: Holds the audit log.
        file: The file of [trail] anchor, "" for none.
    """

    def __init__(self, store: Store, file: str) -> None:
        self._store, self._file = store, file
        self._written = 0

    def write(self, *, at: datetime) -> str:
        """Write it; return a sentence where the file could not be written, "" where all is well.

        What was filed since the last time is sealed first, so that the end holds it.
        """
        for _ in range(SEALS_AT_ONCE):
            if not self._store.seal_results(at=at):
                break
        head = self._store.trail_head()
        if head.number == self._written:
            return ""
        anchor = Anchor.of(head, at=at)
        log.info("trail.anchored", **anchor.to_json())
        if self._file:
            try:
                append(Path(self._file), anchor)
            except OSError as error:
                return (
                    f"[trail] anchor: {self._file} cannot be written ({error.strerror or error}); "
                    "it is tried again by itself."
                )
        self._written = head.number
        return ""
