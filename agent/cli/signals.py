"""Stop cleanly at the first Ctrl-C, immediately at the second."""

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
    """Set `stop` at the first signal, exit at the second; restore the handlers at the end."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(FORCED)
        stop.set()

    numbers = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
    ]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
