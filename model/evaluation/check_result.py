"""Result of one promotion check, and what a lab requires of a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """Requirements of a lab for a candidate.

    Args:
        may_lose: Largest share of the images that may be lost, at the upper confidence limit.
        min_accuracy: Smallest share of correct codes, in [0, 1].
        min_recall: Smallest recall of every code, at the upper limit of its interval: a code with
            few images does not fail by chance.
        may_flip_back: Largest share of once corrected images that may be wrong again.
        max_slowdown: Largest ratio of its time to that of the bundle in use.
    """

    may_lose: float = 0.03
    min_accuracy: float = 0.6
    min_recall: float = 0.2
    may_flip_back: float = 0.05
    max_slowdown: float = 1.5


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Args:
        name: Stable name.
        passed: Whether the candidate meets the criterion.
        sentence: The reason, for the lead.
        numbers: What the result is based on, as JSON.
    """

    name: str
    passed: bool
    sentence: str
    numbers: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return {
            "name": self.name,
            "passed": self.passed,
            "sentence": self.sentence,
            "numbers": self.numbers,
        }


def format_count(n: int, what: str) -> str:
    """Format a count with its noun."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def format_percent(share: float | None) -> str:
    """Format a share in percent, or "nothing"."""
    return "nothing" if share is None else f"{100 * share:.1f} %"


def format_points(share: float | None) -> str:
    """Format a share in points without sign."""
    return "?" if share is None else f"{100 * share:.1f}"


def format_signed(share: float | None) -> str:
    """Format a change in points with its sign."""
    return "?" if share is None else f"{100 * share:+.1f}"
