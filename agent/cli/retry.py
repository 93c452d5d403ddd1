"""`agent files retry`: queue files again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.app import load_settings, open_store
from agent.cli.console import out
from agent.cli.files import files
from agent.errors import WrongUse


@files.command()
def retry(
    context: typer.Context,
    which: Annotated[
        list[str] | None,
        typer.Argument(help="Paths, hashes or numbers of files. For all files use --all."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All files that failed or were set aside.")
    ] = False,
) -> None:
    """Queue files again that failed or were set aside."""
    if bool(which) == every:
        raise WrongUse("Name the files to queue again, or use --all.")
    with open_store(load_settings(context)) as store:
        names = None if every else [_as_stored(name) for name in which or ()]
        count = store.files.retry(names, at=datetime.now(UTC))
    if which and not count:
        raise WrongUse(
            f"{which[0]}: no failed or set-aside file has this name. Run `agent files --failed`."
        )
    out.print(f"{count} queued again. The running agent processes them, or run: agent run --once")


def _as_stored(name: str) -> str:
    from agent.watch import to_text  # brings the observer

    path = Path(name)
    return to_text(str(path.absolute()) if path.exists() else name)
