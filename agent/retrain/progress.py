"""Progress of a long job of this package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a job: its stage, and how much of it is done."""

    stage: str
    done: int
    total: int
    note: str = ""
