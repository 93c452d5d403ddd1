"""`agent orders report`: the report that a customer gets of an order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.options import Number
from agent.cli.orders import orders
from agent.errors import WrongUse


@orders.command()
def report(
    context: typer.Context,
    number: Number,
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder for the files. Default: this folder.")
    ] = Path(),
    *,
    statement: Annotated[
        int | None, typer.Option(metavar="N", help="Statement to show. Default: the newest one.")
    ] = None,
    language: Annotated[
        Literal["en", "de"] | None,
        typer.Option(help="Language of the report. Default: [report] language."),
    ] = None,
) -> None:
    """Write the report of an order for its customer, as HTML and PDF.

    It shows a frozen statement with pictures, in the layout of [report] customer_templates.
    """
    from agent.archive import Archive
    from agent.orders.customer_report import find_statement, render_customer_report
    from agent.orders.statement import name_file
    from agent.whole_file import write_whole

    settings = load_settings(context)
    templates = settings.report.customer_templates
    with open_store(settings) as store:
        made = render_customer_report(
            store,
            Archive.open(settings.store),
            find_statement(store, number, statement),
            language=language or settings.report.language,
            folder=Path(templates) if templates else None,
        )
    name = f"{name_file(made.order)}-{made.statement}-customer"
    files = {folder.absolute() / f"{name}.{kind}": content for kind, content in made.files.items()}
    try:
        write_whole(files)
    except OSError as error:
        raise WrongUse(f"{folder}: cannot be written ({error.strerror or error}).") from error
    console.echo(
        f"Statement {made.statement} of order {made.order}, SHA-256 {made.sha256}", err=True
    )
    for path in files:
        console.echo(str(path))
