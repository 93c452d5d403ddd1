"""Progress bars of long jobs, one per stage."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from agent.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


TITLES = {
    "labels": "Labels",
    "images": "Looking at images",
    "subtype": "Learning subtypes",
    "shared": "Learning structure codes",
    "calibration": "Calibrating probabilities",
    "strangeness": "Learning what is ordinary",
    "evaluation": "Testing",
    "leakage": "Looking for places that were learned from",
    "comparison": "Comparing",
    "hygiene": "Looking at the labels",
    "pool": "Looking at what waits",
    "pseudo": "Turning what the model is sure of",
    "reprocess": "Judging again",
    "bundle": "Bundle",
}


class Progressing(Protocol):
    """Something that says how far it is."""

    @property
    def stage(self) -> str:
        """What is being done."""

    @property
    def done(self) -> int:
        """How much of it is done."""

    @property
    def total(self) -> int:
        """How much there is to do."""

    @property
    def note(self) -> str:
        """A few words beside the bar."""


P = TypeVar("P", bound=Progressing)
E = TypeVar("E")


def show_progress(steps: Iterable[P]) -> Iterator[P]:
    """Show a bar per stage while a long job goes on; every step is passed through."""
    with ExitStack() as stack:
        bar, advance = ("", 0), None
        for step in steps:
            if bar != (step.stage, step.total) or advance is None:
                stack.pop_all().close()
                bar = step.stage, step.total
                advance = stack.enter_context(
                    console.progress(format_stage(step.stage), step.total or None)
                )
            advance(step.done, step.note)
            yield step


def format_stage(stage: str) -> str:
    """Say in words what is being done; an experiment's row stands before it."""
    row, colon, what = stage.rpartition(": ")
    return row + colon + (TITLES.get(what) or what.replace("size:", "Learning sizes of "))


def run_to_end(steps: Iterable[Any], kind: type[E]) -> E:
    """Show bars while a long job goes on, and give what it ends with."""
    ended: list[E] = []

    def going() -> Iterator[Any]:
        for step in steps:
            if isinstance(step, kind):
                ended.append(step)
            else:
                yield step

    for _ in show_progress(going()):
        pass
    return ended[-1]


def silence_log() -> None:
    """Keep the rooms' events off a person's terminal, warnings apart."""
    from agent import log

    log.set_up(level="error")
