"""The process that serves the pages; its facts come from database and files alone.

It sends three messages to the agent: that the server answers, that a program has sent a file, and
that a user requests a restart. Problems, sources and jobs are in the database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from agent.orders.instruments.instrument_holds import Affected
    from agent.settings import Settings
    from agent.store import Store

ALIVE, WORK, RESTART = "alive", "work", "restart"
ENDS_S = 3.0
LOOK_EVERY_S = 1.0
AFFECTED_EVERY_S = 60.0
NICER = 10
"""Priority of this process: where thousands of connections are opened the intake goes first."""
MORE_WILLINGLY = "300"
"""Where memory runs out the system ends the pages before the agent that takes files."""


class WebServerEnded(AgentError):  # noqa: N818 - it says what happened
    """The web server ended by itself; the log says why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Reason why the pages cannot be served, in one sentence."""

    sentence: str


class Voice:
    """Sends messages to the agent, from any thread.

    Args:
        said: The pipe's end.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def say(self, news: object) -> None:
        """Send a message; where the pipe is closed this process is about to end."""
        with self._lock, contextlib.suppress(OSError):
            self._pipe.send(news)

    def wake(self) -> None:
        """Send that a file was received."""
        self.say(WORK)

    def restart(self) -> None:
        """Send that a user requests a restart of the agent."""
        self.say(RESTART)

    async def beat(self) -> None:
        """Send that the server answers."""
        self.say(ALIVE)


def serve_pages(
    settings: Settings,
    listener: socket.socket,
    said: Connection,
    lives: Connection,
    log_to: dict[str, Any],
) -> None:
    """Serve until the agent ends; the entry of the process.

    Args:
        settings: Of the lab.
        listener: The socket that the agent opened.
        said: For messages to the agent.
        lives: Ends when the agent ends, or wants this to end.
        log_to: Arguments of `agent.log.set_up`.
    """
    from agent import log  # noqa: PLC0415 - only the child needs it

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the agent's to answer
    log.set_up(**log_to)
    _lower_priority()
    voice = Voice(said)
    code = 0
    try:
        _serve(settings, listener, voice, lives)
    except (AgentError, OSError) as error:
        voice.say(Refused(str(error)))
        code = 1
    except MemoryError:
        voice.say(Refused("memory ran out"))
        code = 1
    logging.shutdown()
    os._exit(code)  # a thread that still reads a dead share holds nothing up


def _serve(settings: Settings, listener: socket.socket, voice: Voice, lives: Connection) -> None:
    from agent.archive import Archive  # noqa: PLC0415 - heavy
    from agent.service.composition import open_store  # noqa: PLC0415
    from agent.service.folder.data_folder import clock  # noqa: PLC0415
    from agent.service.pages.web_server import Pages  # noqa: PLC0415
    from agent.web import Inbox, app_of  # noqa: PLC0415

    with open_store(settings) as store:
        inbox = Inbox(
            settings.store.folder / "inbox",
            store,
            now=clock,
            on_work=voice.wake,
            at_once=settings.web.uploads,
        )
        inbox.clear()
        application = app_of(
            settings,
            store=store,
            archive=Archive.open(settings.store),
            now=clock,
            status=PageStatus(settings, store),
            inbox=inbox,
            restart=voice.restart,
        )
        pages = Pages(application, settings.web, listener=listener, on_beat=voice.beat)
        pages.start()
        while pages.is_alive() and not lives.poll(LOOK_EVERY_S):
            pass
        if not pages.is_alive():
            raise WebServerEnded("its web server ended unexpectedly")
        pages.stop()
        pages.join(ENDS_S)


class PageStatus:
    """The document of `agent status --json`, in the pages' process.

    Orders with held results are queried once a minute: that takes longer than all the rest.

    Args:
        settings: Of the lab.
        store: Open.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._lock = threading.Lock()
        self._affected: Sequence[Affected] = ()
        self._again_s = 0.0

    def __call__(self) -> dict[str, Any]:
        """Return the document."""
        from agent.service.folder.data_folder import clock  # noqa: PLC0415
        from agent.service.folder.lock import RunLock  # noqa: PLC0415
        from agent.service.health.status import build_status_from_store  # noqa: PLC0415

        running = RunLock.of(self._settings).is_held()
        return build_status_from_store(
            self._settings,
            self._store,
            now=clock(),
            running=running,
            affected=self._affected_now(),
        )

    def _affected_now(self) -> Sequence[Affected]:
        from agent.orders.instruments.instrument_holds import (  # noqa: PLC0415 - needed rarely
            list_affected_orders,
            load_holds,
        )
        from agent.service.folder.data_folder import clock  # noqa: PLC0415

        with self._lock:
            if time.monotonic() >= self._again_s:
                holds = load_holds(self._settings, self._store)
                self._affected = list_affected_orders(self._store, holds, now=clock())
                self._again_s = time.monotonic() + AFFECTED_EVERY_S
            return self._affected


def _lower_priority() -> None:
    if os.name == "posix":
        with contextlib.suppress(OSError):
            os.nice(NICER)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(MORE_WILLINGLY, encoding="ascii")
