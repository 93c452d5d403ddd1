"""Serve the pages in a separate process, so that no fault of theirs stops the intake.

The process sends three messages to the agent: that the server answers, that a program has sent a
file, and that a user requests a restart. Problems, sources and jobs are in the database.

The agent opens the socket and keeps it: a browser's request waits while the process, or the agent
in its process, is started again, and the address stays. The process ends with the agent, however
that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from agent import log as logs
from agent.errors import AgentError, BadSettingsError, UsageError
from agent.service.jobs.supervisor import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    import uvicorn

    from agent.orders.instruments.instrument_holds import Affected
    from agent.service.health.problems import Problems
    from agent.settings import Settings, WebSection
    from agent.store import Store
    from agent.web.connection import ConnectionLimits


ALIVE, WORK, RESTART = "alive", "work", "restart"
ENDS_S = 3.0
PARENT_EVERY_S = 1.0
AFFECTED_EVERY_S = 60.0
NICER = 10
"""Priority of this process: where thousands of connections are opened the intake goes first."""
MORE_WILLINGLY = "300"
"""Where memory runs out the system ends the pages before the agent that takes files."""


class WebServerEndedError(AgentError):
    """The web server ended by itself; the log says why."""


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
    from agent.service.data_folder import clock  # noqa: PLC0415
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
            archive=Archive.open(settings),
            now=clock,
            status=PageStatus(settings, store),
            inbox=inbox,
            restart=voice.restart,
        )
        pages = Pages(application, settings.web, listener=listener, on_beat=voice.beat)
        pages.start()
        while pages.is_alive() and not lives.poll(PARENT_EVERY_S):
            pass
        if not pages.is_alive():
            raise WebServerEndedError("its web server ended unexpectedly")
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
        from agent.service.data_folder import RunLock, clock  # noqa: PLC0415
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
        from agent.service.data_folder import clock  # noqa: PLC0415

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


WAITING = 128
"""Connections that the system holds until they are accepted."""
BEAT_EVERY_S = 5


class Pages(threading.Thread):
    """The web server, in a thread.

    Args:
        app: The application.
        web: On which address and port, with which certificate and limits.
        listener: A socket that listens already; None: one is opened.
        limits: Of its connections; None: the usual ones.
        on_beat: Awaited every few seconds, as long as the server answers.

    Raises:
        UsageError: Another process has the port.
        BadSettingsError: Certificate and key cannot be used.
    """

    def __init__(
        self,
        app: Any,
        web: WebSection,
        *,
        listener: socket.socket | None = None,
        limits: ConnectionLimits | None = None,
        on_beat: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        import uvicorn  # noqa: PLC0415 - only where pages are served

        from agent.web import connection  # noqa: PLC0415

        super().__init__(name="pages", daemon=True)
        refuse_bad_certificate(web)
        self._app = app
        self._socket = listener or listen(web)
        self.url = build_url(web, self._socket)
        limits = limits or connection.ConnectionLimits()
        self._loop_factory = connection.loop_factory(limits)
        config = uvicorn.Config(
            app,
            http=connection.Connections(limits).protocol,  # type: ignore[arg-type]
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
            backlog=WAITING,
            proxy_headers=bool(web.proxies),
            forwarded_allow_ips=list(web.proxies),
            ssl_certfile=web.certificate or None,
            ssl_keyfile=web.key or None,
            callback_notify=on_beat,
            timeout_notify=BEAT_EVERY_S,
            server_header=False,
        )
        self._server: uvicorn.Server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until stopped."""
        threading.Thread(target=_load_pdf, name="pdf", daemon=True).start()
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Request that it stops; streams of events end first, so that nothing is cut off."""
        if (closing := getattr(getattr(self._app, "state", None), "closing", None)) is not None:
            closing.set()
        self._server.should_exit = True


def _load_pdf() -> None:
    """Import what draws a PDF, so that the first request for one does not pay for it."""
    import_module("reports.pdf_page")


def refuse_bad_certificate(web: WebSection) -> None:
    """Refuse a certificate or key that no browser would accept.

    Raises:
        BadSettingsError: Names which, and why.
    """
    if not web.certificate and not web.key:
        return
    if not (web.certificate and web.key):
        raise BadSettingsError("[web]: certificate and key belong together; one is missing.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(web.certificate, web.key)
    except (OSError, ssl.SSLError) as error:
        raise BadSettingsError(
            f"[web] certificate {web.certificate} with key {web.key} cannot be used: {error}; "
            "both are PEM files that this account may read."
        ) from error


def build_url(web: WebSection, listener: socket.socket) -> str:
    """Return the address under which a browser finds a listening socket."""
    number = listener.getsockname()[1]
    shown = f"[{web.host}]" if ":" in web.host else web.host
    return f"{'https' if web.certificate else 'http'}://{shown}:{number}"


def listen(web: WebSection) -> socket.socket:
    """Open the socket that the page listens at.

    Raises:
        UsageError: Another process has the port.
    """
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((web.host, web.port))
        bound.listen(WAITING)  # a request before the server runs waits, and is not refused
    except OSError as error:
        bound.close()
        raise UsageError(
            f"web.port: {web.host}:{web.port} cannot be used ({error.strerror or error}); "
            "set another port, or stop the program that uses it."
        ) from error
    return bound


log = structlog.get_logger()

LOOK_EVERY_S = 0.5
SILENT_S = 120.0  # an event loop that hangs
STARTS_S = 600.0  # on a busy PC: who ends it earlier starts it again and again
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
        UsageError: Another process has the port.
        BadSettingsError: Certificate and key cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_work: Callable[[], None],
        on_restart: Callable[[], None],
        problems: Problems,
        listener: socket.socket | None,
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
            args=(self._settings, self.listener, child_end, lives, logs.for_child()),
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
        alive_s, limit_s = time.monotonic(), STARTS_S
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
                alive_s, limit_s = time.monotonic(), SILENT_S
                self._problems.say("page", "")
            if time.monotonic() - alive_s > limit_s:
                return f"it did not answer for {limit_s:.0f} s"
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
