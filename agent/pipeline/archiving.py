"""Archive the pixels of a judged file while the next file is judged."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.pipeline.crop_triage import TriagedCrop
    from agent.pipeline.in_flight import InFlightFile
    from agent.pipeline.result_archive import ResultArchive
    from agent.store import MicrographResult

    Run = Callable[[Callable[[], None]], None]
    """Runs a function, in this thread or in another."""


def run_here(function: Callable[[], None]) -> None:
    """Run a function in this thread."""
    function()


def run_in_thread(function: Callable[[], None]) -> None:
    """Run a function in a thread.

    It is a daemon: a share that does not answer must not keep the process from its end.
    """
    threading.Thread(target=function, name="archiving", daemon=True).start()


def choose_archiving() -> Run | None:
    """Return what runs the archiving of a pipeline: a thread where there is a core for it."""
    cores = os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)
    return run_in_thread if len(cores) > 1 else None


class Archiving:
    """A judged file whose pixels are being archived; nothing of it is in the database yet.

    Args:
        file: The file.
        triaged: Its judged crops.
        archive: Where pixels are written.
        run: Runs the archiving.
    """

    def __init__(
        self,
        file: InFlightFile,
        triaged: Sequence[TriagedCrop],
        archive: ResultArchive,
        run: Run,
    ) -> None:
        self.file, self.triaged = file, triaged
        self.took_s = 0.0
        self._archive = archive
        self._results: Future[list[MicrographResult]] = Future()
        run(self._run)

    def _run(self) -> None:
        began_s = time.perf_counter()
        try:
            results = [self._archive.store(self.file, crop) for crop in self.triaged]
        except BaseException as error:  # noqa: BLE001 - raised where the results are waited for
            self.took_s = time.perf_counter() - began_s
            self._results.set_exception(error)
        else:
            self.took_s = time.perf_counter() - began_s
            self._results.set_result(results)

    def wait(self) -> None:
        """Wait for the end, whether or not it succeeds."""
        wait([self._results])

    def get_results(self) -> list[MicrographResult]:
        """Wait for the end and return the rows to store.

        Raises:
            Stalled: The data folder cannot be written.
            OSError: The share did not give the original.
        """
        return self._results.result()
