"""`agent restore`: put a backup in place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, progress
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.orders.order_list import Taken
    from agent.orders.resumption import Beyond
    from agent.settings import Settings

MIGRATED = "trail.covered"
"""The act that a migration appends; a back-up of before does not hold it."""

ALIVE_S = 60.0  # a heartbeat comes every few seconds


@app.command()
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `agent backup` wrote.")],
    all_sites: Annotated[
        bool, typer.Option("--all-sites", help="Also the other sites of a shared database.")
    ] = False,
) -> None:
    """Put a backup in the place of what is there, which is kept beside. Stop the agent first."""
    from agent import maintenance
    from agent.service.data_folder import agent_name
    from agent.service.lock import RunLock
    from agent.service.resuming import resume
    from agent.store import store_url

    settings, at = load_settings(context), datetime.now(UTC)
    if not file.is_file():
        raise WrongUse(f"{file}: there is no such file.")
    _refuse_while_running(settings, at, all_sites=all_sites)
    # Held meanwhile: neither `agent run --once`, which has no heartbeat, nor a service that comes
    # back by itself may write into a database that is being replaced.
    with RunLock(settings.store.folder, agent_name()), progress("restore", 100) as advance:
        restored = maintenance.restore(
            file,
            url=store_url(settings.store.folder, settings.store.url),
            folder=settings.store.folder,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
            site=settings.site.name,
        )
    with open_store(settings) as store:
        head = store.trail_head()
        facts = {"trail": head.number - (head.act == MIGRATED)}
        store.remember(at=at, actor="agent", act="backup.restored", subject=file.name, facts=facts)
        resumed = resume(settings, store, since=restored.made_at, at=at)
    out.print(f"{restored.files} files restored", markup=False)
    print_resumed(*resumed)
    if restored.before:
        out.print(f"the database that was here is now {restored.before}", markup=False)
    if restored.settings:
        out.print(f"the settings of that time: {restored.settings}", markup=False)


def print_resumed(beyond: list[Beyond], lists: list[Taken], waits: list[str]) -> None:
    """Print what is outside the database and not in the back-up."""
    for one in beyond:
        out.print(one.sentence, markup=False)
    if beyond:
        out.print("they go on above these numbers; enter again what was lost of them")
    for taken in lists:
        out.print(
            f"order list {taken.name} read again: {len(taken.changed)} orders new or changed",
            markup=False,
        )
    for sentence in waits:
        out.print(sentence, markup=False)


def _refuse_while_running(settings: Settings, at: datetime, *, all_sites: bool) -> None:
    from agent.errors import BadStore

    try:
        with open_store(settings) as store:
            sites = store.over_all_sites().names()
            alive = [
                agent.name
                for agent in store.over_all_sites().agents()
                if agent.seen_at
                and not agent.facts.get("stopped")
                and (at - agent.seen_at).total_seconds() < ALIVE_S
            ]
    except BadStore:
        return  # what is there cannot be opened: that is why somebody restores
    if alive:
        raise WrongUse(
            f"an agent is running ({', '.join(alive)}); stop it, wait a minute, and restore then."
        )
    if len(sites) > 1 and not all_sites:
        raise WrongUse(
            f"The database holds {len(sites)} sites ({', '.join(sites)}). A restore puts all of "
            "them back to the time of the back-up. If that is meant: agent restore --all-sites FILE"
        )
