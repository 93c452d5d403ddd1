"""`agent trace`: everything that stands behind what was said of an order, a heat, a micrograph."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli import console
from agent.cli.app import DONE, SAYS_NO, app, settings_of, store_of
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.orders.assessed import Assessed, OrderPolicy
    from agent.orders.statement import Made
    from agent.orders.trace import Trace
    from agent.settings import Settings
    from agent.store import Store
    from model import Classifier


@app.command()
def trace(  # noqa: PLR0917 - each is a word of the command
    context: typer.Context,
    asked: Annotated[
        str, typer.Argument(metavar="ORDER|HEAT|ID", help="An order, a heat, or a micrograph's id.")
    ],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A new folder; else trace-NAME here.")
    ] = None,
    kind: Annotated[
        str,
        typer.Option("--as", metavar="KIND", help="If it could be several: order, heat or id."),
    ] = "",
    by: Annotated[
        str, typer.Option("--by", metavar="NAME", help="Who writes the folder; it says so.")
    ] = "",
    reason: Annotated[  # noqa: ARG001 - scripts of earlier versions give one
        str,
        typer.Option("--reason", metavar="TEXT", help="No longer needed: nothing is stated here."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write down what stands behind an order, a heat or one micrograph: a folder and a page.

    Every archived crop is judged again with its own bundle. The statements are those that the
    agent froze when the order changed; nothing is written to the database. 3 if anything came out
    different when it was judged again.
    """
    from agent.archive import Archive  # noqa: PLC0415
    from agent.cli.signing import os_user  # noqa: PLC0415
    from agent.cli.train import quiet  # noqa: PLC0415
    from agent.lab_context import software  # noqa: PLC0415
    from agent.orders.order_json import trace_to_json  # noqa: PLC0415
    from agent.orders.reproduce import Sameness  # noqa: PLC0415
    from agent.orders.statement import plain  # noqa: PLC0415
    from agent.orders.trace_folder import PAGE, TraceSignature, require_new_folder, write_trace  # noqa: PLC0415
    from agent.service.data_folder import bundles_folder, clock  # noqa: PLC0415

    quiet()
    settings = settings_of(context)
    target = require_new_folder((folder or Path(f"trace-{plain(asked)}")).absolute())
    signed = by or os_user()
    with store_of(settings) as store:
        found = _gathered(settings, store, asked, kind)
        write_trace(
            found,
            target,
            archive=Archive(settings.store.folder),
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
    different = [one for one in found.fields if one.rerun.outcome is Sameness.DIFFERENT]
    if as_json:
        console.print_json({"folder": str(target), **trace_to_json(found, {})})
    else:
        _show(found, target / PAGE)
    raise typer.Exit(SAYS_NO if different else DONE)


def _gathered(settings: Settings, store: Store, asked: str, kind: str) -> Trace:
    from agent.archive import Archive  # noqa: PLC0415
    from agent.cli.orders import lab_in  # noqa: PLC0415
    from agent.orders.trace import Trace, Tracer, find_match  # noqa: PLC0415

    found = find_match(store, asked, kind)
    lab = lab_in(settings, store, is_noted=False)
    stated = [_stated(store, number, lab) for number in found.orders]
    fields = 1 if found.only else sum(_fields(assessed) for assessed, _ in stated)
    begun = count()
    with console.progress(f"Judging {asked} again", fields) as advance:
        tracer = Tracer(
            store,
            Archive(settings.store.folder),
            lab,
            control=settings.orders.control,
            bundle=_loader(settings),
            on_field=lambda: advance(next(begun)),
        )
        if not stated:
            return Trace(found, (), (tracer.micrograph(found.only),))
        orders = [
            tracer.order(assessed, statements=statements, only=found.only)
            for assessed, statements in stated
        ]
        advance(fields)
    return Trace(found, tuple(orders))


def _fields(assessed: Assessed) -> int:
    prepared = [one for specimen in assessed.view.specimens for one in specimen.preparations]
    return sum(len(one.fields) for one in prepared) + len(assessed.unassigned)


def _stated(store: Store, number: str, lab: OrderPolicy) -> tuple[Assessed, list[Made]]:
    """Return an order as it stands, and every statement that was made of it."""
    from agent.orders.assessment import assess  # noqa: PLC0415
    from agent.orders.statement import list_made  # noqa: PLC0415

    assessed = assess(store, number, lab)
    if assessed is None:
        raise WrongUse(f"nobody has heard of an order {number!r}; see: agent orders list")
    return assessed, list_made(store, assessed.view.number)


def _loader(settings: Settings) -> Callable[[str], Classifier | None]:
    """Load bundles by name; what cannot be loaded is said on the page, field by field."""
    from agent.service.composition import load_bundle  # noqa: PLC0415
    from model import ModelError  # noqa: PLC0415

    def load(name: str) -> Classifier | None:
        try:
            return load_bundle(settings, name)
        except (ModelError, OSError):
            return None

    return load


def _show(found: Trace, page: Path) -> None:
    for order in found.orders:
        assessed = order.assessed
        console.console.print(
            f"Order {assessed.view.number}: {assessed.statement.conformity.words}, "
            f"{len(order.statements)} statements",
            markup=False,
        )
    rows = [
        (one.place, one.facts.called, one.facts.code, one.rerun.outcome.replace("_", " "))
        for one in found.fields
    ]
    console.table(("where", "field", "code", "judged again"), rows)
    console.console.print(f"page {page}", markup=False)
