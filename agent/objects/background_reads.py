"""Bound how long a page waits for the object storage; what it asked for is fetched all the same.

A page sets the time until which its requests may wait. A request that takes longer goes on in a
thread of this process, and its result is there when the page is loaded again.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from agent.objects.bucket import ObjectsUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")
THREADS: Final = 8
MOST_KEPT: Final = 1000
"""Requests that wait, run or have an answer that no page has read yet; more are not begun."""
KEPT_S: Final = 60.0
"""An answer that no page has read for so long is forgotten: the file may have changed."""
_until_s: ContextVar[float | None] = ContextVar("until_s", default=None)


class BeingFetched(ObjectsUnavailable):
    """The object storage has not answered yet; the request goes on in the background."""


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Bound how long all requests to object storages of this context wait together.

    Args:
        seconds: From now on.
    """
    token = _until_s.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _until_s.reset(token)


class BackgroundReads:
    """Reads from an object storage that go on where their page does not wait any longer."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: queue.SimpleQueue[tuple[str, Callable[[], Any]]] = queue.SimpleQueue()
        self._reads: dict[str, Future[Any]] = {}
        self._done_s: dict[str, float] = {}
        self._threads = 0

    def run(self, name: str, read: Callable[[], Result]) -> Result:
        """Return what a read returns, at once where this context waits without end.

        Args:
            name: Of the read; one that runs already is joined.
            read: Asks the storage.

        Raises:
            BeingFetched: The time of the page is over, and the read goes on.
            OSError: As raised by the read.
        """
        until_s = _until_s.get()
        if until_s is None:
            return read()
        future = self._start(name, read)
        if future is not None and wait_for([future], max(0.0, until_s - time.monotonic())).done:
            self._forget(name)
            return cast("Result", future.result())
        raise BeingFetched(f"{name} is being fetched from the object storage")

    def _start(self, name: str, read: Callable[[], Any]) -> Future[Any] | None:
        """Return the read of a name, begun where none runs; None where too many wait."""
        with self._lock:
            self._forget_old()
            if name in self._reads:
                return self._reads[name]
            if len(self._reads) >= MOST_KEPT:
                return None
            self._reads[name] = Future()
            self._waiting.put((name, read))
            if self._threads < min(THREADS, len(self._reads)):
                self._threads += 1
                # A daemon: a storage that hangs does not keep the agent from stopping.
                threading.Thread(target=self._work, name="object reads", daemon=True).start()
            return self._reads[name]

    def _forget_old(self) -> None:
        limit_s = time.monotonic() - KEPT_S
        for name, done_s in list(self._done_s.items()):
            if done_s < limit_s:
                self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._reads.pop(name, None)
            self._done_s.pop(name, None)

    def _work(self) -> None:
        while True:
            name, read = self._waiting.get()
            with self._lock:
                future = self._reads[name]
            try:
                answer = read()
            except Exception as error:  # noqa: BLE001 - raised again where the result is read
                self._finish(name)
                future.set_exception(error)
            else:
                self._finish(name)
                future.set_result(answer)

    def _finish(self, name: str) -> None:
        with self._lock:
            self._done_s[name] = time.monotonic()
