"""`agent fleet`: every PC of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.options import By, JsonOption, Reason
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.fleet import FleetMember

REMARKS = {
    "silent": "silent",
    "clock": "clock is wrong",
    "disk": "disk is nearly full",
    "checks": "control check failed",
    "other_version": "other version",
    "other_bundle": "other bundle",
    "other_recipe": "other crop recipe",
    "other_settings": "other settings",
}
GB = 1e9


@app.command()
def fleet(
    context: typer.Context,
    *,
    all_sites: Annotated[
        bool, typer.Option("--all-sites", help="PCs of all sites of the database.")
    ] = False,
    retire: Annotated[
        str,
        typer.Option(
            metavar="PC", help="Take a PC off the list that was replaced or has another name now."
        ),
    ] = "",
    by: By = "",
    reason: Reason = "",
    json: JsonOption = False,
) -> None:
    """List the PCs with version, bundle, last heartbeat, queue, checks, clock and disk.

    Remarks name what differs from the other PCs of the site, and what needs an operator.
    """
    if retire:
        _retire(context, retire, by, reason)
        return
    from agent.fleet import list_members, to_json
    from agent.service.data_folder import clock
    from agent.service.database_clock import DatabaseClock

    settings = load_settings(context)
    with open_store(settings) as store:
        agents = store.over_all_sites().agents() if all_sites else store.agents.list_all()
        members = list_members(
            agents,
            now=DatabaseClock(store, now=clock)(),
            wanted={} if all_sites else store.rollouts.list_wanted(),
        )
    if json:
        console.print_json({"pcs": [to_json(member) for member in members]})
        return
    if not members:
        console.out.print("No agent ever ran here. Start one with: agent run")
        return
    zone = ZoneInfo(settings.site.time_zone)
    console.table(
        ("site", "PC", "state", "last seen", "version", "bundle", "recipe", "queue", "clock (s)",
         "free (GB)", "remarks"),
        [_format_row(member, zone) for member in members],
    )  # fmt: skip


def _retire(context: typer.Context, name: str, by: str, reason: str) -> None:
    """Remove a PC of this site from the list. Raises `WrongUse` while its agent runs."""
    from agent.cli.signing import os_user, signed_store
    from agent.fleet import PcState, list_members
    from agent.service.data_folder import clock
    from agent.service.database_clock import DatabaseClock

    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, load_settings(context), by) as (store, signer):
        now = DatabaseClock(store, now=clock)()
        known = {member.name: member for member in list_members(store.agents.list_all(), now=now)}
        if name not in known:
            raise WrongUse(f"Unknown PC {name!r}. Run `agent fleet`.")
        if known[name].state is PcState.RUNNING:
            raise WrongUse(f"{name}: its agent runs. Stop it there first: agent service stop.")
        store.agents.retire(name, by=signer or os_user(), reason=reason.strip(), at=clock())
    console.out.print(
        f"{name} is off the list; what it did stays on record. If its agent starts again, it is "
        "listed again.",
        markup=False,
    )


def _format_row(member: FleetMember, zone: ZoneInfo) -> tuple[str, ...]:
    seen = member.seen_at.astimezone(zone) if member.seen_at else None
    return (
        member.site,
        member.name,
        str(member.state),
        f"{seen:%Y-%m-%d %H:%M:%S}" if seen else "never",
        member.version or "-",
        member.bundle or "-",
        member.recipe or "-",
        "-" if member.queue is None else str(member.queue),
        "-" if member.clock_ahead_s is None else f"{member.clock_ahead_s:+.1f}",
        "-" if member.free_bytes is None else f"{member.free_bytes / GB:.0f}",
        ", ".join(REMARKS.get(remark, remark) for remark in member.remarks),
    )
