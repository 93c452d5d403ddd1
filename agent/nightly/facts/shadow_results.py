"""Collect which answers a candidate gives differently, for the night's report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.orders.instruments.prediction_flips import Flip, find_flip

if TYPE_CHECKING:
    from datetime import datetime

    from agent.store import Store

JOB = "shadow"
KEPT, SHOWN = 300, 60
"""Flips that are frozen with a night, and those that its page shows."""


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Answers of a candidate next to those of the active bundle.

    Args:
        bundle: The candidate.
        current: The active bundle.
        days: How far back the candidate was evaluated.
        judged: Micrographs that both answered.
        flipped: Of those, answered differently.
        flips: The newest of these.
    """

    bundle: str
    current: str
    days: int
    judged: int
    flipped: int
    flips: tuple[Flip, ...]


def collect_shadow(store: Store, until: datetime) -> Shadowed | None:
    """Return the answers of the last candidate.

    Args:
        store: Open.
        until: End of the night, aware UTC.

    Returns:
        None where no candidate was evaluated since the last promotion.
    """
    asked = [job for job in store.jobs.list_ended(JOB) if job.facts.get("bundle")]
    promotions = store.promotions.list_all()
    if not asked or not promotions:
        return None
    last, current = asked[-1], promotions[0]
    bundle, days = str(last.facts["bundle"]), int(last.facts.get("days") or 0)
    if bundle == current.bundle or not days:
        return None
    if last.started_at is None or last.started_at < current.promoted_at:
        return None
    since = until - timedelta(days=days)
    answers = {view.id: view for view in store.results.iter_by_bundle(bundle, since=since)}
    both = [view for view in store.results.list_between(since, until) if view.id in answers]
    flips = [flip for view in reversed(both) if (flip := find_flip(view, answers[view.id]))]
    return Shadowed(bundle, current.bundle, days, len(both), len(flips), tuple(flips[:KEPT]))
