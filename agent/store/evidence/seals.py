"""Hashes of what a field was filed with, and seals: acts with a hash over those of many rows.

A result stores hashes of the values that determine it and its micrograph, written in the
transaction that files both. Seals of the audit log contain a hash over those of many results, so
that a recomputed one is named by the next comparison.

A seal names the rows that it covers, since several agents end their transactions in any sequence.
Files that could not be used are named one by one: each keeps its order open, and may be read again,
be exported again or vanish.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import sqlalchemy
from sqlalchemy import Boolean, ColumnElement, Float, Integer
from sqlmodel import Session, col, select

from agent.store.evidence import audit_log
from agent.store.evidence.acts import name_odd
from agent.store.evidence.audit_log import TrailEntry
from agent.store.evidence.declaration import ALL, CHANGEABLE, EVIDENCE, EvidenceTable
from agent.store.sites.site_scope import get_site, unindexed
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    NeedleFieldRow,
    OrderRow,
    PathRow,
    PlaceRow,
    PreparationRow,
    ResultRow,
    Row,
    SourceRow,
    SpecimenRow,
    TrailRow,
    load_metadata,
)
from agent.store.work.file_states import NOT_A_FILE, OVERWRITTEN, VANISHED, State
from agent.watch.listing import Kind, classify_name

ORIGINAL = "original"
"""Key of artefacts that pruning changes."""
AFTER = "after"
"""Key of an assignment's facts: the field's specimen since then, and its own keys."""
REPLACED = "result.replaced"
"""Act of a live result that counts from then on in the place of another one of its field."""
HINT = 4
"""Letters of a column's own hash: they only show which column differs."""


def describe(
    session: Session,
    result: ResultRow,
    micrograph: MicrographRow,
    needles: NeedleFieldRow | None = None,
) -> str:
    """Return what a result is filed with, as stored in its column `filed`.

    Args:
        session: Open; both rows are flushed.
        result: Just written.
        micrograph: That it is of.
        needles: Those measured with it, or None.
    """
    source = session.get(SourceRow, micrograph.source_id)
    place = session.get(PlaceRow, micrograph.id)
    of_micrograph, hints = digest(micrograph)
    of_result, more_hints = digest(result)
    document: dict[str, Any] = {
        "micrograph": of_micrograph,
        "result": of_result,
        "hints": hints + more_hints,
        "source": source.name if source else "",
        "handling": result.handling,
        "reasons": list(result.reasons),
        **describe_place(session, micrograph),
    }
    if micrograph.unassigned:
        document["unassigned"] = micrograph.unassigned
    if place is not None:
        document["landmarks"] = hash_landmarks(place.landmarks)
    if needles is not None:
        document["needles"] = digest(needles)[0]
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def describe_place(session: Session, micrograph: MicrographRow) -> dict[str, Any]:
    """Return the assignment and the keys of a field, as results and assignments store them.

    Args:
        session: Open; the row is flushed.
        micrograph: The field.
    """
    document: dict[str, Any] = {
        "names": {name: value for name in CHANGEABLE if (value := getattr(micrograph, name))}
    }
    if micrograph.specimen_id is None:
        return document
    specimen = session.get_one(SpecimenRow, micrograph.specimen_id)
    order = session.get_one(OrderRow, specimen.order_id)
    preparation = (
        session.get(PreparationRow, micrograph.preparation_id)
        if micrograph.preparation_id
        else None
    )
    document["place"] = [order.number, specimen.name, preparation.name if preparation else ""]
    filled = (name for name in EVIDENCE["specimen"].once if getattr(specimen, name))
    document["judged"] = read_values(specimen, (*filled, *EVIDENCE["specimen"].filed))
    if preparation:
        document["prepared"] = read_values(preparation, EVIDENCE["preparation"].filed)
    return document


def read_values(row: Row, names: Iterable[str]) -> dict[str, Any]:
    """Return columns of a row as a filing has them: times as text, in UTC."""
    values = {name: getattr(row, name) for name in names}
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }


