"""`agent report`: write the page of a night, a week or a month."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import echo, print_json, progress
from agent.cli.options import By, JsonOption, Reason, os_user, read_order_policy, signed_store
from agent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.settings import Settings


def _parse_night(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--date: write a day such as 2026-11-24 instead of {text!r}.") from error


@app.command()
def report(
    context: typer.Context,
    *,
    night: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="Night. Default: the current one."),
    ] = None,
    week: Annotated[
        str | None,
        typer.Option(metavar="YYYY-Www", help="Write the page of an ISO week, such as 2026-W48."),
    ] = None,
    month: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM", help="Write the page of a month, such as 2026-11."),
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write the night as PDF too.")] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            help="Collect the facts again and record a revision. Default: keep a past night."
        ),
    ] = False,
    acknowledge: Annotated[
        str,
        typer.Option(
            metavar="MEASURE",
            help="Acknowledge the open alarms of unusual or agreement instead. Only a lead may.",
        ),
    ] = "",
    by: By = "",
    reason: Reason = "",
    as_json: JsonOption = False,
) -> None:
    """Write the report page of a night, a week or a month, with the data files of a night."""
    from agent import log
    from agent.archive import Archive  # `agent --help` answers without them
    from agent.nightly import night_settings, write_report
    from agent.site_time import compute_night_end, night_of
    from agent.store.sites.site_folders import reports_folder

    settings = load_settings(context)
    log.set_up(level=settings.log.level)
    if acknowledge:
        _acknowledge(context, settings, acknowledge, by=by, reason=reason)
        return
    if week or month:
        if night or refresh or (week and month):
            raise UsageError("--week and --month: give one of them, without --date and --refresh.")
        path = _write_period(settings, week or month or "", is_week=bool(week))
        if as_json:
            print_json({"path": str(path)})
        else:
            echo(str(path))
        return
    now = datetime.now(UTC)
    with open_store(settings) as store:
        lab = night_settings(settings, store, now=now)
        running = night_of(now, lab.at, lab.zone)
        wanted = _parse_night(night) if night else running
        if wanted > running:
            raise UsageError(
                f"--date: the night {wanted} has not started; the current night is {running}."
            )
        if refresh and compute_night_end(wanted, lab.at, lab.zone) > now:
            raise UsageError(
                f"--refresh: the night {wanted} has not ended. Only a past night can be refreshed."
            )
        with progress("drawn", 100) as advance:
            written = write_report(
                store,
                Archive.open(settings),
                reports_folder(settings.store.folder, store),
                wanted,
                lab,
                now=now,
                refresh=refresh,
                with_pdf=pdf or settings.report.is_delivered,
                on_drawn=lambda done, of: advance(done * 100 // of),
            )
    if as_json:
        print_json({"path": str(written.path), "headline": written.summary.headline})
        return
    echo(written.summary.headline, err=True)
    echo(str(written.path))


def _acknowledge(
    context: typer.Context, settings: Settings, measure: str, *, by: str, reason: str
) -> None:
    from agent.nightly.facts.change_alarm import MEASURES
    from agent.nightly.page.night_charts import acknowledge_alarm
    from agent.orders.judge.permissions import require_lead

    if measure not in MEASURES:
        raise UsageError(f"--acknowledge: write {' or '.join(MEASURES)} instead of {measure!r}.")
    with signed_store(context, settings, by, "--acknowledge") as (store, signer):
        who = signer or os_user()
        require_lead(read_order_policy(settings, store), who)
        groups = acknowledge_alarm(store, measure, by=who, reason=reason, at=datetime.now(UTC))
    named = ", ".join(f"{group.kind} {group.name}".strip() for group in groups)
    echo(f"{measure}, by {who}: acknowledged for {named}. What comes is compared with itself.")


def _write_period(settings: Settings, name: str, *, is_week: bool) -> Path:
    from agent.nightly import night_settings, parse_period, write_index, write_period
    from agent.store.sites.site_folders import reports_folder

    period = parse_period(name)
    if period is None or period.is_week != is_week:
        like = (
            "--week: write a week like 2026-W48" if is_week else "--month: write one like 2026-11"
        )
        raise UsageError(f"{like}, not {name!r}.")
    now = datetime.now(UTC)
    with open_store(settings) as store:
        lab = night_settings(settings, store, now=now)
        folder = reports_folder(settings.store.folder, store)
        path = write_period(store, folder, period, lab, now=now)
        if path is None:
            raise UsageError(
                f"{name} has no nightly report yet; write one: agent report --date {period.first}."
            )
        write_index(store, folder, lab, now=now)
    return path
