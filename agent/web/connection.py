"""Limit how many connections are open, and how long each may take for a request.

uvicorn has no deadline for a header or a body, and never closes a connection that sends no request;
so its HTTP protocol is extended here by deadlines. When all places are taken, a connection that has
sent no complete request is closed first: browsers send theirs at once.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger()

AT_LEAST = 16
FILES_BESIDE = 128
"""Files that the page opens besides connections: the database's, images, reports, uploads."""
SWEEP_EVERY_S = 1.0
SAY_EVERY_S = 60.0
SLOWEST_BYTES_PER_S = 10_000.0
"""Lowest rate of a body after `idle_s`, slower than any modem: a body sent in drops ends."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the connections of one server.

    Args:
        connections: How many are open at once.
        header_s: How long (s) the head of a request, or a TLS handshake, may take.
        idle_s: How long (s) a body, or the reader of an answer, may be silent.
    """

    connections: int = 512
    header_s: float = 10.0
    idle_s: float = 20.0


class Connections:
    """The open connections of one server.

    Args:
        limits: Their number and deadlines.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._most = places_for(limits.connections)
        self._open: dict[Connection, None] = {}  # in the order they came
        self._sweep: asyncio.TimerHandle | None = None
        self._dropped: dict[str, int] = {}
        self._said_s = float("-inf")

    def protocol(self, **given: Any) -> Connection:
        """Build the protocol of a new connection; uvicorn calls this as its HTTP class."""
        return Connection(self, **given)

    def add(self, connection: Connection) -> None:
        """Add an open connection; if no place is free, close a half-open, a resting or this one."""
        if len(self._open) >= self._most:
            victim = next((entry for entry in self._open if entry.is_half_open), None) or next(
                (entry for entry in self._open if entry.is_resting), connection
            )
            self._drop(victim, "no place is left")
            if victim is connection:
                return
        self._open[connection] = None
        if self._sweep is None:
            self._sweep = connection.loop.call_later(SWEEP_EVERY_S, self._end_overdue)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._open.pop(connection, None)

    def _end_overdue(self) -> None:
        self._sweep = None
        for connection in list(self._open):
            if why := connection.overdue():
                self._drop(connection, why)
        self._say()
        if self._open:
            loop = next(iter(self._open)).loop
            self._sweep = loop.call_later(SWEEP_EVERY_S, self._end_overdue)

    def _drop(self, connection: Connection, why: str) -> None:
        self._open.pop(connection, None)
        self._dropped[why] = self._dropped.get(why, 0) + 1
        connection.transport.abort()

    def _say(self) -> None:
        """Log the dropped connections, at most once a minute."""
        now_s = asyncio.get_running_loop().time()
        if self._dropped and now_s - self._said_s >= SAY_EVERY_S:
            self._said_s = now_s
            log.warning("connections.dropped", open=len(self._open), **_as_keys(self._dropped))
            self._dropped = {}


def _as_keys(counts: dict[str, int]) -> dict[str, int]:
    return {why.replace(" ", "_"): n for why, n in counts.items()}


class Connection(H11Protocol):
    """One connection, which keeps the deadlines of its server.

    Args:
        every: All connections of the server.
        given: The arguments that uvicorn passes to its own protocol.
    """

    def __init__(self, every: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._every, self._limits = every, every.limits
        self._began_s = self._heard_s = self.loop.time()
        self._write_paused_s: float | None = None
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request's head."""
        super().connection_made(transport)
        self._began_s = self._heard_s = self.loop.time()
        self._every.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free its place."""
        self._every.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the first ones after an answer start the next request's deadline."""
        now_s = self.loop.time()
        if self.is_resting:
            self._began_s, self._received = now_s, 0
        self._heard_s = now_s
        self._received += len(data)
        super().data_received(data)

    def pause_writing(self) -> None:
        """Record since when the client reads nothing."""
        self._write_paused_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Record that the client reads again."""
        self._write_paused_s = None
        super().resume_writing()

    @property
    def is_resting(self) -> bool:
        """Whether it is kept open between two requests; uvicorn closes it later."""
        return self.timeout_keep_alive_task is not None

    @property
    def is_half_open(self) -> bool:
        """Whether it has sent no complete head of a request."""
        return not self.is_resting and (self.cycle is None or self.cycle.response_complete)

    def overdue(self) -> str:
        """Return which deadline it has missed, "" for none."""
        now_s = self.loop.time()
        if self._write_paused_s is not None and now_s - self._write_paused_s > self._limits.idle_s:
            return "answer not read"
        if self.transport.is_closing() or self.is_resting:
            return ""
        if self.is_half_open:
            return "header too slow" if now_s - self._began_s > self._limits.header_s else ""
        waits_for_us = self.flow.read_paused or not self.cycle.more_body
        return "" if waits_for_us else self._overdue_body(now_s)

    def _overdue_body(self, now_s: float) -> str:
        if now_s - self._heard_s > self._limits.idle_s:
            return "body too slow"
        allowed_s = self._limits.idle_s + self._received / SLOWEST_BYTES_PER_S
        return "body too slow" if now_s - self._began_s > allowed_s else ""


def places_for(connections: int) -> int:
    """Return how many of the connections the system's limit of open files has room for."""
    if sys.platform == "win32":
        return connections
    import resource  # noqa: PLC0415 - not on Windows

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(AT_LEAST, min(connections, soft - FILES_BESIDE))


def loop_factory(limits: ConnectionLimits) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the class of the server's event loop: a TLS handshake has the header's deadline."""

    class Loop(_BASE):
        async def create_server(self, *arguments: Any, **options: Any) -> Any:
            if options.get("ssl"):
                options["ssl_handshake_timeout"] = limits.header_s
            return await super().create_server(*arguments, **options)

    return Loop


if sys.platform == "win32":
    _BASE: Any = asyncio.ProactorEventLoop  # the other one waits for 512 sockets at most
else:
    _BASE = asyncio.SelectorEventLoop
