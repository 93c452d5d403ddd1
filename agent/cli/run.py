"""Run the agent, ask how it does, and hand it to the system's service manager."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from agent.cli.app import DONE, SOME_FAILED, app, settings_file_of, settings_of, store_of
from agent.cli.console import aside, console, print_json, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.cli.console import Advance
    from agent.service import Outcome
    from agent.settings import Settings


@app.command()
def run(
    context: typer.Context,
    once: Annotated[
        bool,
        typer.Option("--once", help="Take what lies in the sources now, then stop; no page."),
    ] = False,
) -> None:
    """Watch the sources and take every micrograph once, until stopped."""
    settings = settings_of(context)
    if once:
        raise typer.Exit(_run_once(settings))
    _run(settings)


def _run(settings: Settings) -> None:
    import faulthandler

    from agent import log  # heavy
    from agent.host import cpu_affinity, open_files, systemd

    cpu_affinity.keep_to_share(settings.service.cores)  # before libraries count the cores
    open_files.raise_limit()
    faulthandler.enable()  # a hang that the watchdog ends leaves every thread's place in the log
    from agent.service import Agent

    journal = systemd.has_journal()
    file = None if aside.is_terminal or journal else log_file(settings)
    log.set_up(level=settings.log.level, file=file, journal=journal)
    if file:
        aside.print(f"log: {file}", markup=False)
    manager = systemd.Manager()

    def ready() -> None:
        manager.say(f"READY=1\n{state()}")
        if agent.url:
            aside.print(f"review page: {agent.url} (Ctrl-C stops)", markup=False)

    def state() -> str:
        problems = agent.problems.all()
        return f"STATUS={problems[0] if problems else f'watching; page {agent.url}'}"

    agent = Agent(
        settings,
        on_ready=ready,
        on_beat=lambda: manager.say(f"WATCHDOG=1\n{state()}"),
        on_stopping=lambda: manager.say("STOPPING=1\nSTATUS=finishing the file in hand"),
        on_upgrade=lambda upgrade: manager.extend_start(upgrade.sentence),
    )
    agent.run()


def log_file(settings: Settings) -> Any:
    """Say where the running agent writes its log; each process has a file of its own."""
    return settings.store.folder / "logs" / "agent.log"


def _run_once(settings: Settings) -> int:
    import threading

    from agent import log  # heavy
    from agent.cli.signals import stopping
    from agent.service import run_once
    from agent.service.copies import require_newest
    from agent.service.data_folder import clock

    log.set_up(level="warning" if aside.is_terminal else settings.log.level)
    stop = threading.Event()
    with store_of(settings) as store, stopping(stop), progress("micrographs", None) as advance:
        for warning in require_newest(settings, store, now=clock()):
            aside.print(f"agent: {warning}", markup=False)
        outcome = run_once(
            settings,
            store,
            on_progress=_seldom(advance),
            should_stop=stop.is_set,
        )
    _say_outcome(outcome)
    return DONE if outcome.is_clean else SOME_FAILED


def _seldom(advance: Advance) -> Callable[[int, int], None]:
    """Move a bar with every file, but write a line only with every tenth part."""
    said = -1

    def step(done: int, total: int) -> None:
        nonlocal said
        tenth = done * 10 // max(total, 1)
        if aside.is_terminal or tenth != said:
            said = tenth
            advance(done, f"of {total}")

    return step


def _say_outcome(outcome: Outcome) -> None:
    taken = outcome.taken
    parts = [
        (taken.stored, "stored"),
        (taken.duplicates, "duplicates"),
        (taken.set_aside, "set aside"),
        (taken.failed, "failed"),
        (outcome.waiting, "waiting"),
    ]
    console.print(", ".join(f"{count} {word}" for count, word in parts if count) or "nothing new")
    for problem in outcome.problems:
        aside.print(f"agent: {problem}", markup=False)
    if taken.set_aside or taken.failed or outcome.waiting:
        aside.print("agent files --failed says which files, and why.", markup=False)


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say how the agent does, and what a person should look at."""
    from agent.service.data_folder import clock
    from agent.service.status import status_of

    settings = settings_of(context)
    document = status_of(settings, now=clock(), open_store=lambda: store_of(settings))
    if not settings.sources and settings_file_of(context) is None:
        document["problems"].insert(0, _no_file())
    if as_json:
        print_json(document)
    else:
        _say_status(document, partial(_at, zone=ZoneInfo(settings.site.time_zone)))
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


