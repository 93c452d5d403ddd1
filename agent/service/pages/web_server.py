"""Serve the pages: the web server in a thread, on one address, with or without TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from agent.errors import BadSettings, WrongUse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import uvicorn

    from agent.settings import WebSection
    from agent.web.connection import ConnectionLimits

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
        WrongUse: Another process has the port.
        BadSettings: Certificate and key cannot be used.
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
        BadSettings: Names which, and why.
    """
    if not web.certificate and not web.key:
        return
    if not (web.certificate and web.key):
        raise BadSettings("[web]: certificate and key belong together; one is missing.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(web.certificate, web.key)
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(
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
        WrongUse: Another process has the port.
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
        raise WrongUse(
            f"web.port: {web.host}:{web.port} cannot be used ({error.strerror or error}); "
            "set another port, or stop the program that uses it."
        ) from error
    return bound
