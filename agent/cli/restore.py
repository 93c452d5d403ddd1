"""`agent restore`: put a backup in place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import out, progress
from agent.counts import format_count
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.orders.order_list import OrderListResult
    from agent.orders.resumption import Beyond
    from agent.settings import Settings
    from agent.store import Store

MIGRATED = "trail.covered"
"""Act that a migration appends to the audit log; older backups lack it."""

ALIVE_S = 60.0  # heartbeats are a few seconds apart


@app.command()
def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Backup that `agent backup` wrote.")],
    all_sites: Annotated[
        bool, typer.Option("--all-sites", help="Restore all sites of a shared database.")
    ] = False,
) -> None:
    """Restore a backup. Existing data is kept under another name. Stop the agent first."""
    from agent import maintenance
    from agent.service.data_folder import agent_name
    from agent.service.lock import RunLock
    from agent.service.resuming import resume
    from agent.store import store_url

    settings, at = load_settings(context), datetime.now(UTC)
    if file.is_dir():
        raise WrongUse(f"{file} is a folder. Name the zip file that agent backup wrote.")
    if not file.is_file():
        raise WrongUse(f"No such file: {file}.")
    sites = list_stopped_sites(settings, at, then="restore")
    if len(sites) > 1 and not all_sites:
        raise WrongUse(
            f"The database contains {len(sites)} sites ({', '.join(sites)}). A restore sets all of "
            "them back to the time of the backup. To do this: agent restore --all-sites FILE"
        )
    # The lock stops `agent run --once`, which has no heartbeat, and a restarted service from
    # writing to a database that is being replaced.
    with (
        RunLock(settings.store.folder, agent_name(), settings.store.url),
        progress("restore", 100) as advance,
    ):
        restored = maintenance.restore(
            file,
            url=store_url(settings.store.folder, settings.store.url),
            folder=settings.store.folder,
            at=at,
            progress=lambda done, of, what: advance(done * 100 // max(of, 1), what),
            site=settings.site.name,
        )
    with open_store(settings) as store:
        head = store.audit_log.get_head()
        facts = {"trail": head.number - (head.act == MIGRATED)}
        store.audit_log.add(
            at=at, actor="agent", act="backup.restored", subject=file.name, facts=facts
        )
        resumed = resume(settings, store, since=restored.made_at, at=at)
        shares = _list_shares(store)
    stopped = [site for site, own in shares.items() if _stop_rollout(settings, site, own, at)]
    out.print(f"{format_count(restored.files, 'file')} restored", markup=False)
    print_resumed(*resumed)
    for site in stopped:
        out.print(
            f"{site}: the rollout that ran during the backup is stopped. To go on: agent rollout "
            "continue",
            markup=False,
        )
    if restored.before:
        out.print(f"the previous database is now {restored.before}", markup=False)
    if restored.settings:
        out.print(f"settings from the backup: {restored.settings}", markup=False)


def _list_shares(store: Store) -> dict[str, tuple[str, ...]]:
    """Return each site of the database with what it shares with others."""
    sites = store.over_all_sites()
    sharing = {what: sites.sharing(what) for what in ("accounts", "bundles")}
    return {
        name: tuple(what for what, names in sharing.items() if name in names)
        for name in sites.names()
    }


def _stop_rollout(settings: Settings, site: str, shares: tuple[str, ...], at: datetime) -> bool:
    """Stop the rollout that runs in a restored backup; return whether there was one."""
    site_settings = settings.site.model_copy(update={"name": site, "shares": shares})
    with open_store(settings.model_copy(update={"site": site_settings})) as store:
        return store.rollouts.stop_restored(at=at)


def print_resumed(beyond: list[Beyond], lists: list[OrderListResult], pending: list[str]) -> None:
    """Print what exists outside the database but not in the backup."""
    for series in beyond:
        out.print(series.sentence, markup=False)
    if beyond:
        out.print("Numbering continues above these numbers. Enter lost orders again.")
    for order_list in lists:
        out.print(
            f"order list {order_list.name} read again: "
            f"{format_count(len(order_list.changed), 'order')} new or changed",
            markup=False,
        )
    for sentence in pending:
        out.print(sentence, markup=False)


def list_stopped_sites(settings: Settings, at: datetime, *, then: str) -> list[str]:
    """Return the sites of a database that no agent uses; none where it does not open.

    Args:
        settings: Settings of the lab.
        at: Aware UTC.
        then: What the operator does after the agent has stopped.

    Raises:
        WrongUse: An agent of any site is running.
    """
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
        return []  # a damaged database is the reason for a restore
    if alive:
        raise WrongUse(
            f"An agent is running ({', '.join(alive)}). Stop it, wait a minute, then {then}."
        )
    return sites
