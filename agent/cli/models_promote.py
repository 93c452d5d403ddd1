"""`agent models promote`, `rollback`, `impact`: a lead changes the bundle in use."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.models import NameArgument, load_verified, models
from agent.cli.options import JsonOption
from agent.cli.signing import signed_store
from agent.errors import BadBundle, WrongUse
from model import ModelError

if TYPE_CHECKING:
    from agent.retrain import Impact, Outcome
    from agent.settings import Settings
    from agent.store import Store
    from model import Manifest

ByOption = Annotated[str, typer.Option("--by", help="Who decides; a promotion is a person's act.")]

ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]

DAYS = 90
"""How far back orders are looked at before somebody signs."""

DaysOption = Annotated[
    int,
    typer.Option(
        min=0, help="How far back orders are looked at; 0 looks at none, and is on record."
    ),
]


@models.command("impact")
def impact_(
    context: typer.Context, name: NameArgument, days: DaysOption = DAYS, json: JsonOption = False
) -> None:
    """Say which orders' conformity would change under a bundle, with pictures; writes no result.

    The bundle's answers are those of agent reprocess --shadow.
    """
    settings = load_settings(context)
    load_verified(settings, name)
    with open_store(settings) as store:
        found, page = _impact(settings, store, name, days)
    if json:
        console.print_json({**found.document(), "sha256": found.sha256(), "page": str(page)})
        return
    _print_impact(found, page)


@models.command()
def promote(
    context: typer.Context,
    name: NameArgument,
    by: ByOption,
    reason: ReasonOption,
    days: DaysOption = DAYS,
) -> None:
    """Sign for a bundle; it is put to work, from the next specimen on, once enough have signed.

    Shown first: what the gate said, and the orders whose conformity would change. What was shown is
    kept with the signature. Of how many people it takes: retrain.promoters.
    """
    from agent.service.data_folder import clock
    from agent.store import Signature

    settings = load_settings(context)
    Signature(by, reason, clock())  # refuses nobody, and no reason
    with signed_store(context, settings, by) as (store, signer):
        signature, manifest = Signature(signer, reason, clock()), load_verified(settings, name)
        _require_lead(settings, store, signer)
        before = store.current_bundle()
        if before == name:
            raise WrongUse(f"{name} is at work already.")
        gate = _print_gate(settings, name, before)
        found, page = _impact(settings, store, name, days)
        _print_impact(found, page)
        if found.unasked:
            raise WrongUse(
                f"{name} has not answered {found.unasked} fields of the orders of the last {days} "
                f"days, so nobody can say what it would change: agent reprocess --bundle {name} "
                f"--shadow --days {days}, then sign; or look less far back with --days."
            )
        signed = replace(signature, shown=found.in_short() | {"gate": gate})
        promoters = settings.retrain.promoters
        if not store.sign(
            name, signed, metrics=manifest.metrics, promoters=promoters, instead_of=before
        ):
            console.out.print(
                f"{name} is proposed by {signer}; it is put to work when a second person signs: "
                f"agent models promote {name} --by NAME --reason TEXT",
                markup=False,
            )
            return
        said = f", in place of {before}" if before else ""
        console.out.print(f"{name} is at work{said}; a running agent takes it up by itself.")
        _print_recipe(manifest)
        _write_cards(settings, store, name, before)


def _print_gate(settings: Settings, name: str, before: str | None) -> str:
    """Say what the gate found when the bundle was taught, and whether that still holds."""
    from agent.bundle_registry import get_bundle
    from agent.retrain import load_outcome

    try:
        outcome = load_outcome(get_bundle(settings.store.folder, name))
    except BadBundle as broken:
        said = str(broken)
    else:
        said = _format_gate(outcome, name, before)
    console.out.print(said, markup=False)
    return said


def _format_gate(outcome: Outcome | None, name: str, before: str | None) -> str:
    if outcome is None:
        again = f"; agent models diff {before} {name} holds it against {before}" if before else ""
        return f"No gate has held {name} against another bundle{again}."
    said = f"What the gate said: {outcome.sentence}"
    if before in {None, outcome.current}:
        return said
    return (
        f"{said} That was against {outcome.current}; {before} is at work now: agent models diff "
        f"{before} {name} holds it against that one."
    )


def _require_lead(settings: Settings, store: Store, by: str) -> None:
    """Where the lab has accounts or names leads, only a lead signs."""
    from agent.orders.order_policy import is_lead

    if (settings.orders.leads or store.accounts.every()) and not is_lead(settings, store, by):
        raise WrongUse(
            f"{by} may not put a bundle to work: that is a lead's or an admin's act (agent users "
            "list)."
        )


def _impact(settings: Settings, store: Store, name: str, days: int) -> tuple[Impact, Path]:
    """Say what would change, and leave a page of it in the bundle's record."""
    from agent.archive import Archive
    from agent.bundle_registry import get_bundle, get_record_folder
    from agent.cli.order_policy import read_order_policy
    from agent.lab_context import software
    from agent.retrain import compute_impact, save_impact
    from agent.service.data_folder import clock

    archive, now = Archive(settings.store.folder), clock()
    found = compute_impact(
        store,
        read_order_policy(settings, store),
        name,
        since=now - timedelta(days=days),
        has_crop=lambda view: archive.crop_path(view.sha256, view.page).is_file(),
    )
    record = get_record_folder(get_bundle(settings.store.folder, name))
    at = f"{now:%Y-%m-%d %H:%M} UTC with {software()}"
    return found, save_impact(found, record, archive, site=settings.site.name, at=at)


