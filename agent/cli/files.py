"""`agent files`: the state of each file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, print_json, table
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.store import FileFate

AsJson = Annotated[bool, typer.Option("--json", help="One object per line on stdout.")]
FAILED = ("failed", "set_aside")
MAX_ROWS = 500


files = typer.Typer(name="files")
app.add_typer(files)


@files.callback(invoke_without_command=True)
def list_files(
    context: typer.Context,
    as_json: AsJson = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only files that failed or were set aside.")
    ] = False,
    state: Annotated[
        str | None, typer.Option(help="Only files in this state, for example queued.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only files of this source.")] = None,
) -> None:
    """List every file with its state and the reason."""
    if context.invoked_subcommand is not None:
        return
    states = _states(state, failed=failed)
    with open_store(load_settings(context)) as store:
        fates = store.files.iter_status(states, source)
        if as_json:
            for fate in fates:
                print_json(fate.as_json())
        else:
            _show(fates)


def _states(state: str | None, *, failed: bool) -> tuple[str, ...] | None:
    from agent.store import State  # brings the database

    if state and state not in set(State):
        raise WrongUse(f"--state: unknown state {state!r}. Use one of {', '.join(State)}.")
    if failed:
        return FAILED
    return (state,) if state else None


def _show(fates: Iterable[FileFate]) -> None:
    rows: list[tuple[object, ...]] = []
    more = 0
    for fate in fates:
        if len(rows) < MAX_ROWS:
            rows.append((fate.state, fate.source, fate.path, _why(fate), fate.attempts))
        else:
            more += 1
    if not rows:
        out.print("no files")
        return
    table(("state", "source", "file", "why", "attempts"), rows)
    if more:
        out.print(f"and {more} more; --json lists all")


def _why(fate: FileFate) -> str:
    if fate.duplicate_of:
        return f"same content as {fate.duplicate_of}"
    reason = fate.said or ""
    if fate.next_try_at and fate.state in FAILED:
        again = "next try" if fate.state == "failed" else "read again"
        reason = f"{reason.rstrip('.')}; {again} {fate.next_try_at:%Y-%m-%d %H:%M} UTC"
    return reason
