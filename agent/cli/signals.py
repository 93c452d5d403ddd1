"""Take the first Ctrl-C as a request to end well, and the second as an order."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from types import FrameType

FORCED = 130


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first signal, end at once at the second; handlers are given back."""

    def heard(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(FORCED)
        stop.set()

    numbers = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
    ]
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
