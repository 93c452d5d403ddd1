"""`agent orders release-hold`: a lead lets results count that a failed instrument check holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings
from agent.cli.options import By, Reason
from agent.cli.orders import orders
from agent.cli.signing import signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

METAVAR = "YYYY-MM-DD[THH:MM]"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before any result."""


@orders.command("release-hold")
def release_hold(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Of the held results.")],
    first: Annotated[
        str | None,
        typer.Option("--from", metavar=METAVAR, help="From this time on; else the first one held."),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar=METAVAR, help="Up to this time; else until now.")
    ] = None,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Release results that a failed check holds: a lead's act, kept in every statement."""
    from zoneinfo import ZoneInfo

    from agent.orders.affected_orders import affected_orders, release
    from agent.orders.instrument_holds import holds_of
    from agent.orders.order_policy import is_lead
    from agent.service.data_folder import clock

    settings, now = load_settings(context), clock()
    zone = ZoneInfo(settings.site.time_zone)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise WrongUse(
                f"--by {signer or 'NAME'}: a lead alone releases results (an account of that role, "
                "or a name in [orders] leads)."
            )
        affected = affected_orders(store, holds_of(settings, store), now=now)
        starts = [one.failure.after for one in affected if one.failure.source == source]
        known = [one for one in starts if one is not None]
        begin = min(known) if known and len(known) == len(starts) else BEGINNING
        numbers = release(
            store,
            affected,
            source,
            start=_time(first, "--from", zone) if first else begin,
            end=_time(last, "--to", zone) if last else now,
            by=signer,
            reason=reason,
            at=now,
        )
    console.out.print(
        f"{source}: released by {signer}; {len(numbers)} orders had held results: "
        f"{', '.join(numbers)}",
        markup=False,
    )


def _time(text: str, option: str, zone: ZoneInfo) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(
            f"{option}: write a time such as 2026-11-24T08:00, found {text!r}."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=zone)
