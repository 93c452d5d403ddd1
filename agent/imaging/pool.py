"""Read and crop in worker processes, so that a poison file kills a worker and not the agent.

Only the crop crosses back; the pixels it was cut from stay in the worker. The death of a worker
may have another cause (the system ran out of memory), so its file gets a second worker before it
counts as poison.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from pebble import ProcessExpired, ProcessPool

from agent.errors import FileCode, FileError
from agent.imaging.crop import Crop, crop
from agent.imaging.places.landmarks import extract_landmarks
from agent.imaging.readers.page import Limits
from agent.imaging.readers.read import iter_micrographs

_Future = Future[list[Crop]]

OUT_OF_MEMORY = 77
"""Exit code of a worker that found itself above its memory limit."""
OUT_OF_TIME = 78
"""Exit code of a worker that found itself above the processor time of one file."""
WALL_CLOCK = 10
"""How many times its limit a file may take on the clock, since a busy PC lets it wait; our choice.
Where its share stands still, once the limit is enough."""
KILLED = -9
"""Exit code of a worker that the system killed; a decoder that crashes ends with another signal."""
LOOK_EVERY_S = 0.05
TRIES = 2
TRIM_S = 5.0
AHEAD = 2
"""Scheduled files per worker: one running, one waiting, so that crops do not accumulate."""

Outcome = list[Crop] | Exception


@dataclass(frozen=True, slots=True)
class _Job:
    """One file.

    Args:
        path: The file.
        settings_scale: µm per pixel of the objective, or None.
        deaths: Workers that died while they had it.
        breaks: How often the pool broke while it was scheduled.
    """

    path: Path
    settings_scale: float | None
    deaths: int = 0
    breaks: int = 0

    def after(self, outcome: Outcome) -> _Job | None:
        """Return the job to try again, or None where this outcome is final.

        Deaths and breaks are counted separately: a file whose worker was killed from outside and
        whose pool then stalled is not proven to be poison.
        """
        if isinstance(outcome, ProcessExpired) and self.deaths + 1 < TRIES:
            return replace(self, deaths=self.deaths + 1)
        if isinstance(outcome, BrokenProcessPool) and self.breaks + 1 < TRIES:
            return replace(self, breaks=self.breaks + 1)
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What workers do with every file; named as in `CropPool`."""

    limits: Limits
    um_per_px_range: tuple[float, float]
    keep_surface: bool
    landmarks: bool
    time_limit_s: float


