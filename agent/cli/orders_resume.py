"""`agent orders resume`: acknowledge what a restored backup lost of an order."""

from __future__ import annotations

import typer

from agent.cli import console
from agent.cli.app import load_settings, now_utc
from agent.cli.options import By, Number, Reason
from agent.cli.order_policy import read_order_policy
from agent.cli.orders import orders
from agent.cli.signing import signed_store


@orders.command()
def resume(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Send the present state of an order of which a restored backup lost a revision.

    Only a lead may.
    """
    from agent.orders.lost_conformity import acknowledge
    from agent.orders.permissions import require_lead

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        number = acknowledge(store, number, by=signer, reason=reason, at=now_utc())
    console.out.print(
        f"{number}: the loss is acknowledged by {signer}; its present state is sent.",
        markup=False,
    )
