"""`agent database`: copy the database of the lab."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, print_json, progress
from agent.cli.options import JsonOption
from agent.counts import format_count

database = typer.Typer(help="The database of the lab.", no_args_is_help=True)
app.add_typer(database, name="database")


@database.callback()
def _group() -> None:
    """Keep `copy` a command of the group, also as the only one."""


@database.command("copy")
def copy(
    context: typer.Context,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help='Empty database: "postgresql+psycopg://…" or "sqlite:////folder/martensight.db".',
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Copy all sites of the database into an empty one, from SQLite to PostgreSQL or back.

    Counts and hashes of every table are compared; the database stays as it is. Stop the agents
    first.
    """
    from agent.cli.restore import list_stopped_sites
    from agent.service.lock import RunLock

    settings, at = load_settings(context), datetime.now(UTC)
    list_stopped_sites(settings, at, then="copy")
    with (
        RunLock.of(settings),
        open_store(settings, acts=False) as store,
        progress("copy", 100) as advance,
    ):
        tables, place = store.copy_to(
            to, at=at, progress=lambda done, of, what: advance(done * 100 // max(of, 1), what)
        )
    if json:
        held = {name: {"rows": d.rows, "sha256": d.sha256} for name, d in tables.items()}
        print_json({"to": place, "tables": held})
        return
    rows = sum(digest.rows for digest in tables.values())
    out.print(
        f"{format_count(rows, 'row')} of {format_count(len(tables), 'table')} copied to {place}: "
        "counts and hashes are the same. The next step: this address as [store] url of agent.toml "
        "on every PC, then agent doctor.",
        markup=False,
    )