class CropPool:
    """Worker processes that read and crop.

    Args:
        workers: Number of processes; 0: one per two cores.
        time_limit_s: Processor time of one file, in seconds, before its worker ends. By the clock
            alone a worker is killed after `WALL_CLOCK` times as long.
        memory_limit_mb: Memory limit of one worker, in MB.
        limits: Of one file; the share of a file hangs after `time_limit_s` without a byte.
        um_per_px_range: A scale outside this range is ignored, µm per pixel.
        keep_surface: Whether a deeper rim of the specimen counts as steel.
        landmarks: Whether the landmarks of each crop are extracted as well.
        stalled_s: Time without a worker starting a file, in seconds, before all are replaced.
    """

    def __init__(
        self,
        *,
        workers: int,
        time_limit_s: float = 60.0,
        memory_limit_mb: int = 4000,
        limits: Limits | None = None,
        um_per_px_range: tuple[float, float] = (0.0005, 5.0),
        keep_surface: bool = False,
        landmarks: bool = False,
        stalled_s: float = 60.0,
    ) -> None:
        self.workers = workers or max(1, (os.cpu_count() or 2) // 2)
        self._time_limit_s = time_limit_s
        self._memory_limit_mb = memory_limit_mb
        self._stalled_s = stalled_s
        limits = replace(limits or Limits(), standstill_s=time_limit_s)
        self._plan = _Plan(limits, um_per_px_range, keep_surface, landmarks, time_limit_s)
        self._running: dict[_Future, _Job] = {}
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            initializer=_init_worker,
            initargs=(self._memory_limit_mb * 1_000_000,),
            context=get_context("spawn"),
        )

    def warm(self) -> None:
        """Start the workers before there is work, so that no file is scheduled while they load."""
        wait([self._pool.schedule(_warm) for _ in range(self.workers)])

    def release_memory(self) -> None:
        """Release what the workers keep for the next file, where no file is being read."""
        with suppress(RuntimeError):  # the pool has broken; the next file gets another one
            wait([self._pool.schedule(_trim_heap) for _ in range(self.workers)], timeout=TRIM_S)

    def rest(self) -> None:
        """End the workers; the next file starts them, which takes it a second or two longer."""
        self._renew()

    def has_outcome(self) -> bool:
        """Return whether `crop_all` would yield its next outcome without waiting."""
        return any(future.done() for future in self._running)

    def crop_all(
        self, jobs: Iterable[tuple[Path, float | None]]
    ) -> Generator[tuple[Path, Outcome], None, None]:
        """Read and crop files.

        Args:
            jobs: Paths, each with the µm per pixel of the source's objectives, or None. The next
                one is taken when a worker has room for it; an iterator that has none for now may
                have another later, as long as files are being read.

        Yields:
            Path and outcome in order of completion: the crops, one per micrograph; a `FileError` if
            the file cannot be used; an `OSError` if share or disk failed; else an error of our own
            code.
        """
        left, again = iter(jobs), list[_Job]()
        running = self._running = {}
        try:
            while True:
                while len(running) < self.workers * AHEAD:
                    job = again.pop() if again else _take(left)
                    if job is None:
                        break
                    running[self._start(job)] = job
                if not running:
                    return
                for future, outcome in self._ended(running):
                    job = running.pop(future)
                    if retry := job.after(outcome):
                        again.append(retry)
                        continue
                    yield (
                        job.path,
                        _build_poison_error(outcome)
                        if isinstance(outcome, ProcessExpired)
                        else outcome,
                    )
        finally:
            for future in running:
                future.cancel()

    def _ended(self, running: Collection[_Future]) -> list[tuple[_Future, Outcome]]:
        """Wait for files to end; where no worker starts any, all end broken, in a new pool.

        A worker killed while idle may hold the lock behind which all workers read their files: the
        pool seems alive, and no worker runs.
        """
        done, _ = wait(running, timeout=self._stalled_s, return_when=FIRST_COMPLETED)
        if done or any(future.running() for future in running):
            return [(future, self._outcome(future)) for future in done]
        self._renew()
        return [(future, BrokenProcessPool("no worker took it up")) for future in running]

    def _start(self, job: _Job) -> _Future:
        try:
            return self._schedule(job)
        except RuntimeError:  # the pool has broken, for good
            self._renew()
            return self._schedule(job)

    def _renew(self) -> None:
        self.close()
        self._pool = self._new_pool()

    def _schedule(self, job: _Job) -> _Future:
        return self._pool.schedule(
            _read_and_crop,
            args=(job.path, job.settings_scale, self._plan),
            timeout=WALL_CLOCK * self._time_limit_s,
        )

    def _outcome(self, future: Future[list[Crop]]) -> Outcome:
        error = future.exception()
        if error is None:
            return future.result()
        # Pebble's own time-out carries a text where one of a share carries an error number.
        if isinstance(error, TimeoutError) and not isinstance(error.errno, int):
            return FileError(
                FileCode.DECODER_KILLED,
                f"reading it did not end within {WALL_CLOCK * self._time_limit_s:g} s, with less "
                f"than {self._time_limit_s:g} s of processor time: its share hangs, or this PC is "
                "too busy.",
            )
        if isinstance(error, ProcessExpired) and error.exitcode == OUT_OF_TIME:
            return FileError(
                FileCode.DECODER_KILLED,
                f"reading it took more than {self._time_limit_s:g} s of processor time "
                "([imaging] time_limit_s).",
            )
        if isinstance(error, ProcessExpired) and error.exitcode == OUT_OF_MEMORY:
            return FileError(
                FileCode.DECODER_KILLED,
                f"reading it took more than {self._memory_limit_mb} MB of memory "
                "([imaging] memory_limit_mb).",
            )
        if isinstance(error, Exception):
            return error
        raise error

    def close(self) -> None:
        """Stop the workers immediately; unfinished files are read again later."""
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble has no annotation here
        self._pool.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _take(jobs: Iterator[tuple[Path, float | None]]) -> _Job | None:
    job = next(jobs, None)
    return None if job is None else _Job(*job)


