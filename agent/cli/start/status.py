"""`agent status`, `doctor` and `fleet`: the state of the agent, of this PC, and of all PCs."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from agent.cli import console
from agent.cli.app import DONE, SAYS_NO, app, find_settings_file, load_settings, open_store
from agent.cli.console import echo, print_json
from agent.cli.options import By, JsonOption, Reason
from agent.errors import UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.store.sites.fleet import FleetMember


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show the state of the agent and the problems that need an operator."""
    from agent.service.data_folder import clock
    from agent.service.health.status import build_status

    settings = load_settings(context)
    document = build_status(
        settings, now=clock(), open_store=lambda: open_store(settings, acts=False)
    )
    if not settings.sources and find_settings_file(context) is None:
        document["problems"].insert(0, _describe_missing_file())
    if as_json:
        print_json(document)
    else:
        _print_status(document, partial(_format_time, zone=ZoneInfo(settings.site.time_zone)))
    raise typer.Exit(DONE)


def _describe_missing_file() -> str:
    from agent.settings import FILE_NAME, platform_folder

    return (
        f"No {FILE_NAME} in this folder or in {platform_folder()}. Name it with agent --config "
        "FILE status, or write one with agent init."
    )


def _format_time(iso: str | None, zone: ZoneInfo) -> str:
    if iso is None:
        return "never"
    return f"{datetime.fromisoformat(iso).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _print_status(document: dict[str, Any], at: Callable[[str | None], str]) -> None:
    running = "running" if document["running"] else "not running"
    echo(f"Martensight {document['version']}: {running}")
    echo(f"bundle {document['bundle'] or 'none yet'}, {document['database']}")
    echo(f"next report {at(document['next_report_at'])}")
    for source in document["sources"]:
        online = "online" if source["online"] else "OFFLINE"
        listed = at(source["last_scan_at"])
        echo(
            f"source {source['name']}: {source['folder']}\n"
            f"    {online}, {source['mode']}, last listed {listed}, "
            f"{source['found_by_scan']} found by listing, {source['found_by_event']} by event"
        )
    states = ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in document["states"].items() if n)
    echo(f"files: {states or ('none' if document['states'] else 'not known')}")
    if n := document.get("to_review"):
        echo(f"to review: {format_count(n, 'micrograph')}")
    if objects := document.get("objects"):
        echo(
            f"object storage: {objects['files']} files, "
            f"{objects['size_bytes'] / 1e9:.2f} GB in {objects['url']}, of which "
            f"{objects['local_bytes'] / 1e9:.2f} GB are on this disk too"
        )
    if kept := document.get("features"):
        echo(f"kept features: {kept['rows']} rows, {kept['size_bytes'] / 1e6:.1f} MB")
    if (copies := document.get("kept_copies")) and copies["n"]:
        echo(
            f"kept from before upgrades and restores: {copies['n']}, "
            f"{copies['size_bytes'] / 1e6:.1f} MB; agent files prune --dry-run names them"
        )
    for job in document["jobs"]:
        progress = f"{job['done']} of {job['total']}" if job["total"] else "started"
        line = f"{job['name']}: {job['stage']}, {progress} {job['note']}".rstrip()
        echo(f"{line} (by {job['by']}, since {at(job['started_at'])})")
    if rollout := document.get("rollout"):
        echo(
            f"rollout of {rollout['bundle']}: {rollout['state']}, ring {rollout['ring']} of 3 "
            "(agent models rollout)"
        )
    for note in document["notes"]:
        echo(f"note: {note}")
    for problem in document["problems"]:
        echo(f"! {problem}")


@app.command()
def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check folders, rights, disk, database, bundle and GPU. Exit code 3 if a check fails."""
    from agent.cli.console import table
    from agent.cli.start.doctor import examine

    findings = examine(load_settings(context), find_settings_file(context))
    if as_json:
        print_json([{"check": f.check, "level": f.level, "sentence": f.sentence} for f in findings])
    else:
        table(("", "check", "finding"), [(f.mark, f.check, f.sentence) for f in findings])
    if any(f.level == "wrong" for f in findings):
        raise typer.Exit(SAYS_NO)


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
    from agent.service.data_folder import clock
    from agent.service.health.database_clock import DatabaseClock
    from agent.store.sites.fleet import list_members, to_json

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
    """Remove a PC of this site from the list. Raises `UsageError` while its agent runs."""
    from agent.cli.options import os_user, signed_store
    from agent.service.data_folder import clock
    from agent.service.health.database_clock import DatabaseClock
    from agent.store.sites.fleet import PcState, list_members

    if not reason.strip():
        raise UsageError("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, load_settings(context), by) as (store, signer):
        now = DatabaseClock(store, now=clock)()
        known = {member.name: member for member in list_members(store.agents.list_all(), now=now)}
        if name not in known:
            raise UsageError(f"Unknown PC {name!r}. Run `agent fleet`.")
        if known[name].state is PcState.RUNNING:
            raise UsageError(f"{name}: its agent runs. Stop it there first: agent service stop.")
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
