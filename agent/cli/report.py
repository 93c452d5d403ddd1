"""`agent report`: write one night's page."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import echo, progress
from agent.errors import WrongUse


def _parse_night(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(f"--date: write a day such as 2026-11-24 instead of {text!r}.") from error


@app.command()
def report(
    context: typer.Context,
    night: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="Night. Default: the current one."),
    ] = None,
    refresh: Annotated[
        bool,
        typer.Option(
            help="Collect the facts again and record a revision. Default: keep a past night."
        ),
    ] = False,
) -> None:
    """Write the report page of a night, with its data files."""
    from agent import log
    from agent.archive import Archive  # `agent --help` answers without them
    from agent.lab_context import reports_folder
    from agent.nightly import night_settings, write_report
    from agent.site_time import compute_night_end, night_of

    settings = load_settings(context)
    log.set_up(level=settings.log.level)
    now = datetime.now(UTC)
    with open_store(settings) as store:
        lab = night_settings(settings, store, now=now)
        running = night_of(now, lab.at, lab.zone)
        wanted = _parse_night(night) if night else running
        if wanted > running:
            raise WrongUse(
                f"--date: the night {wanted} has not started; the current night is {running}."
            )
        if refresh and compute_night_end(wanted, lab.at, lab.zone) > now:
            raise WrongUse(
                f"--refresh: the night {wanted} has not ended. Only a past night can be refreshed."
            )
        with progress("drawn", 100) as advance:
            written = write_report(
                store,
                Archive(settings.store.folder),
                reports_folder(settings.store.folder, store),
                wanted,
                lab,
                now=now,
                refresh=refresh,
                on_drawn=lambda done, of: advance(done * 100 // of),
            )
    echo(written.summary.headline, err=True)
    echo(str(written.path))