def _say_status(document: dict[str, Any], at: Callable[[str | None], str]) -> None:
    running = "running" if document["running"] else "not running"
    console.print(f"Martensight {document['version']}: {running}")
    console.print(f"bundle {document['bundle'] or 'none yet'}, {document['database']}")
    console.print(f"next report {at(document['next_report_at'])}")
    for source in document["sources"]:
        online = "online" if source["online"] else "OFFLINE"
        listed = at(source["last_scan_at"])
        console.print(
            f"source {source['name']}: {source['folder']}\n"
            f"    {online}, {source['mode']}, last listed {listed}, "
            f"{source['found_by_scan']} found by listing, {source['found_by_event']} by event",
            markup=False,
        )
    states = ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in document["states"].items() if n)
    console.print(f"files: {states or 'none'}")
    for job in document["jobs"]:
        how_far = f"{job['done']} of {job['total']}" if job["total"] else "begun"
        said = f"{job['name']}: {job['stage']}, {how_far} {job['note']}".rstrip()
        console.print(f"{said} (by {job['by']}, since {at(job['started_at'])})", markup=False)
    for problem in document["problems"]:
        console.print(f"! {problem}", markup=False)


@app.command()
def web(context: typer.Context) -> None:
    """Serve the review page and the API alone, without taking files; `agent run` includes it."""
    import threading

    from agent import log  # heavy
    from agent.archive import Archive
    from agent.cli.signals import stopping
    from agent.host import open_files
    from agent.service import Pages, status_of
    from agent.service.data_folder import clock
    from agent.web import app_of

    settings = settings_of(context)
    log.set_up(level=settings.log.level)
    open_files.raise_limit()
    stop = threading.Event()
    with store_of(settings) as store, stopping(stop):
        application = app_of(
            settings,
            store=store,
            archive=Archive(settings.store.folder),
            now=clock,
            status=lambda: status_of(settings, now=clock(), open_store=lambda: store_of(settings)),
        )
        pages = Pages(application, settings.web)
        pages.start()
        aside.print(f"review page: {pages.url} (Ctrl-C stops)", markup=False)
        while not stop.wait(0.5) and pages.is_alive():
            pass
        pages.stop()
        pages.join(5)


service = typer.Typer(help="Hand the agent to the system's service manager.", no_args_is_help=True)
app.add_typer(service, name="service")


@service.command("install")
def install(
    context: typer.Context,
    account: Annotated[
        str,
        typer.Option(
            help="Whom it runs as; default: an own user martensight (Linux), LocalSystem "
            r"(Windows). On Windows DOMAIN\user, or DOMAIN\name$ for a gMSA."
        ),
    ] = "",
) -> None:
    """Install the agent as a service that starts with this PC."""
    from agent.host import manager

    lines = manager().install(settings_file_of(context), settings_of(context), account=account)
    for line in lines:
        console.print(line, markup=False)


@service.command("uninstall")
def uninstall() -> None:
    """Remove the service; data and settings stay."""
    _do("uninstall")


@service.command("start")
def start() -> None:
    """Start the service."""
    _do("start")


@service.command("stop")
def stop_() -> None:
    """Stop the service; the file in hand is finished."""
    _do("stop")


@service.command("status")
def service_status() -> None:
    """Say what the service manager knows of it."""
    _do("status")


def _do(act: str) -> None:
    from agent.host import manager

    for line in getattr(manager(), act)():
        console.print(line, markup=False)
