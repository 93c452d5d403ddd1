"""Progress of long jobs, and signals that stop them."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.cli import console

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from types import FrameType

TITLES = {
    "labels": "Labels",
    "images": "Reading images",
    "subtype": "Training subtypes",
    "shared": "Training structure codes",
    "calibration": "Calibrating probabilities",
    "strangeness": "Fitting the out-of-distribution check",
    "evaluation": "Testing",
    "leakage": "Searching test images for training areas",
    "comparison": "Comparing",
    "hygiene": "Checking labels",
    "pool": "Evaluating the review queue",
    "pseudo": "Checking pseudo-labels",
    "reprocess": "Evaluating again",
    "features": "Features",
    "bundle": "Bundle",
}

_SENTENCES = "labels"
"""Stage whose notes are sentences on the training set. Each is a line; next to a bar the next one
would replace it."""


class Progressing(Protocol):
    """One step of a long job."""

    @property
    def stage(self) -> str:
        """Key of the current stage."""

    @property
    def done(self) -> int:
        """Finished units of the stage."""

    @property
    def total(self) -> int:
        """All units of the stage, 0 if unknown."""

    @property
    def note(self) -> str:
        """Note of a few words next to the bar."""


P = TypeVar("P", bound=Progressing)
E = TypeVar("E")


def show_progress(steps: Iterable[P]) -> Iterator[P]:
    """Yield the steps of a job and show one bar per stage."""
    with ExitStack() as stack:
        bar, advance = ("", 0), None
        for step in steps:
            if bar != (step.stage, step.total) or advance is None:
                stack.pop_all().close()
                bar = step.stage, step.total
                advance = stack.enter_context(
                    console.progress(format_stage(step.stage), step.total or None)
                )
            if step.stage == _SENTENCES and step.note:
                console.err.print(step.note, markup=False)
            else:
                advance(step.done, step.note)
            yield step


def format_stage(stage: str) -> str:
    """Return the title of a stage, with the name of the experiment's row in front."""
    row, colon, name = stage.rpartition(": ")
    return row + colon + (TITLES.get(name) or name.replace("size:", "Training sizes of "))


def run_to_end(steps: Iterable[Any], kind: type[E]) -> E:
    """Run a job with progress bars and return its last value of type `kind`."""
    results: list[E] = []

    def iter_progress() -> Iterator[Any]:
        for step in steps:
            if isinstance(step, kind):
                results.append(step)
            else:
                yield step

    for _ in show_progress(iter_progress()):
        pass
    return results[-1]


def silence_log() -> None:
    """Log errors only, so that events do not mix with the command's output."""
    from agent import log

    log.set_up(level="error")


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
