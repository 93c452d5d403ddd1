"""Current problems: one sentence each, removed when it is over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Problems:
    """Sentences by subject; thread-safe.

    Args:
        on_begun: Called with the subject of a problem that begins.
    """

    def __init__(self, on_begun: Callable[[str], None] = lambda _: None) -> None:
        self._on_begun = on_begun
        self._lock = threading.Lock()
        self._sentences: dict[str, str] = {}

    def say(self, subject: str, sentence: str) -> bool:
        """Record a problem, "" when it is over; return whether that is new."""
        with self._lock:
            before = self._sentences.pop(subject, "")
            if sentence:
                self._sentences[subject] = sentence
        if sentence and not before:
            self._on_begun(subject)
        return before != sentence

    def all(self) -> list[str]:
        """Every sentence that holds now."""
        with self._lock:
            return list(self._sentences.values())
