"""Progress of a long calculation, yielded by its generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """State of a calculation after one step.

    Args:
        stage: Name of the current stage.
        done: Units finished in this stage.
        total: Units in this stage.
        note: Sentence for the operator, or "".
        found: Result of the calculation, with the last step only.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    found: T | None = None