def digest(row: Row) -> tuple[str, str]:
    """Return the hash of the filed columns of a row, and the first letters of each column's own.

    Args:
        row: Of a table, as written or as read: both result in the same hash.
    """
    columns = row.__table__.columns  # type: ignore[attr-defined] # SQLModel adds it
    texts = [write_plain(columns[name], getattr(row, name)) for name in list_filed(row)]
    hints = "".join(hashlib.sha256(text.encode()).hexdigest()[:HINT] for text in texts)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest(), hints


def list_filed(row: Row) -> tuple[str, ...]:
    """Return the names of the columns of a row that a result is filed with."""
    table = row.__table__  # type: ignore[attr-defined] # as above
    filed = EVIDENCE[table.name].filed
    if filed != ALL:
        return filed
    names = (column.name for column in table.columns)
    return tuple(name for name in names if name not in {"id", "result_id"})


def find_changed(row: Row, hints: str) -> list[str]:
    """Return the names of the columns that differ from their hints."""
    now = digest(row)[1]
    cut = range(0, len(now), HINT)
    return [
        name
        for name, start in zip(list_filed(row), cut, strict=True)
        if now[start : start + HINT] != hints[start : start + HINT]
    ]


def write_plain(column: Any, value: Any) -> str:
    """Return a value as text that is the same before it is stored and after it is read."""
    if value is None:
        return "null"
    if hasattr(value, "timestamp"):
        value = round(value.timestamp() * 1_000_000)
    elif isinstance(column.type, Boolean):
        value = bool(value)
    elif isinstance(column.type, Float):
        value = float(value)
    elif isinstance(column.type, Integer):
        value = int(value)
    elif isinstance(value, bytes):
        value = hash_landmarks(value)
    elif column.name == "artefacts":
        value = {key: kept for key, kept in value.items() if key != ORIGINAL}
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def hash_landmarks(landmarks: bytes | None) -> str:
    """Return the hash of landmarks, "" where there are none."""
    return hashlib.sha256(landmarks).hexdigest() if landmarks else ""


def read(filed: str) -> Mapping[str, Any]:
    """Return what `describe` wrote, {} where it cannot be read."""
    try:
        document = json.loads(filed)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


RECENT = 50
"""Number of seals read to find what no seal covers: half a day of them."""
MOST = 2000
"""Rows that one seal covers."""
SHORT = 8
"""Letters of each row's own hash in a seal: they show which one differs."""
SET_ASIDE = "files.set_aside"
"""Act of the audit log: files could not be used; their numbers, sources and names."""
MOST_FILES = 500
"""Files that one act names."""


def seal(session: Session, site_id: int, *, at: datetime) -> int:
    """Append a seal of the rows, and of the unusable files, that none covers yet.

    Args:
        session: Open for writing.
        site_id: Of the site.
        at: Now.

    Returns:
        How many those are.
    """
    audit_log.lock(session)
    count = _seal_files(session, site_id, at=at)
    for evidence in _list_sealed():
        recent = _list_recent(session, site_id, _name_act(evidence))
        covered = {number for facts in recent for number in _list_ids(facts)}
        oldest = min(covered, default=0) if len(recent) == RECENT else 0
        if rows := [*islice(_iter_rows(session, evidence, oldest + 1, but=covered), MOST)]:
            ids = list(_runs([number for number, _ in rows]))
            facts = {"ids": ids, "short": _short(rows), "sha256": _whole(rows)}
            act = _name_act(evidence)
            audit_log.append(session, site_id, at=at, actor="agent", act=act, facts=facts)
        count += len(rows)
    return count


