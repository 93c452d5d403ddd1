"""Process files from the queue, batch after batch, whatever happens to a batch."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from agent.errors import StoreError
from agent.pipeline import StalledError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.imaging import CropPool
    from agent.pipeline import Pipeline
    from agent.service.active_bundle import CurrentBundle
    from agent.service.health.problems import Problems
    from model import Classifier

log = structlog.get_logger()

ROUND_S = 4.0  # about what one round may take, so that a fresh file waits no longer for its turn
RELEASE_AFTER_S = 30.0
"""How long there has been no file before memory is released; the next one then takes a tenth of a
second longer."""
REST_AFTER_S = 600.0
"""How long there has been no file before the processes that read are ended; the next file starts
them, which takes one to two seconds of processor time."""
IDLE_S = 2.0  # how often the queue is queried without a wake-up
AGAIN_S = (1.0, 2.0, 5.0, 10.0)
LEAST, MOST = 2, 64  # of a backlog one is the oldest and one the newest


class Pace:
    """Number of files to claim at once: as many as one batch's time allows.

    On a PC where a network takes seconds a file that is less than a batch: a batch saves little
    there, and a fresh file would wait for all of it.
    """

    def __init__(self) -> None:
        self._file_s: float | None = None

    def files(self) -> int:
        """Number of files to claim."""
        if self._file_s is None:
            return LEAST
        return max(LEAST, min(MOST, int(ROUND_S / max(self._file_s, 1e-3))))

    def took(self, files: int, seconds: float) -> None:
        """Record how long a batch took."""
        if files:
            last = seconds / files
            self._file_s = last if self._file_s is None else 0.5 * (self._file_s + last)


class Worker(threading.Thread):
    """The thread that processes files.

    Args:
        make: Makes a pool, and a pipeline upon it; again, if the pool breaks.
        bundle: Is refreshed between batches.
        reachable: Returns the names of the sources that can be read now.
        after_round: Called after each batch with the number of its files, and the classifier.
        problems: Where problems are reported.
        steady: A clock that cannot be set, in seconds.
        release_memory: Called once when there has been no file for a while.
    """

    def __init__(
        self,
        make: Callable[[], tuple[CropPool, Pipeline]],
        *,
        bundle: CurrentBundle,
        reachable: Callable[[], Sequence[str]],
        problems: Problems,
        after_round: Callable[[int, Classifier | None], None] = lambda _files, _classifier: None,
        steady: Callable[[], float] = time.monotonic,
        release_memory: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name="work", daemon=True)
        self._make, self._bundle, self._problems = make, bundle, problems
        self._reachable, self._after_round = reachable, after_round
        self._work, self._stopping = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._pool: CropPool | None = None
        self._pipeline: Pipeline | None = None
        self._holding: Pipeline | None = None
        """The last pipeline; its files are released also where another thread let go of it."""
        self._outdated = False
        self._failures = 0
        self._steady, self._pace = steady, Pace()
        self._moved_s = steady()
        self._release_memory, self._used_s = release_memory, steady()
        self._is_released, self._rests = True, False

    def stands_still_s(self) -> float:
        """How long (s) nothing has moved on: no file, no batch, no query for work."""
        return self._steady() - self._moved_s

    def _moves(self) -> None:
        self._moved_s = self._steady()

    def wake(self) -> None:
        """Wake the worker: there is work."""
        self._work.set()

    def stop(self) -> None:
        """Request that it stops after the current file."""
        self._stopping.set()
        self._work.set()

    def abandon(self) -> None:
        """Kill the processes that read: their files are released."""
        with self._lock:
            pool, self._pool, self._pipeline = self._pool, None, None
        if pool:
            pool.close()

    def run(self) -> None:
        """Process batches until stopped."""
        while not self._stopping.is_set():
            pause_s = self.run_round()
            if self._failures:
                self._stopping.wait(pause_s)
            elif pause_s and self._work.wait(pause_s):
                self._work.clear()
        self._release_held()
        self.abandon()

    def run_round(self) -> float:
        """Process what is due once; return how long (s) to wait before the next batch."""
        began_s = self._steady()
        self._moves()
        try:
            files = self._round(self._pace.files())
            self._release_if_idle(files)
        except (StalledError, StoreError) as stalled:
            self._release_held()
            return self._again("work", str(stalled))
        except Exception as error:
            if not self._stopping.is_set():
                log.exception("work.crashed")
            self._release_held()
            self.abandon()
            return self._again("work", f"{type(error).__name__}: {error}")
        self._pace.took(files, self._steady() - began_s)
        self._checked(files)
        self._failures = 0
        self._problems.say("work", "")
        return 0.0 if files or self._has_held() else IDLE_S

    def _has_held(self) -> bool:
        """Return whether a file is in hand that was read or judged already."""
        return self._holding is not None and self._holding.has_held

    def _release_if_idle(self, files: int) -> None:
        """Release what is kept for the next micrograph once none has come for a while."""
        unused_s = self._steady() - self._used_s
        if files:
            self._used_s, self._is_released, self._rests = self._steady(), False, False
        elif unused_s > REST_AFTER_S and not self._rests:
            self._rests = True
            if self._pool:
                self._pool.rest()
        elif unused_s > RELEASE_AFTER_S and not self._is_released:
            self._is_released = True
            self._release_memory()
            if self._pool:
                self._pool.release_memory()

    def _round(self, n: int) -> int:
        self._outdated = self._bundle.refresh() or self._outdated
        self._problems.say("bundle", self._bundle.problem)
        if self._bundle.waits_for:
            raise StalledError(self._bundle.waits_for)
        if self._problems.say("gpu", self._bundle.trouble):
            log.warning("gpu.trouble", reason=self._bundle.trouble or "over")
        pipeline = self._ready()
        if self._outdated:
            pipeline.use(self._bundle.classifier, self._bundle.policy())
            self._outdated = False
        self._moves()
        return pipeline.process_batch(
            n,
            only=self._reachable(),
            should_stop=self._stopping.is_set,
            on_file=lambda _: self._moves(),
            reads_ahead=True,
        ).files

    def _release_held(self) -> None:
        """Release the files that the last round left in hand."""
        if self._holding is not None:
            self._holding.release_held()

    def _checked(self, files: int) -> None:
        try:
            self._after_round(files, self._bundle.classifier)
        except Exception as error:  # the check of the instrument never stops the work
            log.exception("instrument.crashed")
            self._problems.say("control check", f"control check: {type(error).__name__}: {error}")

    def _ready(self) -> Pipeline:
        with self._lock:
            if self._pipeline is None:
                self._pool, self._pipeline = self._make()
                self._holding = self._pipeline
            return self._pipeline

    def _again(self, subject: str, sentence: str) -> float:
        if self._problems.say(subject, sentence):
            log.warning("work.stalled", reason=sentence)
        pause_s = AGAIN_S[min(self._failures, len(AGAIN_S) - 1)]
        self._failures += 1
        return pause_s
