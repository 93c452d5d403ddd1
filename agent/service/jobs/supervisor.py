"""Run a job in a child, one at a time, with a row of its progress and end.

Each reader of the row may request the end, so a job of the service can be cancelled from any shell.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import structlog

from agent.errors import AgentError
from agent.retrain import Step
from agent.service.jobs.child_process import ChildEnded, run_in_child
from agent.store import StoreFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from agent.service.folder.lock import Lock
    from agent.service.jobs.child_process import Work
    from agent.settings import Settings
    from agent.store import Store

log = structlog.get_logger()

NOTE_EVERY_S = 2.0


class Cancelled(AgentError):  # noqa: N818 - it is an act, not a fault
    """The end of the job was requested."""


def run_supervised(
    work: Work,
    settings: Settings,
    store: Store,
    *,
    name: str,
    lock: Lock,
    by: str,
    now: Callable[[], datetime],
    ending: Callable[[Any], tuple[str, dict[str, Any]]],
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[object]:
    """Run a job in a child, with a row of its progress.

    Args:
        work: As in `run_in_child`: it yields `Step`s, last its result.
        settings: Of the lab.
        store: Holds the row.
        name: Of the job, such as "retrain".
        lock: Held while it runs.
        by: Who started it.
        now: Returns the time, aware UTC.
        ending: Returns, for the result, how the job ended, in a word, and what is stored of it.
        should_stop: Called every few seconds; True ends the job, and nothing is yielded.

    Yields:
        What the job yields.

    Raises:
        WrongUse: Another one is running.
        ChildEnded: It failed.
        Cancelled: Its end was requested.
    """
    with lock:
        store.jobs.end_lost(name, at=now())
        job = store.jobs.begin(name, at=now(), facts={"by": by})
        outcome, facts = "interrupted", dict[str, Any]()
        row = _Row(store, job, now)
        try:
            with closing(run_in_child(work, settings, look_every_s=NOTE_EVERY_S)) as messages:
                for news in messages:
                    if should_stop():
                        return
                    if isinstance(news, Step):
                        row.step = news
                    elif news is not None:
                        outcome, facts = ending(news)
                    row.note()
                    if news is not None:
                        yield news
        except (ChildEnded, Cancelled) as ended:
            outcome = "cancelled" if isinstance(ended, Cancelled) else "failed"
            facts = {"sentence": str(ended)}
            log.warning("job.ended", job=name, outcome=outcome, reason=str(ended))
            raise
        finally:
            store.jobs.end(job, outcome, at=now(), facts={"by": by, **facts})


class _Row:
    """Writes down how far a job is, seldom enough not to be in anybody's way."""

    def __init__(self, store: Store, job: int, now: Callable[[], datetime]) -> None:
        self._store, self._job, self._now = store, job, now
        self._due_s = 0.0
        self.step = Step("beginning", 0, 0)

    def note(self) -> None:
        """Write it down if it is time. Raises `Cancelled`."""
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + NOTE_EVERY_S
        step = self.step
        facts = {"stage": step.stage, "done": step.done, "total": step.total, "note": step.note}
        try:
            by = self._store.jobs.report(self._job, facts, at=self._now())
        except StoreFault:  # a database that is away for a moment costs a note, not the work
            return
        if by:
            raise Cancelled(f"cancelled by {by}.")