def find_differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each sealed row, and each unusable file, that was deleted or changed."""
    for evidence in _list_sealed():
        for entry in list(audit_log.entries(session, act=_name_act(evidence))):
            yield from _compare_sealed(session, evidence, entry)
    yield from name_odd("unusable files", _compare_files(session))
    yield from name_odd("ignored files", _compare_ignored(session))


def _list_sealed() -> list[EvidenceTable]:
    return [evidence for evidence in EVIDENCE.values() if evidence.sealed]


def _name_act(evidence: EvidenceTable) -> str:
    return f"{evidence.table}s.sealed"


def _iter_rows(
    session: Session,
    evidence: EvidenceTable,
    first: int,
    last: int | None = None,
    but: Collection[int] = (),
) -> Iterator[tuple[int, str]]:
    """Yield number and hash of the rows of a table of the site from one number to another."""
    table = load_metadata().tables[evidence.table]
    columns = (
        list(table.columns)
        if evidence.sealed == ALL
        else [table.columns[name] for name in evidence.sealed]
    )
    key = next(iter(table.columns))
    wanted = sqlalchemy.select(key, *columns).where(
        unindexed(table.columns["site_id"]) == get_site(session), key >= first
    )
    wanted = wanted if last is None else wanted.where(key <= last)
    for number, *values in session.execute(wanted.order_by(key)).all():
        if number not in but:
            texts = map(write_plain, columns, values)
            yield number, hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _list_recent(session: Session, site_id: int, act: str) -> list[Mapping[str, Any]]:
    wanted = (
        select(TrailRow.facts)
        .where(TrailRow.act == act, TrailRow.site_id == site_id)
        .order_by(col(TrailRow.id).desc())
        .limit(RECENT)
    )
    return [json.loads(facts) for facts in session.exec(wanted)]


def _runs(ids: Sequence[int]) -> Iterator[list[int]]:
    """Yield [first, last] of each run of numbers without a gap."""
    start = before = None
    for number in ids:
        if start is None or before is None or number != before + 1:
            if start is not None and before is not None:
                yield [start, before]
            start = number
        before = number
    if start is not None and before is not None:
        yield [start, before]


def _short(rows: Iterable[tuple[int, str]]) -> str:
    return "".join(sha256[:SHORT] for _, sha256 in rows)


def _whole(rows: Iterable[tuple[int, str]]) -> str:
    digest = hashlib.sha256()
    for number, sha256 in rows:
        digest.update(f"{number}:{sha256}\n".encode())
    return digest.hexdigest()


def _compare_sealed(session: Session, evidence: EvidenceTable, entry: TrailEntry) -> Iterator[str]:
    ids = _list_ids(entry.facts)
    if not ids:
        yield f"trail: number {entry.id} is no seal that can be read"
        return
    there = dict(_iter_rows(session, evidence, ids[0], ids[-1]))
    rows = [(number, there[number]) for number in ids if number in there]
    for number in ids:
        if number not in there:
            yield (
                f"{evidence.table} {number} ({entry.act} by {entry.actor}, trail number "
                f"{entry.id}) was deleted"
            )
    if len(rows) == len(ids) and _whole(rows) == entry.facts.get("sha256"):
        return
    short = dict(zip(ids, _cut(str(entry.facts.get("short"))), strict=False))
    for number, sha256 in rows:
        if sha256[:SHORT] != short.get(number):
            what = "a value" if evidence.sealed == ALL else ", ".join(evidence.sealed)
            yield (
                f"{evidence.table} {number}: {what} was changed after it was sealed (trail number "
                f"{entry.id})"
            )


def _list_ids(facts: Mapping[str, Any]) -> list[int]:
    try:
        runs = [(int(first), int(last)) for first, last in facts["ids"]]
    except (KeyError, TypeError, ValueError):
        return []
    if sum(last - first + 1 for first, last in runs) > MOST:
        return []
    return [number for first, last in runs for number in range(first, last + 1)]


def _cut(short: str) -> list[str]:
    return [short[start : start + SHORT] for start in range(0, len(short), SHORT)]


# --- files that could not be used ---------------------------------------------------------------


def append_unusable(session: Session, site_id: int, number: int | None, *, at: datetime) -> None:
    """Append that a file could not be used, in the transaction that sets it aside."""
    session.flush()
    if files := _select_files(session, site_id, col(ContentRow.id) == number):
        facts = {"files": files}
        audit_log.append(session, site_id, at=at, actor="agent", act=SET_ASIDE, facts=facts)


def _seal_files(session: Session, site_id: int, *, at: datetime) -> int:
    """Append the files whose worker died too often, which no act named; return their number."""
    known = {
        number
        for entry in audit_log.entries(session, act=SET_ASIDE)
        for number, *_ in _list_files(entry)
    }
    found = _select_files(session, site_id, col(ContentRow.state) == State.SET_ASIDE)
    files = [file for file in found if file[0] not in known][:MOST_FILES]
    if files:
        facts = {"files": files}
        audit_log.append(session, site_id, at=at, actor="agent", act=SET_ASIDE, facts=facts)
    return len(files)


def _select_files(
    session: Session, site_id: int, which: ColumnElement[bool]
) -> list[tuple[int, str, str]]:
    """Return number, source and name of files; one of several names several times."""
    wanted = (
        select(ContentRow.id, SourceRow.name, PathRow.relative)
        .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
        .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
        .where(ContentRow.site_id == site_id, which)
        .order_by(col(ContentRow.id), col(PathRow.id))
    )
    return [(number or 0, source, relative) for number, source, relative in session.exec(wanted)]


def _list_files(entry: TrailEntry) -> list[tuple[int, str, str]]:
    try:
        return [
            (int(number), str(source), str(relative))
            for number, source, relative in entry.facts["files"]
        ]
    except (KeyError, TypeError, ValueError):
        return []


def _compare_files(session: Session) -> Iterator[str]:
    """Yield a sentence for each file that could not be used and is now missing from its table."""
    sealed = {
        file: entry
        for entry in audit_log.entries(session, act=SET_ASIDE)
        for file in _list_files(entry)
    }
    names = _load_names(session, {(source, relative) for _, source, relative in sealed})
    for (number, source, relative), entry in sealed.items():
        row = session.get(ContentRow, number)
        if fault := _find_file_fault(session, row, number, names[source, relative]):
            yield (
                f"file {number} ({relative} of {source}): it could not be used (trail number "
                f"{entry.id}), and {fault}"
            )


def _compare_ignored(session: Session) -> Iterator[str]:
    """Yield a sentence for each picture that was ignored before it was read, for no reason.

    One that was deleted, or is no file, holds its order; one that another replaced has its name.
    """
    kept = {VANISHED, NOT_A_FILE}
    ignored = [
        (number, source, relative, code)
        for number, source, relative, code in session.exec(
            select(ContentRow.id, SourceRow.name, PathRow.relative, ContentRow.code)
            .join(PathRow, col(PathRow.content_id) == col(ContentRow.id))
            .join(SourceRow, col(SourceRow.id) == col(PathRow.source_id))
            .where(ContentRow.state == State.IGNORED)
            .order_by(col(ContentRow.id), col(PathRow.id))
            .execution_options(yield_per=500)
        )
        if code not in kept and classify_name(relative) is Kind.PICTURE
    ]
    names = _load_names(session, {(source, relative) for _, source, relative, _ in ignored})
    for number, source, relative, code in ignored:
        if code != OVERWRITTEN or len(names[source, relative]) == 1:
            yield (
                f"file {number} ({relative} of {source}): it has the name of a picture and was "
                f"never read, and it is ignored ({code}); agent files retry has it read"
            )


def _load_names(
    session: Session, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], set[int]]:
    """Return (source, relative) → numbers of the contents that ever had this name."""
    names: dict[tuple[str, str], set[int]] = defaultdict(set)
    if not wanted:
        return names
    paths = select(SourceRow.name, PathRow.relative, PathRow.content_id).join(
        SourceRow, col(SourceRow.id) == col(PathRow.source_id)
    )
    for source, relative, number in session.exec(paths.execution_options(yield_per=500)):
        if (source, relative) in wanted:
            names[source, relative].add(number)
    return names


def _find_file_fault(
    session: Session, row: ContentRow | None, number: int, same_name: Collection[int]
) -> str:
    if not same_name or (row is not None and number not in same_name):
        return "no file of that name is known any more"
    if row is None:
        return ""  # another spelling of a known file, which has its names now
    if row.state == State.IGNORED and row.code != VANISHED:
        is_replaced = row.code == OVERWRITTEN and len(same_name) > 1
        return "" if is_replaced else "it is ignored now, though no one dismissed it"
    if row.state == State.DUPLICATE:
        known = session.get(ContentRow, row.duplicate_of) if row.duplicate_of else None
        if known is None or known.sha256 not in (row.sha256, None):
            return "it counts as a copy of another file, and is none"
    return ""
