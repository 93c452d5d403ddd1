"""Output of commands: JSON or tables on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer
from rich.console import Console

from agent.terminal import STEERING, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.progress import Progress
    from rich.text import Text

WIDTH_OF_A_PIPE = 160
"""Columns if stdout is no terminal; 80 would wrap file names."""


class _Console(Console):
    """A console that shows control characters in file names instead of obeying them."""

    def print(self, *objects: object, **options: Any) -> None:
        """Print strings with control characters made visible, and renderables unchanged."""
        texts = (visible(part) if isinstance(part, str) else part for part in objects)
        super().print(*texts, **options)


out = _Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE
)
"""Standard output for readers; `--json` never uses it."""
err = _Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: progress, warnings, errors."""


@contextmanager
def silenced() -> Iterator[None]:
    """Print nothing inside the block."""
    out.quiet = err.quiet = True
    try:
        yield
    finally:
        out.quiet = err.quiet = False


def print_json(document: object) -> None:
    """Print one JSON document on one line of stdout."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    sys.stdout.write(STEERING.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n")
    sys.stdout.flush()


def echo(text: str, *, err: bool = False) -> None:
    """Print a line without wrapping it; for what scripts read and for errors."""
    typer.echo(visible(text), err=err)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows as a table; cells are text, never markup. Without a row nothing is printed."""
    from rich.table import Table

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
    last_tenth = -1

    def advance(done: int, note: str = "") -> None:
        nonlocal last_tenth
        tenth = done * 10 // total if total else done
        if tenth != last_tenth:
            last_tenth = tenth
            of = f"/{total}" if total else ""
            err.print(f"{title} {done}{of} {note}".rstrip(), markup=False)

    return advance
