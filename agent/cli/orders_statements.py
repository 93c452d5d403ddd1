"""`agent orders statements`, `agent orders show --as-of`: the frozen statements of an order."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from agent.cli import console
from agent.cli.app import load_settings, open_store
from agent.cli.options import JsonOption, Number
from agent.cli.orders import orders
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import FrozenStatement, Store


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
        from agent.cli.orders_report import write_customer_report

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
        WrongUse: The time cannot be parsed, or there was no statement yet.
    """
    at = parse_time(as_of, ZoneInfo(zone))
    frozen = store.statements.find_at(number, at)
    if frozen is None:
        _refuse_unknown(store, number)
        raise WrongUse(
            f"Order {number} had no statement until {at:%Y-%m-%d %H:%M}. "
            f"Run `agent orders statements {number}`."
        )
    whole = store.statements.document(frozen.sha256)
    if as_json:
        console.print_json({"as_of": at.isoformat(), "sha256": frozen.sha256, "statement": whole})
        return
    document = whole["document"]
    word = frozen.conformity.replace("_", " ")
    console.out.print(f"Order {frozen.order}: {word}", markup=False, style="bold")
    stated_at = datetime.fromisoformat(whole["at"]).astimezone(ZoneInfo(zone))
    console.out.print(
        f"  statement {frozen.number} of {stated_at:%Y-%m-%d %H:%M}, SHA-256 {frozen.sha256}",
        markup=False,
    )
    for sentence in (*document["because"], *document["missing"], *document["notes"]):
        console.out.print(f"  {sentence}", markup=False)


def parse_time(text: str, zone: ZoneInfo) -> datetime:
    """Return a time, or the end of a day; without an offset in the time zone of the site.

    Raises:
        WrongUse: The text is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(
            f"--as-of: write a day such as 2026-11-24, or a time such as 2026-11-24T14:30, "
            f"instead of {text!r}."
        ) from error
    if "T" not in text and " " not in text:
        at = datetime.combine(at.date(), time.max)
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _refuse_unknown(store: Store, number: str) -> None:
    if store.orders.order(number) is None:
        raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")


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
    from agent.orders.statement import name_file
    from agent.orders.statement_files import read_files
    from agent.orders.trace_folder import require_new_folder

    target = require_new_folder(folder.absolute())
    archive = Archive.open(settings.store)
    try:
        target.mkdir(parents=True)
        for statement in frozen_statements:
            contents = read_files(store, archive, statement, language=settings.report.language)
            for kind, content in contents.items():
                name = f"{name_file(statement.order)}-{statement.number}.{kind}"
                (target / name).write_bytes(content)
    except OSError as error:
        raise WrongUse(f"{target}: cannot be written ({error.strerror or error}).") from error
