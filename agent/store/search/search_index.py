"""Compute what the search finds of a micrograph from its rows, and make its tables.

`search_updates` calls it in the transaction that writes the rows. The words are in a table of the
database's own text search. Where that is missing, as in a database of an older schema, it is made
and everything is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, inspect, text
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from agent.settings import PROCESS_COLUMNS
from agent.store.engine import insert_for
from agent.store.people import label_decisions, labels
from agent.store.people.label_decisions import LabelView
from agent.store.search.search_terms import join_terms
from agent.store.search.search_updates import WORDS, is_laid
from agent.store.sites.site_scope import SiteSession
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    PathRow,
    ResultRow,
    Row,
    SearchEntry,
    SourceRow,
)
from agent.store.work.file_states import chunks
from agent.triage import Handling, Reason

WAITING, AUTOMATIC, NOT_ASSESSED = "waiting", "automatic", "not_assessed"
CONFIRMED, CORRECTED, LABELLED = "confirmed", "corrected", "labelled"
OUTCOMES = (
    *(WAITING, AUTOMATIC, CONFIRMED, CORRECTED, LABELLED),
    *("strange", "unusable", "cannot_tell", NOT_ASSESSED),
)
"""What became of a micrograph; a decision without a code is its own kind."""

_READ = ("public_id", "content_id", "site_id", "sha256", "taken_at", "relative", "process_extra")
_FILL_ROWS = 2000


# --- in the transaction of the rows ---------------------------------------------------------------


def list_micrographs(session: Session, content_ids: Collection[int]) -> list[int]:
    """Return the numbers of the micrographs of some contents."""
    numbers: list[int] = []
    for batch in chunks(sorted(content_ids)):
        query = select(MicrographRow.id).where(col(MicrographRow.content_id).in_(batch))
        numbers.extend(number for number in session.exec(query) if number)
    return numbers


def refresh(session: Session, micrograph_ids: Sequence[int]) -> None:
    """Write the entries of micrographs as their rows are now; equal entries are left alone."""
    for batch in chunks(micrograph_ids):
        query = select(SearchEntry).where(col(SearchEntry.micrograph_id).in_(batch))
        # What `_write` wrote before is read too: the session does not know of it.
        entries = session.exec(query.execution_options(populate_existing=True))
        stored = {entry.micrograph_id: entry for entry in entries}
        computed = [
            pair
            for pair in _compute(session, batch)
            if stored.get(pair[0].micrograph_id) != pair[0]
        ]
        if computed:
            _write(session, computed)


def _write(session: Session, computed: Sequence[tuple[SearchEntry, str]]) -> None:
    insert = insert_for(session)(Row.metadata.tables["search_entry"])
    changed = {name: insert.excluded[name] for name in _CHANGING}
    session.execute(
        insert.on_conflict_do_update(index_elements=["micrograph_id"], set_=changed),
        [entry.model_dump() for entry, _words in computed],
    )
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    session.execute(
        text(_KEEP_SQLITE if is_sqlite else _KEEP_POSTGRESQL),
        [{"number": entry.micrograph_id, "words": words} for entry, words in computed],
    )


_CHANGING = ("source", "code", "outcome", "microscope", "reviewer", "digest")
_KEEP_SQLITE = f"INSERT OR REPLACE INTO {WORDS} (rowid, words) VALUES (:number, :words)"  # noqa: S608 - names of ours
_KEEP_POSTGRESQL = (
    f"INSERT INTO {WORDS} (micrograph_id, vector) "  # noqa: S608 - names of ours
    "VALUES (:number, array_to_tsvector(string_to_array(:words, ' '))) "
    "ON CONFLICT (micrograph_id) DO UPDATE SET vector = excluded.vector"
)


# --- what an entry is -----------------------------------------------------------------------------


def _compute(session: Session, micrograph_ids: Sequence[int]) -> Iterator[tuple[SearchEntry, str]]:
    """Yield the entries of micrographs, each with its words."""
    columns = Row.metadata.tables["micrograph"].columns
    query = (
        select_columns(
            col(MicrographRow.id).label("number"),
            *(getattr(MicrographRow, name) for name in _READ),
            *(columns[name].label(f"p_{name}") for name in PROCESS_COLUMNS),
            col(SourceRow.name).label("source"),
            col(ResultRow.structure_code).label("answer"),
            col(ResultRow.handling),
            col(ResultRow.reasons),
            col(ResultRow.thresholds),
            col(ResultRow.review_rank),
        )
        .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
        .outerjoin(
            ResultRow,
            and_(
                col(ResultRow.micrograph_id) == col(MicrographRow.id),
                col(ResultRow.current).is_(True),
            ),
        )
        .where(col(MicrographRow.id).in_(micrograph_ids))
    )
    rows = session.execute(query).all()
    names = _find_names(session, micrograph_ids)
    decisions, suspect = labels.histories(session, list(micrograph_ids))
    for row in rows:
        yield _build(row, names.get(row.number, ()), decisions.get(row.number, ()), suspect)


def _find_names(session: Session, micrograph_ids: Sequence[int]) -> Mapping[int, list[str]]:
    """Return micrograph → every name that its content and copies of it ever had."""
    own = select(MicrographRow.id, PathRow.relative).join(
        PathRow, col(PathRow.content_id) == col(MicrographRow.content_id)
    )
    copies = (
        select(MicrographRow.id, PathRow.relative)
        .join(ContentRow, col(ContentRow.duplicate_of) == col(MicrographRow.content_id))
        .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
    )
    names: dict[int, list[str]] = {}
    for query in (own, copies):
        wanted = query.where(col(MicrographRow.id).in_(micrograph_ids)).order_by(col(PathRow.id))
        for number, relative in session.exec(wanted):
            names.setdefault(number or 0, []).append(relative)
    return names


def _build(
    row: Any, names: Iterable[str], decisions: Sequence[LabelView], suspect: Collection[int]
) -> tuple[SearchEntry, str]:
    standing = [label for label in decisions if not label.undone]
    two = row.handling is not None and label_decisions.asks_two(
        row.sha256, row.thresholds, row.handling
    )
    label = label_decisions.holding(standing, two=two)
    is_hidden = _is_hidden(row, label, standing, two=two, is_suspect=row.number in suspect)
    shown = [] if is_hidden else standing
    code = "" if is_hidden else (label.code if label else row.answer) or ""
    process = {name: getattr(row, f"p_{name}") for name in PROCESS_COLUMNS}
    outcome = _find_outcome(row, label)
    reviewer = label.by if label and not is_hidden else ""
    words = join_terms(
        row.site_id,
        [
            *(row.public_id, row.relative, *names, row.source, code),
            *process.values(),
            *(
                word
                for entry in shown
                for word in (entry.by, entry.strange_kind or "", entry.why or "", entry.comment)
            ),
            *(str(value) for value in (row.process_extra or {}).values()),
        ],
        {
            **{name: [process.get(name, "")] for name in ("order", "heat", "specimen")},
            **{name: [process.get(name, "")] for name in ("microscope", "material")},
            "code": [code],
            "source": [row.source],
            "outcome": [outcome],
            "reviewer": dict.fromkeys(entry.by for entry in shown),
        },
    )
    microscope = process.get("microscope", "")
    entry = SearchEntry(
        micrograph_id=row.number,
        site_id=row.site_id,
        taken_at=row.taken_at,
        source=row.source,
        code=code,
        outcome=outcome,
        microscope=microscope,
        reviewer=reviewer,
        digest=hashlib.blake2s(words.encode(), digest_size=8).hexdigest(),
    )
    return entry, words


def _is_hidden(
    row: Any,
    label: LabelView | None,
    standing: Sequence[LabelView],
    *,
    two: bool,
    is_suspect: bool,
) -> bool:
    """Return whether reviewers may not see the answer yet: the search must not show it either."""
    if is_suspect:
        return True
    if label is not None or (two and len(label_decisions.votes_of(standing)) > 1):
        return False
    return two or Reason.CONTROL_SAMPLE.value in (row.reasons or ())


def _find_outcome(row: Any, label: LabelView | None) -> str:
    if row.review_rank is not None:
        return WAITING
    if label is None:
        if not row.answer:
            return NOT_ASSESSED
        return AUTOMATIC if row.handling == Handling.AUTOMATIC else WAITING
    if label.kind != "code":
        return label.kind
    if not row.answer:
        return LABELLED
    return CONFIRMED if label.code == row.answer else CORRECTED


# --- making the tables ----------------------------------------------------------------------------


def lay(connection: Connection) -> None:
    """Compute missing entries; where the table of the text search is missing, make it and all.

    Args:
        connection: One that changes the schema, in a transaction.
    """
    if not inspect(connection).has_table("search_entry"):
        return
    is_sqlite, is_new = connection.dialect.name == "sqlite", not is_laid(connection)
    if is_new:
        connection.exec_driver_sql("DELETE FROM search_entry")
        connection.exec_driver_sql(_MAKE_SQLITE if is_sqlite else _MAKE_POSTGRESQL)
    _fill(connection)
    if not is_new:
        return
    connection.exec_driver_sql(
        f"INSERT INTO {WORDS} ({WORDS}) VALUES ('optimize')"  # noqa: S608 - names of ours
        if is_sqlite
        else f"CREATE INDEX ix_{WORDS}_vector ON {WORDS} USING gin (vector)"
    )


_MAKE_SQLITE = (
    f"CREATE VIRTUAL TABLE {WORDS} USING fts5(words, columnsize=0, detail=none, prefix='2 3 4', "
    "tokenize=\"unicode61 remove_diacritics 0 tokenchars '='\")"
)
"""`detail=none`: words are matched alone, never as phrases, and the table is half as large."""
_MAKE_POSTGRESQL = (
    f"CREATE TABLE {WORDS} (micrograph_id integer PRIMARY KEY REFERENCES search_entry "
    "ON DELETE CASCADE, vector tsvector NOT NULL)"
)


def _fill(connection: Connection) -> None:
    """Write the entries that are missing, as after an upgrade of an older database."""
    last = 0
    with SiteSession(bind=connection) as session:
        while numbers := session.exec(
            select(MicrographRow.id)
            .outerjoin(SearchEntry, col(SearchEntry.micrograph_id) == col(MicrographRow.id))
            .where(col(MicrographRow.id) > last, col(SearchEntry.micrograph_id).is_(None))
            .order_by(col(MicrographRow.id))
            .limit(_FILL_ROWS)
        ).all():
            refresh(session, [number for number in numbers if number])
            last = numbers[-1] or 0
