"""`agent orders release-hold`: release results that a failed instrument check blocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings
from agent.cli.options import By, Reason
from agent.cli.orders import orders
from agent.cli.signing import signed_store
from agent.counts import format_count
from agent.errors import WrongUse

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

METAVAR = "YYYY-MM-DD[THH:MM]"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any result."""


@orders.command("release-hold")
def release_hold(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Source of the blocked results.")],
    first: Annotated[
        str | None,
        typer.Option("--from", metavar=METAVAR, help="Start. Default: the first blocked result."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar=METAVAR, help="End. Default: now.")
    ] = None,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Release results that a failed instrument check blocks. Only a lead may.

    Every statement shows the release.
    """
    from zoneinfo import ZoneInfo

    from agent.orders.affected_orders import list_affected_orders, release_results
    from agent.orders.instrument_holds import load_holds
    from agent.orders.order_policy import is_lead
    from agent.service.data_folder import clock

    settings, now = load_settings(context), clock()
    zone = ZoneInfo(settings.site.time_zone)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise WrongUse(
                f"--by {signer or 'NAME'}: only a lead may release results (an account with that "
                "role, or a name in [orders] leads)."
            )
        affected = list_affected_orders(store, load_holds(settings, store), now=now)
        starts = [hold.failure.after for hold in affected if hold.failure.source == source]
        times = [start for start in starts if start is not None]
        begin = min(times) if times and len(times) == len(starts) else BEGINNING
        numbers = release_results(
            store,
            affected,
            source,
            start=_parse_time(first, "--from", zone) if first else begin,
            end=_parse_time(last, "--to", zone) if last else now,
            by=signer,
            reason=reason,
            at=now,
        )
    console.out.print(
        f"{source}: released by {signer}; {format_count(len(numbers), 'order')} had blocked "
        f"results: {', '.join(numbers)}",
        markup=False,
    )


def _parse_time(text: str, option: str, zone: ZoneInfo) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(
            f"{option}: write a time such as 2026-11-24T08:00 instead of {text!r}."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=zone)
