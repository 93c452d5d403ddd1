"""`agent orders statements` and `trace`: what was stated of an order, and its evidence."""

from __future__ import annotations

from datetime import datetime, time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from agent.cli import console
from agent.cli.app import DONE, SAYS_NO, load_settings, now_utc, open_store
from agent.cli.options import JsonOption, Number
from agent.cli.review.orders import orders
from agent.errors import UsageError
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.orders.judge.assessed import Assessed, OrderPolicy
    from agent.orders.statements.statement import Made
    from agent.orders.statements.trace import Trace
    from agent.settings import Settings
    from agent.store import FrozenStatement, Store
    from model import Classifier
    from reports import StatementPage

    Language = Literal["en", "de"]


@orders.command()
def statements(
    context: typer.Context,
    number: Number,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="New folder for document, page and PDF of each statement."
        ),
    ] = None,
    *,
    customer: Annotated[
        bool,
        typer.Option(
            "--customer",
            help="Write the customer's report instead, as HTML and PDF, into DIR or this folder: a "
            "statement with pictures, in the layout of [report] customer_templates.",
        ),
    ] = False,
    statement: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --customer the statement. Default: the newest one."),
    ] = None,
    language: Annotated[
        Literal["en", "de"] | None,
        typer.Option(help="With --customer the language. Default: [report] language."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the statements of an order, oldest first, or write them to a folder.

    This command makes no statement. The agent froze each one when the order changed.
    """
    settings = load_settings(context)
    if customer:
        write_customer_report(
            settings, number, folder or Path(), statement=statement, language=language
        )
        return
    with open_store(settings) as store:
        frozen_statements = store.statements.all(number)
        if not frozen_statements:
            _refuse_unknown(store, number)
        if folder is not None:
            _write(settings, store, frozen_statements, folder)
        lines = [_to_json(store, frozen) for frozen in frozen_statements]
    if as_json:
        console.print_json(lines)
        return
    if not lines:
        console.out.print("No statements yet.")
        return
    zone = ZoneInfo(settings.site.time_zone)
    rows = [
        (
            str(line["number"]),
            f"{datetime.fromisoformat(line['at']).astimezone(zone):%Y-%m-%d %H:%M}",
            str(line["conformity"]).replace("_", " "),
            line["sha256"][:16],
            _format_signature(line),
        )
        for line in lines
    ]
    console.table(("statement", "at", "conformity", "sha256", "PDF"), rows)


def show_as_of(store: Store, number: str, as_of: str, *, zone: str, as_json: bool) -> None:
    """Print the statement of an order that applied at a time.

    Raises:
        UsageError: The time cannot be parsed, or there was no statement yet.
    """
    from agent.orders.statements.statement_page import build_statement_page

    at = parse_time(as_of, ZoneInfo(zone))
    frozen = store.statements.find_at(number, at)
    if frozen is None:
        _refuse_unknown(store, number)
        raise UsageError(
            f"Order {number} had no statement until {at:%Y-%m-%d %H:%M}. "
            f"Run `agent orders statements {number}`."
        )
    whole = store.statements.document(frozen.sha256)
    if as_json:
        console.print_json({"as_of": at.isoformat(), "sha256": frozen.sha256, "statement": whole})
        return
    stated_at = datetime.fromisoformat(whole["at"]).astimezone(ZoneInfo(zone))
    console.echo(f"Order {frozen.order}: {frozen.conformity.replace('_', ' ')}", bold=True)
    console.echo(
        f"  statement {frozen.number} of {stated_at:%Y-%m-%d %H:%M}, SHA-256 {frozen.sha256}"
    )
    for file in store.statements.files(frozen.sha256):
        if file.kind == "pdf":
            signed = f"signed by {file.signed_by}" if file.signed_by else "unsigned"
            console.echo(f"  PDF: {signed}")
    _show_page(build_statement_page(whole, frozen.sha256, lambda _field: None))


def _show_page(page: StatementPage) -> None:
    """Print what a statement's page shows, a row of a table on one line."""
    for sentence in page.sentences:
        console.echo(f"  {sentence}")
    for section in page.sections:
        if not section.is_filled:
            continue
        console.echo(section.title, bold=True)
        for fact in section.facts:
            console.echo(f"  {fact.name}: {fact.value}")
        for line in section.lines:
            console.echo(f"  {line}")
        for table in section.tables:
            if table.rows and table.title:
                console.echo(f"  {table.title}:")
            for row in table.rows:
                cells = zip(table.columns, row, strict=True)
                console.echo("  - " + ", ".join(f"{name}: {cell}" for name, cell in cells if cell))


def parse_time(text: str, zone: ZoneInfo) -> datetime:
    """Return a time, or the end of a day; without an offset in the time zone of the site.

    Raises:
        UsageError: The text is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--as-of: write a day such as 2026-11-24, or a time such as 2026-11-24T14:30, "
            f"instead of {text!r}."
        ) from error
    if "T" not in text and " " not in text:
        at = datetime.combine(at.date(), time.max)
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _refuse_unknown(store: Store, number: str) -> None:
    if store.orders.order(number) is None:
        raise UsageError(f"Unknown order {number!r}. Run `agent orders list`.")


def _to_json(store: Store, statement: FrozenStatement) -> dict[str, Any]:
    files = store.statements.files(statement.sha256)
    return {
        "order": statement.order,
        "number": statement.number,
        "at": statement.at.isoformat(),
        "conformity": statement.conformity,
        "sha256": statement.sha256,
        "previous": statement.previous or None,
        "files": [
            {
                "kind": file.kind,
                "sha256": file.sha256,
                "size_bytes": file.size_bytes,
                "language": file.language or None,
                "signed_by": file.signed_by or None,
                "note": file.note or None,
            }
            for file in files
        ],
    }


def _format_signature(line: dict[str, Any]) -> str:
    pdf = [file for file in line["files"] if file["kind"] == "pdf"]
    if not pdf:
        return "–"
    return "signed" if pdf[0]["signed_by"] else "unsigned"


def _write(
    settings: Settings, store: Store, frozen_statements: list[FrozenStatement], folder: Path
) -> None:
    """Write the files of statements to a new folder."""
    from agent.archive import Archive
    from agent.orders.statements.statement import name_file
    from agent.orders.statements.statement_files import read_files
    from agent.orders.statements.trace_page import require_new_folder

    target = require_new_folder(folder.absolute())
    archive = Archive.open(settings)
    try:
        target.mkdir(parents=True)
        for statement in frozen_statements:
            contents = read_files(store, archive, statement, language=settings.report.language)
            for kind, content in contents.items():
                name = f"{name_file(statement.order)}-{statement.number}.{kind}"
                (target / name).write_bytes(content)
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror or error}).") from error


def write_customer_report(
    settings: Settings,
    number: str,
    folder: Path,
    *,
    statement: int | None,
    language: Language | None,
) -> None:
    """Write the report of an order for its customer, as HTML and PDF, and print the files.

    Args:
        settings: Of the lab.
        number: Of the order.
        folder: For the files.
        statement: Number of the statement to show; None: the newest one.
        language: None: [report] language.
    """
    from agent.archive import Archive
    from agent.files.whole_file import write_whole
    from agent.orders.statements.customer_report import find_statement, render_customer_report
    from agent.orders.statements.statement import name_file
    from agent.service.copies import record_older

    templates = settings.report.customer_templates
    with open_store(settings) as store:
        record_older(settings, store, now=now_utc())
        stated = find_statement(store, number, statement)
        contents = render_customer_report(
            store,
            Archive.open(settings),
            stated,
            language=language or settings.report.language,
            folder=Path(templates) if templates else None,
        )
    name = f"{name_file(stated.order)}-{stated.number}-customer"
    files = {folder.absolute() / f"{name}.{kind}": content for kind, content in contents.items()}
    try:
        write_whole(files)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror or error}).") from error
    console.echo(
        f"Statement {stated.number} of order {stated.order}, SHA-256 {stated.sha256}", err=True
    )
    for path in files:
        console.echo(str(path))


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
    from agent.cli.console import silence_log
    from agent.cli.options import os_user
    from agent.orders.facts.order_policy import software
    from agent.orders.statements.order_json import trace_to_json
    from agent.orders.statements.statement import plain
    from agent.orders.statements.trace import Sameness
    from agent.orders.statements.trace_page import (
        PAGE,
        TraceSignature,
        require_new_folder,
        write_trace,
    )
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
            archive=Archive.open(settings),
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
    from agent.cli.options import read_order_policy
    from agent.orders.statements.trace import Trace, Tracer, find_match

    evidence = find_match(store, name, kind)
    lab = read_order_policy(settings, store, is_noted=False)
    stated = [_assess(store, number, lab) for number in evidence.orders]
    fields = 1 if evidence.only else sum(_count_fields(assessed) for assessed, _ in stated)
    counter = count()
    with console.progress(f"Evaluating {name} again", fields) as advance:
        tracer = Tracer(
            store,
            Archive.open(settings),
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
    from agent.orders.judge.assessment import assess
    from agent.orders.statements.statement import list_made

    assessed = assess(store, number, lab)
    if assessed is None:
        raise UsageError(f"Unknown order {number!r}. Run `agent orders list`.")
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
