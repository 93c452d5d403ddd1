"""Run a job periodically in a thread, and report its problems.

A share that hangs or a mail server that is unavailable delays this thread, and no other.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError
from agent.store import StoreFault
from model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.service.health.problems import Problems
    from reports import Message

log = structlog.get_logger()


class PeriodicThread(threading.Thread):
    """The thread of one periodic job.

    Args:
        name: Of the thread and of its problem.
        errand: The job; returns a problem for the operator, "" for none, None where the previous
            one is still valid.
        every_s: Seconds between two runs.
        problems: Where problems are reported.
    """

    def __init__(
        self,
        name: str,
        errand: Callable[[], Message | str | None],
        *,
        every_s: float,
        problems: Problems,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._errand, self._every_s, self._problems = errand, every_s, problems
        self._stopping = threading.Event()

    def run(self) -> None:
        """Run the job until stopped; a fault costs time, never the thread."""
        while not self._stopping.is_set():
            self.run_round()
            self._stopping.wait(self._every_s)

    def run_round(self) -> None:
        """Run the job once, and report its problem."""
        problem: Message | str | None
        try:
            problem = self._errand()
        except (AgentError, ModelError, StoreFault, OSError) as fault:
            problem = f"{self.name}: {fault}"
        except Exception as error:
            log.exception("errand.crashed", errand=self.name)
            problem = f"{self.name}: {type(error).__name__}: {error}"
        if problem is not None:
            self._problems.say(self.name, problem)

    def stop(self) -> None:
        """Request that it stops."""
        self._stopping.set()
