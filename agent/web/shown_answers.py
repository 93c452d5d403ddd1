"""Remember which answers of the model a reviewer's page has shown.

A decision counts as blind only where the page had not shown the answer before. It is kept in this
server's memory: after a restart a reviewer who hides an answer that they saw is believed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

MOST = 50_000
"""Pages that are remembered, the newest; a reviewer opens some hundred a day."""


class ShownAnswers:
    """Whose page has shown which result. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: OrderedDict[tuple[str, int], None] = OrderedDict()

    def add(self, who: str, result: int) -> None:
        """Remember that a page has shown a result; `who` is "" before a name was entered."""
        with self._lock:
            self._shown[who, result] = None
            self._shown.move_to_end((who, result))
            while len(self._shown) > MOST:
                self._shown.popitem(last=False)

    def has(self, who: str, result: int) -> bool:
        """Return whether a page has shown a result to a reviewer, or to one without a name."""
        with self._lock:
            return (who, result) in self._shown or ("", result) in self._shown
