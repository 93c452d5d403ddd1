"""Read order lists, CSV files dropped into a folder, and describe what they change.

A broken row is reported with its line and left out, nothing is guessed; rows of one order that
disagree leave the whole order out.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import UsageError
from agent.site_time import CLOCKS_DIFFER
from agent.store import Entry, Store
from model import find_nearest, suggest_nearest
from reports import gettext as _
from reports import marked

COLUMNS = (
    "order",
    "customer",
    "product",
    "material",
    "heat",
    "batch",
    "etchant",
    "subtype",
    "specimen",
    "specimens",
    "specification",
    "urgent",
)
GERMAN = {
    "auftrag": "order",
    "auftragsnummer": "order",
    "kunde": "customer",
    "produkt": "product",
    "werkstoff": "material",
    "schmelze": "heat",
    "charge": "batch",
    "wärmebehandlungscharge": "batch",
    "ätzmittel": "etchant",
    "schliff": "specimen",
    "schliffe": "specimens",
    "eilig": "urgent",
}
YES, NO = ("1", "yes", "true", "x", "ja"), ("", "0", "no", "false", "nein")
A_SLIP = 0.8
"""Likeness from which a column's name is a misspelt one of ours; others are left alone."""
LONGEST = 200
HELD_S = 600.0
"""A list that cannot be read for longer is not held by the program that writes it; our choice."""
AHEAD = (
    "it is dated in the future, so whether it is complete is not known. Correct the clock of the "
    "PC that wrote it, and save it again."
)
IMPORTED = "order_list"
"""Kind of the records of imported lists; the subject is the name of the file."""
_OTHER_CODE_PAGE = re.compile(rb"[\x81\x8d\x8f\x90\x9d]|[A-Za-z][\x84\x8e\x94\x99][a-z]")
"""What Windows-1252 lacks, and an umlaut of DOS (CP850), which reads "W„rme" there."""
_ODD_LETTER = re.compile("[\x80-\x9f\ufffd]")
"""What is left of a letter that was saved in another code page."""
TAKEN, REFUSED = "taken", "refused"


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that cannot be used."""

    line: int
    sentence: str


class _BrokenRowError(Exception):
    """A row that cannot be used; the message states why."""


def read_list(content: bytes, *, subtypes: Collection[str]) -> tuple[list[Entry], list[Broken]]:
    """Read an order list.

    Args:
        content: The file's bytes: comma, semicolon or tab; UTF-8 or Windows-1252.
        subtypes: Those the taxonomy knows.

    Returns:
        What can be used, and the rows that cannot.

    Raises:
        UsageError: It is no CSV, or its first line names no column `order`.
    """
    rows = list(_iter_rows(_decode(content)))
    by_order: dict[str, list[tuple[int, dict[str, str]]]] = {}
    broken: list[Broken] = []
    for line, row in rows:
        try:
            _check(row, subtypes)
        except _BrokenRowError as error:
            broken.append(Broken(line, str(error)))
        else:
            by_order.setdefault(row["order"], []).append((line, row))
    spoilt = {row.get("order", "") for line, row in rows if line in {bad.line for bad in broken}}
    entries: list[Entry] = []
    for number, members in by_order.items():
        if number in spoilt:
            lines = ", ".join(str(line) for line, _ in members)
            broken.append(
                Broken(
                    members[0][0], f"order {number}: another of its rows is broken (with {lines})"
                )
            )
            continue
        try:
            entries.append(_parse_entry(number, members))
        except _BrokenRowError as error:
            broken.append(Broken(members[-1][0], str(error)))
    return entries, sorted(broken, key=lambda bad: bad.line)


def _decode(content: bytes) -> str:
    if b"\0" in content:
        raise UsageError("it is no CSV text; save the table as CSV (UTF-8).")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    for number, line in enumerate(content.splitlines(), start=1):
        if _OTHER_CODE_PAGE.search(line):
            raise UsageError(
                f"line {number}: its letters are neither UTF-8 nor Windows-1252; save it as UTF-8."
            )
    return content.decode("cp1252")


def _iter_rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    lines = text.splitlines()
    if not lines:
        raise UsageError("it is empty.")
    delimiter = max(",;\t", key=lines[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        first = next(reader)
        columns = [_normalise_column(name) for name in first]
        for column in COLUMNS:
            headings = [repr(name.strip()) for name in first if _normalise_column(name) == column]
            if len(headings) > 1:
                raise UsageError(
                    f"two columns say {column}: {' and '.join(headings)}; keep one of them."
                )
        if "order" not in columns:
            raise UsageError(f"its first line has to name the column 'order'; found {lines[0]!r}.")
        begins = reader.line_num + 1
        for row in reader:
            if any(cell.strip() for cell in row):
                cells = [cell.strip() for cell in row]
                cells_by_column = dict(zip(columns, cells, strict=False))
                if len(cells) != len(columns):
                    cells_by_column["row"] = (
                        f"has {len(cells)} cells, the first line {len(columns)}"
                    )
                yield begins, cells_by_column
            begins = reader.line_num + 1
    except csv.Error as error:
        is_open = any(sign in str(error) for sign in ("end of data", "expected after"))
        why = ": a quote that begins there may not be closed" if is_open else ""
        raise UsageError(f"line {begins} is no CSV ({error}){why}.") from error


def _normalise_column(name: str) -> str:
    plain = name.strip().casefold()
    column = GERMAN.get(plain, plain)
    near = find_nearest(column, (*COLUMNS, *GERMAN), cutoff=A_SLIP)
    if column not in COLUMNS and near:
        raise UsageError(f"no column is called {name.strip()!r}. Did you mean {near}?")
    return column


def _check(row: Mapping[str, str], subtypes: Collection[str]) -> None:
    if "row" in row:
        raise _BrokenRowError(row["row"])
    if not row.get("order"):
        raise _BrokenRowError("names no order")
    for column, value in row.items():
        if _ODD_LETTER.search(value):
            raise _BrokenRowError(
                f"{column}: it holds letters that were saved in another code page, found "
                f"{value[:LONGEST]!a}; save it as UTF-8"
            )
        if len(value) > LONGEST or not value.isprintable():
            raise _BrokenRowError(f"{column}: at most {LONGEST} plain letters")
    if row.get("urgent", "").casefold() not in (*YES, *NO):
        raise _BrokenRowError(f"urgent: write yes or no, found {row['urgent']!r}")
    if strangers := [
        subtype for subtype in _split(row.get("subtype", "")) if subtype not in subtypes
    ]:
        raise _BrokenRowError(
            f"there is no subtype {strangers[0]!r}; known are {', '.join(subtypes)}."
            f"{suggest_nearest(strangers[0], subtypes)}"
        )
    if row.get("specimens") and not (row["specimens"].isdecimal() and int(row["specimens"]) > 0):
        raise _BrokenRowError(f"specimens: how many, found {row['specimens']!r}")


def _split(text: str) -> list[str]:
    return [part for part in text.replace("/", " ").replace("+", " ").split() if part]


def _parse_entry(number: str, rows: list[tuple[int, dict[str, str]]]) -> Entry:
    values: dict[str, str] = {}
    specimens: list[str] = []
    for line, row in rows:
        for column, value in row.items():
            if column in ("order", "specimen") or column not in COLUMNS or not value:
                continue
            if values.setdefault(column, value) != value:
                raise _BrokenRowError(
                    f"order {number}: {column} is {values[column]!r}, and {value!r} in line {line}"
                )
        if row.get("specimen") and row["specimen"] not in specimens:
            specimens.append(row["specimen"])
    travels = ("heat", "batch", "etchant", "specification")
    facts: dict[str, Any] = {key: values[key] for key in travels if key in values}
    return Entry(
        number=number,
        customer=values.get("customer", ""),
        product=values.get("product", ""),
        material=values.get("material", ""),
        urgent=values.get("urgent", "").casefold() in YES,
        facts={
            **facts,
            "subtype": _split(values.get("subtype", "")),
            "specimens": specimens,
            "count": int(values["specimens"]) if "specimens" in values else None,
        },
    )


# --- the drop folder ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderListResult:
    """Result of importing one list.

    Args:
        name: Of the file.
        changed: Numbers of orders that are new or changed.
        broken: Rows left out.
        refusal: Why the whole file was, "" where it was not.
    """

    name: str
    changed: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()
    refusal: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Faults that the sender has to mend, one sentence each."""
        whole = (f"{self.name}: {self.refusal}",) if self.refusal else ()
        return (
            *whole,
            *(f"{self.name}, line {row.line}: {row.sentence}" for row in self.broken),
        )


