"""`agent export`: tables for a spreadsheet or another program."""

from __future__ import annotations

import json
import os
import sys
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO
from zoneinfo import ZoneInfo

import typer

from agent.cli.app import app, load_settings, open_store
from agent.cli.console import err
from agent.errors import UsageError
from agent.files.csv_export import write_csv
from agent.terminal import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.store import MicrographView, Store

    Row = dict[str, Any]

What = Literal["micrographs", "labels", "needles", "files", "trail"]
Format = Literal["csv", "json", "parquet"]

COLUMNS: dict[What, tuple[str, ...]] = {
    "micrographs": ("criterion", "comment", "origin", "recipe"),
    "labels": (
        *("id", "sha256", "page", "label", "kind", "code", "strange_kind", "why", "criterion"),
        *("unsure", "comment", "by", "at", "viewing_s", "blind", "bulk", "origin", "result_seen"),
        *("supersedes", "undone", "model_code"),
    ),
    "needles": (
        *("needle", "id", "start_x", "start_y", "end_x", "end_y", "um_per_px", "length_um"),
        *("by", "at", "withdrawn_by", "withdrawn_at"),
    ),
    "files": (
        *("path", "paths", "sha256", "size_bytes", "source", "state", "reason", "attempts"),
        *("first_seen_at", "done_at", "duplicate_of", "code", "next_try_at"),
    ),
    "trail": (
        *("number", "at", "site", "actor", "act", "subject", "facts", "sha256"),
        *("origin", "account", "proof", "meaning", "os_user", "address"),
    ),
}
"""Columns by table. For micrographs the columns of the nightly report come first."""
BATCH = 10_000
KINDS = {
    **dict.fromkeys(("page", "size_min", "size_max", "size_bytes", "attempts"), "int64"),
    **dict.fromkeys(("start_x", "start_y", "end_x", "end_y", "length_um"), "float64"),
    **dict.fromkeys(
        ("needle", "label", "result_seen", "supersedes", "number", "duplicate_of"), "int64"
    ),
    **dict.fromkeys(("probability", "p_value", "um_per_px", "viewing_s"), "float64"),
    **dict.fromkeys(("needle_l50_um", "needle_l90_um", "needle_l99_um"), "float64"),
    "needle_longest_um": "float64",
    "needles": "int64",
    **dict.fromkeys(("strange", "blind", "bulk", "undone", "unsure"), "bool_"),
}
"""Parquet types of columns that are not text, fixed so that all batches agree."""


@app.command()
def export(  # noqa: PLR0917 - each is an option of the command
    context: typer.Context,
    what: Annotated[
        Literal[What, "labelled"],
        typer.Argument(
            help="Table to export; labelled: the crop of every labelled micrograph with a manifest "
            "for agent import, into the new folder --out."
        ),
    ] = "micrographs",
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Default: by the file name. json: one object per line."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output file. Default: stdout.")] = None,
    order: Annotated[str | None, typer.Option(help="Only micrographs of this order.")] = None,
    source: Annotated[str | None, typer.Option(help="Only micrographs of this source.")] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="First day.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="Last day.")
    ] = None,
    spreadsheet: Annotated[
        bool,
        typer.Option(help="CSV for a spreadsheet with German settings: semicolons, decimal comma."),
    ] = False,
) -> None:
    """Export micrographs, labels, measured needles, files or the audit log."""
    if what == "labelled":
        from agent.cli.review.queue import export_labelled

        if out is None:
            raise UsageError("Name a new or empty folder with --out.")
        export_labelled(load_settings(context), out)
        return
    write = _writer(form or _guess_format(out), _columns(what), spreadsheet=spreadsheet)
    settings = load_settings(context)
    zone = settings.site.time_zone
    after, until = _parse_day(first, "--from", zone), _parse_day(last, "--to", zone, days=1)

    def wanted(view: MicrographView) -> bool:
        return (
            (order is None or view.process_data.get("order") == order)
            and (source is None or view.source == source)
            and (after is None or view.result.done_at >= after)
            and (until is None or view.result.done_at < until)
        )

    with open_store(settings) as store:
        views = (view for view in store.results.iter_all() if wanted(view))
        rows: dict[str, Callable[[], Iterator[Row]]] = {
            "micrographs": lambda: _micrographs(store, views, zone),
            "labels": lambda: _labels(views),
            "needles": lambda: _needles(store),
            "files": lambda: _files(store),
            "trail": lambda: _trail(store),
        }
        count = write(rows[what](), out)
    err.print(f"{format_count(count, 'row')} written{f' to {out}' if out else ''}", markup=False)


def _guess_format(out: Path | None) -> Format:
    formats: dict[str, Format] = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
    return formats.get(out.suffix.lower(), "csv") if out else "csv"


def _parse_day(text: str | None, option: str, zone: str, *, days: int = 0) -> datetime | None:
    if text is None:
        return None
    try:
        begun = date.fromisoformat(text) + timedelta(days=days)
    except ValueError as error:
        raise UsageError(
            f"{option}: write a day such as 2026-11-24 instead of {text!r}."
        ) from error
    return datetime.combine(begun, time.min, ZoneInfo(zone))


