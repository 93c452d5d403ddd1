"""Do a small errand again and again in a thread of its own, and say what stands in its way.

In:  an errand. Out: nothing. Next: `status`, where the trouble is read.
A share that hangs or a mail server that is away costs this thread time, and no other.
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

    from agent.service.problems import Problems

log = structlog.get_logger()


class Rounds(threading.Thread):
    """The thread of one errand.

    Args:
        name: Of the thread and of its trouble.
        errand: Does what there is to do; gives back what a person should know, "" for nothing,
            None where what was said before still holds.
        every_s: Seconds between two rounds.
        problems: Where troubles are said.
    """

    def __init__(
        self, name: str, errand: Callable[[], str | None], *, every_s: float, problems: Problems
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._errand, self._every_s, self._problems = errand, every_s, problems
        self._stopping = threading.Event()

    def run(self) -> None:
        """Do it, until told to stop; a fault costs time, never the thread."""
        while not self._stopping.is_set():
            self.run_round()
            self._stopping.wait(self._every_s)

    def run_round(self) -> None:
        """Do it once, and write down what stands in its way."""
        said: str | None
        try:
            said = self._errand()
        except (AgentError, ModelError, StoreFault, OSError) as fault:
            said = f"{self.name}: {fault}"
        except Exception as error:
            log.exception("errand.crashed", errand=self.name)
            said = f"{self.name}: {type(error).__name__}: {error}"
        if said is not None:
            self._problems.say(self.name, said)

    def stop(self) -> None:
        """Ask it to stop."""
        self._stopping.set()
