"""Progress of a long calculation, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress(Generic[T]):
    """Progress of a calculation, yielded after each step.

    Args:
        stage: Name of the current stage.
        done: Steps done in this stage.
        total: Steps of this stage.
        note: Sentence for the user, or "".
        result: The result, in the last item only.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    result: T | None = None
