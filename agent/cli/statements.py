"""`agent orders statements`, `agent order --as-of`: what was stated of an order, and when."""

from __future__ import annotations

from datetime import datetime, time
from pathlib import Path  # noqa: TC003 - Typer asks for it
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from agent.cli import console
from agent.cli.app import settings_of, store_of
from agent.cli.orders import Json, Number, orders
from agent.errors import WrongUse

if TYPE_CHECKING:
    from agent.orders.statement import Made
    from agent.settings import Settings
    from agent.store import FrozenStatement, Store


@orders.command()
def statements(
    context: typer.Context,
    number: Number,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A new folder for document, page and PDF of each."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List what was stated of an order, oldest first, or write it into a folder.

    Nothing is stated by this command: the agent froze each statement when the order changed.
    """
    settings = settings_of(context)
    with store_of(settings) as store:
        found = store.statements.all(number)
        if not found:
            _refuse_unknown(store, number)
        if folder is not None:
            _write(settings, store, found, folder)
        lines = [_line(store, one) for one in found]
    if as_json:
        console.print_json(lines)
        return
    if not lines:
        console.console.print("No statements yet.")
        return
    zone = ZoneInfo(settings.site.time_zone)
    rows = [
        (
            str(one["number"]),
            f"{datetime.fromisoformat(one['at']).astimezone(zone):%Y-%m-%d %H:%M}",
            str(one["conformity"]).replace("_", " "),
            one["sha256"][:16],
            _signature(one),
        )
        for one in lines
    ]
    console.table(("statement", "at", "conformity", "sha256", "PDF"), rows)


def show_as_of(store: Store, number: str, as_of: str, *, zone: str, as_json: bool) -> None:
    """Show what was stated of an order at a time.

    Raises:
        WrongUse: The time cannot be read, or nothing was stated until then.
    """
    at = parse_time(as_of, ZoneInfo(zone))
    frozen = store.statements.find_at(number, at)
    if frozen is None and (kept := _find_kept(store, number, at)):
        _show_kept(kept, at, zone, as_json=as_json)
        return
    if frozen is None:
        _refuse_unknown(store, number)
        raise WrongUse(
            f"Nothing was stated of order {number} until {at:%Y-%m-%d %H:%M}; "
            f"see: agent orders statements {number}"
        )
    whole = store.statements.document(frozen.sha256)
    if as_json:
        console.print_json({"as_of": at.isoformat(), "sha256": frozen.sha256, "statement": whole})
        return
    document = whole["document"]
    word = frozen.conformity.replace("_", " ")
    console.console.print(f"Order {frozen.order}: {word}", markup=False, style="bold")
    said = datetime.fromisoformat(whole["at"]).astimezone(ZoneInfo(zone))
    console.console.print(
        f"  statement {frozen.number} of {said:%Y-%m-%d %H:%M}, SHA-256 {frozen.sha256}",
        markup=False,
    )
    for sentence in (*document["because"], *document["missing"], *document["notes"]):
        console.console.print(f"  {sentence}", markup=False)


def _find_kept(store: Store, number: str, at: datetime) -> Made | None:
    """Return what an earlier version of the program had stated until a time, or None."""
    from agent.orders.statement import list_made  # noqa: PLC0415

    made = [one for one in list_made(store, number) if one.at <= at and not one.sha256]
    return made[-1] if made else None


def _show_kept(kept: Made, at: datetime, zone: str, *, as_json: bool) -> None:
    if as_json:
        document = {"document": kept.document, "at": kept.at.isoformat(), "by": kept.by}
        console.print_json({"as_of": at.isoformat(), "sha256": None, "statement": document})
        return
    word = str(kept.document["conformity"]).replace("_", " ")
    said = f"{kept.at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
    console.console.print(f"Order {kept.document['order']}: {word}", markup=False, style="bold")
    console.console.print(f"  stated {said} by {kept.by}, in an earlier version", markup=False)


def parse_time(text: str, zone: ZoneInfo) -> datetime:
    """Return the end of a day, or a time; without an offset it is of the site.

    Raises:
        WrongUse: It is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongUse(
            f"--as-of: write a day such as 2026-11-24, or a time such as 2026-11-24T14:30, "
            f"found {text!r}."
        ) from error
    if "T" not in text and " " not in text:
        at = datetime.combine(at.date(), time.max)
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _refuse_unknown(store: Store, number: str) -> None:
    if store.orders.order(number) is None:
        raise WrongUse(f"Unknown order {number!r}. Run `agent orders list`.")


def _line(store: Store, one: FrozenStatement) -> dict[str, Any]:
    files = store.statements.files(one.sha256)
    return {
        "order": one.order,
        "number": one.number,
        "at": one.at.isoformat(),
        "conformity": one.conformity,
        "sha256": one.sha256,
        "previous": one.previous or None,
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


def _signature(line: dict[str, Any]) -> str:
    pdf = [one for one in line["files"] if one["kind"] == "pdf"]
    if not pdf:
        return "–"
    return "signed" if pdf[0]["signed_by"] else "unsigned"


def _write(settings: Settings, store: Store, found: list[FrozenStatement], folder: Path) -> None:
    """Write the files of statements into a folder that is not there yet."""
    from agent.archive import Archive  # noqa: PLC0415
    from agent.orders.statement import plain  # noqa: PLC0415
    from agent.orders.statement_files import read_files  # noqa: PLC0415
    from agent.orders.trace_folder import require_new_folder  # noqa: PLC0415

    target = require_new_folder(folder.absolute())
    archive = Archive(settings.store.folder)
    try:
        target.mkdir(parents=True)
        for one in found:
            contents = read_files(store, archive, one, language=settings.report.language)
            for kind, content in contents.items():
                (target / f"{plain(one.order)}-{one.number}.{kind}").write_bytes(content)
    except OSError as error:
        raise WrongUse(f"{target}: cannot be written ({error.strerror or error}).") from error
