"""`agent orders show`: one order and whether it conforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.options import JsonOption, Number
from agent.cli.order_policy import read_order_policy
from agent.cli.orders import orders
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.orders.assessed import Assessed
    from agent.orders.specimen_facts import FieldFacts


@orders.command("show")
def show_order(
    context: typer.Context,
    number: Number,
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of",
            metavar="DATE",
            help="Show the statement of the end of that day, or of a time such as "
            "2026-11-24T14:30.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show whether an order conforms and what is missing."""
    from agent.cli.orders_statements import show_as_of
    from agent.orders.assessment import assess
    from agent.orders.order_json import order_to_json

    settings = load_settings(context)
    with open_store(settings) as store:
        if as_of:
            show_as_of(store, number, as_of, zone=settings.site.time_zone, as_json=as_json)
            return
        assessed = assess(store, number, read_order_policy(settings, store))
    if assessed is None:
        raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
    if as_json:
        console.print_json(order_to_json(assessed))
        return
    _show(assessed)


def _show(assessed: Assessed) -> None:
    view, wanted = assessed.view, assessed.specification
    rows = [
        ("customer", view.customer),
        ("product", view.product),
        ("material", assessed.material),
        ("urgent", "yes" if view.urgent else ""),
        (
            "required",
            f"{wanted.demand} ({wanted.name}, version {assessed.version})" if wanted else "",
        ),
    ]
    console.echo(f"Order {view.number}: {assessed.statement.conformity.words}", bold=True)
    for name, value in rows:
        if value:
            console.echo(f"  {name}: {value}")
    specimens = [
        (
            specimen.view.name,
            specimen.facts.preparation,
            specimen.statement.conformity.words,
            " ".join(
                _format_code(field) for field in specimen.facts.fields if not field.superseded
            ),
            "; ".join((*specimen.statement.because, *specimen.statement.missing, *specimen.notes)),
        )
        for specimen in assessed.specimens
    ]
    console.table(("specimen", "preparation", "conformity", "fields", "reasons"), specimens)
    shown = {f"specimen {specimen.view.name}:" for specimen in assessed.specimens}
    for sentence in assessed.statement.missing:
        if not any(sentence.startswith(start) for start in shown) or ": no images" in sentence:
            console.echo(f"missing: {sentence}")
    if assessed.needles and assessed.needles.has_any:
        from agent.orders.needle_lengths import describe_pooled

        console.echo(f"needles: {describe_pooled(assessed.needles.pooled)}")
    rule = assessed.decision_rule.lines if assessed.decision_rule else ()
    for note in (*assessed.notes, *rule):
        console.echo(f"note: {note}")
    for fate in assessed.lost:
        console.echo(f"unusable: {fate.path} ({fate.said})")


def _format_code(field: FieldFacts) -> str:
    if field.decided:
        return f"{field.decided.said or field.decided.kind}*"
    mark = "?" if field.awaits or len(field.codes) > 1 else ""
    return f"{field.code or '–'}{mark}"
