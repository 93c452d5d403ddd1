"""One thing that was looked at on a PC, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["right", "doubtful", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Args:
        check: What was looked at.
        level: "wrong" would stop the agent, "doubtful" may one day.
        sentence: What was found, and how to mend it.
    """

    check: str
    level: Level
    sentence: str

    @property
    def mark(self) -> str:
        """Its sign in a table; a word is beside it, so it needs no colour."""
        return {"right": "✓", "doubtful": "?", "wrong": "✗"}[self.level]
