"""`agent orders hold`, `release`: protect an order from pruning."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from agent.cli import console
from agent.cli.app import load_settings
from agent.cli.options import By, Number, Reason
from agent.cli.orders import orders
from agent.cli.signing import os_user, signed_store
from agent.errors import WrongUse


@orders.command()
def hold(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Protect all data of an order from pruning, whatever [retention] allows."""
    _set(context, number, by, reason, hold=True)


@orders.command()
def release(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """End the hold of an order. Only a lead may. Evidence of its statements is still kept."""
    _set(context, number, by, reason, hold=False)


def _set(context: typer.Context, number: str, by: str, reason: str, *, hold: bool) -> None:
    from agent.orders.order_policy import is_lead

    settings = load_settings(context)
    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. It is recorded.")
    with signed_store(context, settings, by) as (store, signer):
        who = signer or os_user()
        if not hold and not is_lead(settings, store, who):
            raise WrongUse(
                f"--by {who}: only a lead may end a hold (an account with that role, or a name in "
                "[orders] leads)."
            )
        if not store.retention.is_known_order(number):
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        if not hold and not store.retention.is_on_hold(number):
            console.out.print(f"{number}: it was not on hold; nothing was changed.", markup=False)
            return
        at = datetime.now(UTC)
        number = store.retention.set_legal_hold(
            number, hold=hold, by=who, at=at, reason=reason.strip()
        )
    what = "on hold; its data is not pruned" if hold else "no longer on hold"
    console.out.print(f"{number}: {what}, by {who}.", markup=False)