def import_list(
    store: Store, path: Path, *, subtypes: Collection[str], by: str, at: datetime
) -> OrderListResult:
    """Import one list and record it in the audit log.

    Raises:
        OSError: It cannot be read now.
    """
    content = path.read_bytes()
    try:
        entries, broken = read_list(content, subtypes=subtypes)
    except UsageError as error:
        return OrderListResult(path.name, refusal=str(error))
    changed = store.orders.take_list(entries, path.name, by=by, at=at)
    taken = OrderListResult(path.name, tuple(changed), tuple(broken))
    facts = {
        "orders": [entry.number for entry in entries],
        "changed": changed,
        "broken": list(taken.sentences),
    }
    store.records.add(IMPORTED, path.name, by=by, at=at, facts=facts)
    return taken


def import_lists(
    store: Store, folder: Path, *, subtypes: Collection[str], at: datetime, rest_s: float = 2.0
) -> list[OrderListResult]:
    """Import every list in the drop folder that has not changed for a while.

    Each is moved to `taken/`, or to `refused/` where any of it could not be used: the operator
    mends it there and drops it again. One that cannot be moved is imported once.
    """
    results = []
    for path in _list_files(folder):
        rests_s = 0.0
        try:
            rests_s = at.timestamp() - path.stat().st_mtime
            if rests_s >= rest_s:
                results.append(_take(store, path, subtypes=subtypes, at=at))
            elif rests_s < -CLOCKS_DIFFER.total_seconds():
                results.append(OrderListResult(path.name, refusal=AHEAD))
        except OSError as error:  # else it is held by the program that writes it: next time
            if rests_s > HELD_S:
                why = f"it cannot be read ({error.strerror or error})."
                results.append(OrderListResult(path.name, refusal=why))
    return results


