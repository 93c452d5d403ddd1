"""`agent status`: the state of the agent."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from agent.cli.app import DONE, app, find_settings_file, load_settings, open_store
from agent.cli.console import out, print_json

if TYPE_CHECKING:
    from collections.abc import Callable


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say how the agent does, and what a person should look at."""
    from agent.service.data_folder import clock
    from agent.service.status import status_of

    settings = load_settings(context)
    document = status_of(settings, now=clock(), open_store=lambda: open_store(settings))
    if not settings.sources and find_settings_file(context) is None:
        document["problems"].insert(0, _no_file())
    if as_json:
        print_json(document)
    else:
        _print_status(document, partial(_at, zone=ZoneInfo(settings.site.time_zone)))
    raise typer.Exit(DONE)


def _no_file() -> str:
    from agent.settings import FILE_NAME, platform_folder

    return (
        f"no {FILE_NAME} was found, neither in this folder nor in {platform_folder()}: name it "
        "with agent --config FILE status, or write one with agent init."
    )


def _at(iso: str | None, zone: ZoneInfo) -> str:
    if iso is None:
        return "never"
    return f"{datetime.fromisoformat(iso).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def _print_status(document: dict[str, Any], at: Callable[[str | None], str]) -> None:
    running = "running" if document["running"] else "not running"
    out.print(f"Martensight {document['version']}: {running}")
    out.print(f"bundle {document['bundle'] or 'none yet'}, {document['database']}")
    out.print(f"next report {at(document['next_report_at'])}")
    for source in document["sources"]:
        online = "online" if source["online"] else "OFFLINE"
        listed = at(source["last_scan_at"])
        out.print(
            f"source {source['name']}: {source['folder']}\n"
            f"    {online}, {source['mode']}, last listed {listed}, "
            f"{source['found_by_scan']} found by listing, {source['found_by_event']} by event",
            markup=False,
        )
    states = ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in document["states"].items() if n)
    out.print(f"files: {states or 'none'}")
    for job in document["jobs"]:
        how_far = f"{job['done']} of {job['total']}" if job["total"] else "begun"
        said = f"{job['name']}: {job['stage']}, {how_far} {job['note']}".rstrip()
        out.print(f"{said} (by {job['by']}, since {at(job['started_at'])})", markup=False)
    for problem in document["problems"]:
        out.print(f"! {problem}", markup=False)
