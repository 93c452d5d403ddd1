"""Compare every row of evidence with the acts that explain it; name row, column, was and is.

What a field was filed with never changes; its assignment changes by an act alone; reasons for
review are only ever added. Statements and nights name results and places of fields, which no act
had to explain when they were frozen.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import sqlalchemy
from sqlmodel import Session, col, select

from agent.store.evidence import audit_log, history, seals
from agent.store.evidence.acts import (
    NO_ACT,
    ODD,
    ActIndex,
    RowReader,
    Stated,
    compare,
    fold,
    get_author,
    name_odd,
    show,
)
from agent.store.evidence.audit_log import TrailEntry
from agent.store.evidence.declaration import CHANGEABLE, EVIDENCE, format_place
from agent.store.people.label_decisions import FOR_ORDERS, IMPORTED, signed_by_program
from agent.store.results import stored_facts
from agent.store.sites.site_scope import get_site
from agent.store.sites.sites import SHARES_CHANGED
from agent.store.tables import (
    ContentRow,
    MicrographRow,
    NeedleFieldRow,
    OrderRow,
    PathRow,
    PlaceRow,
    PreparationRow,
    ResultRow,
    SiteRow,
    SourceRow,
    SpecimenRow,
    StatementRow,
)
from agent.store.work.file_states import State, chunks

Further = Callable[[str, Mapping[str, Any]], Iterator[str]]
"""Comparison of a row that is as its acts state it, which a table alone needs."""


LIVE, REVIEW = "live", "review"
FILLED = ("heat", "batch", "material")
"""Columns of a specimen that its fields fill."""


class FilingChecks:
    """Comparison of results and fields with what they were filed with.

    Args:
        session: Open.
        rows: Of the session.
        acts: Of every table of evidence.
    """

    def __init__(self, session: Session, rows: RowReader, acts: ActIndex) -> None:
        self._session, self._rows, self._acts = session, rows, acts
        self._specimens: dict[tuple[str, str], Stated] = defaultdict(dict)
        self._preparations: dict[tuple[str, ...], Stated] = defaultdict(dict)
        self._live: dict[int, list[int]] = defaultdict(list)
        self._current: dict[int, int] = {}
        self._needles = self._hash_needles()

    def find_differences(self) -> Iterator[str]:
        """Yield a sentence for each result, field, specimen and preparation that differs."""
        wanted = (
            select(ResultRow, MicrographRow, SourceRow.name, PlaceRow)
            .join(MicrographRow, col(MicrographRow.id) == col(ResultRow.micrograph_id))
            .join(SourceRow, col(SourceRow.id) == col(MicrographRow.source_id))
            .outerjoin(PlaceRow, col(PlaceRow.micrograph_id) == col(MicrographRow.id))
            .order_by(col(ResultRow.id))
            .execution_options(yield_per=200)
        )
        for result, micrograph, source, place in self._session.exec(wanted):
            self._note(result)
            what, field = f"result {result.id}", f"field {micrograph.public_id}"
            what = f"{what} of {field}"
            filed = seals.read(result.filed)
            if not filed:
                yield f"{what}: filed is {show(result.filed)}, which no result was filed with"
                continue
            yield from name_odd(what, self._compare_result(what, result, filed))
            by = f"as result {result.id} was filed"
            now = self._describe(micrograph) | {"source": source}
            now["sha256 of landmarks"] = seals.hash_landmarks(place.landmarks) if place else None
            yield from name_odd(field, _compare_hashed(field, micrograph, filed, by))
            yield from name_odd(
                field, self._compare_field(field, micrograph.public_id, filed, now, by)
            )
        yield from self._compare_currents()
        yield from name_odd("specimens", self._compare_specimens())
        yield from name_odd("preparations", self._compare_preparations())
        yield from self._name_without_field()
        yield from self._compare_files()

    def _hash_needles(self) -> dict[int, str]:
        """Return result number → hash of the needles measured with it."""
        rows = self._session.exec(select(NeedleFieldRow).execution_options(yield_per=200))
        return {row.result_id: seals.digest(row)[0] for row in rows}

    def _note(self, result: ResultRow) -> None:
        number = result.id
        if result.role == LIVE:
            self._live[result.micrograph_id].append(number)
        if result.current:
            self._current[result.micrograph_id] = number

    def _note_place(self, filed: Mapping[str, Any], by: str) -> None:
        """Note what a field was filed with of its specimen and its preparation, the first time."""
        if place := filed.get("place"):
            for stated, values in (
                (self._specimens[place[0], place[1]], filed.get("judged") or {}),
                (self._preparations[tuple(place)], filed.get("prepared") or {}),
            ):
                for name, value in values.items():
                    stated.setdefault(name, (value, by))

    def _describe(self, row: MicrographRow) -> dict[str, Any]:
        specimen = self._rows.get_names("specimen").get(row.specimen_id or 0)
        preparation = self._rows.get_names("preparation").get(row.preparation_id or 0, "")
        place = format_place(specimen and (*specimen, preparation))
        return {"place": place} | {name: getattr(row, name) for name in (*CHANGEABLE, "unassigned")}

    # --- one result and its field ---

    def _compare_result(
        self, what: str, result: ResultRow, filed: Mapping[str, Any]
    ) -> Iterator[str]:
        by = f"as result {result.id} was filed"
        self._note_place(filed, by)
        yield from _compare_hashed(what, result, filed, by)
        if any(reason not in result.reasons for reason in filed["reasons"]):
            stated: Stated = {"reasons": (filed["reasons"], by)}
            yield from compare(what, stated, {"reasons": result.reasons})
        if filed["handling"] == REVIEW:
            yield from compare(what, {"handling": (REVIEW, by)}, {"handling": result.handling})
        needles = {"sha256 of needle_field": self._needles.get(result.id)}
        yield from compare(what, dict.fromkeys(needles, (filed.get("needles"), by)), needles)

    def _compare_field(
        self, what: str, public_id: str, filed: Mapping[str, Any], now: Mapping[str, Any], by: str
    ) -> Iterator[str]:
        """Compare what acts may change of a field, where none did."""
        names = filed.get("names") or {}
        was = {name: names.get(name, "") for name in CHANGEABLE}
        was |= {"source": filed.get("source"), "place": format_place(filed.get("place"))}
        was["unassigned"] = filed.get("unassigned", "")
        if "landmarks" in filed:
            was["sha256 of landmarks"] = filed["landmarks"]
        moved = fold("micrograph", self._acts.list_acts("micrograph", {"public_id": public_id}))
        stated = {name: (value, by) for name, value in was.items() if name not in moved}
        yield from compare(what, stated, now)

    # --- what all results together are compared with ---

    def _compare_currents(self) -> Iterator[str]:
        for micrograph, live in self._live.items():
            for before, number in pairwise(live):
                if not self._acts.list_acts("result", {"result": number, "before": before}):
                    yield (
                        f"result {number}: it took the place of result {before}, and no act says so"
                    )
            counts = self._current.get(micrograph)
            if counts != live[-1]:
                yield (
                    f"result {live[-1]}: it is the newest of its field and does not count; "
                    f"{'result ' + str(counts) if counts else 'none'} does, and no act says so"
                )

    def _compare_specimens(self) -> Iterator[str]:
        for _, entry in self._acts.iter_all("micrograph"):
            if entry.act == "field.assigned":
                self._note_place(entry.facts[seals.AFTER], f"trail number {entry.id}")
        blank: Stated = dict.fromkeys(FILLED, ("", "no field was filed with one"))
        names = self._rows.get_names("specimen")
        for row in self._session.exec(select(SpecimenRow).order_by(col(SpecimenRow.id))):
            order, specimen = names[row.id]
            filed = self._specimens.get((order, specimen))
            stated = blank | filed if filed else {}
            now = seals.read_values(row, stated)
            yield from compare(f"specimen {specimen} of order {order}", stated, now)

    def _compare_preparations(self) -> Iterator[str]:
        begun = {*self._preparations}
        for _, entry in self._acts.iter_all("preparation"):
            order, _, specimen = entry.subject.rpartition("/")
            begun.add((order, specimen, str(entry.facts.get("preparation") or "")))
        names = self._rows.get_names("specimen")
        for row in self._session.exec(select(PreparationRow).order_by(col(PreparationRow.id))):
            order, specimen = names[row.specimen_id]
            what = f"preparation {row.name} of order {order}, specimen {specimen}"
            if (order, specimen, row.name) not in begun:
                yield f"{what}: no field was filed in it and no act began it"
            stated = self._preparations.get((order, specimen, row.name), {})
            yield from compare(what, stated, seals.read_values(row, stated))

    def _name_without_field(self) -> Iterator[str]:
        """Yield the files that were read and have no field, and the fields without a result."""
        has = select(MicrographRow.id).where(col(MicrographRow.content_id) == col(ContentRow.id))
        read = select(ContentRow.id, ContentRow.sha256).where(ContentRow.state == State.DONE)
        for number, sha256 in self._session.exec(read.where(~has.exists())):
            yield f"file {number} ({sha256}): it was read, and its fields were deleted"
        judged = select(ResultRow.id).where(col(ResultRow.micrograph_id) == col(MicrographRow.id))
        fields = select(MicrographRow.public_id).where(~judged.exists())
        for public_id in self._session.exec(fields):
            yield f"field {public_id}: its result was deleted"

    def _compare_files(self) -> Iterator[str]:
        """Yield the files of no known state, and those that could not be used and have no name."""
        states = select(ContentRow.id, ContentRow.state).order_by(col(ContentRow.id))
        for number, state in self._session.exec(states.where(col(ContentRow.state).not_in(State))):
            yield f"file {number}: state is {state!r}, which this program never wrote"
        named = select(PathRow.id).where(col(PathRow.content_id) == col(ContentRow.id))
        unusable = states.where(col(ContentRow.state).in_((State.SET_ASIDE, State.FAILED)))
        for number, state in self._session.exec(unusable.where(~named.exists())):
            yield f"file {number}: it is {state}, and no name of it is known any more"


def _compare_hashed(
    what: str, row: MicrographRow | ResultRow, filed: Mapping[str, Any], by: str
) -> Iterator[str]:
    """Yield a sentence per filed column of a row that is not what it was: its hash is known."""
    table = row.__tablename__
    if seals.digest(row)[0] == filed.get(table):
        return
    hints = str(filed.get("hints"))
    if table == "result":
        hints = hints[len(EVIDENCE["micrograph"].filed) * seals.HINT :]
    for name in seals.find_changed(row, hints) or ("a value",):
        now = show(getattr(row, name, None))
        yield f"{what}: {name} was changed after it was filed ({by}), is {now}"


REPORTED = ("bundle", "structure_code", "probability", "um_per_px")
"""Columns of a result and its micrograph that are compared with a night's report."""
MOVING = frozenset({"field.assigned", "field.unassigned"})


