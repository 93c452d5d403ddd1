"""`agent orders hold` and `release`: nothing of an order is pruned while it is on hold."""

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
    """Keep everything of an order from being pruned, whatever [retention] says."""
    _set(context, number, by, reason, hold=True)


@orders.command()
def release(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """End the hold of an order: a lead's act. Its statements still keep their evidence."""
    _set(context, number, by, reason, hold=False)


def _set(context: typer.Context, number: str, by: str, reason: str, *, hold: bool) -> None:
    from agent.orders.order_policy import is_lead

    settings = load_settings(context)
    if not reason.strip():
        raise WrongUse("Give a reason with --reason TEXT: it is kept.")
    with signed_store(context, settings, by) as (store, signer):
        who = signer or os_user()
        if not hold and not is_lead(settings, store, who):
            raise WrongUse(
                f"--by {who}: a lead alone ends a hold (an account of that role, or a name in "
                "[orders] leads)."
            )
        if not store.is_known_order(number):
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        at = datetime.now(UTC)
        number = store.hold_order(number, hold=hold, by=who, at=at, reason=reason.strip())
    what = "on hold, nothing of it is pruned" if hold else "no longer on hold"
    console.out.print(f"{number}: {what}; by {who}.", markup=False)
