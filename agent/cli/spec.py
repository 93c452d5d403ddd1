"""`agent spec`: specification limits and automatic conformity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import app, load_settings, now_utc, open_store
from agent.cli.options import By, JsonOption, Reason
from agent.cli.order_policy import read_order_policy
from agent.cli.signing import signed_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.orders.specification import Specification
    from agent.orders.specimen_facts import Allowance
    from model import Taxonomy

spec = typer.Typer(
    name="spec", help="The specification limits in specifications.toml.", no_args_is_help=True
)
app.add_typer(spec)


@spec.command("list")
def list_specifications(context: typer.Context, as_json: JsonOption = False) -> None:
    """List what is demanded, and of whom."""
    settings = load_settings(context)
    with open_store(settings) as store:
        lab = read_order_policy(settings, store)
        versions = store.orders.versions()
    entries = lab.specifications.entries
    if as_json:
        console.print_json([one.entry | {"version": versions[one.sha256]} for one in entries])
        return
    if not entries:
        console.out.print(f"{settings.orders.specifications}: no specifications yet.")
        return
    console.table(
        ("name", "version", "valid from", "for", "demanded", "fields", "mm²", "approved by"),
        [
            (
                one.name,
                versions[one.sha256],
                one.valid_from,
                ", ".join(x for x in (one.material, one.product, one.customer) if x),
                one.demand,
                one.fields,
                one.area_mm2 or "",
                one.approved_by,
            )
            for one in entries
        ],
    )
    for said in lab.allowances:
        if said.bound is not None and any(_is_of(said, one, lab.taxonomy) for one in entries):
            console.out.print(
                f"automatic for {said.material}, {said.subtype} {said.limit}: n = {said.n} "
                f"specimens that break it or are of another subtype, {said.wrong} called "
                f"conforming, at most {said.bound:.1%} (bundle {said.bundle}, by {said.by}, "
                f"since {said.since:%Y-%m-%d %H:%M} UTC)",
                markup=False,
            )


def _is_of(said: Allowance, one: Specification, taxonomy: Taxonomy) -> bool:
    """Return whether a permission is about what a specification demands."""
    from agent.orders.judgement_rules import Rules
    from agent.orders.specification import same

    rules = Rules(one, taxonomy)
    if rules.fault or said.subtype not in one.subtype:
        return False
    mine = not one.material or same(one.material, said.material)
    return mine and rules.is_validated_by(said, said.subtype)


@spec.command("check")
def check_specifications(context: typer.Context) -> None:
    """Check specifications.toml; every fault is named, exit code 2."""
    from agent.orders import BadSpecification, faults, read_specifications

    settings = load_settings(context)
    file = settings.orders.specifications
    if not file.exists():
        raise WrongUse(f"{file}: there is no such file; [orders] specifications names it.")
    known = read_specifications(file)
    with open_store(settings) as store:
        lab = read_order_policy(settings, store)
    found = list(faults(known, lab.taxonomy))
    for sentence in found[1:]:
        console.err.print(f"{file}: {sentence}", markup=False)
    if found:
        raise BadSpecification(f"{file}: {found[0]}")
    n = len(known.entries)
    what = "1 specification, it can" if n == 1 else f"{n} specifications, all can"
    console.out.print(f"{file}: {what} be judged.", markup=False)


@spec.command()
def automatic(
    context: typer.Context,
    material: Annotated[str, typer.Argument(metavar="MATERIAL", help="Of which material.")],
    off: Annotated[bool, typer.Option("--off", help="Only people say so again.")] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Let the model alone say "conforms" for a material: a lead's act, on a validation record."""
    from agent.orders.method_validation import limit_states, switch
    from agent.orders.order_policy import is_lead

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise WrongUse(
                f"{signer or 'nobody'} is no lead: give an account that role (agent users add NAME "
                "--role lead), or name leads under [orders] leads in agent.toml."
            )
        record = switch(
            store,
            material,
            on=not off,
            bundle=store.current_bundle(),
            most=settings.orders.max_false_conform,
            by=signer,
            reason=reason,
            at=now_utc(),
        )
    if record is None:
        console.out.print(
            f"{material}: only people say that it conforms, by {signer}.", markup=False
        )
        return
    console.out.print(
        f"{material}: automatic conformity is on, by {signer}, on validation record {record.id} "
        f"(bundle {record.facts['bundle']}, {record.facts['images']} images), for results made "
        "from now on",
        markup=False,
    )
    for one in limit_states(record.facts, most=settings.orders.max_false_conform):
        word = "on" if one.reaches else "off"
        console.out.print(f"  {word}: {one.sentence}", markup=False)