def _take(store: Store, path: Path, *, subtypes: Collection[str], at: datetime) -> OrderListResult:
    """Import a list and move it; one that was imported and could not be moved is only moved.

    Raises:
        OSError: It cannot be read now.
    """
    status = path.stat()
    stays = {"stays": f"{status.st_size} bytes of {status.st_mtime_ns}"}
    last = store.records.latest(IMPORTED, path.name)
    is_known = last is not None and last.facts == stays
    taken = OrderListResult(path.name)
    if not is_known:
        taken = import_list(store, path, subtypes=subtypes, by="order list", at=at)
    try:
        _move(path, REFUSED if taken.sentences else TAKEN, at)
    except OSError as error:
        if not (is_known or taken.refusal):
            store.records.add(IMPORTED, path.name, by="order list", at=at, facts=stays)
        why = (
            f"it was imported, and cannot be moved to {TAKEN} ({error.strerror or error}). Let the "
            f"agent write in {path.parent}."
        )
        return replace(taken, refusal=taken.refusal or why)
    return taken


def list_taken_since(folder: Path, since: datetime | None) -> list[Path]:
    """Return the lists that were taken after a time, the oldest first; also those with faults.

    Args:
        folder: The drop folder.
        since: Aware UTC, None: every list.
    """
    stamp = f"{since:%Y%m%d-%H%M%S}" if since else ""
    paths = [path for name in (TAKEN, REFUSED) for path in _list_files(folder / name)]
    return sorted((path for path in paths if path.name >= stamp), key=lambda path: path.name)


def _list_files(folder: Path) -> list[Path]:
    """Return the lists in a folder, also LIST.CSV; none where it cannot be listed now."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.casefold() == ".csv")
    except OSError:
        return []


def _move(path: Path, where: str, at: datetime) -> None:
    target = path.parent / where
    target.mkdir(exist_ok=True)
    shutil.move(path, target / f"{at:%Y%m%d-%H%M%S}-{path.name}")


KEYS = {
    "customer": marked("customer"),
    "product": marked("product"),
    "material": marked("material"),
    "heat": marked("heat"),
    "batch": marked("batch"),
    "etchant": marked("etchant"),
    "subtype": marked("subtype"),
    "specification": marked("specification"),
    "specimens": marked("specimens"),
    "count": marked("number of specimens"),
}


def describe_pending(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the changes of a list that wait for a lead."""
    for what, change in (facts.get("pending") or {}).items():
        yield _(
            "list {list} changes {what} from {before} to {now}: a lead decides (agent orders amend)"
        ).format(list=change["list"], **_describe(what, change))


def list_changes(facts: Mapping[str, Any]) -> list[str]:
    """Return what a list would change if a lead accepted it, such as "count: 3 → 2"."""
    pending = [
        "{what}: {before} → {now}".format(**_describe(what, change))
        for what, change in (facts.get("pending") or {}).items()
    ]
    late = [
        _("{what} as a later list names it").format(what=_(KEYS[what]))
        for what in facts.get("late") or ()
    ]
    return [*pending, *late]


def _describe(what: str, change: Mapping[str, Any]) -> dict[str, str]:
    return {
        "what": _(KEYS[what]),
        "before": _format_value(change["from"]),
        "now": _format_value(change["to"]),
    }


def describe_amendments(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield what leads decided about the changes of lists."""
    for decision in facts.get("amended") or ():
        what = ", ".join(_(KEYS[key]) for key in (*decision["changes"], *decision["late"]))
        says = (
            _("change of {what} accepted by {who}: {reason}")
            if decision["accepted"]
            else _("change of {what} dismissed by {who}: {reason}")
        )
        yield says.format(what=what, who=decision["by"], reason=decision["reason"])
        if breaks := decision.get("breaks"):
            yield describe_breaks(decision["by"], breaks)


def describe_breaks(who: str, fields: Iterable[str]) -> str:
    """Return that the only lead loosened a limit that their label of some fields breaks."""
    return _(
        "{who} labelled field {fields} as breaking the limit before a looser one was accepted, and "
        "no other lead was named"
    ).format(who=who, fields=", ".join(fields))


def _format_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
