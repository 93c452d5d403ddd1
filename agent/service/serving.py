"""Serve the pages: the web server in a thread of its own, on one address, with or without TLS.

In:  the application and `[web]`. Out: an address that answers. Next: a browser.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

from agent.errors import BadSettings, WrongUse

if TYPE_CHECKING:
    import uvicorn

    from agent.settings import Web


class Pages(threading.Thread):
    """The web server, in a thread of its own.

    Args:
        app: The application.
        web: On which address and port, with which certificate.

    Raises:
        WrongUse: Somebody else has the port.
        BadSettings: Certificate and key cannot be used.
    """

    def __init__(self, app: Any, web: Web) -> None:
        import uvicorn  # noqa: PLC0415 - only where pages are served

        super().__init__(name="pages", daemon=True)
        refuse_bad_certificate(web)
        self._socket = _bound(web.host, web.port)
        number = self._socket.getsockname()[1]
        shown = f"[{web.host}]" if ":" in web.host else web.host
        self.url = f"{'https' if web.certificate else 'http'}://{shown}:{number}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
            ssl_certfile=web.certificate or None,
            ssl_keyfile=web.key or None,
        )
        self._server: uvicorn.Server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until told to stop."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ask it to stop."""
        self._server.should_exit = True


def refuse_bad_certificate(web: Web) -> None:
    """Refuse a certificate or key that would let no browser in.

    Raises:
        BadSettings: Says which, and why.
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


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)  # whoever asks before the server runs waits, and is not refused
    except OSError as error:
        bound.close()
        raise WrongUse(
            f"web.port: {host}:{port} cannot be used ({error.strerror or error}); "
            "set another port, or stop whoever has it."
        ) from error
    return bound
