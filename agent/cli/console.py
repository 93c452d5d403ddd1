"""Output of commands: JSON or tables on stdout, progress and errors on stderr."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from agent.terminal import STEERING, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
