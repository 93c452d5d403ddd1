"""How commands speak: JSON on stdout alone, tables for people, progress on stderr."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from agent.terminal import STEERING, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WIDTH_OF_A_PIPE = 160
"""Columns where no terminal says how many it has: a file name is worth more than a tidy 80."""


class _Console(Console):
    """A console that no name of a file or a folder can steer."""

    def print(self, *objects: object, **how: Any) -> None:
        """Print; texts are made visible, what is drawn already is."""
        super().print(*(visible(one) if isinstance(one, str) else one for one in objects), **how)


console = _Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_OF_A_PIPE
)
"""What people read; `--json` never goes through it."""
aside = _Console(stderr=True, highlight=False, soft_wrap=True)
"""What is said beside the answer: progress, warnings, errors."""


@contextmanager
def hushed() -> Iterator[None]:
    """Say nothing inside; an error that leaves it is said."""
    console.quiet = aside.quiet = True
    try:
        yield
    finally:
        console.quiet = aside.quiet = False


def print_json(document: object) -> None:
    """Print one JSON document on one line of stdout."""
    text = json.dumps(document, ensure_ascii=False, default=str)
    sys.stdout.write(STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n")
    sys.stdout.flush()


def echo(text: str, *, err: bool = False) -> None:
    """Print a line as it is, without wrapping it; for what scripts read and for errors."""
    typer.echo(visible(text), err=err)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print rows for people; cells are text, never markup. Without a row nothing is printed."""
    grid = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")  # a name is wrapped, never cut
    for row in rows:
        grid.add_row(*(_plain(cell) for cell in row))
    if grid.row_count:
        console.print(grid)


def _plain(cell: object) -> Text:
    """Say a cell as it is; what would steer a terminal is made visible."""
    text = "" if cell is None else str(cell)
    return Text(visible(text).replace("\t", "\\t"))


class Advance(Protocol):
    """Says how far a job has come."""

    def __call__(self, done: int, note: str = "") -> None:
        """Set the bar to `done`, with a few words beside it."""


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """Show a bar on a terminal, a plain line every tenth part elsewhere.

    Yields:
        `advance(done, note)`: `done` counts from 0 to `total`.
    """
    if aside.is_terminal:
        with _bar() as bar:
            task = bar.add_task(visible(title), total=total, note="")

            def advance(done: int, note: str = "") -> None:
                bar.update(task, completed=done, note=visible(note))

            yield advance
        return
    yield _plain_lines(title, total)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=aside,
        transient=False,
    )


def _plain_lines(title: str, total: int | None) -> Advance:
    said = -1

    def advance(done: int, note: str = "") -> None:
        nonlocal said
        tenth = done * 10 // total if total else done
        if tenth != said:
            said = tenth
            of = f"/{total}" if total else ""
            aside.print(f"{title} {done}{of} {note}".rstrip(), markup=False)

    return advance
