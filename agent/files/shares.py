"""Inspect folders outside the data folder: they may be missing, refuse, or hang for hours.

A call into a share whose server is gone ends when the server is back. It is made in a thread, so
that it holds nobody up; while it hangs, no second one is begun for the same share.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

LIMIT_S = 10.0
"""Our choice: disks of a NAS that sleep need up to that to start."""

TICK_S = 0.25

T = TypeVar("T")


class _Call(threading.Thread, Generic[T]):
    """One call into a share."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(name="share", daemon=True)
        self._function = function
        self.results: list[T] = []
        self.error: BaseException | None = None
        self.is_over = threading.Event()

    def run(self) -> None:
        try:
            self.results.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised where it was called
            self.error = error
        finally:
            self.is_over.set()


_hanging: dict[str, _Call[object]] = {}
"""Share → the call that hangs there."""


def inspect(
    share: str | Path,
    function: Callable[[], T],
    *,
    limit_s: float | None = None,
    progress: Callable[[], object] = lambda: None,
) -> T:
    """Return what a function finds out about a share.

    Args:
        share: The path in the settings.
        function: Reads there. It is left alone where it hangs, so it must not write.
        limit_s: For how long it may hang, None: `LIMIT_S`.
        progress: While its answer changes, the function does not hang.

    Raises:
        OSError: The share refuses, or hangs (`TimeoutError`).
    """
    key = str(share)
    before = _hanging.get(key)
    if before and before.is_alive() and not before.is_over.is_set():
        raise _hangs(key)
    call = _Call(function)
    call.start()
    if not _has_ended(call.is_over, LIMIT_S if limit_s is None else limit_s, progress):
        _hanging[key] = call  # type: ignore[assignment]  # its result is not wanted any more
        raise _hangs(key)
    _hanging.pop(key, None)
    if call.error:
        raise call.error
    return call.results[0]


def _has_ended(is_over: threading.Event, limit_s: float, progress: Callable[[], object]) -> bool:
    """Wait for the end of a call, False where it hangs.

    The time is counted in ticks: a PC that sleeps, or this process where it is suspended, counts
    none.
    """
    seen, left_s = progress(), limit_s
    while not is_over.wait(min(TICK_S, left_s)):
        left_s -= TICK_S
        if (now := progress()) != seen:
            seen, left_s = now, limit_s
        if left_s <= 0:
            return False
    return True


def find_faults(shares: Collection[str | Path]) -> dict[str, str]:
    """Return share → why it refuses or hangs, all of them tried at once; one may be missing.

    Where one hangs, `inspect` refuses it at once from then on, until it answers.
    """
    if not shares:
        return {}
    with ThreadPoolExecutor(len(shares)) as pool:
        faults = pool.map(_find_fault, shares)
        return {str(share): fault for share, fault in zip(shares, faults, strict=True) if fault}


def _find_fault(share: str | Path) -> str:
    try:
        inspect(share, lambda: _touch(share))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _touch(share: str | Path) -> None:
    """Raise `OSError` where a folder or file is there and cannot be read."""
    with suppress(FileNotFoundError):
        try:
            with os.scandir(share) as entries:
                next(entries, None)
        except NotADirectoryError:
            os.stat(share)  # noqa: PTH116 - as it is named in the settings


def is_folder(path: str | Path) -> bool:
    """Return whether a folder outside is there and can be seen."""
    try:
        return inspect(path, lambda: os.path.isdir(path))  # noqa: PTH112 - `Path.is_dir` raises
    except TimeoutError:
        return False


def is_file(path: str | Path) -> bool:
    """Return whether a file outside is there and can be seen."""
    try:
        return inspect(path, lambda: os.path.isfile(path))  # noqa: PTH113 - `Path.is_file` raises
    except TimeoutError:
        return False


def _hangs(share: str) -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, "it does not answer", share)
