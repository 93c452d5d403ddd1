"""`agent orders statements --customer`: the report that a customer gets of an order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli import console
from agent.cli.app import open_store
from agent.errors import WrongUse

if TYPE_CHECKING:
    from typing import Literal

    from agent.settings import Settings

    Language = Literal["en", "de"]


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
    from agent.orders.customer_report import find_statement, render_customer_report
    from agent.orders.statement import name_file
    from agent.whole_file import write_whole

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
