"""Micrographs that the agent suggests to label next, as a queue.

In this queue the model's answer is hidden until the decision, so that the decision is learned from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.web.orders.specimen_fields import is_done_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.store import Job, MicrographView
    from agent.web.context import Desk

SUGGEST = "suggest"
"""Name of the job that chooses."""
SUGGESTED = "suggested"
"""Name of the filter of the queue; its value is "1"."""


def find_last_choice(desk: Desk) -> Job | None:
    """Return the last job that chose what to label next, or None."""
    done = [job for job in desk.store.jobs.list_ended(SUGGEST) if job.outcome == "done"]
    return done[-1] if done else None


def list_suggested(desk: Desk) -> list[MicrographView]:
    """Return what was chosen last, the most useful first."""
    last = find_last_choice(desk)
    ids = [str(public_id) for public_id in last.facts.get("ids", ())] if last else []
    return desk.store.search.list_micrographs(ids)


def list_suggestion_queue(desk: Desk, who: str) -> list[MicrographView]:
    """Return what was chosen last and this reviewer may decide."""
    return [
        view for view in list_suggested(desk) if view.label is None and not is_done_by(view, who)
    ]


def is_suggested(narrowed: Mapping[str, str]) -> bool:
    """Return whether a queue is narrowed to the suggestions."""
    return narrowed.get(SUGGESTED) == "1"
