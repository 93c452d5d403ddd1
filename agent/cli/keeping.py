"""Say what became of each file, queue files again, and write out what is known."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agent.cli.app import app, settings_of, store_of
from agent.cli.say import aside, console, print_json, table
from agent.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TextIO

    from agent.store import FileFate, MicrographView, Store

AsJson = Annotated[bool, typer.Option("--json", help="One object per line on stdout.")]
FAILED = ("failed", "set_aside")
MAX_ROWS = 500
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet would run a text that begins with one of these."""


@app.command()
def files(
    context: typer.Context,
    as_json: AsJson = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that failed or were set aside.")
    ] = False,
    state: Annotated[
        str | None, typer.Option(help="Only those in this state, such as queued.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only those of this source.")] = None,
) -> None:
    """Say what became of every file."""
    states = _states(state, failed=failed)
    with store_of(settings_of(context)) as store:
        fates = store.files(states, source)
        if as_json:
            for fate in fates:
                print_json(fate.as_json())
        else:
            _show(fates)


def _states(state: str | None, *, failed: bool) -> tuple[str, ...] | None:
    from agent.store import State  # noqa: PLC0415 - brings the database

    if state and state not in set(State):
        raise WrongUse(f"--state: one of {', '.join(State)}; found {state!r}.")
    if failed:
        return FAILED
    return (state,) if state else None


def _show(fates: Iterable[FileFate]) -> None:
    rows: list[tuple[object, ...]] = []
    more = 0
    for fate in fates:
        if len(rows) < MAX_ROWS:
            rows.append((fate.state, fate.source, fate.path, _why(fate), fate.attempts))
        else:
            more += 1
    if not rows:
        console.print("no files")
        return
    table(("state", "source", "file", "why", "attempts"), rows)
    if more:
        console.print(f"and {more} more; --json says all of them")


def _why(fate: FileFate) -> str:
    if fate.duplicate_of:
        return f"same content as {fate.duplicate_of}"
    said = fate.said or ""
    if fate.next_try_at and fate.state in FAILED:
        again = "next try" if fate.state == "failed" else "read again"
        said += f"; {again} {fate.next_try_at:%Y-%m-%d %H:%M} UTC"
    return said


@app.command()
def retry(
    context: typer.Context,
    which: Annotated[
        list[str] | None,
        typer.Argument(help="Paths, hashes or numbers; without any, say --all."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Everything that failed or was set aside.")
    ] = False,
) -> None:
    """Queue files again that failed or were set aside."""
    if bool(which) == every:
        raise WrongUse("name the files to queue again, or say --all.")
    with store_of(settings_of(context)) as store:
        names = None if every else [_as_stored(name) for name in which or ()]
        count = store.retry(names, at=datetime.now(UTC))
    if which and not count:
        raise WrongUse(
            f"{which[0]}: no file that failed or was set aside is called so; see agent files."
        )
    console.print(f"{count} queued again; the running agent takes them, or: agent run --once")


def _as_stored(name: str) -> str:
    path = Path(name)
    return str(path.absolute()) if path.exists() else name


# --- export -------------------------------------------------------------------------------------


What = Literal["micrographs", "labels", "files", "trail"]
Format = Literal["csv", "json"]


@app.command()
def export(
    context: typer.Context,
    what: Annotated[What, typer.Argument(help="What to write out.")] = "micrographs",
    form: Annotated[Format, typer.Option("--format", help="csv, or json: a line each.")] = "csv",
    out: Annotated[Path | None, typer.Option(help="The file; without it: stdout.")] = None,
) -> None:
    """Write out what is known, for a spreadsheet or another program."""
    rows = {"micrographs": _micrographs, "labels": _labels, "files": _files, "trail": _trail}
    with store_of(settings_of(context)) as store, _opened(out) as file:
        count = (_write_csv if form == "csv" else _write_json)(file, rows[what](store))
    aside.print(f"{count} rows written{f' to {out}' if out else ''}", markup=False)


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        # utf-8-sig: without the mark a spreadsheet reads µ as two strange letters.
        with out.open("w", encoding="utf-8-sig" if out.suffix == ".csv" else "utf-8",
                      newline="") as file:  # fmt: skip
            yield file
    except OSError as error:
        raise WrongUse(f"{out}: cannot be written ({error.strerror or error}).") from error


def _write_json(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        count += 1
    return count


def _write_csv(file: TextIO, rows: Iterable[Mapping[str, Any]]) -> int:
    count, writer = 0, None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(file, list(row), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
        count += 1
    return count


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, (list, tuple)):
        return " ".join(str(one) for one in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def _micrographs(store: Store) -> Iterator[dict[str, Any]]:
    for view in store.micrographs():
        yield _micrograph(view)


def _micrograph(view: MicrographView) -> dict[str, Any]:
    from agent.settings import PROCESS_COLUMNS  # noqa: PLC0415 - `agent --help` answers without

    label = view.label
    return {
        "id": view.id,
        "sha256": view.sha256,
        "page": view.page,
        "path": view.path,
        "source": view.source,
        "origin": view.origin,
        "done_at": view.done_at.isoformat(),
        **{name: view.process_data.get(name, "") for name in PROCESS_COLUMNS},
        "um_per_px": view.um_per_px,
        "um_per_px_source": view.um_per_px_source,
        "structure_code": view.structure_code,
        "subtype": view.subtype,
        "size_min": view.size_min,
        "size_max": view.size_max,
        "probability": view.probability,
        "prediction_set": view.prediction_set,
        "p_value": view.strangeness.get("p_value"),
        "handling": view.handling,
        "reasons": view.reasons,
        "bundle": view.bundle,
        "recipe": view.recipe,
        "engine": view.engine,
        "precision": view.precision,
        "label_kind": label.kind if label else None,
        "label_code": label.code if label else None,
        "label_by": label.by if label else None,
        "label_at": label.at.isoformat() if label else None,
        "label_criterion": label.criterion if label else None,
        "label_comment": label.comment if label else None,
    }


def _labels(store: Store) -> Iterator[dict[str, Any]]:
    """Give every decision, also those that were taken back or superseded."""
    for view in store.micrographs():
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
                "model_code": view.structure_code,
            }


def _files(store: Store) -> Iterator[dict[str, Any]]:
    for fate in store.files():
        yield fate.as_json()


def _trail(store: Store) -> Iterator[dict[str, Any]]:
    for entry in store.trail():
        yield {
            "number": entry.id,
            "at": entry.at.isoformat(),
            "site": entry.site,
            "actor": entry.actor,
            "act": entry.act,
            "subject": entry.subject,
            "facts": entry.facts,
            "sha256": entry.sha256,
        }