def _build_poison_error(death: ProcessExpired) -> FileError:
    error = FileError(
        FileCode.DECODER_KILLED,
        f"its decoder died on it, {TRIES} times (exit code {death.exitcode}).",
    )
    error.__cause__ = death
    return error


def is_worker_killed(error: Exception) -> bool:
    """Return whether an outcome of `crop_all` tells of workers that were killed, not of a file."""
    death = error.__cause__
    is_kill = isinstance(death, ProcessExpired) and death.exitcode == KILLED
    return is_kill or isinstance(error, BrokenProcessPool)


def _init_worker(memory_limit_bytes: int) -> None:
    """Prepare a worker: no Ctrl-C, one thread, low priority, memory watched."""
    import cv2  # noqa: PLC0415 - only the workers decode

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    process = psutil.Process()  # the PC's user has priority
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if os.name == "nt" else max(process.nice(), 5))
    threading.Thread(target=_watch_memory, args=(memory_limit_bytes,), daemon=True).start()


def _warm() -> None:
    """Do nothing: the call itself loads this module in a worker."""


def _trim_heap() -> None:
    """Return to the system what glibc keeps of freed memory."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another libc has no such call
            ctypes.CDLL(None).malloc_trim(0)


def _watch_memory(limit_bytes: int) -> None:
    # The worker watches itself, so that the limit holds on Windows too. An exception would not
    # stop it: a decoder inside C code does not receive it.
    process = psutil.Process()
    pause = threading.Event()
    while process.memory_info().rss < limit_bytes:
        pause.wait(LOOK_EVERY_S)
    os._exit(OUT_OF_MEMORY)


@contextmanager
def _limit_processor_time(limit_s: float) -> Iterator[None]:
    """End this worker where the block takes more processor time, as with memory from within."""
    is_over, began_s = threading.Event(), time.process_time()

    def watch() -> None:
        while not is_over.wait(LOOK_EVERY_S):
            if time.process_time() - began_s > limit_s:
                os._exit(OUT_OF_TIME)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def encode_landmarks(crop: Crop) -> bytes:
    """Return the landmarks by which a crop's place is recognised, as the database stores them."""
    return extract_landmarks(crop.pixels, crop.valid, crop.um_per_px).to_bytes()


def _read_and_crop(path: Path, settings_scale: float | None, plan: _Plan) -> list[Crop]:
    with _limit_processor_time(plan.time_limit_s):
        return _crop_pages(path, settings_scale, plan)


def _crop_pages(path: Path, settings_scale: float | None, plan: _Plan) -> list[Crop]:
    crops: list[Crop] = []
    empty: list[FileError] = []
    for micrograph in iter_micrographs(path, limits=plan.limits):
        try:
            crops.append(
                crop(
                    micrograph,
                    um_per_px_range=plan.um_per_px_range,
                    settings_scale=settings_scale,
                    keep_surface=plan.keep_surface,
                )
            )
        except FileError as error:
            empty.append(error)
    if plan.landmarks:
        crops = [replace(crop, landmarks=encode_landmarks(crop)) for crop in crops]
    if empty and not crops:
        raise empty[0]
    if empty:  # a page without steel takes nothing from the others
        return [
            replace(result, warnings=(*result.warnings, "page_without_steel")) for result in crops
        ]
    return crops
