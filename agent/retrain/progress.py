"""Say how far a long job of this room is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is: what is being done, and how much of it."""

    stage: str
    done: int
    total: int
    note: str = ""
