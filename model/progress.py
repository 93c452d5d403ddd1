"""Say how far a long calculation is, and what it found in the end.

In:  stages and counts. Out: `Step`s. Next: a progress bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """How far it is.

    Args:
        stage: What is being done. done, total: how much of it. note: a sentence, or "".
        found: With the last step only.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    found: T | None = None