def _columns(what: What) -> tuple[str, ...]:
    if what != "micrographs":
        return COLUMNS[what]
    from agent.nightly.page import micrograph_rows  # `agent --help` answers without

    return (*(name for name in micrograph_rows.COLUMNS if name != "size"), *COLUMNS[what])


def _micrographs(store: Store, views: Iterator[MicrographView], zone: str) -> Iterator[Row]:
    from agent.nightly import add_needles  # `agent --help` answers without
    from agent.nightly.page.micrograph_rows import build_record

    while batch := list(islice(views, BATCH)):
        for view in add_needles(store, batch):
            yield _describe_micrograph(view, build_record(view, zone))


def _describe_micrograph(view: MicrographView, row: Row) -> Row:
    label = view.label
    return {
        # see size_min and size_max; a spreadsheet reads 9-10 as a date
        **{name: value for name, value in row.items() if name != "size"},
        "criterion": label.criterion if label else None,
        "comment": label.comment if label else None,
        "origin": view.result.origin,
        "recipe": view.recipe,
    }


def _labels(views: Iterable[MicrographView]) -> Iterator[Row]:
    """Yield every decision, including withdrawn and superseded ones."""
    for view in views:
        for label in view.labels:
            yield {
                "id": view.id,
                "sha256": view.sha256,
                "page": view.page,
                "label": label.id,
                "kind": label.kind,
                "code": label.code,
                "strange_kind": label.strange_kind,
                "why": label.why,
                "criterion": label.criterion,
                "unsure": label.unsure,
                "comment": label.comment,
                "by": label.by,
                "at": label.at.isoformat(),
                "viewing_s": label.viewing_s,
                "blind": label.blind,
                "bulk": label.bulk,
                "origin": label.origin,
                "result_seen": label.result_seen,
                "supersedes": label.supersedes,
                "undone": label.undone,
                "model_code": view.result.structure_code,
            }


def _needles(store: Store) -> Iterator[Row]:
    """Yield every measured needle, withdrawn ones too; tips in px of the crop."""
    for needle in store.needle_measurements.iter_all():
        yield {
            "needle": needle.id,
            "id": needle.micrograph,
            "start_x": needle.start[0],
            "start_y": needle.start[1],
            "end_x": needle.end[0],
            "end_y": needle.end[1],
            "um_per_px": needle.um_per_px,
            "length_um": needle.length_um,
            "by": needle.by,
            "at": needle.at.isoformat(),
            "withdrawn_by": needle.withdrawn_by or None,
            "withdrawn_at": needle.withdrawn_at.isoformat() if needle.withdrawn_at else None,
        }


def _files(store: Store) -> Iterator[Row]:
    for fate in store.files.iter_status():
        yield fate.as_json()


def _trail(store: Store) -> Iterator[Row]:
    from agent.store import SIGNED  # `agent --help` answers without

    for entry in store.audit_log.iter_acts():
        signed = entry.facts.get(SIGNED) or {}
        yield {
            "number": entry.id,
            "at": entry.at.isoformat(),
            "site": entry.site,
            "actor": entry.actor,
            "act": entry.act,
            "subject": entry.subject,
            "facts": entry.facts,
            "sha256": entry.sha256,
            "origin": signed.get("kind"),
            **{name: signed.get(name) for name in COLUMNS["trail"][-5:]},
        }


def _writer(
    form: Format, columns: tuple[str, ...], *, spreadsheet: bool
) -> Callable[[Iterator[Row], Path | None], int]:
    if form == "parquet":
        return lambda rows, out: _write_parquet(rows, columns, out)
    if form == "json":
        return lambda rows, out: _write_text(rows, out, _write_json)
    return lambda rows, out: _write_text(
        rows, out, lambda rows, file: write_csv(file, columns, rows, spreadsheet=spreadsheet)
    )


def _write_text(
    rows: Iterator[Row], out: Path | None, write: Callable[[Iterator[Row], TextIO], int]
) -> int:
    if out is None:
        return write(rows, sys.stdout)

    def fill(part: Path) -> int:
        # utf-8-sig: without the mark a spreadsheet decodes µ as two letters.
        encoding = "utf-8-sig" if out.suffix.lower() == ".csv" else "utf-8"
        with part.open("w", encoding=encoding, newline="") as file:
            return write(rows, file)

    return _write_atomically(out, fill)


def _write_atomically(path: Path, fill: Callable[[Path], int]) -> int:
    """Write to a temporary file and rename it, so that no reader gets half a file.

    Raises:
        UsageError: The file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        count = fill(part)
        part.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _write_json(rows: Iterator[Row], file: TextIO) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        count += 1
    return count


def _write_parquet(rows: Iterator[Row], columns: tuple[str, ...], out: Path | None) -> int:
    if out is None:
        raise UsageError("--format parquet: name the file with --out NAME.parquet.")
    import pyarrow as pa
    from pyarrow import parquet

    def fill(part: Path) -> int:
        count = 0
        schema = pa.schema([(name, getattr(pa, KINDS.get(name, "string"))()) for name in columns])
        with parquet.ParquetWriter(part, schema) as writer:
            while batch := [_flat(row) for row in islice(rows, BATCH)]:
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                count += len(batch)
        return count

    return _write_atomically(out, fill)


def _flat(row: Row) -> Row:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
        for name, value in row.items()
    }
