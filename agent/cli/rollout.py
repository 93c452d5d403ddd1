"""`agent models rollout`: the PCs of a site take a bundle in rings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.models import models
from agent.cli.options import By, JsonOption, Reason
from agent.cli.signing import os_user, require_lead, signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store


@models.command()
def rollout(
    context: typer.Context,
    *,
    stop: Annotated[
        bool,
        typer.Option(
            "--stop",
            help="Every PC goes back to what was in use. No signature is needed. Where an agent "
            "stopped it, this acknowledges the problem.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--continue", help="Continue the stopped rollout at ring 1; needs a signature."
        ),
    ] = False,
    by: By = "",
    reason: Reason = "",
    json: JsonOption = False,
) -> None:
    """Show the newest rollout: its ring, and what each PC answered about the reference images.

    `agent models promote --rings` starts one.
    """
    if stop and resume:
        raise WrongUse("Use either --stop or --continue.")
    settings = load_settings(context)
    if stop:
        _stop(settings)
    elif resume:
        _continue(context, settings, by, reason)
    else:
        _show(settings, json=json)


def _continue(context: typer.Context, settings: Settings, by: str, reason: str) -> None:
    from agent.service.data_folder import clock
    from agent.service.database_clock import DatabaseClock
    from agent.store import Signature

    Signature(by, reason, clock())  # refuses an empty name and an empty reason
    with signed_store(context, settings, by, "--continue") as (store, signer):
        require_lead(settings, store, signer)
        resumed = store.rollouts.resume(
            Signature(signer, reason, clock()), ring_at=DatabaseClock(store, now=clock)()
        )
    console.out.print(
        f"The rollout of {resumed.bundle} continues at ring 1: {', '.join(resumed.rules.first)}.",
        markup=False,
    )


def _stop(settings: Settings) -> None:
    from agent.service.data_folder import clock

    with open_store(settings) as store:
        if not store.rollouts.stop(by=os_user(), at=clock()):
            raise WrongUse("No rollout is running. See agent models rollout.")
        stopped = store.rollouts.find_latest()
        current = (stopped.previous if stopped else None) or "no bundle"
    console.out.print(f"Stopped. Every PC goes back to {current}.", markup=False)


def _show(settings: Settings, *, json: bool) -> None:
    with open_store(settings) as store:
        document = _load(store)
    if json:
        console.print_json({"rollout": document})
        return
    if document is None:
        console.out.print("No rollout yet. Start one with: agent models promote NAME --rings")
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
