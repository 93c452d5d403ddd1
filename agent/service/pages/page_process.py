"""Run the pages in a separate process, so that no fault of theirs stops the intake.

The agent opens the socket and keeps it: a browser's request waits while the process, or the agent
in its process, is started again, and the address stays. The process ends with the agent, however
that ends.
"""

from __future__ import annotations

import threading
import time
from multiprocessing import get_context
from typing import TYPE_CHECKING

import structlog

from agent import log as logs
from agent.service.pages.page_child import ALIVE, RESTART, WORK, Refused, serve_pages
from agent.service.pages.web_server import build_url, listen, refuse_bad_certificate

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from agent.service.health.problems import Problems
    from agent.settings import Settings

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
SILENT_S = 120.0  # an event loop that hangs; a start on a busy PC takes some of it
ENDS_S = 3.0
AGAIN_S = (0.2, 1.0, 5.0, 15.0, 60.0)
STEADY_S = 60.0
"""A process that ran for so long was no failure to start."""


class PageProcess(threading.Thread):
    """The thread that starts the pages' process, reads its messages, and starts it again.

    Args:
        settings: Of the lab.
        on_work: Called when a program has sent a file.
        on_restart: Called when a user requested a restart of the agent.
        problems: Where it is reported that the pages do not run.
        listener: A socket that listens already; None: one is opened.

    Raises:
        WrongUse: Another process has the port.
        BadSettings: Certificate and key cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_work: Callable[[], None],
        on_restart: Callable[[], None],
        problems: Problems,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(name="page", daemon=True)
        refuse_bad_certificate(settings.web)
        self._settings, self._problems = settings, problems
        self._on_news = {WORK: on_work, RESTART: on_restart}
        self.listener = listener or listen(settings.web)
        """The socket; its owner closes it, or gives it to the next process."""
        self.url = build_url(settings.web, self.listener)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Run the pages until stopped."""
        failures = 0
        while not self._stopping.is_set():
            began_s = time.monotonic()
            reason = self._run_once()
            if self._stopping.is_set():
                break
            failures = 0 if time.monotonic() - began_s > STEADY_S else failures + 1
            pause_s = AGAIN_S[min(failures, len(AGAIN_S) - 1)]
            log.error("page.ended", reason=reason, again_in_s=pause_s)
            self._problems.say("page", f"the review page is started again: {reason}")
            self._stopping.wait(pause_s)

    def stop(self) -> None:
        """Request that it stops."""
        self._stopping.set()

    def _run_once(self) -> str:
        """Run the process to its end and return how it ended."""
        context = get_context("spawn")
        heard, child_end = context.Pipe(duplex=False)
        lives, life = context.Pipe(duplex=False)
        process = context.Process(
            target=serve_pages,
            args=(self._settings, self.listener, child_end, lives, logs.for_child("page")),
            name="page",
        )
        try:
            process.start()
            child_end.close()
            lives.close()
            return self._hear(heard) or f"its process {_describe_end(process)}"
        except OSError as error:  # no file or memory left to start it with
            return f"its process cannot be started ({error})"
        finally:
            for end in (child_end, lives, life):
                end.close()
            _end(process)
            heard.close()

    def _hear(self, heard: Connection) -> str:
        """Read messages until the process ends, is silent, or has to stop; return which of them."""
        alive_s = time.monotonic()
        while not self._stopping.is_set():
            try:
                news = heard.recv() if heard.poll(LOOK_EVERY_S) else None
            except (EOFError, OSError):
                return ""
            if isinstance(news, Refused):
                return news.sentence
            if news in self._on_news:
                self._on_news[news]()
            if news == ALIVE:
                alive_s = time.monotonic()
                self._problems.say("page", "")
            if time.monotonic() - alive_s > SILENT_S:
                return f"it did not answer for {SILENT_S:.0f} s"
        return ""


def _describe_end(process: BaseProcess) -> str:
    process.join(ENDS_S)
    code = process.exitcode
    if code is not None and code < 0:
        return f"was killed (signal {-code}; the system does that when memory runs out)"
    return f"ended unexpectedly (exit code {code})"


def _end(process: BaseProcess) -> None:
    """Wait for a process that has to end; kill it where it does not."""
    if process.pid is None:
        return
    process.join(ENDS_S)
    if process.exitcode is None:
        process.kill()
        process.join(ENDS_S)
