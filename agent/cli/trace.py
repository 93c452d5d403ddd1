"""`agent orders trace`: the evidence of an order, a heat or a micrograph."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import DONE, SAYS_NO, load_settings, open_store
from agent.cli.orders import orders
from agent.counts import format_count
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.orders.assessed import Assessed, OrderPolicy
    from agent.orders.statement import Made
    from agent.orders.trace import Trace
    from agent.settings import Settings
    from agent.store import Store
    from model import Classifier


@orders.command()
def trace(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="ORDER|HEAT|ID", help="Order number, heat, or micrograph id.")
    ],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="New folder. Default: ./trace-NAME.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--as", metavar="KIND", help="Kind, if the name is ambiguous: order, heat or id."
        ),
    ] = "",
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="NAME",
            help="Name of the person who writes the folder; the page shows it.",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write the evidence of an order, a heat or a micrograph to a folder with a page.

    Every archived crop is evaluated again with its bundle. The folder contains the statements that
    the agent froze when the order changed. The database is not changed. Exit code 3 if a repeated
    result differs.
    """
    from agent.archive import Archive
    from agent.cli.job_progress import silence_log
    from agent.cli.signing import os_user
    from agent.lab_context import software
    from agent.orders.order_json import trace_to_json
    from agent.orders.reproduce import Sameness
    from agent.orders.statement import plain
    from agent.orders.trace_folder import PAGE, TraceSignature, require_new_folder, write_trace
    from agent.service.data_folder import bundles_folder, clock

    silence_log()
    settings = load_settings(context)
    target = require_new_folder((folder or Path(f"trace-{plain(name)}")).absolute())
    signed = by or os_user()
    with open_store(settings) as store:
        evidence = _collect(settings, store, name, kind)
        write_trace(
            evidence,
            target,
            archive=Archive.open(settings.store),
            bundles=bundles_folder(settings),
            signature=TraceSignature(
                by=signed,
                site=settings.site.name,
                zone=settings.site.time_zone,
                software=software(),
                at=clock(),
                language=settings.report.language,
            ),
        )
    different = [field for field in evidence.fields if field.rerun.outcome is Sameness.DIFFERENT]
    if as_json:
        console.print_json({"folder": str(target), **trace_to_json(evidence, {})})
    else:
        _show(evidence, target / PAGE)
    raise typer.Exit(SAYS_NO if different else DONE)


def _collect(settings: Settings, store: Store, name: str, kind: str) -> Trace:
    from agent.archive import Archive
    from agent.cli.order_policy import read_order_policy
    from agent.orders.trace import Trace, Tracer, find_match

    evidence = find_match(store, name, kind)
    lab = read_order_policy(settings, store, is_noted=False)
    stated = [_assess(store, number, lab) for number in evidence.orders]
    fields = 1 if evidence.only else sum(_count_fields(assessed) for assessed, _ in stated)
    counter = count()
    with console.progress(f"Evaluating {name} again", fields) as advance:
        tracer = Tracer(
            store,
            Archive.open(settings.store),
            lab,
            control=settings.orders.control,
            bundle=_make_loader(settings),
            on_field=lambda: advance(next(counter)),
        )
        if not stated:
            return Trace(evidence, (), (tracer.micrograph(evidence.only),))
        orders = [
            tracer.order(assessed, statements=statements, only=evidence.only)
            for assessed, statements in stated
        ]
        advance(fields)
    return Trace(evidence, tuple(orders))


def _count_fields(assessed: Assessed) -> int:
    preparations = [p for specimen in assessed.view.specimens for p in specimen.preparations]
    return sum(len(preparation.fields) for preparation in preparations) + len(assessed.unassigned)


def _assess(store: Store, number: str, lab: OrderPolicy) -> tuple[Assessed, list[Made]]:
    """Return the present assessment of an order and all its statements."""
    from agent.orders.assessment import assess
    from agent.orders.statement import list_made

    assessed = assess(store, number, lab)
    if assessed is None:
        raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")
    return assessed, list_made(store, assessed.view.number)


def _make_loader(settings: Settings) -> Callable[[str, str], Classifier | None]:
    """Return a loader of bundles by name and precision; None if one cannot be loaded."""
    from agent.service.composition import load_bundle
    from model import ModelError

    def load(name: str, precision: str) -> Classifier | None:
        try:
            return load_bundle(settings, name, precision=precision)
        except (ModelError, OSError):
            return None

    return load


def _show(evidence: Trace, page: Path) -> None:
    for order in evidence.orders:
        assessed = order.assessed
        console.out.print(
            f"Order {assessed.view.number}: {assessed.statement.conformity.words}, "
            f"{format_count(len(order.statements), 'statement')}",
            markup=False,
        )
    rows = [
        (field.place, field.facts.called, field.facts.code, field.rerun.outcome.replace("_", " "))
        for field in evidence.fields
    ]
    console.table(("place", "field", "code", "repeated result"), rows)
    console.out.print(f"page {page}", markup=False)
