"""`agent orders show`, `list` and `import`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import DONE, SOME_FAILED, app, load_settings, now_utc, open_store
from agent.cli.options import By, JsonOption, Number, os_user, read_order_policy
from agent.errors import UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from agent.orders.facts.specimen_facts import FieldFacts
    from agent.orders.judge.assessed import Assessed
    from agent.settings import Settings

orders = typer.Typer(
    name="orders",
    help="Orders, their specimens and fields, and decisions about them.",
    no_args_is_help=True,
)


app.add_typer(orders)


@orders.command("list")
def list_(
    context: typer.Context,
    *,
    unassigned: Annotated[
        bool,
        typer.Option("--unassigned", help="List the fields that belong to no specimen, and why."),
    ] = False,
    control: Annotated[
        bool,
        typer.Option("--control", help="List the control-specimen results of each microscope."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List every order, urgent ones first."""
    if unassigned and control:
        raise UsageError("Use either --unassigned or --control.")
    settings = load_settings(context)
    if unassigned:
        _list_unassigned(settings, as_json=as_json)
        return
    if control:
        _list_control(settings, as_json=as_json)
        return
    with open_store(settings) as store:
        lines = store.orders.all()
    if as_json:
        console.print_json(
            [
                {
                    "order": line.number,
                    "customer": line.customer,
                    "product": line.product,
                    "material": line.material,
                    "urgent": line.urgent,
                    "first_seen_at": line.first_seen_at and line.first_seen_at.isoformat(),
                    "specimens": line.specimens,
                    "fields": line.fields,
                    "awaiting_review": line.waiting,
                }
                for line in lines
            ]
        )
        return
    if not lines:
        console.out.print(
            "No orders yet. The agent reads orders from the path pattern of a source or from an "
            "order list."
        )
        return
    console.table(
        ("order", "urgent", "material", "customer", "product", "specimens", "fields", "in review"),
        [
            (
                line.number,
                "urgent" if line.urgent else "",
                line.material,
                line.customer,
                line.product,
                line.specimens,
                line.fields,
                line.waiting,
            )
            for line in lines
        ],
    )


@orders.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV with a column order.")],
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Import an order list."""
    from agent.orders import SpecificationError
    from agent.orders.facts.order_list import import_list
    from agent.orders.facts.order_policy import (
        note_specifications,
        prioritise_urgent,
        read_taxonomy,
    )

    settings = load_settings(context)
    with open_store(settings) as store:
        known = [subtype.name for subtype in read_taxonomy(settings, store, now=now_utc()).subtypes]
        with suppress(
            SpecificationError
        ):  # the recorded one applies; `agent orders show` names the fault
            note_specifications(settings, store, now=now_utc())
        try:
            taken = import_list(store, file, subtypes=known, by=by or os_user(), at=now_utc())
        except OSError as error:
            raise UsageError(f"{file}: cannot be read ({error.strerror or error}).") from error
        prioritise_urgent(store, settings)
    if taken.refusal:
        raise UsageError(f"{file}: {taken.refusal}")
    if as_json:
        console.print_json({"changed": list(taken.changed), "sentences": list(taken.sentences)})
    else:
        changed = format_count(len(taken.changed), "order")
        console.out.print(f"{changed} new or changed", markup=False)
    for sentence in taken.sentences:
        console.err.print(sentence, markup=False)
    raise typer.Exit(SOME_FAILED if taken.broken else DONE)


def _list_control(settings: Settings, *, as_json: bool) -> None:
    """Print the control-specimen results of each microscope over time."""
    from dataclasses import asdict

    from agent.orders.instruments.instrument_checks import list_control_points

    with open_store(settings) as store:
        charts = list_control_points(store, settings.orders.control)
    if as_json:
        console.print_json(
            {source: [asdict(point) for point in points] for source, points in charts.items()}
        )
        return
    if not charts:
        console.out.print(
            "No control specimen yet. Enter control orders under [orders] control in agent.toml.",
            markup=False,
        )
        return
    for source, points in charts.items():
        rows = [
            (
                f"{point.at:%Y-%m-%d %H:%M}",
                point.code,
                "" if point.p_value is None else f"{point.p_value:.3f}",
                "" if point.brightness is None else f"{point.brightness:.0f}",
                "" if point.focus is None else f"{point.focus:.4f}",
                "; ".join(point.faults) or "normal",
            )
            for point in points[-60:]
        ]
        columns = ("UTC", "code", "strangeness p", "brightness", "focus", "result")
        console.table(columns, rows, title=f"Control specimen of {source}")


def _list_unassigned(settings: Settings, *, as_json: bool) -> None:
    """Print the fields that belong to no specimen, with the reason."""
    with open_store(settings) as store:
        fields = store.orders.unassigned()
    if as_json:
        console.print_json(
            [
                {"id": field.view.id, "file": field.view.path, "reason": field.reason}
                for field in fields
            ]
        )
        return
    if not fields:
        console.out.print("Every field belongs to a specimen.")
        return
    console.table(
        ("id", "file", "why"), [(field.view.id, field.view.path, field.reason) for field in fields]
    )
    console.out.print(
        'To assign a field: agent orders assign ID ORDER SPECIMEN --by NAME --reason "label fell '
        'off"'
    )


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
    from agent.cli.review.orders_statements import show_as_of
    from agent.orders.judge.assessment import assess
    from agent.orders.statements.order_json import order_to_json

    settings = load_settings(context)
    with open_store(settings) as store:
        if as_of:
            show_as_of(store, number, as_of, zone=settings.site.time_zone, as_json=as_json)
            return
        assessed = assess(store, number, read_order_policy(settings, store))
    if assessed is None:
        raise UsageError(f"Unknown order {number!r}. Run `agent orders list`.")
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
        from agent.orders.facts.needle_lengths import describe_pooled

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
