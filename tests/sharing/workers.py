"""All commands that a test process runs share the worker processes that read and crop.

An agent starts its workers once; a test run starts some for each command that reads an image, and
each takes 1.3 s of processor time before its first file: a Python with NumPy, OpenCV and the OCR.
Workers whose pool was closed while they had nothing to do serve the next pool of the same command
line, folder and memory limit. It replaces two functions of `agent.imaging.pool`, since the product
needs no such seam.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pebble.pool.base_pool import PoolStatus

if TYPE_CHECKING:
    from pebble import ProcessPool

    from agent.imaging.pool import CropPool

    _Key = tuple[int, int, str]

THEIR_OWN = (
    "tests/unit/agent/imaging/test_pool.py",
    "tests/unit/agent/service/jobs/test_instrument_check.py::test_a_check_that_the_system_stops",
    "tests/unit/agent/service/jobs/test_reference_crops.py",
)
"""Tests of how workers start, die and end: theirs are not shared."""
SIZE = 2
"""Pools without work that are kept: an agent reads files and reference images at the same time."""


class SharedWorkers:
    """Pools without work and what their workers were started with, the oldest first."""

    def __init__(self) -> None:
        self._idle: list[tuple[_Key, ProcessPool]] = []

    def share(self) -> None:
        """Make pools of a lab take over the workers of closed ones from now on."""
        from agent.imaging import pool  # noqa: PLC0415 - a fast run does without

        start, stop = pool.CropPool._new_pool, pool.CropPool.close

        def find_or_start(asking: CropPool) -> ProcessPool:
            return self._find(_get_key(asking)) or start(asking)

        def keep_or_stop(closing: CropPool) -> None:
            if closing._running or _starts_its_own() or not self._keep(closing):
                stop(closing)
            else:  # it may be closed again after another pool has taken its workers
                closing._pool = start(closing)

        pool.CropPool._new_pool = find_or_start
        pool.CropPool.close = keep_or_stop

    def stop(self) -> None:
        """End all workers that are kept."""
        while self._idle:
            self._stop_oldest()

    def _find(self, key: _Key) -> ProcessPool | None:
        for kept in [] if _starts_its_own() else self._idle:
            if kept[0] == key:
                self._idle.remove(kept)
                return kept[1] if kept[1].active else None
        return None

    def _keep(self, closing: CropPool) -> bool:
        workers = closing._pool
        if workers._context.status != PoolStatus.RUNNING or not workers.active:
            return False
        self._idle.append((_get_key(closing), workers))
        while len(self._idle) > SIZE:
            self._stop_oldest()
        return True

    def _stop_oldest(self) -> None:
        _key, workers = self._idle.pop(0)
        workers.stop()
        workers.join()


def _get_key(pool: CropPool) -> _Key:
    return pool.workers, pool._memory_limit_mb, os.getcwd()  # noqa: PTH109 - it may be deleted


def _starts_its_own() -> bool:
    return os.environ.get("PYTEST_CURRENT_TEST", "").startswith(THEIR_OWN)
