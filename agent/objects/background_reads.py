"""Bound how long a page waits for the object storage, which goes on fetching what it needs.

A page sets the time until which its requests may wait. A request that takes longer goes on in a
thread of this process, and its result is there when the page is loaded again.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class _Read:
    """One read: how it is done, what it returns, and when it ended (s, monotonic)."""

    call: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    end_s: float = math.inf


class BackgroundReads:
    """Reads from an object storage that go on where their page does not wait any longer.

    Their threads are daemons. The interpreter waits for those of a `ThreadPoolExecutor`, so that a
    storage that hangs would keep the agent from stopping.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[_Read] = queue.SimpleQueue()
        self._reads: dict[str, _Read] = {}
        self._threads = 0

    def run(self, name: str, call: Callable[[], Result]) -> Result:
        """Return what a read returns, at once where this context waits without end.

        Args:
            name: Of the read; one that runs already is joined.
            call: Sends the requests.

        Raises:
            BeingFetched: The time of the page is over, and the read goes on.
            OSError: As raised by the read.
        """
        until_s = _until_s.get()
        if until_s is None:
            return call()
        read = self._start(name, call)
        if read and wait_for([read.future], max(0.0, until_s - time.monotonic())).done:
            with self._lock:
                if self._reads.get(name) is read:  # not another page's, begun since
                    del self._reads[name]
            return cast("Result", read.future.result())
        raise BeingFetched(f"{name} is being fetched from the object storage")

    def _start(self, name: str, call: Callable[[], Any]) -> _Read | None:
        """Return the read of a name, begun where none runs; None where too many wait."""
        oldest_s = time.monotonic() - KEPT_S
        with self._lock:
            self._reads = {
                name: read for name, read in self._reads.items() if read.end_s >= oldest_s
            }
            if name in self._reads:
                return self._reads[name]
            if len(self._reads) >= MOST_KEPT:
                return None
            read = self._reads[name] = _Read(call)
            self._waiting.put(read)
            if self._threads < min(THREADS, len(self._reads)):
                self._threads += 1
                threading.Thread(target=self._work, name="object reads", daemon=True).start()
            return read

    def _work(self) -> None:
        while True:
            read = self._waiting.get()
            try:
                answer = read.call()
            except Exception as error:  # noqa: BLE001 - raised again where the result is read
                read.end_s = time.monotonic()
                read.future.set_exception(error)
            else:
                read.end_s = time.monotonic()
                read.future.set_result(answer)
