"""`agent orders hold`: protect an order from pruning."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings
from agent.cli.options import By, Number, Reason
from agent.cli.orders import orders
from agent.cli.signing import os_user, signed_store
from agent.errors import WrongUse


@orders.command()
def hold(
    context: typer.Context,
    number: Number,
    *,
    off: Annotated[
        bool,
        typer.Option(
            "--off",
            help="End the hold. Only a lead may. Evidence of its statements is still kept.",
        ),
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Protect all data of an order from pruning, whatever [retention] allows."""
    from agent.orders.order_policy import is_lead

    settings = load_settings(context)
    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, settings, by, "--off" if off else "") as (store, signer):
        who = signer or os_user()
        if off and not is_lead(settings, store, who):
            raise WrongUse(
                f"--by {who}: only a lead may end a hold (an account with that role, or a name in "
                "[orders] leads)."
            )
        if not store.retention.is_known_order(number):
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        if off and not store.retention.is_on_hold(number):
            console.out.print(f"{number}: it was not on hold; nothing was changed.", markup=False)
            return
        at = datetime.now(UTC)
        number = store.retention.set_legal_hold(
            number, hold=not off, by=who, at=at, reason=reason.strip()
        )
    what = "no longer on hold" if off else "on hold; its data is not pruned"
    console.out.print(f"{number}: {what}, by {who}.", markup=False)
