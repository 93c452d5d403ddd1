"""Result of one check of a PC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["right", "doubtful", "wrong"]


@dataclass(frozen=True, slots=True)
class DoctorResult:
    """Result of one check.

    Attributes:
        check: Name of the check.
        level: "wrong" stops the agent, "doubtful" may stop it later.
        sentence: The result and, if needed, the remedy.
    """

    check: str
    level: Level
    sentence: str

    @property
    def mark(self) -> str:
        """Symbol of the level in a table."""
        return {"right": "✓", "doubtful": "?", "wrong": "✗"}[self.level]
