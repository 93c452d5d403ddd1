"""`agent models promote`, `rollback`, `impact`, `rollout`: a lead changes the bundle in use."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.models.bundles import NameArgument, load_verified, models
from agent.cli.options import By, JsonOption, Reason, os_user, require_lead, signed_store
from agent.errors import UnusableBundleError, UsageError
from model import ModelError

if TYPE_CHECKING:
    from agent.retrain import Impact
    from agent.settings import Settings
    from agent.store import RingRules, Store
    from model import Manifest

ByOption = Annotated[str, typer.Option("--by", help="Name of the lead who decides.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Reason; it is recorded.")]
DAYS = 90
"""Days of orders that are compared before a promotion."""

DaysOption = Annotated[
    int,
    typer.Option(
        min=0, help="Days of past orders to compare; 0 compares none, and this is recorded."
    ),
]


@models.command("impact")
def impact_(
    context: typer.Context, name: NameArgument, days: DaysOption = DAYS, json: JsonOption = False
) -> None:
    """List the orders whose conformity would change under a bundle, and write a page.

    This compares the answers of agent models reprocess --shadow. No result is changed.
    """
    settings = load_settings(context)
    load_verified(settings, name)
    with open_store(settings) as store:
        impact, page = _impact(settings, store, name, days)
    if json:
        console.print_json({**impact.document(), "sha256": impact.sha256(), "page": str(page)})
        return
    _print_impact(impact, page)


@models.command()
def promote(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    name: NameArgument,
    by: ByOption,
    reason: ReasonOption,
    days: DaysOption = DAYS,
    rings: Annotated[
        bool,
        typer.Option(
            "--rings",
            help="The PCs take it in rings; see [rollout]. Each judges the reference images before "
            "it uses it; the first whose answers differ stops the rollout for all.",
        ),
    ] = False,
    first: Annotated[
        list[str] | None,
        typer.Option(
            "--first",
            metavar="PC",
            help="PC of ring 1, which implies --rings; repeatable. Default: [rollout] first.",
        ),
    ] = None,
) -> None:
    """Sign for a bundle; with enough signatures it is in use from the next specimen on.

    The command first shows the result of the gate and the orders whose conformity would change.
    This is recorded with the signature. The setting retrain.promoters is the number of signatures.
    """
    from agent.orders.facts.order_policy import get_ring_rules

    settings = load_settings(context)
    rules = get_ring_rules(settings) if rings or first else None
    if rules and first:
        rules = replace(rules, first=tuple(first))
    _sign_for(context, settings, name, by=by, reason=reason, days=days, rules=rules)


def _sign_for(
    context: typer.Context,
    settings: Settings,
    name: str,
    *,
    by: str,
    reason: str,
    days: int,
    rules: RingRules | None,
) -> None:
    """Sign for a bundle and print what follows.

    Args:
        context: Context of the command.
        settings: Of the lab.
        name: Of the bundle.
        by: Name of the lead.
        reason: Why.
        days: Days of past orders to compare.
        rules: The PCs take it in these rings; None: all at once.
    """
    from agent.retrain.bundle_registry import require_allowed
    from agent.retrain.promotion import require_known_impact
    from agent.service.data_folder import clock
    from agent.service.health.database_clock import DatabaseClock
    from agent.store import Signature

    Signature(by, reason, clock())  # refuses an empty name and an empty reason
    with signed_store(context, settings, by) as (store, signer):
        signature, manifest = Signature(signer, reason, clock()), load_verified(settings, name)
        require_lead(settings, store, signer)
        require_allowed(settings.store.folder, manifest)
        before = store.promotions.find_current()
        if before == name:
            raise UsageError(f"{name} is already in use.")
        shown = _describe_rings(settings, store, manifest, rules) if rules else {}
        gate = _print_gate(settings, name, before)
        impact, page = _impact(settings, store, name, days)
        _print_impact(impact, page)
        require_known_impact(impact)
        _ask_again(settings, name, before)
        signed = replace(signature, shown=impact.in_short() | {"gate": gate} | shown)
        promoters = settings.retrain.promoters
        if not store.promotions.sign(
            name,
            signed,
            metrics=manifest.metrics,
            promoters=promoters,
            instead_of=before,
            rings=rules,
            ring_at=DatabaseClock(store, now=clock)(),
        ):
            again = " --rings" if rules else ""
            console.out.print(
                f"{name} is proposed by {signer} and needs a second signature: "
                f"agent models promote {name}{again} --by NAME --reason TEXT",
                markup=False,
            )
            return
        if rules:
            console.out.print(
                f"The PCs of ring 1 take {name}: {', '.join(rules.first)}. To see how far it is: "
                "agent models rollout",
                markup=False,
            )
            _print_recipe(manifest)
            return
        replaced = f" and replaces {before}" if before else ""
        console.out.print(f"{name} is in use{replaced}. A running agent loads it automatically.")
        _print_recipe(manifest)
        _write_cards(settings, store, name, before)


def _ask_again(settings: Settings, name: str, before: str | None) -> None:
    """Require a second yes on a terminal where no gate recommends a bundle.

    Raises:
        UsageError: The answer was no.
    """
    from agent.retrain.bundle_registry import get_bundle
    from agent.retrain.promotion import has_evidence

    if not sys.stdin.isatty() or has_evidence(get_bundle(settings.store.folder, name), before):
        return
    if not typer.confirm(f"No gate recommends {name}. Sign for it all the same?", err=True):
        raise UsageError("Nothing was signed.")


def _describe_rings(
    settings: Settings, store: Store, manifest: Manifest, rules: RingRules
) -> dict[str, Any]:
    """Return what the signature keeps of the rings, after checking the structure codes."""
    from agent.orders.facts.order_policy import taxonomy_in_force
    from agent.retrain.promotion import require_same_codes

    if not settings.model.taxonomy:
        active = taxonomy_in_force(settings, store)
        require_same_codes(manifest.name, manifest.taxonomy, active)
    return {"rings": rules.to_json()}


def _print_gate(settings: Settings, name: str, before: str | None) -> str:
    """Print and return the result of the gate, and whether it still applies."""
    from agent.retrain.bundle_registry import get_bundle
    from agent.retrain.promotion import describe_gate

    result = describe_gate(get_bundle(settings.store.folder, name), before)
    console.out.print(result, markup=False)
    return result


def _impact(settings: Settings, store: Store, name: str, days: int) -> tuple[Impact, Path]:
    """Return what a promotion would change, and the page of it in the bundle's record."""
    from agent.archive import Archive
    from agent.cli.options import read_order_policy
    from agent.orders.facts.order_policy import software
    from agent.retrain import compute_impact, save_impact
    from agent.retrain.bundle_registry import get_bundle, get_record_folder
    from agent.service.data_folder import clock

    archive, now = Archive.open(settings), clock()
    impact = compute_impact(
        store,
        read_order_policy(settings, store),
        name,
        since=now - timedelta(days=days),
        has_crop=lambda view: archive.has_crop(view.sha256, view.page),
        days=days,
    )
    record = get_record_folder(get_bundle(settings.store.folder, name))
    at = f"{now:%Y-%m-%d %H:%M} UTC with {software()}"
    return impact, save_impact(impact, record, archive, site=settings.site.name, at=at)