def _print_impact(found: Impact, page: Path) -> None:
    from agent.retrain import format_headline, list_sentences

    console.out.print(f"{format_headline(found)}.", markup=False)
    for sentence in list_sentences(found):
        console.out.print(sentence, markup=False)
    if found.changed:
        console.table(
            ("order", "conformity", "would be", "micrograph", "answer", "would be"),
            [
                (one.number, one.before, one.after, flip.id, flip.before, flip.after)
                for one in found.changed
                for flip in one.flips
            ],
        )
    console.out.print(f"with pictures: {page}", markup=False)


@models.command()
def rollback(context: typer.Context, by: ByOption, reason: ReasonOption) -> None:
    """Put the bundle before the present one back to work; one signature is enough for that.

    Done twice it goes back twice, never to a bundle that somebody went back from.
    """
    from agent.bundle_registry import list_previous_bundles

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        promotions = store.promotions()
        before = next(iter(list_previous_bundles(promotions)), None)
        if before is None:
            raise WrongUse(
                "there is no bundle before the present one to go back to (agent models list; agent "
                "models promote puts any of them to work)."
            )
        _require_lead(settings, store, signer)
        current = promotions[0].bundle
        _promote_again(store, load_verified(settings, before), signer, reason, current)
        console.out.print(f"{before} is at work again, in place of {current}.")
        _write_cards(settings, store, before, current)


def _promote_again(store: Store, manifest: Manifest, by: str, reason: str, current: str) -> None:
    from agent.bundle_registry import BACK_FROM
    from agent.service.data_folder import clock
    from agent.store import Signature

    Signature(by, reason, clock())  # refuses nobody, and no reason
    store.promote(
        manifest.name,
        by=by,
        reason=f"back from {current}: {reason}",
        at=clock(),
        metrics={**manifest.metrics, BACK_FROM: current},
    )
    _print_recipe(manifest)


def _write_cards(settings: Settings, store: Store, *names: str | None) -> None:
    """Write the cards of bundles anew: who is at work stands in them."""
    from agent.service.jobs.retrain import write_card

    for name in filter(None, names):
        with suppress(BadBundle, OSError, ModelError):  # one that is broken or gone needs none
            write_card(settings, store, name)


def _print_recipe(manifest: Manifest) -> None:
    from agent.imaging.crop import RECIPE

    if manifest.recipe != RECIPE:
        console.err.print(
            f"{manifest.name} learned from crops of recipe {manifest.recipe}, this agent cuts by "
            f"recipe {RECIPE}: teach it again as soon as you can (agent train).",
            markup=False,
        )
