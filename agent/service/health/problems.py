"""Current problems: one sentence each, removed when it is over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from reports import Message, read_message

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