def _print_impact(impact: Impact, page: Path) -> None:
    from agent.retrain import format_headline, list_sentences

    console.out.print(f"{format_headline(impact)}.", markup=False)
    for sentence in list_sentences(impact):
        console.out.print(sentence, markup=False)
    if impact.changed:
        console.table(
            ("order", "conformity", "would be", "micrograph", "answer", "would be"),
            [
                (order.number, order.before, order.after, flip.id, flip.before, flip.after)
                for order in impact.changed
                for flip in order.flips
            ],
        )
    console.out.print(f"page with pictures: {page}", markup=False)


@models.command()
def rollback(context: typer.Context, by: ByOption, reason: ReasonOption) -> None:
    """Return to the previous bundle; one signature is enough.

    A second rollback returns to the bundle before that. A bundle that was rolled back is skipped.
    """
    from agent.retrain.bundle_registry import list_previous_bundles, require_allowed

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        promotions = store.promotions.list_all()
        before = next(iter(list_previous_bundles(promotions)), None)
        if before is None:
            raise UsageError(
                "There is no previous bundle. To use another one: agent models list, then agent "
                "models promote."
            )
        require_lead(settings, store, signer)
        current = promotions[0].bundle
        manifest = load_verified(settings, before)
        require_allowed(settings.store.folder, manifest)
        _promote_again(store, manifest, signer, reason, current)
        console.out.print(f"{before} is in use again and replaces {current}.")
        _write_cards(settings, store, before, current)


def _promote_again(store: Store, manifest: Manifest, by: str, reason: str, current: str) -> None:
    from agent.retrain.bundle_registry import BACK_FROM
    from agent.service.data_folder import clock
    from agent.store import Signature

    Signature(by, reason, clock())  # refuses an empty name and an empty reason
    store.promotions.promote(
        manifest.name,
        by=by,
        reason=f"back from {current}: {reason}",
        at=clock(),
        metrics={**manifest.metrics, BACK_FROM: current},
    )
    _print_recipe(manifest)


def _write_cards(settings: Settings, store: Store, *names: str | None) -> None:
    """Write the model cards again; they name the bundle in use."""
    from agent.service.jobs.retrain import write_card

    for name in filter(None, names):
        with suppress(
            UnusableBundleError, OSError, ModelError
        ):  # a broken or missing bundle needs no card
            write_card(settings, store, name)


def _print_recipe(manifest: Manifest) -> None:
    from agent.settings.root import RECIPE

    if manifest.recipe != RECIPE:
        console.err.print(
            f"{manifest.name} was trained on crops of recipe {manifest.recipe}; this version uses "
            f"recipe {RECIPE}. Train it again soon: agent train.",
            markup=False,
        )


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
        raise UsageError("Use either --stop or --continue.")
    settings = load_settings(context)
    if stop:
        _stop(settings)
    elif resume:
        _continue(context, settings, by, reason)
    else:
        _show(settings, json=json)


def _continue(context: typer.Context, settings: Settings, by: str, reason: str) -> None:
    from agent.service.data_folder import clock
    from agent.service.health.database_clock import DatabaseClock
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
            raise UsageError("No rollout is running. See agent models rollout.")
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
    from agent.service.data_folder import clock
    from agent.service.health.database_clock import DatabaseClock
    from agent.store.sites.fleet import list_seen, rollout_to_json

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
