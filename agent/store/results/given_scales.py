"""The scale that reviewers gave a micrograph, as it stands next to the results judged with it.

The row of a micrograph is evidence and keeps what its file said. A result that was judged at
another scale names that scale among its thresholds, with the record that proves who gave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GIVEN = "scale_given"
"""Kind of the records in which a reviewer gives a scale, and key among a result's thresholds."""
BY_REVIEWER = "reviewer"
"""Source of such a scale."""
DOUBTS = frozenset({"scale_conflict", "scale_out_of_range", "scale_unclear"})
"""Warnings about a scale that do not concern one that reviewers gave."""


def find_given(thresholds: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a result says of a given scale: um_per_px, by, record; {} where it has none."""
    given = thresholds.get(GIVEN)
    return given if isinstance(given, dict) else {}


def resolve_scale(thresholds: Mapping[str, Any], um_per_px: float | None) -> float | None:
    """Return the scale of a result, µm per pixel: the given one, else that of the file."""
    given = find_given(thresholds)
    return float(given["um_per_px"]) if given else um_per_px


def resolve_recipe(thresholds: Mapping[str, Any], recipe: str) -> str:
    """Return the recipe of a result: with another scale the same crop is another input."""
    given = find_given(thresholds)
    return f"{recipe}+scale-{given['record']}" if given else recipe


def keep_warnings(thresholds: Mapping[str, Any], warnings: Sequence[str]) -> tuple[str, ...]:
    """Return the warnings of a result, without doubts about a scale that was replaced."""
    if not find_given(thresholds):
        return tuple(warnings)
    return tuple(warning for warning in warnings if warning not in DOUBTS)
