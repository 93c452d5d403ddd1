"""`agent run`, `web` and `service`: the agent in this process and as a service of the PC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.app import DONE, SOME_FAILED, app, find_settings_file, load_settings, open_store
from agent.cli.console import Advance, err, out, progress
from agent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.service import RunOutcome
    from agent.settings import Settings


@app.command()
def run(
    context: typer.Context,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Process the files now in the sources, then stop; no web page."
        ),
    ] = False,
) -> None:
    """Watch the sources and process every micrograph, until stopped."""
    settings = load_settings(context)
    require_lab(settings)
    if once:
        raise typer.Exit(_run_once(settings))
    _run(settings, lambda: load_settings(context))


def require_lab(settings: Settings) -> None:
    """Raise `UsageError` where there is nothing of a lab: no settings, no source and no data."""
    store = settings.store
    if settings.file or settings.sources or store.url or store.folder.exists():
        return
    raise UsageError(
        f"No lab is set up in {store.folder.parent}: there is no agent.toml. To set one up: agent "
        "init, then agent run, and follow the first steps on the page. Another settings file: "
        "agent --config FILE run. To try it with drawn micrographs: agent demo."
    )


def _describe_no_source(settings: Settings) -> str:
    """Return what to do where no folder is watched, "" where one is."""
    if settings.sources:
        return ""
    return (
        "No source is set, so no folder is watched. Set one under [[sources]] in "
        f"{settings.file or 'agent.toml'}, or on the page: First steps."
    )


def _run(settings: Settings, load: Callable[[], Settings]) -> None:
    """Run an agent to its end; after a restart from the page, the next one with loaded settings."""
    import faulthandler

    from agent import log  # heavy
    from agent.host import process_limits, systemd

    process_limits.keep_to_share(settings.service.cores)  # before libraries count the cores
    process_limits.raise_limit()
    faulthandler.enable()  # the log gets all stack traces if the watchdog ends a hang
    from agent.service import Agent

    manager, journal = systemd.Manager(), systemd.has_journal()

    def make(before: Agent | None) -> Agent:
        file = None if err.is_terminal or journal else log_file(settings)
        log.set_up(level=settings.log.level, file=file, journal=journal)
        if file:
            err.print(f"log: {file}", markup=False)
        return Agent(
            settings,
            on_ready=ready,
            on_beat=lambda: manager.say(f"WATCHDOG=1\n{state()}"),
            on_stopping=lambda: manager.say("STOPPING=1\nSTATUS=finishing the current file"),
            on_delay=manager.extend_start,
            before=before,
        )

    def ready() -> None:
        freeze_imported()
        manager.say(f"READY=1\n{state()}")
        if agent.url:
            err.print(f"review page: {agent.url} (Ctrl-C stops)", markup=False)
        if sentence := _describe_no_source(settings):
            err.print(sentence, markup=False)

    def state() -> str:
        problems = agent.problems.all()
        return f"STATUS={problems[0] if problems else f'watching; page {agent.url}'}"

    agent = make(None)
    while agent.run():
        settings = load()
        agent = make(agent)


def freeze_imported() -> None:
    """Exclude what was imported from Python's search for unused cycles.

    What an agent that ran before in this process left behind is freed first.
    """
    import gc

    gc.unfreeze()
    gc.collect()
    gc.freeze()


def log_file(settings: Settings) -> Any:
    """Return the log file of the running agent; each process has a separate file."""
    from agent.store.sites.site_folders import get_own_file

    return get_own_file(settings.store.folder, "logs/agent.log", url=settings.store.url)


def _run_once(settings: Settings) -> int:
    import threading

    from agent import log  # heavy
    from agent.cli.console import stopping
    from agent.service import run_once
    from agent.service.copies import require_newest
    from agent.service.data_folder import clock

    log.set_up(level="warning" if err.is_terminal else settings.log.level)
    stop = threading.Event()
    with open_store(settings) as store, stopping(stop), progress("micrographs", None) as advance:
        for warning in require_newest(settings, store, now=clock()):
            err.print(f"agent: {warning}", markup=False)
        outcome = run_once(
            settings,
            store,
            on_progress=_print_tenths(advance),
            should_stop=stop.is_set,
        )
    _print_outcome(outcome)
    if sentence := _describe_no_source(settings):
        err.print(sentence, markup=False)
    return DONE if outcome.is_clean else SOME_FAILED


def _print_tenths(advance: Advance) -> Callable[[int, int], None]:
    """Advance a bar per file, but print plain lines per tenth only."""
    last_tenth = -1

    def step(done: int, total: int) -> None:
        nonlocal last_tenth
        tenth = done * 10 // max(total, 1)
        if err.is_terminal or tenth != last_tenth:
            last_tenth = tenth
            advance(done, f"of {total}")

    return step


def _print_outcome(outcome: RunOutcome) -> None:
    batch = outcome.taken
    parts = [
        (batch.stored, "stored"),
        (batch.duplicates, "duplicates"),
        (batch.set_aside, "set aside"),
        (batch.failed, "failed"),
        (outcome.waiting, "waiting"),
    ]
    out.print(", ".join(f"{count} {word}" for count, word in parts if count) or "no new files")
    for problem in outcome.problems:
        err.print(f"agent: {problem}", markup=False)
    if batch.set_aside or batch.failed or outcome.waiting:
        err.print("To list them with reasons: agent files --failed", markup=False)


@app.command()
def web(context: typer.Context) -> None:
    """Serve the review page and the API without processing files. `agent run` includes this."""
    import threading

    from agent import log  # heavy
    from agent.archive import Archive
    from agent.cli.console import stopping
    from agent.host import process_limits
    from agent.service import Pages, build_status
    from agent.service.copies import record_older
    from agent.service.data_folder import clock
    from agent.web import app_of

    settings = load_settings(context)
    require_lab(settings)
    log.set_up(level=settings.log.level)
    process_limits.raise_limit()
    stop = threading.Event()
    with open_store(settings) as store, stopping(stop):
        if older := record_older(settings, store, now=clock()):
            err.print(f"agent: {older}", markup=False)
        application = app_of(
            settings,
            store=store,
            archive=Archive.open(settings),
            now=clock,
            status=lambda: build_status(
                settings, now=clock(), open_store=lambda: open_store(settings)
            ),
        )
        pages = Pages(application, settings.web)
        pages.start()
        err.print(f"review page: {pages.url} (Ctrl-C stops)", markup=False)
        while not stop.wait(0.5) and pages.is_alive():
            pass
        pages.stop()
        pages.join(5)


service = typer.Typer(help="Run the agent as a service of this PC.", no_args_is_help=True)


app.add_typer(service, name="service")


@service.command("install")
def install(
    context: typer.Context,
    account: Annotated[
        str,
        typer.Option(
            help="Account of the service. Default: a user martensight (Linux), LocalSystem "
            r"(Windows). On Windows DOMAIN\user, or DOMAIN\name$ for a gMSA."
        ),
    ] = "",
) -> None:
    """Install the agent as a service that starts with this PC."""
    from agent.host import get_manager

    lines = get_manager().install(
        find_settings_file(context), load_settings(context), account=account
    )
    for line in lines:
        out.print(line, markup=False)


@service.command("uninstall")
def uninstall() -> None:
    """Remove the service; data and settings stay."""
    _run_command("uninstall")


@service.command("start")
def start() -> None:
    """Start the service."""
    _run_command("start")


@service.command("stop")
def stop_() -> None:
    """Stop the service after the current file."""
    _run_command("stop")


@service.command("status")
def service_status() -> None:
    """Show the state of the service."""
    _run_command("status")


def _run_command(name: str) -> None:
    from agent.host import get_manager

    for line in getattr(get_manager(), name)():
        out.print(line, markup=False)
