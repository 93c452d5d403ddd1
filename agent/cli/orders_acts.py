"""`agent orders assign`, `urgent`, `reopen` and others: decisions about an order."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings, now_utc
from agent.cli.options import By, Id, Number, Reason
from agent.cli.order_policy import read_order_policy
from agent.cli.orders import orders
from agent.cli.signing import os_user, signed_store
from agent.errors import WrongUse


@orders.command()
def urgent(
    context: typer.Context,
    number: Number,
    off: Annotated[
        bool, typer.Option("--off", help="Return the order to normal priority.")
    ] = False,
    by: By = "",
) -> None:
    """Mark an order as urgent: it is processed and reviewed first."""
    from agent.orders.priority import prioritise_urgent

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        store.order_corrections.set_urgent(
            number, urgent=not off, by=signer or os_user(), at=now_utc()
        )
        prioritise_urgent(store, settings)
    console.out.print(f"{number}: {'normal priority' if off else 'urgent'}", markup=False)


@orders.command()
def assign(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    number: Number,
    specimen: Annotated[str, typer.Argument(metavar="SPECIMEN", help="Specimen name.")],
    by: By = "",
    reason: Reason = "",
    preparation: Annotated[str, typer.Option(help="Preparation. Default: the latest.")] = "",
    field: Annotated[str, typer.Option(help="Field number on the specimen.")] = "",
) -> None:
    """Assign a field to an order and a specimen."""
    from agent.orders.permissions import require_may_assign

    keys = {"order": number, "specimen": specimen, "preparation": preparation, "field": field}
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = read_order_policy(settings, store)
        require_may_assign(store, lab, public_id, keys, by=signer)
        store.order_corrections.assign(
            public_id, keys, by=signer, reason=reason, at=now_utc(), lead=lab.may_lead(signer)
        )
    console.out.print(
        f"{public_id}: order {number}, specimen {specimen}, by {signer}.", markup=False
    )


@orders.command("same-place")
def same_place(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    public_id: Id,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The other micrograph's id.")],
    different: Annotated[
        bool, typer.Option("--different", help="They show different places.")
    ] = False,
    belongs: Annotated[
        bool, typer.Option("--belongs", help="ID shows its own place; OTHER is the copy.")
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Decide about two micrographs that seem to show the same place. Only a lead may."""
    from agent.orders.permissions import require_lead

    if different == belongs:
        raise WrongUse("Use either --different or --belongs.")
    if not reason.strip():
        raise WrongUse("Add a reason with --reason TEXT. The statement shows it.")
    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        store.places.decide(
            public_id,
            other,
            belongs=public_id if belongs else "",
            by=signer,
            reason=reason,
            at=now_utc(),
        )
    decision = f"{public_id} keeps the place" if belongs else "they show different places"
    console.out.print(f"{public_id}, {other}: {decision}, by {signer}.", markup=False)


@orders.command()
def reopen(context: typer.Context, number: Number, by: By = "", reason: Reason = "") -> None:
    """Assess an order by the current specification. Only a lead may."""
    from agent.orders.permissions import require_lead
    from agent.orders.specification_history import reopen as reopen_order

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        reopen_order(store, number, by=signer, reason=reason, at=now_utc())
    console.out.print(
        f"{number}: reopened by {signer}; the current specification applies.", markup=False
    )


@orders.command("dismiss-file")
def dismiss_file(
    context: typer.Context,
    number: Number,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Name of the file, or of the alike order.")
    ],
    by: By = "",
    reason: Reason = "",
) -> None:
    """Decide that a file, or an order of an alike number, does not belong to an order.

    Only a lead may dismiss an unusable file. Any reviewer may dismiss a file that belongs to no
    specimen, for all orders, and an order of an alike number.
    """
    from agent.orders.assessment import assess
    from agent.orders.lead_acts import load_possible
    from agent.orders.lost_files import dismiss_file
    from agent.orders.permissions import require_lead
    from agent.orders.possible_fields import dismiss_possible

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        lab = read_order_policy(settings, store)
        assessed = assess(store, number, lab)
        if assessed is None:
            raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
        number, at = assessed.view.number, now_utc()
        possible = load_possible(store, assessed, lab)
        if not dismiss_possible(store, number, file, possible, by=signer, reason=reason, at=at):
            require_lead(lab, signer)
            dismiss_file(store, number, file, assessed.lost, by=signer, reason=reason, at=at)
    console.out.print(f"{number}: {file} dismissed by {signer}.", markup=False)


@orders.command()
def amend(
    context: typer.Context,
    number: Number,
    dismiss: Annotated[
        bool, typer.Option("--dismiss", help="Dismiss the change of the order list.")
    ] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Accept or dismiss a change that an order list makes to an order. Only a lead may."""
    from agent.orders.permissions import require_lead

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        require_lead(read_order_policy(settings, store), signer)
        changed = store.order_corrections.amend(
            number, accept=not dismiss, by=signer, reason=reason, at=now_utc()
        )
    verb = "dismissed" if dismiss else "accepted"
    console.out.print(f"{number}: change of {', '.join(changed)} {verb} by {signer}.", markup=False)
