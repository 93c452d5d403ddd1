"""`agent status`: the state of the agent."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from agent.cli.app import DONE, app, find_settings_file, load_settings, open_store
from agent.cli.console import echo, print_json

if TYPE_CHECKING:
    from collections.abc import Callable


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show the state of the agent and the problems that need an operator."""
    from agent.service.data_folder import clock
    from agent.service.status import build_status

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
    for problem in document["problems"]:
        echo(f"! {problem}")
