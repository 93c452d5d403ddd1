"""`agent rollout`: the PCs of a site take a bundle in rings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, open_store
from agent.cli.models_promote import (
    DAYS,
    ByOption,
    DaysOption,
    ReasonOption,
    sign_for,
)
from agent.cli.options import JsonOption
from agent.cli.signing import os_user, require_lead, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.store import Store

rollout = typer.Typer(
    help="Rollout of a bundle in rings: named PCs, a share, all.",
    no_args_is_help=True,
)
app.add_typer(rollout, name="rollout")


@rollout.command()
def start(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the bundle; see agent models list.")],
    by: ByOption,
    reason: ReasonOption,
    days: DaysOption = DAYS,
    first: Annotated[
        list[str] | None,
        typer.Option("--first", help="PC of ring 1; repeatable. Default: [rollout] first."),
    ] = None,
) -> None:
    """Sign for a bundle that the PCs take in rings.

    It is in use when the last ring agrees. Each PC judges the reference images before it uses it.
    The first PC whose answers differ stops the rollout, and every PC goes back to what was in use.
    """
    from agent.lab_context import get_ring_rules

    settings = load_settings(context)
    rules = get_ring_rules(settings)
    if first:
        rules = replace(rules, first=tuple(first))
    sign_for(context, settings, name, by=by, reason=reason, days=days, rules=rules)


@rollout.command("continue")
def continue_(context: typer.Context, by: ByOption, reason: ReasonOption) -> None:
    """Continue the stopped rollout at ring 1; this needs a signature."""
    from agent.service.data_folder import clock
    from agent.service.database_clock import DatabaseClock
    from agent.store import Signature

    settings = load_settings(context)
    Signature(by, reason, clock())  # refuses an empty name and an empty reason
    with signed_store(context, settings, by) as (store, signer):
        require_lead(settings, store, signer)
        resumed = store.rollouts.resume(
            Signature(signer, reason, clock()), ring_at=DatabaseClock(store, now=clock)()
        )
    console.out.print(
        f"The rollout of {resumed.bundle} continues at ring 1: {', '.join(resumed.rules.first)}.",
        markup=False,
    )


@rollout.command()
def stop(context: typer.Context) -> None:
    """Stop the rollout: every PC goes back to what was in use. No signature is needed.

    Where an agent stopped it, this acknowledges the problem.
    """
    from agent.service.data_folder import clock

    settings = load_settings(context)
    with open_store(settings) as store:
        if not store.rollouts.stop(by=os_user(), at=clock()):
            raise WrongUse("No rollout is running. See agent rollout status.")
        stopped = store.rollouts.find_latest()
        current = (stopped.previous if stopped else None) or "no bundle"
    console.out.print(f"Stopped. Every PC goes back to {current}.", markup=False)


@rollout.command()
def status(context: typer.Context, json: JsonOption = False) -> None:
    """Show the newest rollout: its ring, and what each PC answered about the reference images."""
    settings = load_settings(context)
    with open_store(settings) as store:
        document = _load(store)
    if json:
        console.print_json({"rollout": document})
        return
    if document is None:
        console.out.print("No rollout yet. Start one with: agent rollout start NAME")
        return
    console.out.print(_format_headline(document), markup=False)
    console.table(
        ("ring", "PC", "state", "reference images", "largest difference", "message"),
        [_format_row(pc) for pc in document["pcs"]],
    )


def _load(store: Store) -> dict[str, Any] | None:
    from agent.fleet import list_seen, rollout_to_json
    from agent.service.data_folder import clock
    from agent.service.database_clock import DatabaseClock

    newest = store.rollouts.find_latest()
    if newest is None:
        return None
    now = DatabaseClock(store, now=clock)()
    seen = list_seen(store.agents.list_all())
    return rollout_to_json(newest, store.rollouts.list_hosts(newest.id), seen=seen, now=now)


def _format_headline(document: dict[str, Any]) -> str:
    agreed = sum(pc["state"] == "agreed" for pc in document["pcs"])
    absent = sum(pc["absent"] for pc in document["pcs"])
    text = (
        f"{document['bundle']}: {document['state']}, ring {document['ring']} of 3, "
        f"{agreed} of {len(document['pcs'])} PCs agree, {absent} are off"
    )
    stopped = f" Stopped by {document['stopped_by']}." if document["stopped_by"] else ""
    return f"{text}.{stopped}" + (f" {document['why']}" if document["why"] else "")


def _format_row(pc: dict[str, Any]) -> tuple[str, ...]:
    difference = pc["max_difference"]
    return (
        str(pc["ring"]),
        pc["name"],
        pc["state"] + (", off" if pc["absent"] else ""),
        f"{pc['same_codes']} of {pc['n']} same code" if pc["judged_at"] and pc["n"] else "-",
        "-" if difference is None else f"{difference:.4f}",
        pc["message"],
    )
