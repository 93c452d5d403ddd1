"""Ranks of the review queue: by reason, then by probability; urgent orders first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.triage import Handling, Reason, get_weightiest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.store.tables import ResultRow

RANKS_PER_REASON = 1_000_000
URGENT = 1_000_000_000  # more than all reasons together
DOUBTED_RANK = list(Reason).index(Reason.DOUBTED_LABEL) * RANKS_PER_REASON
DRAWN = (Reason.CONTROL_SAMPLE, Reason.UNLIKE_TAUGHT)
"""Reasons of random draws, which would otherwise wait while anything else is queued."""
ONE_IN = 10
_RANKED_AS = {
    Reason.REQUESTED: Reason.UNEXPECTED_SUBTYPE,
    Reason.NEEDLES_DISAGREE: Reason.UNCERTAIN,
}
"""The newest reasons are the last of their list, as ranks are stored → the place they have."""


def rank_of(row: ResultRow, *, urgent: bool = False) -> int | None:
    """Return a result's rank in the review queue: by reason, then by probability.

    Args:
        row: The result.
        urgent: Its order is urgent and precedes every other.

    Returns:
        The smallest rank is first; None where no review is needed.
    """
    if row.handling != Handling.REVIEW or row.origin == "import" or not row.reasons:
        return None
    reason = get_weightiest(row.reasons)
    weight = list(Reason).index(_RANKED_AS.get(reason, reason))
    doubt = row.p_value if reason == Reason.STRANGE else row.probability
    if reason == Reason.CONTROL_SAMPLE:
        doubt = 0.0  # by arrival: uncertain ones first would not be a random sample
    inside = min(max(doubt or 0.0, 0.0), 1.0)
    rank = weight * RANKS_PER_REASON + round(inside * (RANKS_PER_REASON - 1))
    return with_urgency(rank, urgent=urgent)


def with_urgency(rank: int, *, urgent: bool) -> int:
    """Return the rank of a micrograph of an urgent order, or the one without urgency."""
    place = rank % URGENT
    return place - URGENT if urgent else place


def insert_drawn(rows: Sequence[Any], drawn: Sequence[Any]) -> list[Any]:
    """Insert a drawn micrograph at each tenth rank after the urgent ones.

    Args:
        rows: The most important that wait, in order; some of the drawn may be among them.
        drawn: Those that were drawn and are not urgent, in order.
    """
    taken = {row.r_id for row in drawn}
    urgent = [row for row in rows if row.r_review_rank < 0]
    weighty = [row for row in rows[len(urgent) :] if row.r_id not in taken]
    left, merged = list(drawn), list(urgent)
    for start in range(0, len(weighty), ONE_IN - 1):
        merged += [*weighty[start : start + ONE_IN - 1], *left[:1]]
        left = left[1:]
    return merged + left