class DocumentChecks:
    """Comparison of the documents of statements and nights with the rows that they name.

    Args:
        session: Open.
        rows: Of the session.
        acts: Of fields at least.
    """

    def __init__(self, session: Session, rows: RowReader, acts: ActIndex) -> None:
        self._session, self._rows, self._acts = session, rows, acts
        self._misplaced: set[str] = set()

    # --- statements ---

    def compare_statement(self, what: str, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence per value that a statement's text and its row, or a field, differ in."""
        document = json.loads(row["document"])
        stated = {name: (document.get(name), "its text") for name in ("number", "conformity", "at")}
        stated["order_id"] = document.get("order"), "its text"
        yield from compare(what, stated, {**row, "at": row["at"].isoformat()})
        for public_id, *was in _list_places(document.get("document")):
            now = self._places.get(public_id)
            if now is None or public_id in self._misplaced or self._was_moved(public_id):
                continue
            if was != list(now[: len(was)]):
                self._misplaced.add(public_id)
                stated = {"place": (format_place(was), what)}
                is_now = {"place": format_place([*filter(None, now)])}
                yield from compare(f"field {public_id}", stated, is_now)

    def compare_sequence(self) -> Iterator[str]:
        """Yield a sentence per statement that does not follow the one before it."""
        wanted = (
            select(OrderRow.number, StatementRow.number, StatementRow.sha256)
            .add_columns(col(StatementRow.previous_sha256))
            .join(OrderRow, col(OrderRow.id) == col(StatementRow.order_id))
            .order_by(col(StatementRow.order_id), col(StatementRow.number))
        )
        newest: dict[str, str] = {}
        for order, number, sha256, previous in self._session.execute(wanted):
            what = f"statement {number} of order {order}"
            stated = {"previous_sha256": (newest.get(order, ""), "the statement before it")}
            yield from compare(what, stated, {"previous_sha256": previous})
            newest[order] = sha256

    @cached_property
    def _places(self) -> dict[str, tuple[str, str, str]]:
        """Id of a field → its order, specimen and preparation, "" where it has none."""
        specimens, preparations = map(self._rows.get_names, ("specimen", "preparation"))
        wanted = select(
            MicrographRow.public_id, MicrographRow.specimen_id, MicrographRow.preparation_id
        )
        return {
            public_id: (
                *specimens.get(specimen or 0, ("", "")),
                preparations.get(prepared or 0, ""),
            )
            for public_id, specimen, prepared in self._session.exec(wanted)
        }

    def _was_moved(self, public_id: str) -> bool:
        acts = self._acts.list_acts("micrograph", {"public_id": public_id})
        return any(entry.act in MOVING for _, entry in acts)

    # --- nights ---

    def compare_night(self, what: str, row: Mapping[str, Any]) -> Iterator[str]:
        """Yield a sentence for each result that a night's report names and no row contains."""
        try:
            named = json.loads(row["facts"]).get("micrographs", ())
            by_id = {str(micrograph["id"]): micrograph for micrograph in named}
        except ODD:
            return
        for batch in chunks(sorted(by_id)):
            known = self._load_results(batch)
            for public_id in batch:
                reported = by_id[public_id]
                stated = reported | (reported.get("result") or {})  # nested in its field
                was = tuple(stated.get(name) for name in REPORTED)
                rows = known.get(public_id, set())
                if was not in rows:
                    now = " or ".join(map(str, sorted(rows, key=str))) or "nothing"
                    yield f"result of {public_id}: was {was} ({what}), is {now}"

    def _load_results(self, public_ids: Sequence[str]) -> dict[str, set[tuple[Any, ...]]]:
        wanted = (
            sqlalchemy.select(
                col(MicrographRow.public_id),
                col(ResultRow.bundle),
                col(ResultRow.structure_code),
                col(ResultRow.probability),
                col(MicrographRow.um_per_px),
                col(ResultRow.thresholds),
            )
            .join(ResultRow, col(ResultRow.micrograph_id) == col(MicrographRow.id))
            .where(col(MicrographRow.public_id).in_(public_ids))
        )
        results: dict[str, set[tuple[Any, ...]]] = defaultdict(set)
        for public_id, *values, um_per_px, thresholds in self._session.execute(wanted):
            scale = stored_facts.resolve_scale(thresholds, um_per_px)
            results[public_id].add((*values, scale))
        return results


def _list_places(document: Any) -> Iterator[tuple[str, ...]]:
    """Yield id, order, specimen and, where it is stated, preparation of each field."""
    for specimen in (document or {}).get("specimens", ()):
        at = (str(document.get("order") or ""), str(specimen.get("specimen") or ""))
        prepared = str(specimen.get("preparation") or "")
        for listed in specimen.get("fields", ()) if all(at) else ():
            yield str(listed["id"]), *at, *filter(None, [prepared])
        for listed in specimen.get("superseded", ()) if all(at) else ():
            yield str(listed["id"]), *at


def examine(session: Session) -> tuple[list[str], list[str]]:
    """Compare every row of evidence of a site with the audit log.

    Returns:
        A sentence per value that differs, and per stretch that the audit log does not cover.
    """
    rows, acts = RowReader(session), ActIndex(session, EVIDENCE)
    faults = [*acts.odd]
    for table, evidence in EVIDENCE.items():
        if evidence.is_explained:
            faults += name_odd(table, _compare_table(session, rows, acts, table))
    faults += name_odd("label", _name_strangers(acts))
    faults += name_odd("source", _name_moved_sources(session))
    faults += name_odd("site", _name_changed_shares(session))
    faults += name_odd("result", FilingChecks(session, rows, acts).find_differences())
    faults += name_odd("seals", seals.find_differences(session))
    return faults, list(audit_log.clock_notes(session))


def _name_moved_sources(session: Session) -> Iterator[str]:
    """Yield the sources of `agent.toml` whose folder no settings ever named."""
    folders: dict[tuple[str, str], list[str]] = {}
    for entry in audit_log.entries(session, act=history.ACT):
        for source in entry.facts.get(history.IN_FORCE, {}).get("sources") or ():
            folders.setdefault((entry.site, source["name"]), []).append(source["folder"])
    query = select(SiteRow.name, SourceRow.name, SourceRow.folder).join(
        SiteRow, col(SiteRow.id) == col(SourceRow.site_id)
    )
    for site, name, folder in session.exec(query.order_by(col(SourceRow.id))):
        named = folders.get((site, name), [])
        if named and folder not in named:
            yield f"source {name}: its folder was {named[-1]!r}, is {folder!r}"


def _name_changed_shares(session: Session) -> Iterator[str]:
    """Yield where what a site shares changed without an act: its accounts may be those of others.

    The next start of an agent writes its setting again, with an act that changes nothing then.
    """
    site = session.get_one(SiteRow, get_site(session))
    shares = {"accounts": site.shares_accounts, "bundles": site.shares_bundles}
    was: list[str] = []
    source = NO_ACT
    for entry in audit_log.entries(session, act=SHARES_CHANGED):
        now = sorted(entry.facts["shares"])
        if now == was:
            yield f"site {site.name}: what it shares was changed before trail number {entry.id}"
        was, source = now, f"trail number {entry.id}"
    now = sorted(name for name, is_shared in shares.items() if is_shared)
    yield from compare(f"site {site.name}", {"shares": (was, source)}, {"shares": now})


def find_differences(session: Session, tables: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each value of a row of these tables that no act explains."""
    rows, acts = RowReader(session), ActIndex(session, (*tables, "micrograph"))
    for table in tables:
        yield from name_odd(table, _compare_table(session, rows, acts, table))


def _compare_table(session: Session, rows: RowReader, acts: ActIndex, table: str) -> Iterator[str]:
    """Compare each row with its acts, then name the rows that acts have and the table lacks."""
    evidence = EVIDENCE[table]
    documents = DocumentChecks(session, rows, acts)
    further: Further | None = {
        "night": documents.compare_night,
        "statement": documents.compare_statement,
        "order_claim": lambda what, row: _compare_settled(acts, what, row),
    }.get(table)
    for values in rows.iter_rows(evidence):
        what = evidence.call(values)
        yield from name_odd(what, _compare_row(table, what, values, acts, further))
    for values, entry in acts.iter_without_row(table):
        what = evidence.call(values)
        yield f"{what} ({entry.act} by {entry.actor}, trail number {entry.id}) was deleted"
    if table == "statement":
        yield from documents.compare_sequence()


def _compare_row(
    table: str,
    what: str,
    values: Mapping[str, Any],
    acts: ActIndex,
    further: Further | None,
) -> Iterator[str]:
    of_row = acts.list_acts(table, values)
    declared = EVIDENCE[table].acts
    if any(act.before is None for act in declared) and all(
        act.before is not None for act, _ in of_row
    ):
        author = get_author(declared, values)
        yield f"{what}: {f'by {author} ' if author else ''}is not in the trail"
        return
    differences = list(compare(what, fold(table, of_row), values))
    yield from differences
    if further and not differences:
        yield from further(what, values)


# --- what one table alone needs -------------------------------------------------------------------


def _compare_settled(acts: ActIndex, what: str, row: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for a claim that no act of a lead settled."""
    settled = any(
        entry.facts.get("lead")
        and (entry.actor, entry.at) == (row["settled_by"], row["settled_at"])
        for entry in _list_assigned(acts, row["micrograph_id"])
    )
    if row["settled_by"] and not settled:
        yield f"{what}: settled_by was '' (no act), is {row['settled_by']!r}"


def _list_assigned(acts: ActIndex, public_id: str) -> list[TrailEntry]:
    of_field = acts.list_acts("micrograph", {"public_id": public_id})
    return [entry for _, entry in of_field if entry.act == "field.assigned"]


def _name_strangers(acts: ActIndex) -> Iterator[str]:
    """Yield a sentence for each label of somebody that the lab does not know.

    Since its first account a lab takes labels from accounts alone.
    """
    first = min((entry.id for _, entry in acts.iter_all("account")), default=0)
    for _, entry in acts.iter_all("label"):
        if entry.act == "label.given" and 0 < first < entry.id:
            what = f"label {entry.facts['label']} of {entry.subject}"
            yield from name_odd(what, _name_stranger(what, entry))


def _name_stranger(what: str, entry: TrailEntry) -> Iterator[str]:
    if stranger := _find_stranger(entry):
        yield f"{what}: {stranger} (trail number {entry.id})"


def _find_stranger(entry: TrailEntry) -> str:
    signed = entry.facts.get(audit_log.SIGNED) or {}
    account = signed.get("account", "")
    if not account:
        return f"{entry.actor} gave it, and no account signed it though the lab has accounts"
    names = {account, signed_by_program(account, account), signed_by_program("", account)}
    is_named = any(entry.actor.endswith(name) for name in names)
    if is_named or entry.facts.get("origin") in {IMPORTED, FOR_ORDERS}:
        return ""
    return f"{entry.actor} gave it, and {account} signed it"
