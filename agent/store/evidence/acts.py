"""Acts of the audit log as rows of evidence have them: written from a row, and read for a row.

A row or an act of a shape that this program never wrote ends no comparison: otherwise a forged
value would hide the other changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, select
from sqlmodel import Session, col
from sqlmodel import select as select_rows

from agent.store.evidence import audit_log
from agent.store.evidence.audit_log import TrailEntry
from agent.store.evidence.declaration import (
    ACTOR,
    AT,
    EVIDENCE,
    KNOWN_AS,
    SUBJECT,
    Act,
    EvidenceTable,
)
from agent.store.sites.site_scope import GROUPED, get_site, unindexed
from agent.store.tables import Row, TrailRow, load_metadata

Explained = list[tuple[Act, TrailEntry]]
"""Acts that are about one row, oldest first."""
Stated = dict[str, tuple[Any, str]]
"""Column of a row → its value, and what states it."""

ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)
"""Exceptions raised by a value of another shape."""
NO_ACT = "no act"
EMPTY = (None, "")
"""Values that no act states: they are the default of their column."""
SHOWN = 200
"""Letters of a value that a sentence shows."""


def append_act(
    session: Session,
    name: str,
    row: Row,
    *,
    names: Mapping[str, str] | None = None,
    actor: str = "agent",
    subject: str = "",
    more: Mapping[str, object] | None = None,
) -> None:
    """Write a row and the act that states it, in one transaction.

    Args:
        session: Open for writing.
        name: Of the act, as its table declares it.
        row: New or changed.
        names: Column of the row that refers to another one → what acts call that one.
        actor: Who acts, where no column has it.
        subject: What is acted on, where no column has it.
        more: Facts that no column has.
    """
    session.add(row)
    session.flush()
    table = row.__table__  # type: ignore[attr-defined] # SQLModel adds it
    evidence = EVIDENCE[table.name]
    act = next(act for act in evidence.acts if name in act.names)
    values = {column.name: getattr(row, column.name) for column in table.columns}
    values.update(names or {})
    columns = {} if callable(act.columns) else act.columns
    stated = {
        source: evidence.derived[column](values)
        if column in evidence.derived
        else get_value(values, column)
        for column, source in {**act.row, **columns}.items()
    }
    named = {key: value for key, value in stated.items() if isinstance(key, str)}
    audit_log.append(
        session,
        values["site_id"],
        at=stated[AT],
        actor=stated.get(ACTOR, actor),
        act=name,
        subject=stated.get(SUBJECT, subject),
        facts={**{key: v for key, v in named.items() if v not in EMPTY}, **(more or {})},
    )


def get_value(values: Mapping[str, Any], path: str) -> Any:
    """Return a value of a row; "facts.count" is a key of its column "facts"."""
    if path in values:
        return values[path]
    column, _, key = path.partition(".")
    return values[column].get(key)


class RowReader:
    """Rows of tables of evidence, which name another row as acts name it.

    Args:
        session: Open.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: dict[str, dict[int, Any]] = {}

    def iter_rows(self, evidence: EvidenceTable) -> Iterator[dict[str, Any]]:
        """Yield the values of each row of the site, those derived from its columns too."""
        for values in self._iter_named(load_metadata().tables[evidence.table]):
            derived = {name: derive(values) for name, derive in evidence.derived.items()}
            yield values | derived

    def get_names(self, table: str) -> Mapping[int, Any]:
        """Return number → what acts call a row; several columns are a tuple."""
        if table not in self._names:
            columns = KNOWN_AS[table]
            self._names[table] = {
                number: values[columns[0]] if len(columns) == 1 else tuple(values.values())
                for number, values in self._iter_numbered(table, columns)
            }
        return self._names[table]

    def _iter_numbered(
        self, table: str, columns: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        of_group = (kind for kind in GROUPED if kind.__tablename__ == table)
        shared: Any = next(of_group, None)
        if shared is not None:  # also the rows of other sites that this one reads
            for row in self._session.exec(select_rows(shared)):
                yield row.id, {name: getattr(row, name) for name in columns}
            return
        made = load_metadata().tables[table]
        key = next(iter(made.columns)).name
        for values in self._iter_named(made, (key, *columns)):
            yield values.pop(key), values

    def _iter_named(self, table: Table, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        columns = [table.columns[name] for name in names] or list(table.columns)
        own = unindexed(table.columns["site_id"]) == get_site(self._session)
        wanted = select(*columns).where(own).order_by(next(iter(table.columns)))
        targets = {
            column.name: self.get_names(key.column.table.name)
            for column in columns
            for key in column.foreign_keys
            if key.column.table.name in KNOWN_AS
        }
        for row in self._session.execute(wanted.execution_options(yield_per=200)).mappings():
            values = dict(row)
            for name, known in targets.items():
                values[name] = known.get(values[name]) if values[name] is not None else None
            yield values


class ActIndex:
    """The acts of the audit log by the rows that they add or change.

    Args:
        session: Open.
        tables: Names of the tables of evidence whose acts are read.

    Attributes:
        odd: A sentence per act that no version of this program wrote.
    """

    def __init__(self, session: Session, tables: Collection[str]) -> None:
        self._by_row: dict[str, dict[tuple[str, ...], dict[tuple[Any, ...], Explained]]]
        self._by_row = defaultdict(dict)
        self._seen: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        self._readers: dict[str, list[tuple[str, Act]]] = defaultdict(list)
        for table in tables:
            for act in EVIDENCE[table].acts:
                self._by_row[table][tuple(act.row)] = {}
                for name in act.names:
                    self._readers[name].append((table, act))
        self.odd: list[str] = []
        for entry in audit_log.entries(session, where=self._select_acts()):
            try:
                self._add(entry)
            except ODD as error:
                self.odd.append(
                    f"trail: number {entry.id} ({entry.act}) holds what this program never wrote "
                    f"({type(error).__name__}: {error})"
                )

    def _select_acts(self) -> ColumnElement[bool] | None:
        """Return the condition of the acts that are read; None: each may be one of them."""
        if any(name.startswith("*") for name in self._readers):
            return None
        return col(TrailRow.act).in_(self._readers)

    def _add(self, entry: TrailEntry) -> None:
        ending = f"*.{entry.act.rpartition('.')[2]}"
        for table, act in (*self._readers.get(entry.act, ()), *self._readers.get(ending, ())):
            rows = self._by_row[table][tuple(act.row)]
            for key in _list_keys(act, entry):
                explained = rows.setdefault(key, [])
                if act.before is not None or not any(act.before is None for act, _ in explained):
                    explained.append((act, entry))

    def list_acts(self, table: str, values: Mapping[str, Any]) -> Explained:
        """Return the acts about a row, oldest first.

        Args:
            table: Its table.
            values: Of the row: at least the columns by which acts find it.
        """
        acts: Explained = []
        for columns, rows in self._by_row[table].items():
            if all(name in values for name in columns):
                key = tuple(values[name] for name in columns)
                self._seen[table].add((columns, key))
                acts += rows.get(key, ())
        return sorted(acts, key=lambda explained: explained[1].id)

    def iter_all(self, table: str) -> Iterator[tuple[Act, TrailEntry]]:
        """Yield the acts about all rows of a table, row by row."""
        for rows in self._by_row[table].values():
            for acts in rows.values():
                yield from acts

    def iter_without_row(self, table: str) -> Iterator[tuple[dict[str, Any], TrailEntry]]:
        """Yield the columns that found a row which `list_acts` was not asked about, and its act."""
        adds = any(act.before is None for act in EVIDENCE[table].acts)
        for columns, rows in self._by_row[table].items():
            for key, acts in rows.items():
                left = [pair for pair in acts if not adds or pair[0].before is None]
                if left and (columns, key) not in self._seen[table]:
                    stated = {name: value for name, (value, _) in fold(table, left).items()}
                    yield dict(zip(columns, key, strict=True)) | stated, left[-1][1]


def _list_keys(act: Act, entry: TrailEntry) -> list[tuple[Any, ...]]:
    found = [
        source(entry) if callable(source) else entry.facts[source] for source in act.row.values()
    ]
    keys = [(key,) for key in found[0]] if isinstance(found[0], list) else [tuple(found)]
    if any(isinstance(part, list | dict) for key in keys for part in key):
        raise TypeError("a row is not named by a number or a text")
    return keys


def fold(table: str, acts: Explained) -> Stated:
    """Return what the acts about a row state of it in the end."""
    columns = load_metadata().tables[table].columns
    stated: Stated = {}
    for declared in EVIDENCE[table].acts:
        stated |= {name: (value, NO_ACT) for name, value in (declared.before or {}).items()}
    for act, entry in acts:
        if callable(act.columns):
            values = act.columns(entry, {name: value for name, (value, _) in stated.items()})
        else:
            values = {name: _read(entry, source) for name, source in act.columns.items()}
        for name, value in values.items():
            default = getattr(columns[name].default, "arg", None) if name in columns else None
            was = default if value is None and not callable(default) else value
            stated[name] = was, f"trail number {entry.id}"
    return stated


def _read(entry: TrailEntry, source: str | Callable[[TrailEntry], Any]) -> Any:
    return source(entry) if callable(source) else entry.facts.get(source)


def get_author(acts: Iterable[Act], values: Mapping[str, Any]) -> str:
    """Return who added a row as the row has it, "" where its table does not have that."""
    of_adding = (act.columns for act in acts if act.before is None)
    names = [
        name
        for columns in of_adding
        if not callable(columns)
        for name, source in columns.items()
        if source is ACTOR
    ]
    return str(values.get(names[0] if names else "by") or "")


def compare(what: str, stated: Stated, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence per column whose value is not what is stated of it.

    Args:
        what: What the sentence calls the row.
        stated: Of the row.
        values: Of the row now.
    """
    for name, (was, source) in stated.items():
        now = get_value(values, name)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict) and was and now:
            parts = {f"{name}.{key}": (was.get(key), now.get(key)) for key in {**was, **now}}
        else:
            parts = {name: (was, now)}
        for part, (before, after) in parts.items():
            if before != after:
                yield f"{what}: {part} was {show(before)} ({source}), is {show(after)}"


def show(value: object) -> str:
    """Return a value as a sentence has it."""
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def name_odd(what: str, sentences: Iterable[str]) -> Iterator[str]:
    """Yield sentences, and one more where the comparison that yields them cannot go on.

    Args:
        what: How the sentence calls what is compared.
        sentences: Of the comparison.
    """
    try:
        yield from sentences
    except ODD as error:
        yield (
            f"{what}: cannot be compared, as it holds what this program never wrote "
            f"({type(error).__name__}: {error}): it was changed"
        )
