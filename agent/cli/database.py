"""`agent backup --copy-to`: copy the database of the lab."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.cli.app import open_store
from agent.cli.console import out, print_json, progress
from agent.counts import format_count

if TYPE_CHECKING:
    from agent.settings import Settings


def copy_database(settings: Settings, to: str, *, json: bool) -> None:
    """Copy all sites of the database into an empty one, and compare counts and hashes.

    Args:
        settings: Of the lab.
        to: Address of the empty database.
        json: Print a document.
    """
    from agent.cli.restore import list_stopped_sites
    from agent.service.lock import RunLock

    at = datetime.now(UTC)
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
