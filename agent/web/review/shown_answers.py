"""Record which answers of the model a reviewer's page has shown.

A decision counts as blind only where the page had not shown the answer before. The record is in
this server's memory: after a restart, an answer that was seen and then hidden counts as unseen.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST = 50_000
"""Pages that are remembered, the newest; a reviewer opens some hundred a day."""


class ShownAnswers:
    """Results that pages have shown, by reviewer. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: OrderedDict[tuple[str, int], None] = OrderedDict()

    def add(self, who: str, result: int) -> None:
        """Record that a page has shown a result; `who` is "" before a name was entered."""
        with self._lock:
            self._shown[who, result] = None
            self._shown.move_to_end((who, result))
            while len(self._shown) > MOST:
                self._shown.popitem(last=False)

    def has(self, who: str, result: int) -> bool:
        """Return whether a page has shown a result to a reviewer, or to one without a name."""
        with self._lock:
            return (who, result) in self._shown or ("", result) in self._shown
