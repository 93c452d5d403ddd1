"""Output of commands: JSON or tables on stdout, progress and errors on stderr."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import typer

from agent.terminal import STEERING, visible

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence
    from types import FrameType

    from rich.progress import Progress
    from rich.text import Text

    from agent.cli.rich_console import TerminalConsole


out: TerminalConsole
"""Standard output for readers; `--json` never uses it."""
err: TerminalConsole
"""Standard error: progress, warnings, errors."""


def __getattr__(name: str) -> Any:
    if name in {"out", "err"}:  # on first use: rich takes a short command a moment to import
        return getattr(importlib.import_module("agent.cli.rich_console"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@contextmanager
def silenced(*, stderr: bool = True) -> Iterator[None]:
    """Print nothing on stdout inside the block, and nothing on stderr if wanted."""
    from agent.cli.rich_console import err, out

    before = out.quiet, err.quiet
    out.quiet, err.quiet = True, err.quiet or stderr
    try:
        yield
    finally:
        out.quiet, err.quiet = before


def print_json(document: object) -> None:
    """Print one JSON document on one line of stdout."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    sys.stdout.write(STEERING.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n")
    sys.stdout.flush()


def echo(text: str, *, err: bool = False, bold: bool = False) -> None:
    """Print a line without wrapping it; for what scripts read, short commands and errors."""
    plain = visible(text)
    typer.echo(typer.style(plain, bold=True) if bold else plain, err=err)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows as a table; cells are text, never markup. Without a row nothing is printed."""
    from rich.table import Table

    from agent.cli.rich_console import out

    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")  # a name is wrapped, never cut
    for row in rows:
        grid.add_row(*(_plain(cell) for cell in row))
    if grid.row_count:
        out.print(grid)


def _plain(cell: object) -> Text:
    """Return a cell as text with control characters made visible."""
    from rich.text import Text

    text = "" if cell is None else str(cell)
    return Text(visible(text).replace("\t", "\\t"))


class Advance(Protocol):
    """Callback that reports the progress of a job."""

    def __call__(self, done: int, note: str = "") -> None:
        """Set the bar to `done`, with a note of a few words."""


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """Display a bar on a terminal, and a plain line at every tenth part elsewhere.

    Yields:
        `advance(done, note)`: `done` counts from 0 to `total`.
    """
    from agent.cli.rich_console import err

    if err.is_terminal:
        with _bar() as bar:
            task = bar.add_task(visible(title), total=total, note="")

            def advance(done: int, note: str = "") -> None:
                bar.update(task, completed=done, note=visible(note))

            yield advance
        return
    yield _plain_lines(title, total)


def _bar() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from agent.cli.rich_console import err

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=err,
        transient=False,
    )


def _plain_lines(title: str, total: int | None) -> Advance:
    from agent.cli.rich_console import err

    last_tenth = -1

    def advance(done: int, note: str = "") -> None:
        nonlocal last_tenth
        tenth = done * 10 // total if total else done
        if tenth != last_tenth:
            last_tenth = tenth
            of = f"/{total}" if total else ""
            err.print(f"{title} {done}{of} {note}".rstrip(), markup=False)

    return advance


# --- progress of long jobs, and signals that stop them --------------------------------------------


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
    from agent.cli.rich_console import err

    with ExitStack() as stack:
        bar, advance = ("", 0), None
        for step in steps:
            if bar != (step.stage, step.total) or advance is None:
                stack.pop_all().close()
                bar = step.stage, step.total
                advance = stack.enter_context(
                    progress(format_stage(step.stage), step.total or None)
                )
            if step.stage == _SENTENCES and step.note:
                err.print(step.note, markup=False)
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
