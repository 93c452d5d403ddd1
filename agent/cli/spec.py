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
from agent.shares import is_file

if TYPE_CHECKING:
    from agent.orders.specification import Specification
    from agent.orders.specimen_facts import Allowance
    from agent.settings import Settings
    from model import Taxonomy

spec = typer.Typer(
    name="spec", help="Specification limits in specifications.toml.", no_args_is_help=True
)
app.add_typer(spec)


@spec.command("list")
def list_specifications(
    context: typer.Context,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only check the file: every fault, exit code 2.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the specifications with their limits and scope."""
    settings = load_settings(context)
    if check:
        _check_specifications(settings)
        return
    with open_store(settings) as store:
        lab = read_order_policy(settings, store)
        versions = store.specifications.versions()
    entries = lab.specifications.entries
    if as_json:
        console.print_json([entry.entry | {"version": versions[entry.sha256]} for entry in entries])
        return
    if not entries:
        console.out.print(f"{settings.orders.specifications}: no specifications yet.")
        return
    console.table(
        ("name", "version", "valid from", "for", "required", "fields", "mm²", "approved by"),
        [
            (
                entry.name,
                versions[entry.sha256],
                entry.valid_from,
                ", ".join(x for x in (entry.material, entry.product, entry.customer) if x),
                entry.demand,
                entry.fields,
                entry.area_mm2 or "",
                entry.approved_by,
            )
            for entry in entries
        ],
    )
    for permission in lab.allowances:
        applies = any(_applies_to(permission, entry, lab.taxonomy) for entry in entries)
        if permission.bound is not None and applies:
            console.out.print(
                f"automatic for {permission.material}, {permission.subtype} {permission.limit}: "
                f"{permission.wrong} of {permission.n} specimens outside the limit or of another "
                f"subtype called conforming, upper bound {permission.bound:.1%} (bundle "
                f"{permission.bundle}, by {permission.by}, since "
                f"{permission.since:%Y-%m-%d %H:%M} UTC)",
                markup=False,
            )


def _applies_to(permission: Allowance, entry: Specification, taxonomy: Taxonomy) -> bool:
    """Return whether a permission covers the limit of a specification."""
    from agent.orders.judgement_rules import Rules
    from agent.orders.specification import is_same_name

    rules = Rules(entry, taxonomy)
    if rules.fault or permission.subtype not in entry.subtype:
        return False
    is_material = not entry.material or is_same_name(entry.material, permission.material)
    return is_material and rules.is_validated_by(permission, permission.subtype)


def _check_specifications(settings: Settings) -> None:
    """Print every fault of specifications.toml."""
    from agent.orders import BadSpecification, iter_faults, read_specifications

    file = settings.orders.specifications
    known = read_specifications(file)  # a share that hangs or refuses is named there
    if not (known.entries or is_file(file)):
        raise WrongUse(f"No such file: {file}. It is set in [orders] specifications.")
    with open_store(settings) as store:
        lab = read_order_policy(settings, store)
    problems = list(iter_faults(known, lab.taxonomy))
    for sentence in problems[1:]:
        console.err.print(f"{file}: {sentence}", markup=False)
    if problems:
        raise BadSpecification(f"{file}: {problems[0]}")
    if not settings.needles.enabled:
        for name in dict.fromkeys(entry.name for entry in known.entries if entry.demands_needles):
            console.err.print(
                f"{file}: [[specification]] {name}: it limits needle lengths, and [needles] "
                "enabled is false: its orders stay undecided.",
                markup=False,
            )
    n = len(known.entries)
    what = "1 specification" if n == 1 else f"{n} specifications"
    console.out.print(f"{file}: {what}, no fault.", markup=False)


@spec.command()
def automatic(
    context: typer.Context,
    material: Annotated[str, typer.Argument(metavar="MATERIAL", help="Material.")],
    off: Annotated[bool, typer.Option("--off", help="Switch automatic conformity off.")] = False,
    by: By = "",
    reason: Reason = "",
) -> None:
    """Switch automatic conformity for a material on or off. Only a lead may.

    It needs a validation record; see agent spec validate.
    """
    from agent.orders.method_validation import limit_states, set_permission
    from agent.orders.order_policy import is_lead

    settings = load_settings(context)
    with signed_store(context, settings, by) as (store, signer):
        if not is_lead(settings, store, signer):
            raise WrongUse(
                f"--by {signer or 'NAME'}: only a lead may do this. Add an account (agent users "
                "add NAME --role lead), or name leads under [orders] leads in agent.toml."
            )
        record = set_permission(
            store,
            material,
            on=not off,
            bundle=store.promotions.find_current(),
            most=settings.orders.max_false_conform,
            by=signer,
            reason=reason,
            at=now_utc(),
        )
    if record is None:
        console.out.print(f"{material}: automatic conformity is off, by {signer}.", markup=False)
        return
    console.out.print(
        f"{material}: automatic conformity is on for new results, by {signer}, with validation "
        f"record {record.id} (bundle {record.facts['bundle']}, {record.facts['images']} images)",
        markup=False,
    )
    for state in limit_states(record.facts, most=settings.orders.max_false_conform):
        word = "on" if state.reaches else "off"
        console.out.print(f"  {word}: {state.sentence}", markup=False)
